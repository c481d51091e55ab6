package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// cmakeMacros is where libtorch's headers keep how it was built: the second is 2.10's and later.
var cmakeMacros = []string{"c10/macros/cmake_macros.h", "torch/headeronly/macros/cmake_macros.h"}

// buildMacroRE matches what Debian's libtorch was built with and a cross-compiler has no headers for.
var buildMacroRE = regexp.MustCompile(`(?m)^#define (C10_USE_GFLAGS|C10_USE_GLOG|C10_USE_NUMA)\b.*$`)

// writeMac writes into dir what it takes to compile our cgo packages for macOS against the headers of lib, whatever
// system those are for: a copy of the header tree, made of links, with the traces of that system's libraries taken
// out; cgo flags; and overlay.json, by which `go build -overlay` puts those flags in the place of the fitted ones.
//
// Nothing can be linked this way, for want of Apple's SDK: symbols of libtorch stay undefined.
func writeMac(lib *libtorch, root, dir string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	include := filepath.Join(dir, "include")
	if err := os.RemoveAll(include); err != nil {
		return err
	}
	if err := os.MkdirAll(include, 0o755); err != nil {
		return err
	}
	for _, top := range []string{"ATen", "c10", "torch", "caffe2"} { // not all of /usr/include
		if err := mirror(filepath.Join(lib.Includes[0], top), filepath.Join(include, top), top); err != nil {
			return err
		}
	}

	flags := cgoFlags{
		cxx: []string{"-std=" + lib.Standard, "-O1", "-Wno-deprecated-declarations",
			"-isystem", include, "-isystem", filepath.Join(include, "torch/csrc/api/include")},
		ld: []string{"-Wl,-undefined,dynamic_lookup", "-lc++"},
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for pkg, target := range map[string]string{"libtch": filepath.Join(libtchDir, "lib.go"), "torch": ourFlags} {
		path := filepath.Join(dir, pkg+"_flags.go")
		if err := os.WriteFile(path, flags.goFile(pkg, "For make mac-check: "+lib.String()), 0o644); err != nil {
			return err
		}
		overlay.Replace[filepath.Join(root, target)] = path
	}
	text, err := json.MarshalIndent(overlay, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "overlay.json"), append(text, '\n'), 0o644)
}

// mirror makes to stand for the folder from: links to what is in it, real folders on the way to a header of
// cmakeMacros, and of those an edited copy. rel is where from lies among the headers. A folder that is absent is left
// out.
func mirror(from, to, rel string) error {
	onTheWay := false
	for _, header := range cmakeMacros {
		onTheWay = onTheWay || strings.HasPrefix(header, rel+"/")
	}
	if !onTheWay {
		if !isDir(from) && !isFile(from) {
			return nil
		}
		return os.Symlink(from, to)
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, e := range entries {
		src, dst, name := filepath.Join(from, e.Name()), filepath.Join(to, e.Name()), rel+"/"+e.Name()
		if name != cmakeMacros[0] && name != cmakeMacros[1] {
			if err := mirror(src, dst, name); err != nil {
				return err
			}
			continue
		}
		text, err := os.ReadFile(src)
		if err != nil {
			return err
		}
		if err := os.WriteFile(dst, buildMacroRE.ReplaceAll(text, []byte("/* #undef $1 */")), 0o644); err != nil {
			return err
		}
	}
	return nil
}
