package main

import (
	"fmt"
	"regexp"
	"strings"
)

// A cxxItem is one top-level piece of a C or C++ file: a directive, a declaration or a definition, with the
// comments in front of it.
type cxxItem struct {
	text      string   // as it stands in the file, comments and white space in front included
	name      string   // the function or type it declares; "" for what has no name to reach it by
	directive bool     // a preprocessor line
	refs      []string // the identifiers in it, in order
}

var (
	identRE   = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)
	externCRE = regexp.MustCompile(`^extern\s+"C"$`)
)

// splitCxx cuts src into its top-level items, whose texts put together again are src.
//
// It knows comments, string and character literals, directives with continued lines, and nesting of braces and
// parentheses: enough for gotch's sources, which use no raw strings. The braces of extern "C" are items of their
// own, so that what stands between them is still top level.
func splitCxx(src string) ([]cxxItem, error) {
	var items []cxxItem
	var code strings.Builder // the item so far without comments, literals and directives
	start, depth := 0, 0

	flush := func(end int, directive bool) {
		items = append(items, newCxxItem(src[start:end], code.String(), directive))
		start = end
		code.Reset()
	}
	for i := 0; i < len(src); {
		c := src[i]
		switch {
		case strings.HasPrefix(src[i:], "//"):
			i = endOfLine(src, i)
		case strings.HasPrefix(src[i:], "/*"):
			end := strings.Index(src[i+2:], "*/")
			if end < 0 {
				return nil, fmt.Errorf("line %d: comment never ends", lineOf(src, i))
			}
			i += 2 + end + 2
		case c == '#' && depth == 0 && strings.TrimSpace(code.String()) == "":
			end := endOfLine(src, i)
			for end < len(src) && strings.HasSuffix(strings.TrimRight(src[:end], "\r"), "\\") {
				end = endOfLine(src, end+1)
			}
			if end < len(src) {
				end++ // the newline belongs to the directive
			}
			code.WriteString(src[i:end])
			flush(end, true)
			i = end
		case c == '"' || c == '\'':
			end, err := endOfLiteral(src, i)
			if err != nil {
				return nil, err
			}
			if c == '"' && src[i:end] == `"C"` {
				code.WriteString(`"C"`)
			} else {
				code.WriteByte(' ')
			}
			i = end
		case c == '(' || c == '{':
			if c == '{' && depth == 0 && externCRE.MatchString(strings.TrimSpace(code.String())) {
				code.Reset()
				flush(i+1, false)
				i++
				continue
			}
			depth++
			code.WriteByte(c)
			i++
		case c == ')' || c == '}':
			code.WriteByte(c)
			i++
			if depth == 0 && c == '}' { // the end of extern "C"
				code.Reset()
				flush(i, false)
				continue
			}
			depth--
			if depth < 0 {
				return nil, fmt.Errorf("line %d: unexpected %q", lineOf(src, i-1), c)
			}
			if depth == 0 && c == '}' && strings.Contains(code.String(), "(") {
				flush(i, false)
			}
		case c == ';' && depth == 0:
			code.WriteByte(c)
			i++
			flush(i, false)
		default:
			code.WriteByte(c)
			i++
		}
	}
	if depth != 0 {
		return nil, fmt.Errorf("line %d: the file ends inside %d braces or parentheses", lineOf(src, len(src)), depth)
	}
	if start < len(src) {
		flush(len(src), false)
	}
	return items, nil
}

// newCxxItem finds the name and the references of one item from its code without comments and literals.
func newCxxItem(text, code string, directive bool) cxxItem {
	it := cxxItem{text: text, directive: directive}
	code = strings.TrimSpace(code)
	if directive || strings.HasPrefix(code, "using") {
		return it
	}
	it.refs = identRE.FindAllString(code, -1)
	switch head, _, isFunc := strings.Cut(code, "("); {
	case isFunc && strings.Contains(head, "="): // a variable whose initialiser calls something: always kept
	case isFunc:
		if ids := identRE.FindAllString(head, -1); len(ids) > 0 {
			it.name = ids[len(ids)-1]
		}
	case strings.HasPrefix(code, "typedef"):
		it.name = it.refs[len(it.refs)-1]
	}
	return it
}

// endOfLine returns the index of the next newline at or after i, or the length of src.
func endOfLine(src string, i int) int {
	if i >= len(src) {
		return len(src)
	}
	if n := strings.IndexByte(src[i:], '\n'); n >= 0 {
		return i + n
	}
	return len(src)
}

// endOfLiteral returns the index after the string or character literal that begins at i.
func endOfLiteral(src string, i int) (int, error) {
	quote := src[i]
	for j := i + 1; j < len(src); j++ {
		switch src[j] {
		case '\\':
			j++
		case '\n':
			return 0, fmt.Errorf("line %d: literal never ends", lineOf(src, i))
		case quote:
			return j + 1, nil
		}
	}
	return 0, fmt.Errorf("line %d: literal never ends", lineOf(src, i))
}

// lineOf returns the line number of index i.
func lineOf(src string, i int) int { return 1 + strings.Count(src[:i], "\n") }

// reach returns every name that the items declare and that roots lead to. Roots that none declares, such as malloc,
// are left out.
func reach(items []cxxItem, roots map[string]bool) map[string]bool {
	refs := map[string][]string{}
	for _, it := range items {
		if it.name != "" {
			refs[it.name] = append(refs[it.name], it.refs...)
		}
	}
	kept := map[string]bool{}
	todo := sortedKeys(roots)
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		r, ok := refs[name]
		if !ok || kept[name] {
			continue
		}
		kept[name] = true
		todo = append(todo, r...)
	}
	return kept
}

// joinKept puts together the items that have no name or a kept one; edit sees each directive and returns what to put
// in its place.
func joinKept(items []cxxItem, kept map[string]bool, edit func(directive string) string) string {
	var b strings.Builder
	for _, it := range items {
		switch {
		case it.directive:
			b.WriteString(edit(it.text))
		case it.name == "" || kept[it.name]:
			b.WriteString(it.text)
		}
	}
	return b.String()
}
