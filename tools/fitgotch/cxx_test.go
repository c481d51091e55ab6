package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const cxxSample = `// A header.
#ifndef X_H
#define PROTECT(x) \
  try { \
    x \
  } catch (const exception &e) {
#include <stdint.h>

#ifdef __cplusplus
using namespace std;
thread_local char *torch_last_err = nullptr;

extern "C" {
typedef torch::Tensor *tensor;
#else
typedef void *tensor;
#endif
/* a brace { in a comment
   and a quote ' too */
void at_free(tensor);
tensor *atg_chunk(tensor self, int64_t chunks,
                  int64_t dim); // trailing

template <typename T>
T value_at(tensor t) {
  PROTECT(if (c == '}' || s == "\"{") return 1;)
  return T();
}
#ifdef __cplusplus
}; // extern "C"
c10::List<c10::optional<torch::Tensor>> of_array(torch::Tensor **vs, int len);
#endif
`

func TestSplitCxx(t *testing.T) {
	items, err := splitCxx(cxxSample)
	if err != nil {
		t.Fatal(err)
	}
	var whole strings.Builder
	var names []string
	directives := 0
	for _, it := range items {
		whole.WriteString(it.text)
		if it.name != "" {
			names = append(names, it.name)
		}
		if it.directive {
			directives++
		}
	}
	if diff := cmp.Diff(cxxSample, whole.String()); diff != "" {
		t.Errorf("the items put together are not the source (-want +got):\n%s", diff)
	}
	want := []string{"tensor", "tensor", "at_free", "atg_chunk", "value_at", "of_array"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if directives != 8 {
		t.Errorf("%d directives, want 8", directives)
	}
}

func TestSplitCxxErrors(t *testing.T) {
	for _, tc := range []struct{ name, src, want string }{
		{"open brace", "void f() {\n  g();\n", "line 3: the file ends inside 1 braces"},
		{"open comment", "int a;\n/* for ever", "line 2: comment never ends"},
		{"open string", "char *s = \"abc\n;", "line 1: literal never ends"},
		{"open character", "char c = 'a", "line 1: literal never ends"},
		{"stray parenthesis", "\n)", "line 2: unexpected ')'"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := splitCxx(tc.src)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

// Whatever is thrown at it, splitCxx loses nothing and does not panic.
func TestSplitCxxLosesNothing(t *testing.T) {
	piece := rapid.SampledFrom([]string{"int f(int a) { return g(a); }", "\n", "#define X \\\n 1\n", "// {\n", "/* ( */",
		"\"}\"", "'('", "extern \"C\" {", "}", ";", "(", ")", "\\", "'", "typedef", "#", " a "})
	rapid.Check(t, func(t *rapid.T) {
		src := strings.Join(rapid.SliceOfN(piece, 0, 20).Draw(t, "pieces"), "")
		items, err := splitCxx(src)
		if err != nil {
			return
		}
		var whole strings.Builder
		for _, it := range items {
			whole.WriteString(it.text)
		}
		if whole.String() != src {
			t.Fatalf("%q became %q", src, whole.String())
		}
	})
}

func TestReach(t *testing.T) {
	items, err := splitCxx(`
tensor at_get(tensor t) { return value_at<int>(t); }
template <class T> T value_at(tensor t) { return helper(t); }
int helper(tensor t) { return 1; }
int other(tensor t) { return at_get(t); }
`)
	if err != nil {
		t.Fatal(err)
	}
	got := reach(items, map[string]bool{"at_get": true, "malloc": true})
	want := map[string]bool{"at_get": true, "value_at": true, "helper": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reached (-want +got):\n%s", diff)
	}
}
