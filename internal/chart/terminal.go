package chart

import (
	"fmt"
	"strings"
)

// TerminalOptions says what the terminal can show.
type TerminalOptions struct {
	// Columns is the width of every line. Default 80; at most 1,000 are used.
	Columns int
	// Rows is the height of the loss plot without its labels; memory gets half of it. Default 12, at most 200.
	Rows int
	// Color allows ANSI colours, of the 256-colour palette.
	Color bool
	// Unicode allows braille, blocks and lines; without it everything is ASCII.
	Unicode bool
	View
}

// Terminal returns the kinds of opt, or loss, memory and wall time, as lines of text. Every line takes exactly
// opt.Columns columns and ends with a newline. Panels without data are left out, unless opt asks for them; without runs, or
// with nothing recorded, one line says so.
//
// Several runs differ by colour, or by a letter on their lines where there is no colour or there are too few.
func Terminal(runs []Run, opt TerminalOptions) string {
	if opt.Columns <= 0 {
		opt.Columns = 80
	}
	if opt.Rows <= 0 {
		opt.Rows = 12
	}
	opt.Columns, opt.Rows = min(opt.Columns, 1000), min(opt.Rows, 200)
	t := &terminal{opt: opt, runs: make([]Run, len(runs))}
	for i, r := range runs {
		r.Name = t.clean(label(r.Name))
		t.runs[i] = r
	}
	t.header()
	before := len(t.lines)
	t.panels()
	if len(t.lines) == before {
		text := "nothing recorded"
		if t.narrow {
			text = "too narrow for a chart"
		}
		var r row
		r.write(text, sgrMuted)
		t.add(r)
	}

	var b strings.Builder
	for _, line := range t.lines {
		line.fit(opt.Columns).render(&b, opt.Color)
		b.WriteByte('\n')
	}
	return b.String()
}

// panels adds the panels, one below the other.
func (t *terminal) panels() {
	kinds, chosen := t.opt.Kinds, len(t.opt.Kinds) > 0
	if !chosen {
		kinds = []Kind{Loss, Memory, Time}
	}
	for _, k := range kinds {
		if k == Time {
			t.time()
			continue
		}
		rows := t.opt.Rows
		if k == Memory && !chosen {
			rows = max(4, rows/2)
		}
		g := graphOf(k, t.runs, t.opt.View)
		t.graph(&g, rows, chosen || k == Loss)
	}
}

// terminal is a chart being written.
type terminal struct {
	opt    TerminalOptions
	runs   []Run
	lines  []row
	narrow bool // something was left out for want of columns
}

const (
	sgrBold  = "1"
	sgrMuted = "38;5;245"
)

// terminalColors are the light theme's run colours, moved to the nearest of the 256-colour palette that can be
// read on black and on white.
var terminalColors = []string{"32", "166", "36", "175", "178", "74", "245", "132", "73", "99", "143", "139"}

// phaseColors are those of load, train, evaluate, save and other.
var phaseColors = [phaseCount]string{"38;5;248", "38;5;67", "38;5;110", "38;5;179", "38;5;240"}

func (t *terminal) sgr(run int) string   { return "38;5;" + terminalColors[run%len(terminalColors)] }
func (t *terminal) faint(run int) string { return "2;" + t.sgr(run) }

// either returns the first choice where Unicode is allowed.
func (t *terminal) either(unicode, ascii string) string {
	if t.opt.Unicode {
		return unicode
	}
	return ascii
}

// clean replaces what an ASCII terminal cannot show.
func (t *terminal) clean(text string) string {
	if t.opt.Unicode {
		return text
	}
	return strings.Map(func(r rune) rune {
		if r > '~' {
			return '?'
		}
		return r
	}, text)
}

// shorten cuts a text to a number of columns, with an ellipsis.
func (t *terminal) shorten(text string, columns int) string {
	return ellipsis(text, t.either("…", "..."), func(s string) bool { return width(s) <= columns })
}

func (t *terminal) add(r row) { t.lines = append(t.lines, r) }

// gap adds an empty line between panels.
func (t *terminal) gap() {
	if len(t.lines) > 0 {
		t.add(nil)
	}
}

// letter is what marks a run's line where colour cannot.
func (t *terminal) letter(run int) rune {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	return rune(letters[run%len(letters)])
}

// lettered reports whether runs are told apart by letters.
func (t *terminal) lettered() bool {
	return len(t.runs) > 1 && (!t.opt.Color || len(t.runs) > len(terminalColors))
}

// header names the run, or counts the runs.
func (t *terminal) header() {
	var r row
	switch len(t.runs) {
	case 0:
		return
	case 1:
		r.write(t.shorten(t.runs[0].Name, t.opt.Columns), sgrBold)
		if text := summary(t.runs[0]); text != "" {
			text = strings.ReplaceAll(text, "  ·  ", t.either(" · ", ", "))
			r.write(t.shorten("  "+text, t.opt.Columns-len(r)), sgrMuted)
		}
	default:
		r.write(fmt.Sprintf("%d runs", len(t.runs)), sgrBold)
	}
	t.add(r)
}

// heading adds a panel's title and unit, and samples of its marks as far as they fit.
func (t *terminal) heading(title, unit string, keys ...row) {
	var r row
	r.write(title, sgrBold)
	if unit != "" {
		r.write(" ("+unit+")", sgrMuted)
	}
	for _, k := range keys {
		if len(r)+3+len(k) > t.opt.Columns {
			break
		}
		r.write("   ", "")
		r = append(r, k...)
	}
	t.add(r)
}

// sample is a mark and what it means.
func sample(mark, sgr, text string) row {
	var r row
	r.write(mark, sgr)
	r.write(" "+text, sgrMuted)
	return r
}
