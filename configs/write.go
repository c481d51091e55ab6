package configs

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// YAML returns every key of c with its value. Load reads it back to the same Config, so that a run can be
// repeated from the text that is kept with it; other YAML readers, of 1.1 and 1.2, see the same values.
// Errors: a text that is not UTF-8, which YAML cannot hold.
//
// The text is written here and not by goccy/go-yaml, whose encoder loses carriage returns.
func (c *Config) YAML() ([]byte, error) {
	var out strings.Builder
	left := c.leftToAdapter()
	writeSection(&out, "", "", reflect.ValueOf(*c), c.autos(), func(key string) bool { return slices.Contains(left, key) })
	if at := invalidUTF8([]byte(out.String())); at >= 0 {
		line := 1 + strings.Count(out.String()[:at], "\n")
		return nil, fmt.Errorf("write configuration: %q is not UTF-8", strings.Split(out.String(), "\n")[line-1])
	}
	return []byte(out.String()), nil
}

// writeSection writes the fields of struct v at the dotted key parent, each line after indent. Keys that are left out
// say nothing by their absence but that they were absent. autos tells of truth values that they are auto.
func writeSection(out *strings.Builder, indent, parent string, v reflect.Value, autos map[string]*bool, leftOut func(key string) bool) {
	for i := range v.NumField() {
		key, field := v.Type().Field(i).Tag.Get("yaml"), v.Field(i)
		full := joinKey(parent, key)
		switch {
		case key == "-" || leftOut(full):
		case autos[full] != nil && *autos[full]:
			fmt.Fprintf(out, "%s%s: auto\n", indent, key)
		case field.Kind() == reflect.Struct:
			fmt.Fprintf(out, "%s%s:\n", indent, key)
			writeSection(out, indent+"  ", full, field, autos, leftOut)
		case isPattern(field.Type()) && field.Len() > 0:
			fmt.Fprintf(out, "%s%s:\n", indent, key)
			for j := range field.Len() {
				line := field.Index(j)
				fmt.Fprintf(out, "%s  %s: %s\n", indent, formatText(line.Field(0).String()), formatScalar(line.Field(1)))
			}
		case isPattern(field.Type()):
			fmt.Fprintf(out, "%s%s: {}\n", indent, key)
		case field.Kind() == reflect.Slice && field.Len() > 0:
			fmt.Fprintf(out, "%s%s:\n", indent, key)
			for j := range field.Len() {
				fmt.Fprintf(out, "%s  - %s\n", indent, formatScalar(field.Index(j)))
			}
		case field.Kind() == reflect.Slice:
			fmt.Fprintf(out, "%s%s: []\n", indent, key)
		default:
			fmt.Fprintf(out, "%s%s: %s\n", indent, key, formatScalar(field))
		}
	}
}

// formatScalar is one value as YAML.
func formatScalar(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return formatText(v.String())
	case reflect.Float64:
		// With a point and a signed exponent it is a number to YAML 1.1 as well: 1.0e-08, not 1e-08.
		text := strconv.FormatFloat(v.Float(), 'g', -1, 64)
		if mantissa, exponent, ok := strings.Cut(text, "e"); ok && !strings.Contains(mantissa, ".") {
			text = mantissa + ".0e" + exponent
		}
		return text
	default:
		return fmt.Sprint(v.Interface())
	}
}

// plainText matches texts that mean themselves without quotes, unless they are plainWord: no indicator at the
// start, no ": ", no " #".
var plainText = regexp.MustCompile(`^[A-Za-z/]([A-Za-z0-9_./?!', -]*[A-Za-z0-9_./?!'])?$`)

// plainWord matches the words that YAML 1.1 or 1.2 takes for something else than a text.
var plainWord = regexp.MustCompile(`^(?i:true|false|yes|no|on|off|y|n|null)$`)

// formatText writes a text plainly where that is safe, and with double quotes and escapes elsewhere.
func formatText(s string) string {
	if plainText.MatchString(s) && !plainWord.MatchString(s) {
		return s
	}
	return quoteText(s)
}

// quoteText writes a text with double quotes and escapes.
func quoteText(s string) string {
	var out strings.Builder
	out.WriteByte('"')
	for i, r := range s {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\t':
			out.WriteString(`\t`)
		case r == '\ufffd' && !strings.HasPrefix(s[i:], "\ufffd"):
			out.WriteByte(s[i]) // not UTF-8: YAML reports it
		case strconv.IsPrint(r):
			out.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&out, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			fmt.Fprintf(&out, `\U%08x`, r)
		}
	}
	out.WriteByte('"')
	return out.String()
}
