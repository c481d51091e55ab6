package configs

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// read takes the keys of a mapping, each a key of a config with dots.
func (k *SweepKeys) read(b *binder, n ast.Node, key string) {
	eachConfigKey(b, n, key, "{lora.rank: [4, 8, 16]}", func(name, full string, at, value ast.Node) {
		tried := SweepKey{Key: name, line: lineOf(at)}
		tried.read(b, value, full)
		*k = append(*k, tried)
	})
}

// read takes the keys of a mapping with a value each.
func (s *SweepSet) read(b *binder, n ast.Node, key string) {
	eachConfigKey(b, n, key, "{train.max_steps: 100}", func(name, full string, _, value ast.Node) {
		one := SweepKey{Key: name}
		if one.add(b, value, full); len(one.Values) > 0 {
			*s = append(*s, Setting{name, one.Values[0]})
		}
	})
}

// eachConfigKey calls f for each key of a mapping that is a key of a config, and complains of the others.
func eachConfigKey(b *binder, n ast.Node, key, example string, f func(name, full string, at, value ast.Node)) {
	mapping, ok := n.(ast.MapNode)
	if !ok {
		b.complain(n, key, "want config keys with values, such as %s, got %s", example, describe(n))
		return
	}
	seen := map[string]bool{}
	for it := mapping.MapRange(); it.Next(); {
		name := keyName(it.Key())
		full := joinKey(key, name)
		if seen[name] {
			b.complain(it.Key(), full, "is given twice")
			continue
		}
		seen[name] = true
		if problem := untriable(name); problem != "" {
			b.complain(it.Key(), key, "%s", problem)
			continue
		}
		b.origins[full] = b.here(it.Key())
		f(name, full, it.Key(), it.Value())
	}
}

// untriable says why a sweep cannot try values of a key; empty where it can.
func untriable(key string) string {
	def := Default()
	field, ok := lookup(reflect.ValueOf(&def).Elem(), key)
	switch {
	case !ok:
		return fmt.Sprintf("unknown key %q%s", key, suggestKey(key))
	case field.Kind() == reflect.Struct:
		return fmt.Sprintf("%s is a section: name one of its keys with a dot, such as %s.%s", key, key, field.Type().Field(0).Tag.Get("yaml"))
	case key == "name":
		return "name is the sweep's own for all of its runs"
	case key == "output.database":
		return "output.database is one for all runs of a sweep"
	}
	return ""
}

// read takes a list of values, one value, or a range.
func (k *SweepKey) read(b *binder, n ast.Node, key string) {
	switch n := n.(type) {
	case nil, *ast.NullNode:
		b.complain(n, key, "has no value, want a list of values or a range such as {min: 1, max: 2}")
	case ast.MapNode:
		k.readRange(b, n, key)
	case *ast.SequenceNode:
		if len(n.Values) == 0 {
			b.complain(n, key, "has no value, want at least one")
		}
		for _, item := range n.Values {
			k.add(b, item, key)
		}
	default:
		k.add(b, n, key)
	}
}

// add takes one value, once.
func (k *SweepKey) add(b *binder, n ast.Node, key string) {
	text, value, ok := inline(n, false)
	if !ok {
		b.complain(n, key, "anchors (&), aliases (*), tags (!) and missing values are not read here: write the value out")
		return
	}
	encoded, err := json.Marshal(value)
	if err != nil { // not a number: the config refuses it, by its text
		encoded = []byte(strconv.Quote(text))
	}
	v := SweepValue{Text: text, JSON: string(encoded), line: lineOf(n)}
	if slices.ContainsFunc(k.Values, func(x SweepValue) bool { return x.JSON == v.JSON }) {
		b.complain(n, key, "has %s twice", text)
		return
	}
	k.Values = append(k.Values, v)
}

// readRange takes numbers to draw from.
func (k *SweepKey) readRange(b *binder, n ast.MapNode, key string) {
	r := &SweepRange{}
	k.Range = r
	before := len(b.problems)
	b.section(n.(ast.Node), key, reflect.ValueOf(r).Elem())
	for _, end := range []string{"min", "max"} {
		if _, given := b.origins[key+"."+end]; !given && len(b.problems) == before {
			b.complain(n.(ast.Node), key, "has no %s: a range is {min: 1, max: 2}, with log: true or integer: true", end)
		}
	}
	if len(b.problems) > before {
		return
	}
	def := Default()
	field, _ := lookup(reflect.ValueOf(&def).Elem(), k.Key)
	kind := field.Kind()
	switch {
	case kind != reflect.Float64 && kind != reflect.Int && kind != reflect.Int64:
		b.complain(n.(ast.Node), key, "is a range, but a value is %s: give a list", wanted(field.Type()))
	case kind != reflect.Float64 && !r.Integer:
		b.complain(n.(ast.Node), key, "wants whole numbers: add integer: true")
	case !(r.Min < r.Max) || math.IsInf(r.Max-r.Min, 0):
		b.complain(n.(ast.Node), key, "min must be below max, got %g and %g", r.Min, r.Max)
	case r.Log && r.Min <= 0:
		b.complain(n.(ast.Node), key, "min must be above 0 where log is true, got %g", r.Min)
	case r.Integer && (r.Min != math.Trunc(r.Min) || r.Max != math.Trunc(r.Max) || math.Abs(r.Min) > 1<<53 || math.Abs(r.Max) > 1<<53):
		b.complain(n.(ast.Node), key, "min and max must be whole where integer is true, got %g and %g", r.Min, r.Max)
	}
}

// read takes a number or auto.
func (j *Jobs) read(b *binder, n ast.Node, key string) {
	whole := reflect.ValueOf(j).Elem()
	if word, ok := n.(*ast.StringNode); ok && word.Value == "auto" {
		*j = 0
	} else if !setWhole(n, whole) || *j < 1 || *j > most {
		b.complain(n, key, "want auto or a whole number from 1, got %s", describe(n))
	}
}

// inline writes a value as YAML on one line and returns it as encoding/json takes it. It reports false for what a value
// cannot be.
func inline(n ast.Node, nested bool) (text string, value any, ok bool) {
	switch n := n.(type) {
	case *ast.SequenceNode:
		texts, values := make([]string, len(n.Values)), make([]any, len(n.Values))
		for i, item := range n.Values {
			if texts[i], values[i], ok = inline(item, true); !ok {
				return "", nil, false
			}
		}
		return "[" + strings.Join(texts, ", ") + "]", values, true
	case ast.MapNode:
		var texts []string
		values := map[string]any{}
		for it := n.MapRange(); it.Next(); {
			item, v, ok := inline(it.Value(), true)
			if !ok {
				return "", nil, false
			}
			name := keyName(it.Key())
			texts, values[name] = append(texts, quoteText(name)+": "+item), v
		}
		return "{" + strings.Join(texts, ", ") + "}", values, true
	}
	return inlineScalar(n, nested)
}

func inlineScalar(n ast.Node, nested bool) (text string, value any, ok bool) {
	number := reflect.New(reflect.TypeFor[float64]()).Elem()
	switch n := n.(type) {
	case *ast.IntegerNode:
		return fmt.Sprint(n.Value), n.Value, true
	case *ast.BoolNode:
		return fmt.Sprint(n.Value), n.Value, true
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		if !setNumber(n, number) {
			return "", nil, false
		}
		return n.GetToken().Value, number.Float(), true
	case *ast.StringNode:
		if setNumber(n, number) { // 2e-4
			return n.Value, number.Float(), true
		}
		if nested && strings.Contains(n.Value, ",") {
			return quoteText(n.Value), n.Value, true
		}
		return formatText(n.Value), n.Value, true
	case *ast.LiteralNode:
		return quoteText(n.Value.Value), n.Value.Value, true
	}
	return "", nil, false
}

// otherSweepNames are words that other tools use for a sweep's keys.
var otherSweepNames = map[string]string{"parameters": "keys", "params": "keys", "space": "keys", "metric": "goal", "objective": "goal",
	"config": "base", "program": "base", "run_cap": "trials", "count": "trials", "n_trials": "trials", "num_samples": "trials",
	"early_terminate": "halving", "pruner": "halving", "overrides": "set", "fixed": "set", "parallel": "jobs", "workers": "jobs", "n_jobs": "jobs", "values": "keys"}

// suggestSweepKey looks for what an unknown key of a sweep's file may have meant.
func suggestSweepKey(full string) string {
	section, name := splitKey(full)
	if section != "halving" && !strings.HasPrefix(section, "keys.") {
		section, name = "", full // lora.rank, which belongs below keys
	}
	if word, ok := otherSweepNames[name]; ok && section == "" {
		return didYouMean(word)
	}
	t := reflect.TypeFor[Sweep]()
	if section == "halving" {
		t = reflect.TypeFor[Halving]()
	} else if section != "" {
		t = reflect.TypeFor[SweepRange]()
	}
	var here []string
	for i := range t.NumField() {
		if tag := t.Field(i).Tag.Get("yaml"); tag != "" {
			here = append(here, tag)
		}
	}
	if near := Nearest(name, here); near != "" {
		return didYouMean(joinKey(section, near))
	}
	if section == "" {
		if _, ok := lookup(reflect.ValueOf(Default()), name); ok || strings.Contains(name, ".") {
			return didYouMean("keys." + name)
		}
	}
	return " (have " + strings.Join(here, ", ") + ")"
}
