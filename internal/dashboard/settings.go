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
	return r.settings
}

type settingsReader struct {
	settings   []setting
	keys       []string // the key of the last line, part by part
	indents    []int    // and how far each part stands in
	textIndent int      // how far the key of the text stands in that is being read
}

const noText = -1

func (r *settingsReader) read(line string) {
	content := strings.TrimLeft(line, " ")
	indent := len(line) - len(content)
	switch item, isItem := strings.CutPrefix(content, "- "); {
	case r.textIndent != noText && (indent > r.textIndent || content == ""):
		last := r.last()
		last.Value = strings.TrimLeft(last.Value+"\n"+content, "\n")
	case content == "" || content[0] == '#':
	case isItem && len(r.settings) > 0:
		r.item(indent, item)
	default:
		if key, value, ok := strings.Cut(content, ":"); ok {
			r.pair(indent, strings.Trim(key, `"'`), strings.TrimSpace(value))
		}
	}
}

func (r *settingsReader) last() *setting { return &r.settings[len(r.settings)-1] }

// item adds to the list of the last key.
func (r *settingsReader) item(indent int, item string) {
	last := r.last()
	items := strings.TrimSuffix(last.Value, "]")
	if items == "" {
		items = "["
	} else {
		items += ", "
	}
	r.textIndent = noText
	if item[0] == '|' || item[0] == '>' { // its text stands below, and ends the list as far as this goes
		last.Value, r.textIndent = items, indent
		return
	}
	last.Value = items + item + "]"
}

func (r *settingsReader) pair(indent int, key, value string) {
	r.textIndent = noText
	n := len(r.keys)
	for n > 0 && r.indents[n-1] >= indent {
		n--
	}
	// A key with others below it sets nothing by itself.
	if n > 0 && r.last().Value == "" && r.last().Key == strings.Join(r.keys[:n], ".") {
		r.settings = r.settings[:len(r.settings)-1]
	}
	r.keys, r.indents = append(r.keys[:n], key), append(r.indents[:n], indent)
	if value != "" && (value[0] == '|' || value[0] == '>') {
		r.textIndent, value = indent, ""
	}
	r.settings = append(r.settings, setting{strings.Join(r.keys, "."), value})
}
