package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

func main() {
	root := flag.String("root", ".", "the folder of go.mod")
	show := flag.Bool("show", false, "say which libtorch would be taken and stop")
	mac := flag.String("mac", "", "write what `make mac-check` compiles with into this `folder` and stop")
	flag.Parse()
	h := &host{goos: runtime.GOOS, goarch: runtime.GOARCH, getenv: os.Getenv, output: output,
		originals: originalFiles, usr: "/usr", local: "/usr/local/libtorch"}
	if err := run(h, *root, *show, *mac, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "fitgotch: error: %v\n", err)
		if errors.Is(err, errNoLibtorch) {
			fmt.Fprintln(os.Stderr, "fitgotch: hint: run `make setup`, which installs it, or set LIBTORCH=/path/to/libtorch")
		}
		os.Exit(1)
	}
}

// output runs a command quietly; its standard output comes back without the white space around it.
func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).Output()
	return strings.TrimSpace(string(out)), err
}

// run finds libtorch, says so on stdout, and fits the vendored libtch below root to it, unless the last fit still
// holds.
func run(h *host, root string, show bool, mac string, stdout io.Writer) error {
	lib, err := h.find()
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "fitgotch: %s\n", lib)
	switch {
	case show:
		return nil
	case mac != "":
		return writeMac(lib, root, mac)
	}

	libtch := filepath.Join(root, libtchDir)
	if !isDir(libtch) {
		return fmt.Errorf("%s is missing: run `go mod vendor` first", libtch)
	}
	uses, err := usedNames(root)
	if err != nil {
		return err
	}
	version, err := requiredVersion(filepath.Join(root, "go.mod"), gotchModule)
	if err != nil {
		return err
	}
	flags := h.flagsFor(lib, h.clang())

	inputs := hashInputs(version, lib, uses, flags)
	if upToDate(root, inputs) {
		return nil
	}
	original, err := h.originals(root, version)
	if err != nil {
		return err
	}
	fit, err := fitPackage(original, uses, version, lib.Version)
	if err != nil {
		return err
	}
	out := map[string][]byte{
		filepath.Join(libtchDir, "lib.go"): flags.goFile("libtch", lib.String()),
		ourFlags:                           flags.goFile("torch", lib.String()),
	}
	for name, src := range fit.files {
		out[filepath.Join(libtchDir, name)] = src
	}
	if err := writeFit(root, inputs, out); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "fitgotch: kept %d C functions of gotch %s for the %d names in use\n", fit.wrappers, version,
		len(uses))
	return nil
}

// clang reports whether the C++ compiler that Go calls is clang.
func (h *host) clang() bool {
	cxx, err := h.output("go", "env", "CXX")
	fields := strings.Fields(cxx)
	if err != nil || len(fields) == 0 {
		return false
	}
	out, err := h.output(fields[0], append(fields[1:], "--version")...)
	return err == nil && strings.Contains(out, "clang")
}

// requiredVersion reads from go.mod which version of module is required.
func requiredVersion(goMod, module string) (string, error) {
	src, err := os.ReadFile(goMod)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(src)) {
		f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(f) >= 2 && f[0] == module {
			return f[1], nil
		}
	}
	return "", fmt.Errorf("%s: does not require %s", goMod, module)
}
