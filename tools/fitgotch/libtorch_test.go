package main

import (
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each layout is found on a machine that has nothing else, with the flags that it needs. In the expected flags ROOT
// stands for the folder of the fake machine.
func TestFindAndFlags(t *testing.T) {
	const python = "venv/lib/python3.12/site-packages"
	for _, tc := range []struct {
		name      string
		goos      string
		files     map[string]string
		more      map[string]string // files on top of those
		env       string            // $LIBTORCH
		torch     string            // what python3 says about torch
		brew      string            // what brew --prefix pytorch says
		clang     bool
		source    string
		version   string
		cxx, ld   []string
		asEnvText string // part of what is printed
	}{
		{
			name: "Debian", goos: "linux",
			files:  torchTree("usr", "lib/x86_64-linux-gnu", "1.13.0", ".so"),
			more:   map[string]string{"usr/lib/x86_64-linux-gnu/libgomp.so.1": ""},
			source: "Debian's libtorch-dev", version: "1.13.0",
			// No -isystem ROOT/usr/include: it would come before the C++ library's own headers.
			cxx: []string{"-std=c++17", "-O2", "-Wno-deprecated-declarations",
				"-isystem", "ROOT/usr/include/torch/csrc/api/include", "-fopenmp"},
			ld: []string{"-LROOT/usr/lib/x86_64-linux-gnu", "-ltorch", "-ltorch_cpu", "-lc10", "-lgomp", "-lstdc++"},
		},
		{
			name: "Debian with clang", goos: "linux", clang: true,
			files:  torchTree("usr", "lib/x86_64-linux-gnu", "2.6.0", ".so"),
			source: "Debian's libtorch-dev", version: "2.6.0",
			cxx: []string{"-std=c++17", "-O2", "-Wno-deprecated-declarations",
				"-isystem", "ROOT/usr/include/torch/csrc/api/include"},
			ld: []string{"-LROOT/usr/lib/x86_64-linux-gnu", "-ltorch", "-ltorch_cpu", "-lc10", "-lstdc++"},
		},
		{
			name: "CUDA wheel with the old ABI", goos: "linux",
			files: torchTree(python+"/torch", "lib", "2.1.2", ".so"),
			more: map[string]string{
				python + "/torch/lib/libtorch_cuda.so":         "",
				python + "/torch/lib/libgomp-a34b3233.so.1":    "",
				python + "/torch/lib/libc10.so":                "_ZN3c105ErrorC1ENS_14SourceLocationESs",
				python + "/nvidia/cublas/lib/libcublas.so.12":  "",
				python + "/nvidia/cublas/include/cublas_api.h": "",
			},
			torch:  python + "/torch/__init__.py",
			source: "the PyTorch wheel of python3", version: "2.1.2", asEnvText: ", CUDA, old C++ ABI)",
			cxx: []string{"-std=c++17", "-O2", "-Wno-deprecated-declarations",
				"-isystem", "ROOT/" + python + "/torch/include",
				"-isystem", "ROOT/" + python + "/torch/include/torch/csrc/api/include",
				"-D_GLIBCXX_USE_CXX11_ABI=0", "-fopenmp"},
			ld: []string{"-LROOT/" + python + "/torch/lib", "-Wl,-rpath,ROOT/" + python + "/torch/lib",
				"-Wl,-rpath-link,ROOT/" + python + "/nvidia/cublas/lib", "-ltorch", "-ltorch_cpu", "-lc10",
				"-Wl,--no-as-needed", "-ltorch_cuda", "-lc10_cuda", "-Wl,--as-needed",
				"-l:libgomp-a34b3233.so.1", "-lstdc++"},
		},
		{
			name: "CUDA wheel with CUDA's headers", goos: "linux",
			files: torchTree(python+"/torch", "lib", "2.9.0", ".so"),
			more: map[string]string{
				python + "/torch/lib/libtorch_cuda.so":             "",
				python + "/nvidia/cu13/lib/libcudart.so.13":        "",
				python + "/nvidia/cu13/include/cuda_runtime_api.h": "",
				"usr/local/cuda/include/cuda_runtime_api.h":        "",
				"usr/local/cuda/lib64/libcudart.so":                "",
			},
			torch:  python + "/torch/__init__.py",
			source: "the PyTorch wheel of python3", version: "2.9.0", asEnvText: ", CUDA)",
			cxx: []string{"-std=c++17", "-O2", "-Wno-deprecated-declarations",
				"-isystem", "ROOT/" + python + "/torch/include",
				"-isystem", "ROOT/" + python + "/torch/include/torch/csrc/api/include",
				"-DTUNE_WITH_CUDA", "-isystem", "ROOT/" + python + "/nvidia/cu13/include", "-fopenmp"},
			ld: []string{"-LROOT/" + python + "/torch/lib", "-Wl,-rpath,ROOT/" + python + "/torch/lib",
				"-Wl,-rpath-link,ROOT/" + python + "/nvidia/cu13/lib", "-ltorch", "-ltorch_cpu", "-lc10",
				"-Wl,--no-as-needed", "-ltorch_cuda", "-lc10_cuda", "-Wl,--as-needed",
				"-LROOT/" + python + "/nvidia/cu13/lib", "-Wl,-rpath,ROOT/" + python + "/nvidia/cu13/lib",
				"-l:libcudart.so.13", "-lgomp", "-lstdc++"},
		},
		{
			name: "unpacked libtorch with CUDA from /usr/local", goos: "linux",
			files: torchTree("libtorch", "lib", "2.6.0", ".so"),
			more: map[string]string{
				"libtorch/lib/libtorch_cuda.so":             "",
				"libtorch/lib/libcudart-c3a75b33.so.12":     "",
				"usr/local/cuda/include/cuda_runtime_api.h": "",
				"usr/local/cuda/lib64/libcudart.so":         "",
			},
			env:    "libtorch",
			source: "$LIBTORCH", version: "2.6.0", asEnvText: ", CUDA)",
			cxx: []string{"-std=c++17", "-O2", "-Wno-deprecated-declarations", "-isystem", "ROOT/libtorch/include",
				"-isystem", "ROOT/libtorch/include/torch/csrc/api/include",
				"-DTUNE_WITH_CUDA", "-isystem", "ROOT/usr/local/cuda/include", "-fopenmp"},
			ld: []string{"-LROOT/libtorch/lib", "-Wl,-rpath,ROOT/libtorch/lib", "-ltorch", "-ltorch_cpu", "-lc10",
				"-Wl,--no-as-needed", "-ltorch_cuda", "-lc10_cuda", "-Wl,--as-needed",
				"-l:libcudart-c3a75b33.so.12", "-lgomp", "-lstdc++"},
		},
		{
			name: "wheel that keeps OpenMP in torch.libs", goos: "linux",
			files:  torchTree(python+"/torch", "lib", "2.6.0", ".so"),
			more:   map[string]string{python + "/torch.libs/libgomp-947d5fa1.so.1.0.0": ""},
			torch:  python + "/torch/__init__.py",
			source: "the PyTorch wheel of python3", version: "2.6.0",
			cxx: []string{"-std=c++17", "-O2", "-Wno-deprecated-declarations",
				"-isystem", "ROOT/" + python + "/torch/include",
				"-isystem", "ROOT/" + python + "/torch/include/torch/csrc/api/include", "-fopenmp"},
			ld: []string{"-LROOT/" + python + "/torch/lib", "-Wl,-rpath,ROOT/" + python + "/torch/lib",
				"-ltorch", "-ltorch_cpu", "-lc10", "-LROOT/" + python + "/torch.libs",
				"-Wl,-rpath,ROOT/" + python + "/torch.libs", "-l:libgomp-947d5fa1.so.1.0.0", "-lstdc++"},
		},
		{
			name: "Homebrew", goos: "darwin", clang: true,
			files:  torchTree("brew/opt/pytorch", "lib", "2.14.1", ".dylib"),
			more:   map[string]string{"brew/include/glog/logging.h": ""},
			brew:   "brew/opt/pytorch",
			source: "Homebrew's pytorch", version: "2.14.1",
			cxx: []string{"-std=c++17", "-O2", "-Wno-deprecated-declarations",
				"-isystem", "ROOT/brew/opt/pytorch/include",
				"-isystem", "ROOT/brew/opt/pytorch/include/torch/csrc/api/include", "-isystem", "ROOT/brew/include"},
			ld: []string{"-LROOT/brew/opt/pytorch/lib", "-Wl,-rpath,ROOT/brew/opt/pytorch/lib",
				"-ltorch", "-ltorch_cpu", "-lc10", "-lc++"},
		},
		{
			name: "Homebrew that keeps everything in the Python package", goos: "darwin", clang: true,
			files:  torchTree("brew/opt/pytorch/libexec/lib/python3.14/site-packages/torch", "lib", "2.9.0", ".dylib"),
			brew:   "brew/opt/pytorch",
			source: "Homebrew's pytorch", version: "2.9.0",
			cxx: []string{"-std=c++17", "-O2", "-Wno-deprecated-declarations",
				"-isystem", "ROOT/brew/opt/pytorch/libexec/lib/python3.14/site-packages/torch/include",
				"-isystem", "ROOT/brew/opt/pytorch/libexec/lib/python3.14/site-packages/torch/include/torch/csrc/api/include",
				"-isystem", "ROOT/brew/include"},
			ld: []string{"-LROOT/brew/opt/pytorch/libexec/lib/python3.14/site-packages/torch/lib",
				"-Wl,-rpath,ROOT/brew/opt/pytorch/libexec/lib/python3.14/site-packages/torch/lib",
				"-ltorch", "-ltorch_cpu", "-lc10", "-lc++"},
		},
		{
			name: "LIBTORCH before all others, newest headers", goos: "linux",
			files: torchTree("my torch", "lib", "2.6.0", ".so"),
			more: merge(
				torchTree("usr", "lib/x86_64-linux-gnu", "1.13.0", ".so"),
				map[string]string{
					"my torch/include/torch/csrc/api/include/torch/version.h": "#include <torch/headeronly/version.h>\n",
					"my torch/include/torch/headeronly/version.h":             versionHeader("2.14.1"),
					"my torch/include/torch/csrc/api/include/torch/all.h": "#if !defined(_MSC_VER) && " +
						"__cplusplus < 202002L\n#error\n",
				}),
			env:    "my torch",
			source: "$LIBTORCH", version: "2.14.1",
			cxx: []string{"-std=c++20", "-O2", "-Wno-deprecated-declarations", "-isystem", "ROOT/my torch/include",
				"-isystem", "ROOT/my torch/include/torch/csrc/api/include", "-fopenmp"},
			ld: []string{"-LROOT/my torch/lib", "-Wl,-rpath,ROOT/my torch/lib", "-ltorch", "-ltorch_cpu", "-lc10",
				"-lgomp", "-lstdc++"},
		},
		{
			name: "Debian's python3-torch, which has no headers", goos: "linux",
			files: torchTree("usr", "lib/x86_64-linux-gnu", "1.13.0", ".so"),
			more: map[string]string{"usr/lib/python3/dist-packages/torch/__init__.py": "",
				"usr/lib/python3/dist-packages/torch/lib/libtorch_python.so": ""},
			torch:  "usr/lib/python3/dist-packages/torch/__init__.py",
			source: "Debian's libtorch-dev", version: "1.13.0",
			cxx: []string{"-std=c++17", "-O2", "-Wno-deprecated-declarations",
				"-isystem", "ROOT/usr/include/torch/csrc/api/include", "-fopenmp"},
			ld: []string{"-LROOT/usr/lib/x86_64-linux-gnu", "-ltorch", "-ltorch_cpu", "-lc10", "-lgomp", "-lstdc++"},
		},
		{
			name: "/usr/local/libtorch", goos: "linux",
			files:  torchTree("usr/local/libtorch", "lib", "2.1.0", ".so"),
			source: "ROOT/usr/local/libtorch", version: "2.1.0",
			cxx: []string{"-std=c++17", "-O2", "-Wno-deprecated-declarations",
				"-isystem", "ROOT/usr/local/libtorch/include",
				"-isystem", "ROOT/usr/local/libtorch/include/torch/csrc/api/include", "-fopenmp"},
			ld: []string{"-LROOT/usr/local/libtorch/lib", "-Wl,-rpath,ROOT/usr/local/libtorch/lib",
				"-ltorch", "-ltorch_cpu", "-lc10", "-lgomp", "-lstdc++"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := writeTree(t, merge(tc.files, tc.more))
			h := &host{goos: tc.goos, goarch: "amd64",
				usr: filepath.Join(root, "usr"), local: filepath.Join(root, "usr/local/libtorch"),
				getenv: func(name string) string {
					if name == "LIBTORCH" && tc.env != "" {
						return filepath.Join(root, tc.env)
					}
					return ""
				},
				output: func(name string, args ...string) (string, error) {
					switch {
					case name == "python3" && tc.torch != "":
						return filepath.Join(root, tc.torch), nil
					case name == "python3":
						return "", nil
					case name == "brew" && tc.brew != "":
						return filepath.Join(root, tc.brew), nil
					}
					return "", errors.New("not installed")
				},
			}
			l, err := h.find()
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.ReplaceAll(tc.source, "ROOT", root); l.Source != want || l.Version != tc.version {
				t.Errorf("found %s from %s, want %s from %s", l.Version, l.Source, tc.version, want)
			}
			if line := l.String(); strings.Contains(line, "\n") || !strings.Contains(line, tc.asEnvText) {
				t.Errorf("it says %q, want one line with %q", line, tc.asEnvText)
			}
			flags := h.flagsFor(l, tc.clang)
			for _, f := range []struct {
				kind      string
				got, want []string
			}{{"compiler", flags.cxx, tc.cxx}, {"linker", flags.ld, tc.ld}} {
				got := strings.Split(strings.ReplaceAll(strings.Join(f.got, "\n"), root, "ROOT"), "\n")
				if diff := cmp.Diff(f.want, got); diff != "" {
					t.Errorf("%s flags (-want +got):\n%s", f.kind, diff)
				}
			}
		})
	}
}

func TestFindErrors(t *testing.T) {
	for _, tc := range []struct {
		name    string
		files   map[string]string
		without string
		env     bool // $LIBTORCH is "torch"; otherwise nothing is set
		want    string
	}{
		{"nothing anywhere", nil, "", false, "no libtorch found:\n\tpython3: no package torch\n\tbrew: no pytorch\n\t"},
		{"LIBTORCH without headers", nil, "", true,
			"/torch has no libtorch headers: ROOT/torch/include/ATen/Config.h is missing"},
		{"LIBTORCH without the C++ API", torchTree("torch", "lib", "2.6.0", ".so"),
			"torch/include/torch/csrc/api/include/torch/types.h", true,
			"ROOT/torch/include/torch/csrc/api/include/torch/types.h is missing"},
		{"LIBTORCH without libraries", torchTree("torch", "lib", "2.6.0", ".so"), "torch/lib/libtorch_cpu.so", true,
			"has libtorch's headers but not its libraries: ROOT/torch/lib/libtorch_cpu.so is missing"},
		{"LIBTORCH for another system", torchTree("torch", "lib", "2.6.0", ".dylib"), "", true,
			"ROOT/torch/lib/libtorch_cpu.so is missing"},
		{"LIBTORCH too old", torchTree("torch", "lib", "1.8.1", ".so"), "", true,
			"ROOT/torch holds libtorch 1.8.1, want 1.13 or newer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := maps.Clone(tc.files)
			delete(files, tc.without)
			root := writeTree(t, files)
			h := fakeHost(t, "linux")
			if tc.env {
				h.getenv = func(string) string { return filepath.Join(root, "torch") }
			}
			_, err := h.find()
			if err == nil {
				t.Fatal("no error")
			}
			if got := strings.ReplaceAll(err.Error(), root, "ROOT"); !strings.Contains(got, tc.want) {
				t.Errorf("error %q\nwant one with %q", got, tc.want)
			}
			if errors.Is(err, errNoLibtorch) == tc.env {
				t.Errorf("errors.Is(err, errNoLibtorch) is %v: only a search that found nothing may be answered by "+
					"installing it", !tc.env)
			}
		})
	}
}

func TestVersionAtLeast(t *testing.T) {
	for _, tc := range []struct {
		version      string
		major, minor int
		want         bool
	}{
		{"1.13.0", 1, 13, true}, {"1.12.1", 1, 13, false}, {"2.1.0", 1, 13, true}, {"2.10.0", 2, 6, true},
		{"2.5.1", 2, 6, false}, {"unknown", 2, 6, true},
	} {
		if got := versionAtLeast(tc.version, tc.major, tc.minor); got != tc.want {
			t.Errorf("versionAtLeast(%s, %d, %d) = %v", tc.version, tc.major, tc.minor, got)
		}
	}
}

// cgo splits a #cgo line at spaces and takes quotes off.
func TestGoFileQuotes(t *testing.T) {
	src := string(cgoFlags{cxx: []string{"-I/my torch/include"}, ld: []string{"-lc10"}}.goFile("torch", "From here."))
	for _, want := range []string{
		"// Code generated by tools/fitgotch. DO NOT EDIT.\n", "\npackage torch\n",
		"\n// #cgo CXXFLAGS: \"-I/my torch/include\"\n// #cgo LDFLAGS: -lc10\nimport \"C\"\n",
	} {
		if !strings.Contains(src, want) {
			t.Errorf("%s\nhas no %q", src, want)
		}
	}
}

func merge(all ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range all {
		maps.Copy(out, m)
	}
	return out
}
