package main

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func testScene(lists map[string][]string) *Scene {
	return newScene(rand.New(rand.NewPCG(1, 2)), lists)
}

func TestTemplateExpands(t *testing.T) {
	s := testScene(map[string][]string{"toy": {"ball"}, "fruit": {"apple", "plum"}})
	s.bound["he"] = "she"
	for source, want := range map[string]string{
		"plain text, as it is":       "plain text, as it is",
		"[He] has [toy.a]":           "She has a ball",
		"two [toy.pl]":               "two balls",
		"{one {deep|deep}|one deep}": "one deep",
		"a | outside a choice":       "a | outside a choice",
	} {
		tmpl, err := parseTemplate(source)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Expand(tmpl); err != nil || got != want {
			t.Errorf("%q gave %q, %v; want %q", source, got, err, want)
		}
	}
}

func TestSlotKeepsItsValueAndNumberedSlotsDiffer(t *testing.T) {
	tmpl, err := parseTemplate("[fruit] [fruit] [fruit2]")
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(50) {
		s := newScene(rand.New(rand.NewPCG(seed, 0)), map[string][]string{"fruit": {"apple", "plum", "pear"}})
		text, err := s.Expand(tmpl)
		if err != nil {
			t.Fatal(err)
		}
		w := strings.Fields(text)
		if w[0] != w[1] || w[0] == w[2] {
			t.Fatalf("seed %d: %q, want the same fruit twice and then another", seed, text)
		}
	}
}

func TestBadTemplates(t *testing.T) {
	for source, want := range map[string]string{
		"an {open choice":   "'{' without '}'",
		"an [open slot":     "'[' without ']'",
		"a closed} choice":  `unexpected "}"`,
		"a closed] slot":    "']' without '['",
		"an empty [] slot":  "slot without a name",
		"a strange [a.xyz]": `unknown modifier "xyz"`,
	} {
		_, err := parseTemplate(source)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gave error %v, want one with %q", source, err, want)
		}
	}
}

func TestBlankColumnIsAnError(t *testing.T) {
	s := testScene(nil)
	s.bound["sound"] = ""
	tmpl, err := parseTemplate("it makes a [sound]")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Expand(tmpl); !errors.Is(err, errEmptySlot) {
		t.Errorf("error %v, want errEmptySlot", err)
	}
}

func FuzzParseTemplate(f *testing.F) {
	for _, s := range []string{"{a|b}", "[x.pl]", "{[a]|{b|c}}", "}{", "[]", "[É]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		if tmpl, err := parseTemplate(source); err == nil {
			tmpl.slots(func(string) {})
		}
	})
}
