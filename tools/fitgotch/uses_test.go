package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUsedNames(t *testing.T) {
	const imports = "package a\n\nimport \"github.com/sugarme/gotch/libtch\"\n\n"
	root := writeTree(t, map[string]string{
		"internal/torch/ops.go": `package torch

import "github.com/sugarme/gotch/libtch"

func f(a libtch.Ctensor) { libtch.AtgCat(nil, []libtch.Ctensor{a}, 1, 0) }
`,
		"internal/torch/ops_darwin_test.go": `package torch

import lt "github.com/sugarme/gotch/libtch"

var _, libtch = lt.AtDefined, other{}
var _ = libtch.NotOfThePackage
`,
		"internal/torch/side_effect.go": "package torch\n\nimport _ \"github.com/sugarme/gotch/libtch\"\n",
		"internal/chart/chart.go":       "package chart\n\n// github.com/sugarme/gotch/libtch is for others.\n",
		"vendor/a/a.go":                 imports + "var _ = libtch.Vendored\n",
		"x/testdata/a.go":               imports + "var _ = libtch.Testdata\n",
		".cache/a.go":                   imports + "var _ = libtch.Hidden\n",
	})
	uses, err := usedNames(root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, u := range uses {
		got = append(got, u.name+" "+u.pos.String())
	}
	want := []string{"AtDefined internal/torch/ops_darwin_test.go:5:17", "AtgCat internal/torch/ops.go:5:28",
		"Ctensor internal/torch/ops.go:5:10"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("used names (-want +got):\n%s", diff)
	}
}

func TestUsedNamesErrors(t *testing.T) {
	for _, tc := range []struct{ name, src, want string }{
		{"dot import", "package a\n\nimport . \"github.com/sugarme/gotch/libtch\"\n",
			"a.go:3:8: import github.com/sugarme/gotch/libtch by name"},
		{"not Go", "package a\n\nimport \"github.com/sugarme/gotch/libtch\"\n\nfunc {\n", "a.go:5:6: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := usedNames(writeTree(t, map[string]string{"a.go": tc.src}))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}
