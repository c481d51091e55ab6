package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSlowBLASLinks(t *testing.T) {
	const lib = "/usr/lib/x86_64-linux-gnu/"
	for _, tc := range []struct {
		name        string
		links       map[string]string // name → folder of the library
		slow, fixes []string
	}{
		{name: "none"},
		{name: "all OpenMP", links: map[string]string{"libblas.so.3": "openblas-openmp", "liblapack.so.3": "openblas-openmp", "libopenblas.so.0": "openblas-openmp"}},
		{name: "another fast one", links: map[string]string{"libblas.so.3": "blis-openmp"}},
		{name: "one of three", links: map[string]string{"libblas.so.3": "openblas-openmp", "liblapack.so.3": "openblas-openmp", "libopenblas.so.0": "openblas-pthread"},
			slow:  []string{"libopenblas.so.0 is " + lib + "openblas-pthread/libopenblas.so.0"},
			fixes: []string{"sudo update-alternatives --set libopenblas.so.0-x86_64-linux-gnu " + lib + "openblas-openmp/libopenblas.so.0"}},
		{name: "the reference", links: map[string]string{"libblas.so.3": "blas", "liblapack.so.3": "lapack"},
			slow: []string{"libblas.so.3 is " + lib + "blas/libblas.so.3", "liblapack.so.3 is " + lib + "lapack/liblapack.so.3"},
			fixes: []string{"sudo update-alternatives --set libblas.so.3-x86_64-linux-gnu " + lib + "openblas-openmp/libblas.so.3",
				"sudo update-alternatives --set liblapack.so.3-x86_64-linux-gnu " + lib + "openblas-openmp/liblapack.so.3"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, folder := range tc.links {
				if err := os.Symlink(lib+folder+"/"+name, filepath.Join(dir, name+"-x86_64-linux-gnu")); err != nil {
					t.Fatal(err)
				}
			}
			slow, fixes := slowBLASLinks(dir)
			if diff := cmp.Diff([][]string{tc.slow, tc.fixes}, [][]string{slow, fixes}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
