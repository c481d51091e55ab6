package report

import "strings"

// configLine is a line of the YAML that a run was made with. Marked lines set what is not the default, which Default has on
// the first of them.
type configLine struct {
	Text    string
	Marked  bool
	Default string
}

// configLines marks the lines of a config whose settings have defaults in a map, by their whole keys. It reads the YAML that tune
// itself writes: maps, lists, and text over several lines, which stand further in than their key.
func configLines(text string, defaults map[string]string) []configLine {
	var out []configLine
	var keys []string
	var indents []int
	markedFrom := -1 // the indent of the key whose value goes on
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		content := strings.TrimLeft(line, " ")
		indent := len(line) - len(content)
		if markedFrom >= 0 && (indent > markedFrom || content == "" || strings.HasPrefix(content, "- ") && indent == markedFrom) {
			out = append(out, configLine{Text: line, Marked: content != ""})
			continue
		}
		markedFrom = -1
		key, _, isKey := strings.Cut(content, ":")
		if !isKey || content[0] == '-' || content[0] == '#' {
			out = append(out, configLine{Text: line})
			continue
		}
		n := len(keys)
		for n > 0 && indents[n-1] >= indent {
			n--
		}
		keys, indents = append(keys[:n], strings.Trim(key, `"'`)), append(indents[:n], indent)
		usual := defaults[strings.Join(keys, ".")]
		differs := usual != "" // what has no default, such as the path of the model, differs always
		if differs {
			markedFrom = indent
		}
		out = append(out, configLine{Text: line, Marked: differs, Default: clean(usual)})
	}
	return out
}
