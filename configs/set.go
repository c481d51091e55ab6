package configs

import (
	"reflect"
	"strconv"
	"strings"
	"unicode"
)

// assignment is a value for one key over those of the file: a --set flag, or what a sweep tries.
type assignment struct {
	place      string // where to look, as it is shown
	key, value string
	malformed  bool // there is no key=value
}

// override writes an assignment over cfg. The value is YAML, so that a flag can hold whatever the file can: 20, 2e-4,
// [q_proj, v_proj], {rank: 8, alpha: 16}; nothing after = sets a key back to none.
func (b *binder) override(a assignment, cfg *Config) {
	key, value := a.key, a.value
	b.assignment, b.assigned = a.place, key
	defer func() { b.assignment, b.assigned = "", "" }()

	if a.malformed || key == "" {
		b.report(nil, "", "want key=value, such as train.max_steps=20")
		return
	}
	field, ok := lookup(reflect.ValueOf(cfg).Elem(), key)
	if !ok {
		b.report(nil, "", "unknown key %q%s", key, suggestKey(key))
		return
	}
	root, _, problem := parseYAML([]byte(value))
	switch {
	case problem != "":
		b.complain(nil, key, "the value is %s", problem)
	case root == nil && field.Kind() == reflect.Struct:
		b.complain(nil, key, "has no value, want %s", wanted(field.Type()))
	case root == nil:
		b.origins[key] = b.here(nil)
		b.null(nil, key, field)
	default:
		b.value(root, key, field)
	}
}

// shown is how a flag appears in an error: on one line, and not longer than one.
func shown(assignment string) string {
	const most = 80
	if strings.ContainsFunc(assignment, unicode.IsControl) || strings.ToValidUTF8(assignment, "") != assignment {
		assignment = strconv.Quote(assignment)
	}
	if runes := []rune(assignment); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return assignment
}
