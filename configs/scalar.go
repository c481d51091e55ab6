package configs

import (
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// scalar writes one text, number or truth value into v.
func (b *binder) scalar(n ast.Node, key string, v reflect.Value) {
	if _, ok := n.(*ast.NullNode); ok {
		b.null(n, key, v)
		return
	}
	ok := false
	switch v.Kind() {
	case reflect.String:
		ok = setText(n, v)
	case reflect.Bool:
		ok = b.setAuto(n, key, v) || setBool(n, v)
	case reflect.Int, reflect.Int64:
		ok = setWhole(n, v)
	case reflect.Float64:
		ok = setNumber(n, v)
	}
	if !ok {
		b.complain(n, key, "want %s, got %s", b.wanted(key, v.Type()), describe(n))
	}
}

// setText takes any scalar as it is written: a run may be called 2026 or true.
func setText(n ast.Node, v reflect.Value) bool {
	switch n := n.(type) {
	case *ast.StringNode:
		v.SetString(n.Value)
	case *ast.LiteralNode:
		v.SetString(n.Value.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		v.SetString(n.GetToken().Value)
	default:
		return false
	}
	return true
}

// setBool takes true and false, not the yes and no of YAML 1.1.
func setBool(n ast.Node, v reflect.Value) bool {
	node, ok := n.(*ast.BoolNode)
	if ok {
		v.SetBool(node.Value)
	}
	return ok
}

// setAuto takes the word auto, at a key that may be auto; any other value there ends it.
func (b *binder) setAuto(n ast.Node, key string, v reflect.Value) bool {
	auto, ok := b.autos[key]
	if !ok {
		return false
	}
	word, ok := n.(*ast.StringNode)
	*auto = ok && word.Value == "auto"
	if *auto {
		v.SetBool(false)
	}
	return *auto
}

// setWhole takes integers that fit.
func setWhole(n ast.Node, v reflect.Value) bool {
	node, ok := n.(*ast.IntegerNode)
	if !ok {
		return false
	}
	var whole int64
	switch value := node.Value.(type) {
	case int64:
		whole = value
	case uint64:
		if value > math.MaxInt64 {
			return false
		}
		whole = int64(value)
	default:
		return false
	}
	if v.OverflowInt(whole) {
		return false
	}
	v.SetInt(whole)
	return true
}

// setNumber takes integers and every float of YAML 1.2, 2e-4 among them, which goccy/go-yaml reads as a text.
func setNumber(n ast.Node, v reflect.Value) bool {
	switch n := n.(type) {
	case *ast.IntegerNode:
		switch value := n.Value.(type) {
		case int64:
			v.SetFloat(float64(value))
		case uint64:
			v.SetFloat(float64(value))
		default:
			return false
		}
	case *ast.FloatNode:
		v.SetFloat(n.Value)
	case *ast.InfinityNode:
		v.SetFloat(n.Value)
	case *ast.NanNode:
		v.SetFloat(math.NaN())
	case *ast.StringNode:
		f, err := strconv.ParseFloat(n.Value, 64)
		if err != nil || !looksNumeric(n) {
			return false
		}
		v.SetFloat(f)
	default:
		return false
	}
	return true
}

// looksNumeric reports whether a text stands without quotes and holds only what decimal numbers are written
// with. ParseFloat also knows inf, nan, hexadecimal and underscores, which are texts in YAML 1.2.
func looksNumeric(n *ast.StringNode) bool {
	return n.Token.Type == token.StringType && n.Value != "" && strings.Trim(n.Value, "0123456789.eE+-") == ""
}

// wanted says what the value of key looks like in YAML.
func (b *binder) wanted(key string, t reflect.Type) string {
	if b.autos[key] != nil {
		return "true, false or auto"
	}
	if isPattern(t) && t.Elem().Field(1).Type.Kind() == reflect.Struct {
		return "names with keys and values each"
	}
	return wanted(t)
}

// wanted says what a value of type t looks like in YAML.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct:
		return "keys and values"
	case reflect.Slice:
		if isPattern(t) {
			return "names with a number each, such as {v_proj: 4}"
		}
		switch t.Elem().Kind() {
		case reflect.String:
			return "a list of texts"
		case reflect.Float64:
			return "a list of numbers"
		}
		return "a list of whole numbers"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Float64:
		return "a number"
	default:
		return "a whole number"
	}
}

// describe says what a node is, in the user's words.
func describe(n ast.Node) string {
	switch n := n.(type) {
	case *ast.SequenceNode:
		return "a list"
	case ast.MapNode:
		return "keys and values"
	case *ast.StringNode:
		if looksNumeric(n) {
			return n.Value // a whole number that is too large, or 1e3 where a whole number is wanted
		}
		return "the text " + quoteShort(n.Value)
	case *ast.LiteralNode:
		return "the text " + quoteShort(n.Value.Value)
	}
	if n.GetToken() == nil {
		return "something else"
	}
	return n.GetToken().Value
}

// quoteShort quotes a text and cuts a long one.
func quoteShort(s string) string {
	const most = 40
	if runes := []rune(s); len(runes) > most {
		return strconv.Quote(string(runes[:most])) + "..."
	}
	return strconv.Quote(s)
}
