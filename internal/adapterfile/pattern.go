package adapterfile

import (
	"fmt"
	"regexp"
)

// A pattern is one entry of rank_pattern or alpha_pattern, compiled.
type pattern struct {
	key    string
	value  float64
	regexp *regexp.Regexp
}

// MatchPattern reports whether a key of PEFT's rank_pattern or alpha_pattern names a module: the key, a regular
// expression, matches the whole name or what follows one of its dots. So q_proj names every q_proj, and
// layers.0.self_attn.q_proj that of layer 0.
//
// Errors: a key that is no regular expression, or uses what Go's lack: looking around and references back.
// Source: PEFT, get_pattern_key in src/peft/utils/other.py.
func MatchPattern(key, name string) (bool, error) {
	p, err := compile(entry{key: key})
	if err != nil {
		return false, err
	}
	return p.regexp.MatchString(name), nil
}

func compile(e entry) (pattern, error) {
	re, err := regexp.Compile(`^(.*\.)?(` + e.key + `)$`)
	if err != nil {
		return pattern{}, fmt.Errorf("%q is no regular expression that is read here: %w", e.key, err)
	}
	return pattern{e.key, e.value, re}, nil
}

// patterns compiles the entries of one key of adapter_config.json.
func (o *object) patterns(key string) []pattern {
	var all []pattern
	for _, e := range o.entries(key) {
		p, err := compile(e)
		if err != nil {
			o.bad(key, "%v", err)
			continue
		}
		all = append(all, p)
	}
	return all
}

// lookup returns the value of the first pattern that matches name, or otherwise.
func lookup(patterns []pattern, name string, otherwise float64) float64 {
	for _, p := range patterns {
		if p.regexp.MatchString(name) {
			return p.value
		}
	}
	return otherwise
}
