package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeTree writes files, named relative to a fresh folder, which it returns.
func writeTree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	addFiles(t, dir, files)
	return dir
}

func addFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// fakeHost is a machine with empty folders, no environment and no commands; tests fill it.
func fakeHost(t *testing.T, goos string) *host {
	t.Helper()
	return &host{
		goos: goos, goarch: "amd64",
		getenv: func(string) string { return "" },
		output: func(string, ...string) (string, error) { return "", errors.New("no such command") },
		usr:    t.TempDir(), local: filepath.Join(t.TempDir(), "libtorch"),
	}
}

// torchTree returns the files of a libtorch below prefix, libraries in lib, with the suffix of the system.
func torchTree(prefix, lib, version, suffix string) map[string]string {
	api := prefix + "/include/torch/csrc/api/include/torch/"
	return map[string]string{
		prefix + "/include/ATen/Config.h":             "#define AT_PARALLEL_OPENMP 1\n#define AT_PARALLEL_NATIVE 0\n",
		api + "types.h":                               "",
		api + "all.h":                                 "#if !defined(_MSC_VER) && __cplusplus < 201703L\n#error\n#endif\n",
		api + "version.h":                             versionHeader(version),
		prefix + "/" + lib + "/libtorch_cpu" + suffix: "",
		prefix + "/" + lib + "/libc10" + suffix:       "ELF _ZN3c105ErrorC1ENS_14SourceLocationENSt7__cxx1112basic_string",
	}
}

func versionHeader(version string) string {
	part := strings.Split(version, ".")
	return fmt.Sprintf("#pragma once\n\n#define TORCH_VERSION_MAJOR %s\n"+
		"#define TORCH_VERSION_MINOR %s\n#define TORCH_VERSION_PATCH %s\n", part[0], part[1], part[2])
}
