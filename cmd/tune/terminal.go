package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is what the other end of a writer can show.
type screen struct {
	terminal bool
	columns  int // 80 where nothing tells
	color    bool
	unicode  bool
}

// screenOf looks at a writer and at the environment: NO_COLOR, TERM, COLUMNS and the locale.
func screenOf(w io.Writer) screen {
	s := screen{columns: 80, unicode: unicodeLocale(os.Getenv)}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		s.columns = n
	}
	if o, ok := w.(*output); ok {
		w = o.w
	}
	f, ok := w.(*os.File)
	if ok && f == os.Stderr && s.inherit(os.Getenv(screenVariable)) {
		return s
	}
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return s
	}
	s.terminal = true
	s.color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" // https://no-color.org
	if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
		s.columns = n
	}
	return s
}

// screenVariable tells a worker, whose standard error is a pipe, that a terminal is at its other end, and what kind.
const screenVariable = "TUNE_SCREEN"

// environment returns what hands the screen on to a process whose standard error is copied to it.
func (s screen) environment() []string {
	if !s.terminal {
		return nil
	}
	return []string{fmt.Sprintf("%s=%d %t", screenVariable, s.columns, s.color)}
}

// inherit takes over what environment has said.
func (s *screen) inherit(text string) bool {
	if n, err := fmt.Sscanf(text, "%d %t", &s.columns, &s.color); n != 2 || err != nil {
		return false
	}
	s.terminal = true
	return true
}

// unicodeLocale reports whether the locale's letters are UTF-8. Where no variable says anything they are taken to
// be: containers rarely set a locale and terminals have long been UTF-8.
func unicodeLocale(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := strings.ToLower(getenv(name)); value != "" {
			return strings.Contains(value, "utf-8") || strings.Contains(value, "utf8")
		}
	}
	return true
}

// paint colours text where the screen has colours.
func (s screen) paint(sgr, text string) string {
	if !s.color || text == "" || sgr == "" {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

// arrow joins a value before to one after.
func (s screen) arrow() string {
	if s.unicode {
		return "→"
	}
	return "->"
}

// ascii replaces the signs that tune itself writes where the screen has no others; text of the user stays.
func (s screen) ascii(text string) string {
	if s.unicode {
		return text
	}
	return strings.NewReplacer("→", "->", "·", "|", "…", "...").Replace(text)
}

// printable replaces what a terminal would obey. Newlines stay.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return utf8.RuneError
		}
		return r
	}, text)
}

// tableColumn is a column of a table. Where the screen is too narrow the columns with the highest drop go first;
// 0 stays.
type tableColumn struct {
	title string
	right bool
	drop  int
	cells []string
	sgr   []string // a colour for each cell; may be absent
}

func (c *tableColumn) width() int {
	n := utf8.RuneCountInString(c.title)
	for _, cell := range c.cells {
		n = max(n, utf8.RuneCountInString(cell))
	}
	return n
}

// writeTable writes columns under their titles, within the screen's width on a terminal and all of them
// elsewhere. Only the last column may hold letters that are two columns wide: nothing stands behind it that they
// could push out of line.
func (s screen) writeTable(w io.Writer, columns []tableColumn) error {
	if s.terminal {
		columns = fitting(columns, s.columns)
	}
	var out strings.Builder
	for row := -1; row < len(columns[0].cells); row++ {
		var line strings.Builder
		for i, c := range columns {
			text, sgr := c.title, faint
			if row >= 0 {
				text, sgr = c.cells[row], ""
				if c.sgr != nil {
					sgr = c.sgr[row]
				}
			}
			space := strings.Repeat(" ", max(0, c.width()-utf8.RuneCountInString(text)))
			if c.right {
				line.WriteString(space)
			}
			line.WriteString(s.paint(sgr, text))
			if i == len(columns)-1 {
				break
			}
			if !c.right {
				line.WriteString(space)
			}
			line.WriteString("  ")
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// fitting leaves columns out until the others fit.
func fitting(columns []tableColumn, width int) []tableColumn {
	for {
		total, worst := -2, -1
		for i, c := range columns {
			total += c.width() + 2
			if c.drop > 0 && (worst < 0 || c.drop > columns[worst].drop) {
				worst = i
			}
		}
		if total <= width || worst < 0 {
			return columns
		}
		columns = append(columns[:worst:worst], columns[worst+1:]...)
	}
}

// field is a name with its value, for sections of a report.
type field struct{ name, value string }

// writeFields writes names and values below a title; values that are empty are left out, and so is a section
// without any.
func (s screen) writeFields(w io.Writer, title string, fields []field) {
	titled := title == ""
	for _, f := range fields {
		if f.value == "" {
			continue
		}
		if !titled {
			fmt.Fprintf(w, "\n%s\n", s.paint(bold, title))
			titled = true
		}
		fmt.Fprintf(w, "  %-13s %s\n", f.name, strings.ReplaceAll(printable(f.value), "\n", "\n"+strings.Repeat(" ", 16)))
	}
}

// writeJSON writes v for programs: indented, one value, with a newline at its end.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
