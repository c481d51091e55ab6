package chart

import (
	"strings"
	"unicode"
)

// cell is one column of a terminal line: a letter and its colour. The second column of a wide letter is empty.
type cell struct {
	text string
	sgr  string // the parameters of "ESC [ … m", empty for the terminal's own colour
}

// row is a line of cells.
type row []cell

// write appends text in a colour.
func (r *row) write(text, sgr string) {
	for _, letter := range text {
		switch displayWidth(letter) {
		case 0:
			if n := len(*r); n > 0 && (*r)[n-1].text != "" {
				(*r)[n-1].text += string(letter) // an accent belongs to the letter before
			}
		case 2:
			*r = append(*r, cell{string(letter), sgr}, cell{"", sgr})
		default:
			*r = append(*r, cell{string(letter), sgr})
		}
	}
}

// pad appends spaces up to a width.
func (r *row) pad(width int) {
	for len(*r) < width {
		*r = append(*r, cell{" ", ""})
	}
}

// fit cuts or fills the row to exactly width columns.
func (r row) fit(width int) row {
	if len(r) > width {
		half := r[width].text == "" // the cut would split a wide letter
		r = r[:width:width]
		if half && width > 0 {
			r[width-1] = cell{" ", ""}
		}
	}
	r.pad(width)
	return r
}

// render returns the row as text; without color its colours are left out.
func (r row) render(b *strings.Builder, color bool) {
	now := ""
	for _, c := range r {
		if color && c.sgr != now {
			if now != "" {
				b.WriteString("\x1b[0m")
			}
			if c.sgr != "" {
				b.WriteString("\x1b[" + c.sgr + "m")
			}
			now = c.sgr
		}
		b.WriteString(c.text)
	}
	if now != "" {
		b.WriteString("\x1b[0m")
	}
}

// width returns how many columns a text takes.
func width(text string) int {
	n := 0
	for _, r := range text {
		n += displayWidth(r)
	}
	return n
}

// wide holds the letters that terminals draw two columns wide: East Asian Wide and Fullwidth, and emoji.
// Source: Unicode Standard Annex 11, EastAsianWidth.txt, blocks rather than single code points.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x1100, 0x115f, 1}, {0x2e80, 0x303e, 1}, {0x3041, 0x33ff, 1}, {0x3400, 0x4dbf, 1}, {0x4e00, 0xa4cf, 1},
		{0xa960, 0xa97f, 1}, {0xac00, 0xd7a3, 1}, {0xf900, 0xfaff, 1}, {0xfe30, 0xfe6f, 1}, {0xff00, 0xff60, 1},
		{0xffe0, 0xffe6, 1},
	},
	R32: []unicode.Range32{
		{0x16fe0, 0x18aff, 1}, {0x1b000, 0x1b2ff, 1}, {0x1f300, 0x1f64f, 1}, {0x1f680, 0x1f6ff, 1},
		{0x1f900, 0x1f9ff, 1}, {0x20000, 0x3fffd, 1},
	},
}

// displayWidth returns how many columns of a terminal a letter takes: 0, 1 or 2.
func displayWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}
