package configs

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// binder writes YAML values into a Config and remembers where each came from. goccy/go-yaml parses; its decoder
// is not used, because it stops at the first problem, names Go's types instead of the user's keys, and takes
// 2e-4 for a text.
type binder struct {
	file     string
	suggest  func(full string) string // what an unknown key may have meant
	problems []*Problem
	autos    map[string]*bool  // by dotted key: the truth values that may be auto
	origins  map[string]origin // by dotted key: what set it last
	failed   map[string]bool   // dotted keys whose value could not be read; "" for the whole file

	assignment string // the assignment that is being read, as it is shown; empty while in the file
	assigned   string // the dotted key that it names
}

func newBinder(file string, suggest func(full string) string) *binder {
	return &binder{file: file, suggest: suggest, origins: map[string]origin{}, failed: map[string]bool{}}
}

// nodeReader is a field that reads its own YAML.
type nodeReader interface {
	read(b *binder, n ast.Node, key string)
}

// origin is where a value was written: a line of the file, or a flag.
type origin struct {
	line int    // 0 for a flag
	flag string // "--set lora.rank=0", or the line of a sweep that tries this value
	key  string // the key that it names
}

// value writes node n into v, the field of Config at the dotted key.
func (b *binder) value(n ast.Node, key string, v reflect.Value) {
	switch n.(type) {
	case nil:
		b.complain(n, key, "has no value, want %s", b.wanted(key, v.Type()))
		return
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		b.complain(n, key, "anchors (&), aliases (*) and tags (!) are not read here: write the value out")
		return
	}
	b.origins[key] = b.here(n)
	if v.CanAddr() {
		if own, ok := v.Addr().Interface().(nodeReader); ok {
			own.read(b, n, key)
			return
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		b.section(n, key, v)
	case reflect.Slice:
		if isPattern(v.Type()) {
			b.pattern(n, key, v)
		} else {
			b.list(n, key, v)
		}
	default:
		b.scalar(n, key, v)
	}
}

// section writes the keys of a mapping into the struct v. A section with nothing in it keeps its defaults.
func (b *binder) section(n ast.Node, key string, v reflect.Value) {
	if _, empty := n.(*ast.NullNode); empty {
		return
	}
	mapping, ok := n.(ast.MapNode)
	if !ok {
		b.complain(n, key, "want keys and values, got %s", describe(n))
		return
	}
	seen := map[string]int{} // line of the first
	for it := mapping.MapRange(); it.Next(); {
		name := keyName(it.Key())
		full := joinKey(key, name)
		first, twice := seen[name]
		field, known := fieldOf(v, name)
		switch {
		case twice && b.assignment != "":
			b.report(it.Key(), full, "is given twice")
		case twice:
			b.report(it.Key(), full, "is given twice, first in line %d", first)
		case !known:
			b.report(it.Key(), "", "unknown key %q%s", full, b.suggest(full))
		default:
			b.value(it.Value(), full, field)
		}
		if !twice {
			seen[name] = lineOf(it.Key())
		}
	}
}

// list writes a sequence into the slice v. A single value is a list of one: `prompts: Why is the sky blue?`.
func (b *binder) list(n ast.Node, key string, v reflect.Value) {
	before := len(b.problems)
	b.forget(key)
	out := reflect.Zero(v.Type()) // [] and an absent list are the same thing
	switch list := n.(type) {
	case *ast.NullNode:
		b.null(n, key, v)
		return
	case ast.MapNode:
		b.complain(n, key, "want %s, got %s", wanted(v.Type()), describe(n))
		return
	case *ast.SequenceNode:
		for i, item := range list.Values {
			element := reflect.New(v.Type().Elem()).Elem()
			b.value(item, fmt.Sprintf("%s[%d]", key, i), element)
			out = reflect.Append(out, element)
		}
	default:
		element := reflect.New(v.Type().Elem()).Elem()
		b.value(n, key, element)
		out = reflect.Append(out, element)
	}
	if len(b.problems) == before {
		v.Set(out)
	}
}

// pattern writes the lines of a mapping into v, a Pattern, in the order of the file.
func (b *binder) pattern(n ast.Node, key string, v reflect.Value) {
	before := len(b.problems)
	b.forget(key)
	if _, empty := n.(*ast.NullNode); empty {
		b.null(n, key, v)
		return
	}
	mapping, ok := n.(ast.MapNode)
	if !ok {
		b.complain(n, key, "want %s, got %s", b.wanted(key, v.Type()), describe(n))
		return
	}
	out := reflect.Zero(v.Type()) // {} and an absent mapping are the same thing
	seen := map[string]bool{}
	for it := mapping.MapRange(); it.Next(); {
		name := keyName(it.Key())
		full := fmt.Sprintf("%s[%q]", key, name)
		if seen[name] {
			b.report(it.Key(), full, "is given twice")
			continue
		}
		seen[name] = true
		line := reflect.New(v.Type().Elem()).Elem()
		line.Field(0).SetString(name)
		b.value(it.Value(), full, line.Field(1))
		out = reflect.Append(out, line)
	}
	if len(b.problems) == before {
		v.Set(out)
	}
}

// isPattern reports whether t is a Pattern: the only slice of a struct in the schema.
func isPattern(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct
}

// forget drops what is known of the items of a list that a later one replaces.
func (b *binder) forget(key string) {
	for old := range b.origins {
		if strings.HasPrefix(old, key+"[") {
			delete(b.origins, old)
		}
	}
}

// null handles `key:` with nothing after it. Where nothing is what the default means, it is that; elsewhere a
// forgotten value must not silently become the default.
func (b *binder) null(n ast.Node, key string, v reflect.Value) {
	if !defaultIsZero(key) {
		b.complain(n, key, "has no value, want %s", b.wanted(key, v.Type()))
		return
	}
	v.SetZero()
	if auto, ok := b.autos[key]; ok {
		*auto = true
	}
}

// complain reports that the value of key, at node n, could not be read.
func (b *binder) complain(n ast.Node, key, format string, args ...any) {
	b.failed[key] = true
	b.report(n, key, format, args...)
}

// report adds a problem at node n.
func (b *binder) report(n ast.Node, key, format string, args ...any) {
	b.problems = append(b.problems, b.here(n).problem(b.file, key, fmt.Sprintf(format, args...)))
}

// here is where node n stands.
func (b *binder) here(n ast.Node) origin {
	if b.assignment != "" {
		return origin{flag: b.assignment, key: b.assigned}
	}
	return origin{line: lineOf(n)}
}

// locate gives a failed check its place: that of the key, or of the list it is an item of. A key that nobody
// set is missing from the file, and has no line.
func (b *binder) locate(p *Problem) *Problem {
	for key := p.Key; ; {
		if at, ok := b.origins[key]; ok {
			return at.problem(b.file, p.Key, p.Text)
		}
		item := strings.LastIndexByte(key, '[')
		if item < 0 {
			return origin{}.problem(b.file, p.Key, p.Text)
		}
		key = key[:item]
	}
}

// unread reports whether the value of key, or of a section or list around it, could not be read. What is there
// instead is a default, and checks of it would only confuse.
func (b *binder) unread(key string) bool {
	for failed := range b.failed {
		rest, ok := strings.CutPrefix(key, failed)
		if ok && (failed == "" || rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

// problem puts a text about a key at this place.
func (o origin) problem(file, key, text string) *Problem {
	switch {
	case o.flag != "" && o.key == key:
		return &Problem{Place: o.flag, Text: text} // the flag has named the key
	case o.flag != "":
		return &Problem{Place: o.flag, Key: key, Text: text}
	case o.line > 0:
		return &Problem{Place: fmt.Sprintf("%s:%d", file, o.line), Key: key, Text: text, line: o.line}
	default:
		return &Problem{Place: file, Key: key, Text: text}
	}
}

// keyName is the text of a mapping's key.
func keyName(key ast.MapKeyNode) string {
	if s, ok := key.(*ast.StringNode); ok {
		return s.Value
	}
	if key == nil || key.GetToken() == nil {
		return ""
	}
	return key.GetToken().Value
}

// joinKey appends a name to a dotted key.
func joinKey(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "." + name
}

// fieldOf finds the field of struct v with the YAML key name.
func fieldOf(v reflect.Value, name string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if tag := v.Type().Field(i).Tag.Get("yaml"); tag == name && tag != "-" {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// lookup finds the field of struct v at a dotted key.
func lookup(v reflect.Value, key string) (reflect.Value, bool) {
	for name := range strings.SplitSeq(key, ".") {
		if v.Kind() != reflect.Struct {
			return reflect.Value{}, false
		}
		var ok bool
		if v, ok = fieldOf(v, name); !ok {
			return reflect.Value{}, false
		}
	}
	return v, true
}

// defaultIsZero reports whether the key's default is the zero value of its type: none, 0, false, no text. It is
// false for an item of a list.
func defaultIsZero(key string) bool {
	v, ok := lookup(reflect.ValueOf(Default()), key)
	return ok && v.IsZero()
}
