package chart

import "math"

// dots is a grid of cells, each holding 2 by 4 braille dots, or a single mark where there is no Unicode.
type dots struct {
	columns, rows int
	unicode       bool
	cells         []dotCell
}

// dotCell is what has been drawn in one cell. The highest rank decides its colour and, without Unicode, its mark.
type dotCell struct {
	bits rune // dots of U+2800
	rank int
	sgr  string
	mark rune // drawn instead of the dots
}

// The order in which things cover each other.
const (
	rankStep = 1 + iota
	rankLine
	rankMark
)

// brailleBits holds the dot at (y, x) of a cell, as U+2800 to U+28FF number them.
var brailleBits = [4][2]rune{{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}

func newDots(columns, rows int, unicode bool) *dots {
	return &dots{columns: columns, rows: rows, unicode: unicode, cells: make([]dotCell, columns*rows)}
}

// size returns how many dots there are across and down. Without Unicode a cell counts as one dot.
func (d *dots) size() (across, down int) {
	if d.unicode {
		return 2 * d.columns, 4 * d.rows
	}
	return d.columns, d.rows
}

// set draws the dot at (x, y), counted from the top left; outside the grid nothing.
func (d *dots) set(x, y, rank int, sgr string, ascii rune) {
	across, down := d.size()
	if x < 0 || y < 0 || x >= across || y >= down {
		return
	}
	if !d.unicode {
		c := &d.cells[y*d.columns+x]
		if rank >= c.rank {
			c.rank, c.sgr, c.mark = rank, sgr, ascii
		}
		return
	}
	c := &d.cells[y/4*d.columns+x/2]
	c.bits |= brailleBits[y%4][x%2]
	if rank >= c.rank {
		c.rank, c.sgr = rank, sgr
	}
}

// put draws a mark in the cell that holds the dot at (x, y).
func (d *dots) put(x, y int, mark rune, sgr string) {
	across, down := d.size()
	if x < 0 || y < 0 || x >= across || y >= down {
		return
	}
	if d.unicode {
		x, y = x/2, y/4
	}
	d.cells[y*d.columns+x] = dotCell{rank: rankMark, sgr: sgr, mark: mark}
}

// line draws the dots between two points, both included; dashed, every other pair of columns. What lies outside the grid is left
// out, however far it reaches.
func (d *dots) line(x0, y0, x1, y1, rank int, sgr string, ascii rune, dashed bool) {
	across, down := d.size()
	if max(abs(x1-x0), abs(y1-y0)) > 4*(across+down) { // a value far off the axis: the way there has more dots than can be counted
		var inside bool
		if x0, y0, x1, y1, inside = clip(x0, y0, x1, y1, across, down); !inside {
			return
		}
	}
	n := max(abs(x1-x0), abs(y1-y0), 1)
	for k := range n + 1 {
		x := x0 + int(math.Round(float64((x1-x0)*k)/float64(n)))
		y := y0 + int(math.Round(float64((y1-y0)*k)/float64(n)))
		if !dashed || x%4 < 2 {
			d.set(x, y, rank, sgr, ascii)
		}
	}
}

// clip returns the part of a line that lies within a grid of across by down dots and the dot around it.
// Source: Liang and Barsky 1984, "A new concept and method for line clipping".
func clip(x0, y0, x1, y1, across, down int) (a, b, c, e int, inside bool) {
	from, to := 0.0, 1.0
	dx, dy := float64(x1)-float64(x0), float64(y1)-float64(y0)
	for _, side := range [4][2]float64{
		{-dx, float64(x0) + 1}, {dx, float64(across) - float64(x0)}, {-dy, float64(y0) + 1}, {dy, float64(down) - float64(y0)},
	} {
		switch step, room := side[0], side[1]; {
		case step == 0 && room < 0:
			return 0, 0, 0, 0, false
		case step < 0:
			from = max(from, room/step)
		case step > 0:
			to = min(to, room/step)
		}
	}
	if from > to {
		return 0, 0, 0, 0, false
	}
	at := func(start int, step, share float64) int { return int(math.Round(float64(start) + share*step)) }
	return at(x0, dx, from), at(y0, dy, from), at(x0, dx, to), at(y0, dy, to), true
}

// row returns line y of the grid.
func (d *dots) row(y int) row {
	out := make(row, d.columns)
	for x := range out {
		c := d.cells[y*d.columns+x]
		text := " "
		switch {
		case c.mark != 0:
			text = string(c.mark)
		case c.bits != 0:
			text = string(0x2800 + c.bits)
		}
		out[x] = cell{text, c.sgr}
	}
	return out
}

func abs(i int) int { return max(i, -i) }
