package layout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// openers are the packages that may open a port, and only because somebody asked for it.
var openers = []string{
	"internal/dashboard",   // tune serve
	"internal/hub/hubtest", // a Hub for tests
}

// listening is what opens a port, or answers on one, in net and net/http.
var listening = regexp.MustCompile(`^(Listen|Serve|NewServer$|NewTLSServer$|NewUnstartedServer$)`)

// TestNoPortIsOpened: nothing listens unless asked. The HTTP that the Hub needs only goes out.
func TestNoPortIsOpened(t *testing.T) {
	read := 0
	module := os.DirFS("../..")
	err := fs.WalkDir(module, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == "vendor" || e.Name() == "build" || strings.HasPrefix(e.Name(), ".") && e.Name() != ".") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || slices.Contains(openers, path.Dir(name)) {
			return nil
		}
		source, err := fs.ReadFile(module, name)
		if err != nil {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, name, source, 0)
		if err != nil {
			return err
		}
		read++
		for _, call := range listeners(file) {
			t.Errorf("%s: opens a port", files.Position(call.Pos()))
		}
		return nil
	})
	if err != nil || read < 150 {
		t.Fatalf("%d files read, %v", read, err)
	}
}

// listeners returns what a file uses of net, net/http and net/http/httptest to open a port.
func listeners(file *ast.File) (found []*ast.SelectorExpr) {
	names := map[string]bool{}
	for _, i := range file.Imports {
		switch path := strings.Trim(i.Path.Value, `"`); path {
		case "net", "net/http", "net/http/httptest":
			name := path[strings.LastIndexByte(path, '/')+1:]
			if i.Name != nil {
				name = i.Name.Name
			}
			names[name] = true
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			// A method such as (*http.Server).ListenAndServe has a value in front, a function its package.
			x, plain := s.X.(*ast.Ident)
			if listening.MatchString(s.Sel.Name) && len(names) > 0 && (!plain || names[x.Name] || x.Obj != nil) {
				found = append(found, s)
			}
		}
		return true
	})
	return found
}

func TestListenersAreFound(t *testing.T) {
	for text, want := range map[string]bool{
		`package p; import "net"; func f() { net.Listen("tcp", ":1") }`:                          true,
		`package p; import web "net/http"; func f() { web.ListenAndServe(":1", nil) }`:           true,
		`package p; import "net/http"; func f() { s := &http.Server{}; s.ListenAndServe() }`:     true,
		`package p; import "net/http/httptest"; func f() { httptest.NewServer(nil) }`:            true,
		`package p; import "net/http"; func f() { http.Get("http://x") }`:                        false,
		`package p; import "net/http"; func f(r *http.Request) string { return r.URL.String() }`: false,
		`package p; type q struct{}; func (q) Listen() {}; func f() { q{}.Listen() }`:            false,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "p.go", text, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(listeners(file)) > 0; got != want {
			t.Errorf("%s: %t, want %t", text, got, want)
		}
	}
}
