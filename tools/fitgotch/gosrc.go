package main

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A goDecl is one top-level declaration of libtch.
type goDecl struct {
	file  string
	text  string          // source with its doc comment, after fixWrapper
	names []string        // what it declares; for a method the name of its receiver's type
	refs  map[string]bool // identifiers in it
	c     map[string]bool // what it names of C
	init  bool            // an init function, which no name leads to
}

// A goFile is what every kept file of libtch begins with.
type goFile struct {
	name     string
	preamble string // the comment above import "C", empty when the file has none
	imports  []string
}

// A goPackage is libtch's Go half, cut into declarations.
type goPackage struct {
	files []goFile
	decls []*goDecl // file by file, in source order
}

// readGoPackage parses the Go files given by name and content. returns gives the C return type of a C function, for
// fixWrapper.
func readGoPackage(sources map[string][]byte, returns func(string) string) (*goPackage, error) {
	pkg := &goPackage{}
	for _, name := range sortedKeys(sources) {
		src := sources[name]
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		text := func(from, to token.Pos) string {
			return string(src[fset.Position(from).Offset:fset.Position(to).Offset])
		}
		out := goFile{name: name}
		for _, d := range file.Decls {
			if gen, ok := d.(*ast.GenDecl); ok && gen.Tok == token.IMPORT {
				for _, s := range gen.Specs {
					imp, _ := strconv.Unquote(s.(*ast.ImportSpec).Path.Value)
					if imp != "C" {
						out.imports = append(out.imports, imp)
					} else if gen.Doc != nil {
						out.preamble = text(gen.Doc.Pos(), gen.Doc.End())
					}
				}
				continue
			}
			decl := newGoDecl(name, d)
			decl.text = text(begin(d), d.End())
			if f, ok := d.(*ast.FuncDecl); ok {
				decl.text = fixWrapper(decl.text, f, returns)
			}
			pkg.decls = append(pkg.decls, decl)
		}
		pkg.files = append(pkg.files, out)
	}
	return pkg, nil
}

// begin returns where a declaration begins, its doc comment included.
func begin(d ast.Decl) token.Pos {
	var doc *ast.CommentGroup
	switch d := d.(type) {
	case *ast.FuncDecl:
		doc = d.Doc
	case *ast.GenDecl:
		doc = d.Doc
	}
	if doc != nil {
		return doc.Pos()
	}
	return d.Pos()
}

// newGoDecl finds what a declaration declares and what it names.
func newGoDecl(file string, d ast.Decl) *goDecl {
	decl := &goDecl{file: file, refs: map[string]bool{}, c: map[string]bool{}}
	switch d := d.(type) {
	case *ast.FuncDecl:
		decl.names = []string{d.Name.Name}
		decl.init = d.Recv == nil && d.Name.Name == "init"
		if d.Recv != nil {
			decl.names = []string{receiverType(d.Recv)}
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				decl.names = append(decl.names, s.Name.Name)
			case *ast.ValueSpec:
				for _, n := range s.Names {
					decl.names = append(decl.names, n.Name)
				}
			}
		}
	}
	collectRefs(d, decl)
	return decl
}

// receiverType returns the name of a method's receiver type.
func receiverType(recv *ast.FieldList) string {
	t := recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if id, ok := t.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

// collectRefs adds the identifiers in n to decl: those of C apart from the others.
func collectRefs(n ast.Node, decl *goDecl) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "C" {
				decl.c[n.Sel.Name] = true
				return false
			}
		case *ast.Ident:
			decl.refs[n.Name] = true
		}
		return true
	})
}

// has reports whether libtch declares name.
func (p *goPackage) has(name string) bool {
	return slices.ContainsFunc(p.decls, func(d *goDecl) bool { return !d.init && slices.Contains(d.names, name) })
}

// keep returns the declarations that roots lead to, and the C names that those use. An init function stays when
// anything that it names stays.
func (p *goPackage) keep(roots []string) (kept map[*goDecl]bool, cNames map[string]bool) {
	byName := map[string][]*goDecl{}
	for _, d := range p.decls {
		for _, n := range d.names {
			if !d.init {
				byName[n] = append(byName[n], d)
			}
		}
	}
	kept, cNames = map[*goDecl]bool{}, map[string]bool{}
	var visit func(d *goDecl)
	visit = func(d *goDecl) {
		if kept[d] {
			return
		}
		kept[d] = true
		for name := range d.c {
			cNames[name] = true
		}
		for name := range d.refs {
			for _, other := range byName[name] {
				visit(other)
			}
		}
	}
	for _, name := range roots {
		for _, d := range byName[name] {
			visit(d)
		}
	}

	namesKept := func(d *goDecl) bool {
		for name := range d.refs {
			if slices.ContainsFunc(byName[name], func(other *goDecl) bool { return kept[other] }) {
				return true
			}
		}
		return false
	}
	for again := true; again; { // what an init function brings along may be what the next one names
		again = false
		for _, d := range p.decls {
			if d.init && !kept[d] && namesKept(d) {
				visit(d)
				again = true
			}
		}
	}
	return kept, cNames
}

// render writes the kept declarations back, file by file; a file of which nothing stays is left out.
func (p *goPackage) render(kept map[*goDecl]bool) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, f := range p.files {
		var body strings.Builder
		usesC := false
		for _, d := range p.decls {
			if d.file == f.name && kept[d] {
				usesC = usesC || len(d.c) > 0
				body.WriteString("\n" + d.text + "\n")
			}
		}
		if body.Len() == 0 {
			continue
		}
		head := "package libtch\n\n"
		if usesC {
			head += f.preamble + "\nimport \"C\"\n\n"
		}
		for _, imp := range f.imports {
			if strings.Contains(body.String(), path.Base(imp)+".") {
				head += fmt.Sprintf("import %q\n", imp)
			}
		}
		src, err := format.Source([]byte(head + body.String()))
		if err != nil {
			return nil, fmt.Errorf("%s: rewritten wrappers do not parse: %w", f.name, err)
		}
		out[f.name] = src
	}
	return out, nil
}
