package main

import (
	"go/ast"
	"regexp"
)

var (
	// *(*int)(unsafe.Pointer(&x)): reads x as another type, whatever its size.
	punRE = regexp.MustCompile(
		`\*\(\*(int|int32|int64|uint64|float64|bool|C\.int|C\.int64_t|C\.size_t|C\.double)\)` +
			`\(unsafe\.Pointer\(&([A-Za-z_][A-Za-z0-9_]*)\)\)`)
	// unsafe.Pointer(&x[0]): panics on an empty slice.
	firstRE = regexp.MustCompile(`unsafe\.Pointer\(&([A-Za-z_][A-Za-z0-9_]*)\[0\]\)`)
)

// fixWrapper corrects three habits of gotch's wrappers in the source of one function:
//
//   - *(*int)(unsafe.Pointer(&x)) of a four-byte C int reads four bytes beyond it; it becomes int(x).
//   - *(*bool)(unsafe.Pointer(&x)) of a C int makes -1, which stands for an error, a bool that is neither true nor
//     false; it becomes x > 0.
//   - unsafe.Pointer(&xs[0]) panics on an empty slice; it becomes unsafe.Pointer(unsafe.SliceData(xs)).
//
// returns gives the C return type of a C function ("" when unknown).
func fixWrapper(text string, f *ast.FuncDecl, returns func(string) string) string {
	params := map[string]string{}
	for _, p := range f.Type.Params.List {
		if id, ok := p.Type.(*ast.Ident); ok {
			for _, n := range p.Names {
				params[n.Name] = id.Name
			}
		}
	}
	results := map[string]string{} // local variable: the C function whose result it holds
	ast.Inspect(f, func(n ast.Node) bool {
		as, ok := n.(*ast.AssignStmt)
		if !ok || len(as.Lhs) != 1 || len(as.Rhs) != 1 {
			return true
		}
		if call, ok := as.Rhs[0].(*ast.CallExpr); ok {
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "C" {
					if lhs, ok := as.Lhs[0].(*ast.Ident); ok {
						results[lhs.Name] = sel.Sel.Name
					}
				}
			}
		}
		return true
	})

	text = punRE.ReplaceAllStringFunc(text, func(expr string) string {
		m := punRE.FindStringSubmatch(expr)
		typ, x := m[1], m[2]
		fn, isResult := results[x]
		switch {
		case params[x] == "bool":
			return expr // no conversion from bool to a number; none of ours has one
		case typ == "bool" && !isResult:
			return expr
		case typ == "bool" && returns(fn) != "bool":
			return "(" + x + " > 0)"
		}
		return typ + "(" + x + ")"
	})
	return firstRE.ReplaceAllString(text, "unsafe.Pointer(unsafe.SliceData($1))")
}
