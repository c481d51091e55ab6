package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"unicode"
)

// errEmptySlot says that a template names a column which the current table row leaves blank: the sentence
// does not apply to this row and is left out.
var errEmptySlot = errors.New("slot is empty")

// A Template is text with {one|of|these} choices, which nest, and [slots]. A slot named in capitals, [He],
// gives its value with a capital; [name.pl] gives the plural and [name.a] puts "a" or "an" in front.
type Template struct {
	source string
	nodes  []node
}

// A node is one piece of a template: plain text, or a choice, or a slot.
type node struct {
	text    string
	choices [][]node
	slot    string // lower case, without modifier
	mod     string // "", "pl" or "a"
	capital bool
}

// parseTemplate reads one template. Errors: an unbalanced brace or bracket, an unknown modifier.
func parseTemplate(source string) (Template, error) {
	p := templateParser{rest: source}
	nodes, err := p.sequence(0)
	if err == nil && p.rest != "" {
		err = fmt.Errorf("unexpected %q", p.rest[:1])
	}
	if err != nil {
		return Template{}, fmt.Errorf("template %q: %w", source, err)
	}
	return Template{source: source, nodes: nodes}, nil
}

type templateParser struct{ rest string }

// sequence reads nodes up to the end of the text or, inside a choice, up to its next | or }.
func (p *templateParser) sequence(depth int) ([]node, error) {
	var nodes []node
	for p.rest != "" {
		special := "{}[]"
		if depth > 0 {
			special = "{}[]|"
		}
		i := strings.IndexAny(p.rest, special)
		if i < 0 {
			i = len(p.rest)
		}
		if i > 0 {
			nodes = append(nodes, node{text: p.rest[:i]})
			p.rest = p.rest[i:]
			continue
		}
		switch p.rest[0] {
		case '{':
			n, err := p.choice(depth + 1)
			if err != nil {
				return nil, err
			}
			nodes = append(nodes, n)
		case '[':
			n, err := p.slot()
			if err != nil {
				return nil, err
			}
			nodes = append(nodes, n)
		case ']':
			return nil, errors.New("']' without '['")
		default: // '|' or '}' ends this sequence; the caller decides whether it may
			return nodes, nil
		}
	}
	return nodes, nil
}

func (p *templateParser) choice(depth int) (node, error) {
	var n node
	p.rest = p.rest[1:]
	for {
		seq, err := p.sequence(depth)
		if err != nil {
			return node{}, err
		}
		n.choices = append(n.choices, seq)
		if p.rest == "" {
			return node{}, errors.New("'{' without '}'")
		}
		end := p.rest[0]
		p.rest = p.rest[1:]
		if end == '}' {
			return n, nil
		}
	}
}

func (p *templateParser) slot() (node, error) {
	end := strings.IndexByte(p.rest, ']')
	if end < 0 {
		return node{}, errors.New("'[' without ']'")
	}
	name, mod, _ := strings.Cut(p.rest[1:end], ".")
	p.rest = p.rest[end+1:]
	if name == "" {
		return node{}, errors.New("slot without a name")
	}
	if mod != "" && mod != "pl" && mod != "a" {
		return node{}, fmt.Errorf("slot %q: unknown modifier %q (want pl or a)", name, mod)
	}
	return node{slot: strings.ToLower(name), mod: mod, capital: unicode.IsUpper(rune(name[0]))}, nil
}

// slots calls visit with the name of every slot of the template.
func (t Template) slots(visit func(name string)) {
	var walk func(nodes []node)
	walk = func(nodes []node) {
		for _, n := range nodes {
			if n.slot != "" {
				visit(n.slot)
			}
			for _, c := range n.choices {
				walk(c)
			}
		}
	}
	walk(t.nodes)
}

// A Scene is what the slots of one row stand for: bound values first, then draws from the word lists, which
// stay bound so that a story keeps its garden and its kite.
type Scene struct {
	rng   *rand.Rand
	lists map[string][]string
	bound map[string]string
}

func newScene(rng *rand.Rand, lists map[string][]string) *Scene {
	return &Scene{rng: rng, lists: lists, bound: map[string]string{}}
}

// Expand returns the template's text with choices made and slots filled, before tidy.
// Errors: errEmptySlot for a blank column; an unknown slot.
func (s *Scene) Expand(t Template) (string, error) {
	var b strings.Builder
	if err := s.expand(&b, t.nodes); err != nil {
		return "", fmt.Errorf("template %q: %w", t.source, err)
	}
	return b.String(), nil
}

func (s *Scene) expand(b *strings.Builder, nodes []node) error {
	for _, n := range nodes {
		switch {
		case n.choices != nil:
			if err := s.expand(b, n.choices[s.rng.IntN(len(n.choices))]); err != nil {
				return err
			}
		case n.slot != "":
			v, err := s.value(n.slot)
			if err != nil {
				return err
			}
			switch n.mod {
			case "pl":
				v = plural(v)
			case "a":
				v = article(v) + " " + v
			}
			if n.capital {
				v = capital(v)
			}
			b.WriteString(v)
		default:
			b.WriteString(n.text)
		}
	}
	return nil
}

// value gives what a slot is bound to, drawing from the list of that name when it is not bound yet. A number
// at the end, [toy2], asks for another draw from the same list.
func (s *Scene) value(name string) (string, error) {
	if v, ok := s.bound[name]; ok {
		if v == "" {
			return "", fmt.Errorf("[%s]: %w", name, errEmptySlot)
		}
		return v, nil
	}
	list := s.lists[listName(name)]
	if len(list) == 0 {
		return "", fmt.Errorf("unknown slot [%s]", name)
	}
	v := list[s.rng.IntN(len(list))]
	for tries := 0; s.taken(v) && tries < 20; tries++ {
		v = list[s.rng.IntN(len(list))]
	}
	s.bound[name] = v
	return v, nil
}

func (s *Scene) taken(v string) bool {
	for _, b := range s.bound {
		if b == v {
			return true
		}
	}
	return false
}

// listName is the list a slot draws from: toy for [toy] and [toy2].
func listName(slot string) string { return strings.TrimRight(slot, "0123456789") }
