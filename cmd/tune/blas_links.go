package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// blasLinks are the names under which Debian's programs ask for BLAS and LAPACK. libtorch needs the first two, numpy
// and what else is linked with OpenBLAS the third: one that is another library brings a second set of threads along.
var blasLinks = []string{"libblas.so.3", "liblapack.so.3", "libopenblas.so.0"}

// slowBLASLinks returns which of the names a system points to a library that makes training slow, with what it is, and
// the commands that put it right. dir is /etc/alternatives; elsewhere than on Debian it has no such links.
func slowBLASLinks(dir string) (slow, fixes []string) {
	for _, name := range blasLinks {
		links, _ := filepath.Glob(filepath.Join(dir, name+"-*")) // fails for a wrong pattern only
		for _, link := range links {
			target, err := os.Readlink(link)
			if err != nil {
				continue
			}
			folder := filepath.Base(filepath.Dir(target))
			switch folder {
			case "openblas-pthread", "openblas-serial", "blas", "lapack", "atlas":
				triple := strings.TrimPrefix(filepath.Base(link), name+"-")
				slow = append(slow, fmt.Sprintf("%s is %s", name, target))
				fixes = append(fixes, fmt.Sprintf("sudo update-alternatives --set %s-%s %s", name, triple,
					filepath.Join(filepath.Dir(filepath.Dir(target)), "openblas-openmp", name)))
			}
		}
	}
	return slow, fixes
}
