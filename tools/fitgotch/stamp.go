package main

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// What we read and write below the module's root.
var (
	libtchDir = filepath.Join("vendor", filepath.FromSlash(libtchImport))
	ourFlags  = filepath.Join("internal", "torch", "cgo_flags.go")
	stampFile = filepath.Join(libtchDir, "fitgotch.json") // `go mod vendor` removes it with the rest
)

// A stamp says what the last fit was made from and what it wrote.
type stamp struct {
	Inputs string            // hash of everything that decides the result
	Files  map[string]string // path from the root, with slashes: hash of the content
}

// ownSource is part of the inputs: a new fitgotch fits anew.
//
//go:embed *.go
var ownSource embed.FS

// hashInputs hashes all that decides the result of a fit.
func hashInputs(gotchVersion string, lib *libtorch, uses []use, flags cgoFlags) string {
	h := sha256.New()
	fmt.Fprintln(h, gotchVersion, lib, quoteAll(flags.cxx), quoteAll(flags.ld))
	for _, u := range uses {
		fmt.Fprintln(h, u.name)
	}
	entries, _ := ownSource.ReadDir(".") // embedded: cannot fail
	for _, e := range entries {
		src, _ := ownSource.ReadFile(e.Name())
		h.Write(src)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// upToDate reports whether the last fit had these inputs and all that it wrote is as it was written.
func upToDate(root, inputs string) bool {
	text, err := os.ReadFile(filepath.Join(root, stampFile))
	if err != nil {
		return false
	}
	var st stamp
	if err := json.Unmarshal(text, &st); err != nil || st.Inputs != inputs {
		return false
	}
	for name, want := range st.Files {
		src, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil || hash(src) != want {
			return false
		}
	}
	return len(st.Files) > 0
}

// writeFit writes the files of out, paths from root, whose content differs from what is there, removes every other
// file of libtch, and stamps the result.
func writeFit(root, inputs string, out map[string][]byte) error {
	if err := os.Remove(filepath.Join(root, stampFile)); err != nil && !os.IsNotExist(err) {
		return err // a fit that is cut short must not pass for a whole one
	}
	st := stamp{Inputs: inputs, Files: map[string]string{}}
	for _, name := range sortedKeys(out) {
		path := filepath.Join(root, name)
		st.Files[filepath.ToSlash(name)] = hash(out[name])
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, out[name]) {
			continue
		}
		if err := os.WriteFile(path, out[name], 0o644); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(filepath.Join(root, libtchDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(libtchDir, e.Name())
		if _, ok := out[name]; ok || e.IsDir() {
			continue
		}
		if err := os.Remove(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, stampFile), append(text, '\n'), 0o644)
}

// originalFiles reads libtch as gotch ships it from Go's module cache, into which it is downloaded if need be: the
// vendored copy may have been cut down already.
func originalFiles(root, version string) (map[string][]byte, error) {
	cmd := exec.Command("go", "mod", "download", "-json", gotchModule+"@"+version)
	cmd.Dir = root
	out, err := cmd.Output()
	var info struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &info); err != nil || jsonErr != nil || info.Dir == "" {
		return nil, fmt.Errorf("go mod download %s@%s: %s (%v)", gotchModule, version, info.Error, err)
	}
	dir := filepath.Join(info.Dir, "libtch")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// hash returns the SHA-256 of b in hexadecimal digits.
func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// sortedKeys returns the keys of m in order, so that what is written does not depend on the order of a map.
func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
