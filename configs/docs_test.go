package configs_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"
)

var updateDocs = flag.Bool("update-docs", false, "write docs/configuration.md anew")

// TestConfigurationPage keeps docs/configuration.md equal to the comments in config.go.
func TestConfigurationPage(t *testing.T) {
	const path = "../docs/configuration.md"
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	structs := map[string]*ast.StructType{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok {
			if s, ok := spec.Type.(*ast.StructType); ok {
				structs[spec.Name.Name] = s
			}
		}
		return true
	})

	var page strings.Builder
	page.WriteString("# The configuration file\n\nOne YAML file describes a run. Defaults come first, then the file, then " +
		"`--set key=value`; the resolved\nresult is kept in `runs.db` (`runs.config`). Unknown keys are errors. This page is made from the " +
		"comments in\n`configs/config.go`.\n")
	keys := 0
	var write func(name, prefix string)
	write = func(name, prefix string) {
		var sections []func()
		for _, field := range structs[name].Fields.List {
			for _, ident := range field.Names {
				key := yamlKey(field)
				if key == "-" {
					continue
				}
				if inner, ok := field.Type.(*ast.Ident); ok && structs[inner.Name] != nil {
					sections = append(sections, func() {
						fmt.Fprintf(&page, "\n## %s\n\n| Key | What it is |\n| --- | --- |\n", key)
						write(inner.Name, key+".")
					})
					continue
				}
				text := strings.TrimSpace(strings.ReplaceAll(field.Doc.Text(), "\n", " "))
				if !strings.HasPrefix(text, ident.Name+" ") {
					t.Errorf("%s: its comment in config.go begins %.20q, want the field's name", key, text)
				}
				text = "`" + key + "`" + strings.TrimPrefix(text, ident.Name)
				fmt.Fprintf(&page, "| `%s%s` | %s |\n", prefix, key, strings.ReplaceAll(text, "|", "\\|"))
				keys++
			}
		}
		for _, section := range sections {
			section()
		}
	}
	page.WriteString("\n## Top level\n\n| Key | What it is |\n| --- | --- |\n")
	write("Config", "")
	if keys < 30 {
		t.Fatalf("found %d keys: the comments are not where this test looks", keys)
	}
	if *updateDocs {
		if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != page.String() {
		t.Errorf("%s is not what config.go says (%v): go test ./configs -run ConfigurationPage -update-docs", path, err)
	}
}

func yamlKey(field *ast.Field) string {
	tag := reflect.StructTag(strings.Trim(field.Tag.Value, "`"))
	key, _, _ := strings.Cut(tag.Get("yaml"), ",")
	return key
}
