package datasets

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Preview is a row as the model sees it.
type Preview struct {
	// Path and Line are where the row stands.
	Path string `json:"path"`
	Line int    `json:"line"`
	// Row is its index in Dataset.Samples.
	Row    int            `json:"row"`
	Pieces []PreviewPiece `json:"pieces"`
}

// PreviewPiece is a token of a Preview.
type PreviewPiece struct {
	ID int64 `json:"id"`
	// Text is the token's piece of text with its spaces as spaces; a byte that is no character of its own is <0xE2>.
	Text string `json:"text"`
	// Learned tells whether the token has a label.
	Learned bool `json:"learned"`
}

// Preview spells out a row of d.
// Errors: a row that d does not have.
func (d *Dataset) Preview(tok Tokenizer, row int) (Preview, error) {
	if row < 0 || row >= len(d.Samples) {
		return Preview{}, fmt.Errorf("%s: row %d: there are %d rows, counted from 0", d.Path, row, len(d.Samples))
	}
	s := d.Samples[row]
	p := Preview{Path: d.Path, Line: s.Line, Row: row}
	for i, id := range s.InputIDs {
		p.Pieces = append(p.Pieces, PreviewPiece{
			ID: id, Text: strings.ReplaceAll(tok.Piece(id), "▁", " "), Learned: s.Labels[i] != NoLoss,
		})
	}
	return p, nil
}

// run is a stretch of text that is learned as a whole or not at all.
type run struct {
	text    string
	learned bool
}

// Write prints the row for people: the learned tokens green and the others faint, or the learned ones in ⟦ ⟧
// without color. A newline shows as ⏎ and breaks the line; other control characters show as their pictures, so
// that no text can command the terminal.
func (p Preview) Write(w io.Writer, color bool) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s:%d: %d tokens, %d learned\n", visible(p.Path), p.Line, len(p.Pieces), p.learned())
	for _, line := range p.lines() {
		out.WriteString("  ")
		for _, r := range line {
			switch {
			case color && r.learned:
				out.WriteString("\x1b[32m" + r.text + "\x1b[0m") // green
			case color:
				out.WriteString("\x1b[2m" + r.text + "\x1b[0m") // faint
			case r.learned:
				out.WriteString("⟦" + r.text + "⟧")
			default:
				out.WriteString(r.text)
			}
		}
		out.WriteByte('\n')
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// learned counts the tokens with a label.
func (p Preview) learned() int {
	n := 0
	for _, piece := range p.Pieces {
		if piece.Learned {
			n++
		}
	}
	return n
}

// lines joins the pieces to runs, visible and broken after each newline.
func (p Preview) lines() [][]run {
	var lines [][]run
	var line []run
	for _, piece := range p.Pieces {
		for part := range strings.SplitAfterSeq(piece.Text, "\n") {
			if part == "" {
				continue
			}
			if last := len(line) - 1; last >= 0 && line[last].learned == piece.Learned {
				line[last].text += visible(part)
			} else {
				line = append(line, run{visible(part), piece.Learned})
			}
			if strings.HasSuffix(part, "\n") {
				lines, line = append(lines, line), nil
			}
		}
	}
	if len(line) > 0 {
		lines = append(lines, line)
	}
	return lines
}

// visible replaces everything in s that a terminal would obey.
func visible(s string) string {
	var out strings.Builder
	for _, r := range s {
		out.WriteString(visibleRune(r))
	}
	return out.String()
}

// visibleRune shows a character that has no picture of its own: U+2400 and on for control characters, the code
// for those that turn the direction of text or break lines.
func visibleRune(r rune) string {
	switch {
	case r == '\n':
		return "⏎"
	case r < 0x20:
		return string(rune(0x2400 + r))
	case r == 0x7f:
		return "␡"
	case unicode.IsControl(r), r == 0x2028, r == 0x2029, r == 0xfeff,
		r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return fmt.Sprintf("<U+%04X>", r)
	}
	return string(r)
}
