package datasets

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// member is a key of a JSON object with its value, which is valid JSON.
type member struct {
	key   string
	value json.RawMessage
}

// checkJSON reports a line that is not UTF-8, not JSON, or more than one JSON value.
func checkJSON(line []byte) (fault, bool) {
	if !utf8.Valid(line) {
		return faultf("", "not UTF-8 text"), false
	}
	var raw json.RawMessage
	err := json.Unmarshal(line, &raw)
	if err == nil {
		return fault{}, true
	}
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return faultf("", "not valid JSON: %v", err), false
	}
	// Offset counts the bytes up to and with the one that was not expected.
	column := utf8.RuneCount(line[:min(max(int(syntax.Offset), 0), len(line))])
	return faultf("", "not valid JSON: %v (column %d)", err, column), false
}

// members lists the members of an object in the order of the text, duplicates and all. raw must be valid JSON.
func members(raw json.RawMessage) ([]member, bool) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, false
	}
	var out []member
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, false
		}
		name, ok := key.(string)
		var value json.RawMessage
		if err := dec.Decode(&value); !ok || err != nil {
			return nil, false
		}
		out = append(out, member{name, value})
	}
	return out, true
}

// elements lists the elements of an array. raw must be valid JSON.
func elements(raw json.RawMessage) ([]json.RawMessage, bool) {
	var out []json.RawMessage
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &out) != nil {
		return nil, false
	}
	return out, true
}

// find returns the value of a key, which counts as absent when it is null: exports of tables write a null for
// every column that a row does not use.
func find(object []member, key string) (json.RawMessage, bool) {
	i := slices.IndexFunc(object, func(m member) bool { return m.key == key })
	if i < 0 || isNull(object[i].value) {
		return nil, false
	}
	return object[i].value, true
}

// duplicates reports every key that stands in the object more than once.
func duplicates(object []member, field string) []fault {
	var faults []fault
	seen := map[string]int{}
	for _, m := range object {
		if seen[m.key]++; seen[m.key] == 2 {
			faults = append(faults, faultf(field, "key %q is given twice", m.key))
		}
	}
	return faults
}

// text reads a JSON string. encoding/json turns half of a surrogate pair into U+FFFD and says nothing; here it
// is a fault, as training on it would be training on something else than the file holds.
func text(raw json.RawMessage, field string) (string, []fault) {
	var s string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return "", []fault{faultf(field, "want a text, got %s", describe(raw))}
	}
	const replacement = "\ufffd"
	if n := strings.Count(s, replacement); n > 0 {
		meant := bytes.Count(raw, []byte(replacement)) + bytes.Count(bytes.ToLower(raw), []byte(`\ufffd`))
		if meant < n {
			return "", []fault{faultf(field, `holds half of a surrogate pair (\ud800 to \udfff), which is no character`)}
		}
	}
	return s, nil
}

// ids reads an array of whole numbers.
func ids(raw json.RawMessage, field string) ([]int64, []fault) {
	list, ok := elements(raw)
	if !ok {
		return nil, []fault{faultf(field, "want a list of token ids, got %s", describe(raw))}
	}
	out := make([]int64, len(list))
	for i, element := range list {
		id, err := strconv.ParseInt(string(element), 10, 64)
		if err != nil {
			return nil, []fault{faultf(index(field, i), "want a token id, got %s", describe(element))}
		}
		out[i] = id
	}
	return out, nil
}

// index is the name of an element of a field.
func index(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

// describe says what a JSON value is.
func describe(raw json.RawMessage) string {
	switch {
	case len(raw) == 0:
		return "nothing"
	case raw[0] == '[':
		return "a list"
	case raw[0] == '{':
		return "an object"
	case raw[0] == '"':
		return "the text " + shorten(string(raw))
	}
	return shorten(string(raw)) // null, true, false or a number
}

// shorten cuts what is too long for a message.
func shorten(s string) string {
	const most = 40
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return s
}
