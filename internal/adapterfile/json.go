package adapterfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxConfig is far above any adapter_config.json, and keeps a wrong file out of memory.
const maxConfig = 16 << 20

// readObject reads a JSON file that must hold an object. Errors name the file.
func readObject(path string) (map[string]json.RawMessage, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxConfig {
		return nil, fmt.Errorf("%s: larger than %d MiB: is this an adapter's settings?", path, maxConfig>>20)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return nil, fmt.Errorf("%s: want a JSON object, got a %s", path, wrong.Value)
		}
		return nil, fmt.Errorf("%s: not valid JSON: %w", path, err)
	}
	if fields == nil {
		return nil, fmt.Errorf("%s: want a JSON object, got null", path)
	}
	return fields, nil
}

// object reads fields of a JSON object and collects what is wrong with them.
type object struct {
	path     string // of the file
	parent   string // "lora_parameters." for keys of an inner object
	fields   map[string]json.RawMessage
	problems []error
}

func (o *object) bad(key, format string, args ...any) {
	o.problems = append(o.problems, fmt.Errorf("%s: %s%s: %s", o.path, o.parent, key, fmt.Sprintf(format, args...)))
}

// get reads a field into v, whose value stays where the field is absent or null. wanted is for the message.
func (o *object) get(key, wanted string, v any) bool {
	raw, ok := o.fields[key]
	if !ok || isNull(raw) {
		return false
	}
	if err := json.Unmarshal(raw, v); err != nil {
		o.bad(key, "want %s, got %s", wanted, short(raw))
		return false
	}
	return true
}

// whole reads a whole number, which Python may have written as 8.0.
func (o *object) whole(key string, v *int) bool {
	f := float64(*v)
	if !o.get(key, "a whole number", &f) {
		return false
	}
	if f != float64(int64(f)) || f < -1<<40 || f > 1<<40 {
		o.bad(key, "want a whole number, got %s", short(o.fields[key]))
		return false
	}
	*v = int(f)
	return true
}

// isSet reports whether a field says something: neither absent, null, false, 0 nor empty.
func (o *object) isSet(key string) bool {
	switch strings.Join(strings.Fields(string(o.fields[key])), "") {
	case "", "null", "false", "0", "0.0", `""`, "[]", "{}":
		return false
	}
	return true
}

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

// short is a value for a message.
func short(raw json.RawMessage) string {
	const most = 60
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return "something else"
	}
	if r := []rune(b.String()); len(r) > most {
		return string(r[:most]) + "..."
	}
	return b.String()
}

// entry is a key of a JSON object with its number.
type entry struct {
	key   string
	value float64
}

// entries reads an object of numbers in the order of the file, which decides between patterns that both match.
func (o *object) entries(key string) []entry {
	raw, ok := o.fields[key]
	if !ok || isNull(raw) {
		return nil
	}
	var all []entry
	dec := json.NewDecoder(bytes.NewReader(raw))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		o.bad(key, "want an object of numbers, got %s", short(raw))
		return nil
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			o.bad(key, "want an object of numbers, got %s", short(raw))
			return nil
		}
		var value float64
		if err := dec.Decode(&value); err != nil {
			o.bad(key, "%q: want a number, got %s", name, short(raw))
			return nil
		}
		all = append(all, entry{name.(string), value})
	}
	return all
}

// strings reads a list of texts, or one text as a list of one.
func (o *object) strings(key string) (list []string, one bool) {
	raw, ok := o.fields[key]
	if !ok || isNull(raw) {
		return nil, false
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []string{text}, true
	}
	o.get(key, "a text or a list of texts", &list)
	return list, false
}
