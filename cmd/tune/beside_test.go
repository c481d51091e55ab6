package main

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestWrapLines(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		width      int
		want       []string
	}{
		{"words", "one two three four", 9, []string{"one two", "three", "four"}},
		{"exactly", "one two", 7, []string{"one two"}},
		{"paragraphs", "one\n\ntwo", 9, []string{"one", "", "two"}},
		{"a list keeps its indent", "- one\n  - two", 9, []string{"- one", "  - two"}},
		{"a word too long", "abcdefghij kl", 4, []string{"abcd", "efgh", "ij", "kl"}},
		{"wide letters", "数据数据", 5, []string{"数据", "数据"}},
		{"a picture", "ab 🐶 c", 5, []string{"ab 🐶", "c"}},
		{"accents take no room", "e\u0301e\u0301 x", 4, []string{"e\u0301e\u0301 x"}},
		{"nothing", "", 4, []string{""}},
		{"one column", "ab 数", 1, []string{"a", "b", "数"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := wrapLines(tc.text, tc.width); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestWrappedLinesFitAndLoseNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringOfN(rapid.SampledFrom([]rune("ab c\n数🐶é-")), 0, 60, -1).Draw(rt, "text")
		width := rapid.IntRange(2, 20).Draw(rt, "width")
		lines := wrapLines(text, width)
		for _, line := range lines {
			if displayWidth(line) > width {
				// An indent stays, and one letter at least stands behind it.
				if trimmed := strings.TrimLeft(line, " "); displayWidth(trimmed) > 2 {
					rt.Fatalf("%q takes %d columns, want at most %d", line, displayWidth(line), width)
				}
			}
		}
		letters := func(s string) string { return strings.Join(strings.Fields(s), "") }
		if got := letters(strings.Join(lines, " ")); got != letters(text) {
			rt.Fatalf("%q became %q", text, lines)
		}
	})
}

func TestBeside(t *testing.T) {
	s := screen{terminal: true, columns: 23, unicode: true}
	got := s.beside([2]string{"base", "tuned"}, [2]string{"one two three 🐶", "four\nfive"})
	want := "base       │ tuned\n" +
		"one two    │ four\n" +
		"three 🐶   │ five\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	s.unicode = false
	if got := s.beside([2]string{"a", "b"}, [2]string{"", "x"}); got != "a          | b\n           | x\n" {
		t.Errorf("got %q", got)
	}
}
