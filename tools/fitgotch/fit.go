package main

import (
	"fmt"
	"slices"
	"strings"
)

// The files of libtch that are C or C++.
const (
	apiHeader = "torch_api.h"
	apiSource = "torch_api.cpp"
	genHeader = "torch_api_generated.h"
	genSource = "torch_api_generated.cpp.h"
)

// fitted is libtch cut down to what is used.
type fitted struct {
	files    map[string][]byte // file name: content
	wrappers int               // C functions that stayed
}

// fitPackage cuts libtch, given as file names and contents, down to the declarations that uses names and what those
// need. Go and C++ are each taken apart into top-level declarations and walked from the names used: what is left
// compiles against any libtorch that has the operators behind those names.
//
// version is libtorch's; C++ that a newer version no longer has is spelled anew.
func fitPackage(original map[string][]byte, uses []use, gotchVersion, version string) (*fitted, error) {
	items := map[string][]cxxItem{}
	for _, name := range []string{apiHeader, apiSource, genHeader, genSource} {
		src, ok := original[name]
		if !ok {
			return nil, fmt.Errorf("gotch %s: libtch/%s is missing", gotchVersion, name)
		}
		split, err := splitCxx(string(src))
		if err != nil {
			return nil, fmt.Errorf("gotch %s: libtch/%s: %w", gotchVersion, name, err)
		}
		items[name] = split
	}

	goSources := map[string][]byte{}
	for name, src := range original {
		if strings.HasSuffix(name, ".go") && name != "lib.go" {
			goSources[name] = src
		}
	}
	pkg, err := readGoPackage(goSources, returnTypes(items[apiHeader], items[genHeader]))
	if err != nil {
		return nil, fmt.Errorf("gotch %s: libtch/%w", gotchVersion, err)
	}
	var roots []string
	for _, u := range uses {
		if !pkg.has(u.name) {
			return nil, fmt.Errorf("%s: libtch.%s: gotch %s has no such name%s", u.pos, u.name, gotchVersion,
				suggestion(pkg, u.name))
		}
		roots = append(roots, u.name)
	}
	keptGo, cNames := pkg.keep(roots)
	cNames["get_and_reset_last_err"] = true // the one function that takes the error of any other

	var all []cxxItem
	for _, name := range sortedKeys(items) {
		all = append(all, items[name]...)
	}
	keptC := reach(all, cNames)
	out := &fitted{}
	if out.files, err = pkg.render(keptGo); err != nil {
		return nil, err
	}
	for name := range keptC {
		if strings.HasPrefix(name, "at") {
			out.wrappers++
		}
	}

	inc := newIncludes(all, keptC)
	for name, split := range items {
		text := joinKept(split, keptC, inc.edit)
		if versionAtLeast(version, 2, 6) { // std::optional's alias in c10 is on its way out
			text = strings.NewReplacer("c10::optional<", "std::optional<", "c10::nullopt", "std::nullopt").Replace(text)
		}
		out.files[name] = []byte("// Cut down by tools/fitgotch from gotch " + gotchVersion + ".\n" + text)
	}
	for name, src := range original {
		if strings.HasPrefix(name, "stb_") && inc.images {
			out.files[name] = src
		}
	}
	return out, nil
}

// returnTypes returns a function that gives the C return type of a declared C function, "" for others.
func returnTypes(headers ...[]cxxItem) func(string) string {
	types := map[string]string{}
	for _, items := range headers {
		for _, it := range items {
			if it.name != "" {
				types[it.name] = it.refs[0]
			}
		}
	}
	return func(name string) string { return types[name] }
}

// suggestion names the exported declaration that differs from name by case or underscores alone, or one that begins
// with it.
func suggestion(pkg *goPackage, name string) string {
	fold := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "")) }
	var near []string
	for _, d := range pkg.decls {
		for _, n := range d.names {
			if fold(n) == fold(name) || strings.HasPrefix(fold(n), fold(name)) {
				near = append(near, n)
			}
		}
	}
	if len(near) == 0 {
		return ""
	}
	slices.Sort(near)
	if len(near) > 4 {
		near = append(near[:4], "...")
	}
	return " (it has " + strings.Join(near, ", ") + ")"
}

// includes decides which of gotch's directives the kept functions still need. torch/torch.h and torch/script.h take
// half a minute to compile; most of what we keep needs the operators alone.
type includes struct {
	whole  bool // something kept uses the optimizers, TorchScript or serialization
	images bool // something kept reads or writes pictures
	slim   string
}

func newIncludes(items []cxxItem, kept map[string]bool) includes {
	var text strings.Builder
	inc := includes{}
	for _, it := range items {
		if kept[it.name] {
			text.WriteString(it.text)
			inc.images = inc.images || strings.HasSuffix(it.name, "_image")
		}
	}
	code := text.String()
	for _, heavy := range []string{"torch::jit", "torch::optim", "torch::serialize", "torch::save", "torch::load",
		"torch::ivalue"} {
		inc.whole = inc.whole || strings.Contains(code, heavy)
	}
	slim := []string{"torch/types.h", "torch/utils.h"}
	for _, need := range []struct{ word, header string }{
		{"torch::cuda", "torch/cuda.h"},
		{"autocast", "ATen/autocast_mode.h"},
		{"torch::autograd::", "torch/csrc/autograd/engine.h"},
		{"GradMode", "torch/csrc/autograd/grad_mode.h"},
		{"getDeviceGuardImpl", "c10/core/impl/DeviceGuardImplInterface.h"},
	} {
		if strings.Contains(code, need.word) {
			slim = append(slim, need.header)
		}
	}
	slim = append(slim, "cstring", "iostream", "sstream", "stdexcept", "vector")
	for _, h := range slim {
		inc.slim += "#include <" + h + ">\n"
	}
	return inc
}

// edit returns what a directive of torch_api.h or torch_api.cpp becomes.
func (inc includes) edit(directive string) string {
	isInclude := strings.Contains(directive, "#include")
	switch {
	case strings.Contains(directive, "stb_image") || strings.Contains(directive, "STB_IMAGE"):
		if inc.images {
			return directive
		}
		return ""
	case inc.whole || !isInclude:
		return directive
	case strings.Contains(directive, "<torch/torch.h>"):
		return inc.slim
	case strings.Contains(directive, "torch/") || strings.Contains(directive, "ATen/"):
		return ""
	}
	return directive
}
