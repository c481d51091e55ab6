package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// TestImportsPointDown checks the module as it is.
func TestImportsPointDown(t *testing.T) {
	packages := goList(t)
	this := func(p Package) bool { return p.ImportPath == "tune/internal/layout" }
	if len(packages) < 5 || !slices.ContainsFunc(packages, this) {
		t.Fatalf("go list gave %d packages, want all of the module", len(packages))
	}
	for _, problem := range Check(packages) {
		t.Error(problem)
	}
}

// goList returns every package of the module. -e: a package that does not compile is for the compiler to report.
func goList(t *testing.T) []Package {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []Package
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p Package
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
}

func TestCheck(t *testing.T) {
	for _, tc := range []struct {
		name     string
		packages []Package
		want     []string // one problem each, a part of it
	}{
		{
			name: "all that is allowed",
			packages: []Package{
				{ImportPath: "tune/trainer", Imports: []string{"context", "encoding/json", "tune/adapters"}},
				{ImportPath: "tune/internal/torch", Imports: []string{"C", "unsafe", "github.com/sugarme/gotch/libtch"}},
				{ImportPath: "tune/cmd/tune", Imports: []string{"tune/trainer", "github.com/urfave/cli/v2"}},
				{ImportPath: "tune/configs", Imports: []string{"github.com/goccy/go-yaml/ast"},
					TestImports: []string{"pgregory.net/rapid"}, XTestImports: []string{"tune/configs"}},
				{ImportPath: "tune/internal/model", TestImports: []string{"tune/internal/golden"}},
			},
		},
		{
			name:     "an arrow back up",
			packages: []Package{{ImportPath: "tune/internal/model", Imports: []string{"tune/adapters"}}},
			want: []string{"internal/model imports tune/adapters: the arrow points the other way, " +
				"adapters may import internal/model"},
		},
		{
			name:     "trainer does not know SQLite",
			packages: []Package{{ImportPath: "tune/trainer", Imports: []string{"tune/internal/runstore"}}},
			want:     []string{"trainer imports tune/internal/runstore: trainer may import adapters, datasets"},
		},
		{
			name:     "the binding outside internal/torch",
			packages: []Package{{ImportPath: "tune/adapters", Imports: []string{"github.com/sugarme/gotch/libtch"}}},
			want:     []string{"only internal/torch touches the libtorch binding"},
		},
		{
			name:     "another part of gotch",
			packages: []Package{{ImportPath: "tune/internal/torch", Imports: []string{"github.com/sugarme/gotch/ts"}}},
			want:     []string{"only internal/torch touches the libtorch binding, and of it libtch alone"},
		},
		{
			name:     "a library that begins alike",
			packages: []Package{{ImportPath: "tune/configs", Imports: []string{"github.com/goccy/go-yaml-fork"}}},
			want:     []string{"of other modules configs may import github.com/goccy/go-yaml"},
		},
		{
			name:     "a library in a package that has none",
			packages: []Package{{ImportPath: "tune/internal/files", Imports: []string{"golang.org/x/text/unicode/norm"}}},
			want:     []string{"of other modules internal/files may import nothing"},
		},
		{
			name: "a test library outside tests",
			packages: []Package{{ImportPath: "tune/datasets",
				Imports: []string{"github.com/google/go-cmp/cmp", "tune/internal/golden"}}},
			want: []string{"datasets imports github.com/google/go-cmp/cmp: of other modules datasets may import nothing",
				"datasets imports tune/internal/golden: internal/golden is for tests only"},
		},
		{
			name: "the same wrong import in both kinds of tests",
			packages: []Package{{ImportPath: "tune/internal/chart", TestImports: []string{"tune/internal/runstore"},
				XTestImports: []string{"tune/internal/runstore"}}},
			want: []string{"internal/chart imports tune/internal/runstore (in a test)"},
		},
		{
			name: "a pure package that reaches libtorch two imports on",
			packages: []Package{
				{ImportPath: "tune/datasets", Imports: []string{"tune/internal/tokenizer"}},
				{ImportPath: "tune/internal/tokenizer", Imports: []string{"tune/internal/torch"}},
			},
			want: []string{
				"datasets has to build without libtorch but reaches it: " +
					"tune/datasets -> tune/internal/tokenizer -> tune/internal/torch",
				"internal/tokenizer imports tune/internal/torch: internal/tokenizer may import nothing",
				"internal/tokenizer has to build without libtorch",
			},
		},
		{
			name:     "a command imported",
			packages: []Package{{ImportPath: "tune/trainer", Imports: []string{"tune/tools/pockettext"}}},
			want:     []string{"nothing imports a command"},
		},
		{
			name:     "machine is for the command line",
			packages: []Package{{ImportPath: "tune/trainer", Imports: []string{"tune/internal/machine"}}},
			want:     []string{"trainer imports tune/internal/machine: trainer may import"},
		},
		{
			name:     "a package without a row",
			packages: []Package{{ImportPath: "tune/internal/util"}},
			want:     []string{"internal/util is not in the table"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Check(tc.packages)
			for i := range max(len(got), len(tc.want)) {
				switch {
				case i >= len(got):
					t.Errorf("no problem found, want %q", tc.want[i])
				case i >= len(tc.want):
					t.Errorf("unwanted problem %q", got[i])
				case !strings.Contains(got[i], tc.want[i]):
					t.Errorf("problem %q\nwant one with %q", got[i], tc.want[i])
				}
			}
		})
	}
}

// TestRulesPointDown: the table itself has no arrow back up, so that allowed imports cannot form a cycle, and names
// only packages that it has.
func TestRulesPointDown(t *testing.T) {
	row := map[string]int{}
	for i, r := range rules {
		row[r.pkg] = i
	}
	for i, r := range rules {
		for _, name := range r.may {
			below, ok := row[name]
			if !ok {
				t.Errorf("%s may import %s, which has no row", r.pkg, name)
			} else if below <= i {
				t.Errorf("%s may import %s, which stands above it", r.pkg, name)
			}
			if rules[below].torch && !r.torch {
				t.Errorf("%s has to build without libtorch but may import %s", r.pkg, name)
			}
		}
		if _, err := path.Match(r.pkg, ""); err != nil {
			t.Errorf("%s: %v", r.pkg, err)
		}
	}
}
