package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A libtorch is one installation of libtorch with its headers.
type libtorch struct {
	Source   string   // which way of the search order it was found by, in words
	Version  string   // "2.6.0"; "unknown" when no header says it
	Includes []string // the folder of ATen, c10 and torch first, then that of torch/types.h and friends
	LibDir   string
	OldABI   bool     // built with -D_GLIBCXX_USE_CXX11_ABI=0
	CUDA     bool     // the installation has the CUDA backend
	CUDAInc  string   // the folder of CUDA's headers; "" when there are none, and memory counters have to do without
	CUDART   string   // CUDA's runtime library, found together with CUDAInc
	OpenMP   bool     // ATen's parallel loops are OpenMP's
	GOMP     string   // the OpenMP library that the installation brings along; "" where it is the system's
	Standard string   // of C++ that the headers ask for: "c++17"
	LinkDirs []string // folders with libraries that libtorch itself needs
}

// String says in one line what was taken.
func (l *libtorch) String() string {
	extra := ""
	if l.CUDA {
		extra += ", CUDA"
	}
	if l.OldABI {
		extra += ", old C++ ABI"
	}
	return fmt.Sprintf("libtorch %s from %s (headers %s, libraries %s%s)",
		l.Version, l.Source, l.Includes[0], l.LibDir, extra)
}

// A host is what the search asks of the machine; tests have their own.
type host struct {
	goos, goarch string
	getenv       func(string) string
	// output runs a command and returns its standard output, trimmed; an error when it is absent or fails.
	output func(name string, args ...string) (string, error)
	// originals reads libtch as the given version of gotch ships it: file name to content.
	originals func(root, version string) (map[string][]byte, error)
	usr       string // /usr
	local     string // /usr/local/libtorch
}

// errNoLibtorch is returned when no place of the search order has libtorch with its headers.
var errNoLibtorch = errors.New("no libtorch found")

// findTorchPy asks Python where its torch package lies without loading it.
const findTorchPy = `import importlib.util as u
s = u.find_spec("torch")
print(s.origin if s and s.origin else "")`

// find looks for libtorch: $LIBTORCH, a PyTorch wheel of python3, Homebrew's pytorch, Debian's libtorch-dev,
// /usr/local/libtorch; the first that has headers and libraries is taken.
//
// Errors: a $LIBTORCH without them says what was looked for there; errNoLibtorch lists the places.
func (h *host) find() (*libtorch, error) {
	if dir := h.getenv("LIBTORCH"); dir != "" {
		l, err := h.inspect(dir, "$LIBTORCH")
		if err != nil {
			return nil, fmt.Errorf("LIBTORCH=%s: %w", dir, err)
		}
		return l, nil
	}

	var tried []string
	if origin, err := h.output("python3", "-c", findTorchPy); err != nil || origin == "" {
		tried = append(tried, "python3: no package torch")
	} else if l, err := h.inspect(filepath.Dir(origin), "the PyTorch wheel of python3"); err == nil {
		return l, nil
	} else { // Debian's python3-torch, whose headers are libtorch-dev's
		tried = append(tried, "python3's torch: "+err.Error())
	}

	if prefix, err := h.output("brew", "--prefix", "pytorch"); err != nil || prefix == "" {
		tried = append(tried, "brew: no pytorch")
	} else {
		dirs, _ := filepath.Glob(filepath.Join(prefix, "libexec/lib/python3*/site-packages/torch"))
		for _, dir := range append([]string{prefix}, dirs...) {
			l, err := h.inspect(dir, "Homebrew's pytorch")
			if err == nil {
				// <brew>/opt/pytorch: Homebrew links the headers of all its packages, some of which libtorch's
				// include, into <brew>/include.
				l.Includes = append(l.Includes, filepath.Join(prefix, "../../include"))
				return l, nil
			}
			tried = append(tried, "Homebrew: "+err.Error())
		}
	}

	for _, place := range []struct{ dir, source string }{
		{h.usr, "Debian's libtorch-dev"},
		{h.local, h.local},
	} {
		l, err := h.inspect(place.dir, place.source)
		if err == nil {
			return l, nil
		}
		tried = append(tried, err.Error())
	}
	return nil, fmt.Errorf("%w:\n\t%s", errNoLibtorch, strings.Join(tried, "\n\t"))
}

// inspect reads the installation at dir: an unpacked libtorch, a Python package, a prefix such as /usr.
//
// Errors: say which file was looked for and is missing, or which version is too old.
func (h *host) inspect(dir, source string) (*libtorch, error) {
	dir, err := filepath.Abs(dir) // an rpath must not depend on where the binary runs
	if err != nil {
		return nil, err
	}
	include := filepath.Join(dir, "include")
	api := filepath.Join(include, "torch/csrc/api/include")
	for _, header := range []string{filepath.Join(include, "ATen/Config.h"), filepath.Join(api, "torch/types.h")} {
		if !isFile(header) {
			return nil, fmt.Errorf("%s has no libtorch headers: %s is missing", dir, header)
		}
	}
	l := &libtorch{
		Source:   source,
		Version:  headerVersion(include),
		Includes: []string{include, api},
		OpenMP:   h.goos == "linux" && defines(filepath.Join(include, "ATen/Config.h"), "AT_PARALLEL_OPENMP", "1"),
		Standard: standard(filepath.Join(api, "torch/all.h")),
	}
	if !versionAtLeast(l.Version, 1, 13) {
		return nil, fmt.Errorf("%s holds libtorch %s, want 1.13 or newer", dir, l.Version)
	}
	suffix := ".so"
	if h.goos == "darwin" {
		suffix = ".dylib"
	}
	for _, lib := range []string{"lib", filepath.Join("lib", h.triple()), "lib64"} {
		if isFile(filepath.Join(dir, lib, "libtorch_cpu"+suffix)) {
			l.LibDir = filepath.Join(dir, lib)
			break
		}
	}
	if l.LibDir == "" {
		return nil, fmt.Errorf("%s has libtorch's headers but not its libraries: %s is missing", dir,
			filepath.Join(dir, "lib", "libtorch_cpu"+suffix))
	}
	l.CUDA = isFile(filepath.Join(l.LibDir, "libtorch_cuda"+suffix))
	if h.goos == "linux" {
		l.OldABI = oldABI(l.LibDir)
		l.GOMP = h.ownGOMP(dir, l.LibDir)
		// Wheels of PyTorch with CUDA leave CUDA's own libraries to other wheels beside them.
		l.LinkDirs, _ = filepath.Glob(filepath.Join(dir, "..", "nvidia", "*", "lib"))
	}
	if l.CUDA {
		l.CUDAInc, l.CUDART = h.cudaRuntime(dir, l.LibDir)
	}
	return l, nil
}

// cudaRuntime finds the headers and the library of CUDA's runtime: in the wheels beside a PyTorch wheel, in
// $CUDA_HOME, in /usr/local/cuda; the library may also be libtorch's own. Both are "" unless both are found.
func (h *host) cudaRuntime(dir, libDir string) (include, library string) {
	places := []string{filepath.Join(dir, "..", "nvidia", "*")}
	if home := h.getenv("CUDA_HOME"); home != "" {
		places = append(places, home)
	}
	places = append(places, filepath.Join(h.usr, "local/cuda"))
	for _, place := range places {
		headers, _ := filepath.Glob(filepath.Join(place, "include/cuda_runtime_api.h"))
		if len(headers) == 0 {
			continue
		}
		include = filepath.Dir(headers[0])
		for _, lib := range []string{libDir, filepath.Join(include, "../lib"), filepath.Join(include, "../lib64")} {
			if found, _ := filepath.Glob(filepath.Join(lib, "libcudart*.so*")); len(found) > 0 {
				return include, found[0]
			}
		}
	}
	return "", ""
}

// ownGOMP finds the OpenMP library that a wheel brings along, next to libtorch or in torch.libs; "" when there is none
// and libtorch uses the system's.
func (h *host) ownGOMP(dir, libDir string) string {
	if h.systemDir(libDir) {
		return ""
	}
	for _, lib := range []string{libDir, filepath.Join(dir, "..", "torch.libs")} {
		if own, _ := filepath.Glob(filepath.Join(lib, "libgomp*.so*")); len(own) > 0 {
			return own[0]
		}
	}
	return ""
}

// triple is Debian's name for the architecture in library folders.
func (h *host) triple() string {
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[h.goarch]
	if arch == "" {
		arch = h.goarch
	}
	return arch + "-linux-gnu"
}

// systemDir reports whether the linker and the loader search dir anyway.
func (h *host) systemDir(dir string) bool {
	return dir == filepath.Join(h.usr, "lib") || dir == filepath.Join(h.usr, "lib", h.triple())
}

var versionRE = regexp.MustCompile(`(?m)^#\s*define\s+TORCH_VERSION_(MAJOR|MINOR|PATCH)\s+(\d+)`)

// headerVersion reads libtorch's version from torch/version.h, or from torch/headeronly/version.h, where newer
// versions keep it.
func headerVersion(include string) string {
	for _, name := range []string{"torch/csrc/api/include/torch/version.h", "torch/headeronly/version.h",
		"torch/version.h"} {
		src, err := os.ReadFile(filepath.Join(include, name))
		if err != nil {
			continue
		}
		part := map[string]string{}
		for _, m := range versionRE.FindAllStringSubmatch(string(src), -1) {
			part[m[1]] = m[2]
		}
		if len(part) == 3 {
			return part["MAJOR"] + "." + part["MINOR"] + "." + part["PATCH"]
		}
	}
	return "unknown"
}

// defines reports whether a header defines macro as value.
func defines(header, macro, value string) bool {
	src, err := os.ReadFile(header)
	if err != nil {
		return false
	}
	return regexp.MustCompile(`(?m)^#\s*define\s+` + macro + `\s+` + value + `\b`).Match(src)
}

// standard returns the C++ standard that torch/all.h insists on.
func standard(allHeader string) string {
	src, err := os.ReadFile(allHeader)
	if err == nil && strings.Contains(string(src), "__cplusplus < 202002L") {
		return "c++20"
	}
	return "c++17"
}

// oldABI reports whether the installation was built with GCC's string and list of before C++11. The exported
// constructor of c10::Error tells: its string argument is mangled as Ss in the old ABI, as __cxx11 in the new one.
func oldABI(libDir string) bool {
	lib, err := os.ReadFile(filepath.Join(libDir, "libc10.so"))
	if err != nil {
		return false
	}
	s := string(lib)
	return strings.Contains(s, "_ZN3c105ErrorC1ENS_14SourceLocationESs") &&
		!strings.Contains(s, "_ZN3c105ErrorC1ENS_14SourceLocationENSt7__cxx11")
}

// versionAtLeast compares "2.6.0" with a major and minor number; an unknown version is taken for the newest.
func versionAtLeast(version string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(version, "%d.%d", &a, &b); n != 2 {
		return true
	}
	return a > major || a == major && b >= minor
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}
