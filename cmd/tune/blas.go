package main

import (
	"path/filepath"
	"strings"
)

// Which BLAS multiplies the matrices. Debian's libtorch calls whichever the system points to; the one from
// pytorch.org brings its own.
const (
	blasOther = iota
	blasReference
	blasPthread
)

const blasFix = "make setup, or: sudo apt-get install libopenblas0-openmp, then " +
	"sudo update-alternatives --config libblas.so.3-$(uname -m)-linux-gnu"

// blasLibrary finds the BLAS among the files that a process has mapped, given as /proc/self/maps has them. The
// names there are those of the files themselves, not of the links that point to them.
func blasLibrary(maps string) string {
	best := ""
	for line := range strings.Lines(maps) {
		_, path, ok := strings.Cut(strings.TrimSpace(line), " /")
		if !ok {
			continue
		}
		path = "/" + path
		name := filepath.Base(path)
		if !strings.Contains(name, ".so") {
			continue
		}
		switch {
		case strings.HasPrefix(name, "libblas."):
			return path // what libtorch asks for by name
		case strings.HasPrefix(name, "libopenblas"), strings.HasPrefix(name, "libmkl_rt."), strings.HasPrefix(name, "libblis"):
			best = path
		}
	}
	return best
}

// blasKind tells the slow libraries by their files: Debian's are .../openblas-pthread/libblas.so.3 and
// .../blas/libblas.so.3.11.0; elsewhere the reference lies in lib or lib64 itself. The pthread build under its own name is libopenblasp.
func blasKind(path string) int {
	folder, name := filepath.Base(filepath.Dir(path)), filepath.Base(path)
	switch {
	case folder == "openblas-pthread", strings.HasPrefix(name, "libopenblasp-"):
		return blasPthread
	case strings.HasPrefix(name, "libblas.") && (folder == "blas" || strings.HasPrefix(folder, "lib")):
		return blasReference
	}
	return blasOther
}
