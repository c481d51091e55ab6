package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// gotch, and the only package of it that we use.
const (
	gotchModule  = "github.com/sugarme/gotch"
	libtchImport = gotchModule + "/libtch"
)

// A use is the first place where our sources name something of libtch.
type use struct {
	name string
	pos  token.Position
}

// usedNames returns what the Go files under root name of libtch, sorted by name, tests and files for other systems
// included. Folders that Go itself skips (vendor, testdata, those that begin with a dot or an underscore) are
// skipped.
func usedNames(root string) ([]use, error) {
	found := map[string]token.Position{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			if path != root && (name == "vendor" || name == "testdata" || name[0] == '.' || name[0] == '_') {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		return usedInFile(path, root, found)
	})
	if err != nil {
		return nil, err
	}
	uses := make([]use, 0, len(found))
	for name, pos := range found {
		uses = append(uses, use{name, pos})
	}
	slices.SortFunc(uses, func(a, b use) int { return cmp.Compare(a.name, b.name) })
	return uses, nil
}

// usedInFile adds the names that one file takes from libtch to found.
func usedInFile(path, root string, found map[string]token.Position) error {
	src, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(src), libtchImport) {
		return nil // most files: not worth parsing
	}
	fset := token.NewFileSet()
	shown := path
	if rel, err := filepath.Rel(root, path); err == nil {
		shown = filepath.ToSlash(rel)
	}
	file, err := parser.ParseFile(fset, shown, src, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	local := ""
	for _, imp := range file.Imports {
		if p, _ := strconv.Unquote(imp.Path.Value); p != libtchImport {
			continue
		}
		local = "libtch"
		if imp.Name != nil {
			local = imp.Name.Name
		}
		if local == "." {
			return fmt.Errorf("%s: import %s by name: with a dot its wrappers cannot be told from our own functions",
				fset.Position(imp.Pos()), libtchImport)
		}
	}
	if local == "" || local == "_" {
		return nil
	}
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == local {
			if _, seen := found[sel.Sel.Name]; !seen {
				found[sel.Sel.Name] = fset.Position(sel.Pos())
			}
		}
		return true
	})
	return nil
}
