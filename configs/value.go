package configs

import (
	"fmt"
	"reflect"
	"strings"
)

// Value returns the value at a dotted key such as lora.rank, as YAML writes it in one line: 16, cpu, [q_proj, v_proj].
//
// Errors: a key that does not exist, or that is a section of others; errors.Is(err, ErrInvalid) holds.
func (c *Config) Value(key string) (string, error) {
	v, ok := lookup(reflect.ValueOf(*c), key)
	if !ok {
		return "", &Problem{Key: key, Text: "unknown key" + suggestKey(key)}
	}
	if auto := c.autos()[key]; auto != nil && *auto {
		return "auto", nil
	}
	switch {
	case isPattern(v.Type()):
		parts := make([]string, v.Len())
		for i := range parts {
			line := v.Index(i)
			parts[i] = formatText(line.Field(0).String()) + ": " + formatScalar(line.Field(1))
		}
		return "{" + strings.Join(parts, ", ") + "}", nil
	case v.Kind() == reflect.Struct:
		return "", &Problem{Key: key, Text: fmt.Sprintf("is a section (want one of its keys: %s)", strings.Join(keys(v.Type(), key), ", "))}
	case v.Kind() == reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = formatScalar(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]", nil
	}
	return formatScalar(v), nil
}

// Keys lists the dotted keys of a configuration that have a value, in the order of docs/configuration.md.
func Keys() []string {
	var out []string
	for _, key := range keys(reflect.TypeFor[Config](), "") {
		if v, _ := lookup(reflect.ValueOf(Config{}), key); v.Kind() != reflect.Struct {
			out = append(out, key)
		}
	}
	return out
}
