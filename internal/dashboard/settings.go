package dashboard

import "strings"

// setting is one value of a config, by its whole key, such as lora.rank.
type setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// settings lists what a config sets, in its order. It reads the YAML that tune itself writes into runs.db: maps, lists of
// single values, and text over several lines. Anything else stays as it is written, for people to read.
func settings(config string) []setting {
	r := settingsReader{textIndent: noText}
	for line := range strings.Lines(config) {
		r.read(strings.TrimRight(line, " \r\n"))
	}
	var out []setting
	for _, e := range r.entries {
		value := strings.Join(e.values, ", ")
		if e.isList {
			value = "[" + value + "]"
		}
		out = append(out, setting{e.key, value})
	}
	return out
}

type settingsReader struct {
	entries    []settingsEntry
	keys       []string // the key of the last line, part by part
	indents    []int    // and how far each part stands in
	textIndent int      // how far the key of the text stands in that is being read
}

type settingsEntry struct {
	key    string
	values []string // one, or those of a list
	isList bool
}

const noText = -1

func (r *settingsReader) read(line string) {
	content := strings.TrimLeft(line, " ")
	indent := len(line) - len(content)
	if r.textIndent != noText && (indent > r.textIndent || content == "") {
		r.text(content)
		return
	}
	r.textIndent = noText
	if item, ok := strings.CutPrefix(content, "- "); ok && len(r.entries) > 0 {
		last := r.last()
		last.isList = true
		last.values = append(last.values, r.value(indent, item))
	} else if key, value, ok := strings.Cut(content, ":"); ok && content[0] != '#' {
		r.pair(indent, strings.Trim(key, `"'`), strings.TrimSpace(value))
	}
}

func (r *settingsReader) last() *settingsEntry { return &r.entries[len(r.entries)-1] }

// text adds a line to the value that was begun last.
func (r *settingsReader) text(line string) {
	values := r.last().values
	values[len(values)-1] = strings.TrimLeft(values[len(values)-1]+"\n"+line, "\n")
}

// value is what stands behind a key or a dash: a value, or the sign that its text stands below.
func (r *settingsReader) value(indent int, value string) string {
	if value != "" && (value[0] == '|' || value[0] == '>') {
		r.textIndent = indent
		return ""
	}
	return value
}

func (r *settingsReader) pair(indent int, key, value string) {
	n := len(r.keys)
	for n > 0 && r.indents[n-1] >= indent {
		n--
	}
	// A key with others below it sets nothing by itself.
	if n > 0 && r.last().key == strings.Join(r.keys[:n], ".") {
		r.entries = r.entries[:len(r.entries)-1]
	}
	r.keys, r.indents = append(r.keys[:n], key), append(r.indents[:n], indent)
	e := settingsEntry{key: strings.Join(r.keys, ".")}
	if value != "" {
		e.values = []string{r.value(indent, value)}
	}
	r.entries = append(r.entries, e)
}
