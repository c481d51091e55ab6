package layout

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// A Package is what Check needs of one package in the output of `go list -json`.
type Package struct {
	ImportPath   string
	Imports      []string
	TestImports  []string // of the package's own tests
	XTestImports []string // of tests in package x_test
}

// Check returns a sentence for every import of the packages that the rules do not allow, and for every package that
// they do not know. Packages outside the module are passed over.
func Check(packages []Package) []string {
	byPath := map[string]Package{}
	for _, p := range packages {
		byPath[p.ImportPath] = p
	}
	var problems []string
	for _, p := range packages {
		name, ours := inModule(p.ImportPath)
		if !ours {
			continue
		}
		r, ok := ruleFor(name)
		if !ok {
			problems = append(problems,
				fmt.Sprintf("%s is not in the table: add a row to internal/layout/rules.go that says what it may import", name))
			continue
		}
		for _, imp := range p.Imports {
			problems = appendProblem(problems, name, imp, whyNot(r, imp, false), "")
		}
		for _, imp := range slices.Concat(p.TestImports, p.XTestImports) {
			problems = appendProblem(problems, name, imp, whyNot(r, imp, true), " (in a test)")
		}
		if !r.torch {
			if way := wayToTorch(p, byPath); way != nil {
				problems = append(problems, fmt.Sprintf("%s has to build without libtorch but reaches it: %s", name,
					strings.Join(way, " -> ")))
			}
		}
	}
	return problems
}

// appendProblem adds the sentence for one import unless there is no reason against it.
func appendProblem(problems []string, name, imp, reason, where string) []string {
	if reason == "" {
		return problems
	}
	problem := fmt.Sprintf("%s imports %s%s: %s", name, imp, where, reason)
	if slices.Contains(problems, problem) { // both kinds of test files may have it
		return problems
	}
	return append(problems, problem)
}

// whyNot returns why a package under r must not import imp, "" if it may.
func whyNot(r rule, imp string, test bool) string {
	name, ours := inModule(imp)
	switch {
	case ours && test && name == r.pkg: // the package under test
		return ""
	case ours && strings.HasPrefix(name, "cmd/"), ours && strings.HasPrefix(name, "tools/"):
		return "nothing imports a command"
	case ours && (slices.Contains(r.may, name) || test && slices.Contains(forTests.may, name)):
		return ""
	case ours && slices.Contains(forTests.may, name):
		return name + " is for tests only"
	case ours:
		if of, ok := ruleFor(name); ok && slices.Contains(of.may, r.pkg) {
			return fmt.Sprintf("the arrow points the other way, %s may import %s", name, r.pkg)
		}
		return fmt.Sprintf("%s may import %s", r.pkg, list(r.may))
	case standard(imp):
		return ""
	}
	libs := r.libs
	if test {
		libs = slices.Concat(libs, forTests.libs)
	}
	if slices.ContainsFunc(libs, func(lib string) bool { return within(imp, lib) }) {
		return ""
	}
	if within(imp, binding) {
		return fmt.Sprintf("only %s touches the libtorch binding, and of it libtch alone", torch)
	}
	return fmt.Sprintf("of other modules %s may import %s", r.pkg, list(libs))
}

// wayToTorch returns how p, its tests included, comes to import internal/torch or the binding; nil if it does not.
func wayToTorch(p Package, byPath map[string]Package) []string {
	seen := map[string]bool{}
	var walk func(from string, imports []string) []string
	walk = func(from string, imports []string) []string {
		for _, imp := range imports {
			if within(imp, binding) || imp == module+"/"+torch {
				return []string{from, imp}
			}
			if _, ours := inModule(imp); !ours || seen[imp] {
				continue
			}
			seen[imp] = true
			if way := walk(imp, byPath[imp].Imports); way != nil {
				return append([]string{from}, way...)
			}
		}
		return nil
	}
	return walk(p.ImportPath, slices.Concat(p.Imports, p.TestImports, p.XTestImports))
}

// ruleFor returns the row of the table for a package of the module.
func ruleFor(name string) (rule, bool) {
	i := slices.IndexFunc(rules, func(r rule) bool {
		ok, _ := path.Match(r.pkg, name) // our own patterns: never malformed
		return ok
	})
	if i < 0 {
		return rule{}, false
	}
	return rules[i], true
}

// inModule returns the path of a package inside the module, and whether it is there at all.
func inModule(importPath string) (string, bool) {
	return strings.CutPrefix(importPath, module+"/")
}

// standard reports whether a package is of the standard library: its first path element has no dot.
func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// within reports whether a package is prefix or below it.
func within(importPath, prefix string) bool {
	return importPath == prefix || strings.HasPrefix(importPath, prefix+"/")
}

// list names things in a sentence.
func list(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
