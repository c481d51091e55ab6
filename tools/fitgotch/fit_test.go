package main

import (
	"flag"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// smallLibtch returns the files of testdata/libtch.txtar.
func smallLibtch(t *testing.T) map[string][]byte {
	t.Helper()
	ar, err := txtar.ParseFile("testdata/libtch.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, f := range ar.Files {
		files[f.Name] = f.Data
	}
	return files
}

func usesOf(names ...string) []use {
	var uses []use
	for _, n := range names {
		uses = append(uses, use{n, token.Position{Filename: "internal/torch/ops.go", Line: 12, Column: 3}})
	}
	return uses
}

// The whole result for a few names, as a golden file: what stays, what goes, what is corrected.
func TestFitPackage(t *testing.T) {
	const golden = "testdata/fitted.golden"
	fit, err := fitPackage(smallLibtch(t), usesOf("AtDefined", "AtRunBackward", "AtgAllclose", "AtgCat", "PStore"),
		"v0.9.1", "1.13.0")
	if err != nil {
		t.Fatal(err)
	}
	ar := &txtar.Archive{}
	for _, name := range sortedKeys(fit.files) {
		ar.Files = append(ar.Files, txtar.File{Name: name, Data: fit.files[name]})
	}
	got := txtar.Format(ar)
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("fitted libtch (-want +got; go test -update rewrites it):\n%s", diff)
	}
	if fit.wrappers != 4 {
		t.Errorf("%d C functions kept, want 4", fit.wrappers)
	}
}

func TestFitPackageKeepsWhatIsAskedFor(t *testing.T) {
	for _, tc := range []struct {
		name    string
		use     string
		version string
		file    string
		has     []string
		hasNot  []string
	}{
		{name: "optional's new name", use: "AtgAllclose", version: "2.6.0", file: apiSource,
			has: []string{"std::optional<", "std::nullopt"}, hasNot: []string{"c10::optional", "c10::nullopt"}},
		{name: "optional's old name", use: "AtgAllclose", version: "2.1.0", file: apiSource,
			has: []string{"c10::optional<", "c10::nullopt"}, hasNot: []string{"std::optional"}},
		{name: "operators alone need few headers", use: "AtgCat", version: "1.13.0", file: apiHeader,
			has:    []string{"#include <torch/types.h>", "of_carray_tensor("},
			hasNot: []string{"torch/torch.h", "engine.h", "optimizer", "of_carray_tensor_opt"}},
		{name: "backward needs the engine's", use: "AtRunBackward", version: "1.13.0", file: apiHeader,
			has: []string{"#include <torch/csrc/autograd/engine.h>"}},
		{name: "the error is always there to be read", use: "AtgCat", version: "1.13.0", file: apiSource,
			has: []string{"char *get_and_reset_last_err() {"}},
		{name: "and has one definition", use: "AtgCat", version: "1.13.0", file: apiHeader,
			has: []string{"\nthread_local char *torch_last_err = nullptr;\n"}},
		{name: "a type brings its C type", use: "Coptimizer", version: "1.13.0", file: apiHeader,
			has: []string{"typedef torch::optim::Optimizer *optimizer;", "typedef void *optimizer;"}},
		{name: "an init function stays with what it sets", use: "order", version: "1.13.0", file: "tensor.go",
			has: []string{"func init() {", `import "strings"`}, hasNot: []string{"callback_fn", `import "log"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fit, err := fitPackage(smallLibtch(t), usesOf(tc.use), "v0.9.1", tc.version)
			if err != nil {
				t.Fatal(err)
			}
			text := string(fit.files[tc.file])
			for _, want := range tc.has {
				if !strings.Contains(text, want) {
					t.Errorf("%s has no %q:\n%s", tc.file, want, text)
				}
			}
			for _, unwanted := range tc.hasNot {
				if strings.Contains(text, unwanted) {
					t.Errorf("%s still has %q:\n%s", tc.file, unwanted, text)
				}
			}
		})
	}
}

func TestFitPackageErrors(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(map[string][]byte)
		use    string
		want   string
	}{
		{"no such name", nil, "AtgCatt",
			"internal/torch/ops.go:12:3: libtch.AtgCatt: gotch v0.9.1 has no such name"},
		{"another spelling", nil, "Atg_Cat",
			"libtch.Atg_Cat: gotch v0.9.1 has no such name (it has AtgCat)"},
		{"a file is missing", func(m map[string][]byte) { delete(m, genSource) }, "AtgCat",
			"gotch v0.9.1: libtch/torch_api_generated.cpp.h is missing"},
		{"C++ that is cut short", func(m map[string][]byte) { m[apiSource] = []byte("void f() {\n") }, "AtgCat",
			"gotch v0.9.1: libtch/torch_api.cpp: line 2: the file ends inside"},
		{"Go that is cut short", func(m map[string][]byte) { m["tensor.go"] = []byte("package libtch\nfunc f() {\n") },
			"AtgCat", "gotch v0.9.1: libtch/tensor.go:"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := smallLibtch(t)
			if tc.change != nil {
				tc.change(files)
			}
			_, err := fitPackage(files, usesOf(tc.use), "v0.9.1", "1.13.0")
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v\nwant one with %q", err, tc.want)
			}
		})
	}
}
