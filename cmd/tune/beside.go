package main

import (
	"strings"
	"unicode"
)

// twoColumns is how wide a screen must be to have two replies side by side.
const twoColumns = 90

// beside sets two texts in columns below their titles, wrapped at words.
func (s screen) beside(titles, texts [2]string) string {
	bar := " | "
	if s.unicode {
		bar = " │ "
	}
	width := (min(s.columns, 160) - 3) / 2
	left, right := wrapLines(texts[0], width), wrapLines(texts[1], width)
	var out strings.Builder
	line := func(l, r string, sgr string) {
		pad := strings.Repeat(" ", max(0, width-displayWidth(l)))
		out.WriteString(strings.TrimRight(s.paint(sgr, l)+pad+s.paint(faint, bar)+s.paint(sgr, r), " ") + "\n")
	}
	line(titles[0], titles[1], bold)
	for i := range max(len(left), len(right)) {
		var l, r string
		if i < len(left) {
			l = left[i]
		}
		if i < len(right) {
			r = right[i]
		}
		line(l, r, "")
	}
	return out.String()
}

// wrapLines breaks text into lines of at most width columns, at white space where it can. Line ends and the white
// space at the start of a line stay.
func wrapLines(text string, width int) (lines []string) {
	text = strings.ReplaceAll(strings.Trim(text, "\n"), "\t", "    ")
	for paragraph := range strings.SplitSeq(text, "\n") {
		first := len(lines)
		line := paragraph[:len(paragraph)-len(strings.TrimLeft(paragraph, " "))]
		begun := false // the line has a word
		for _, word := range strings.Fields(paragraph) {
			if begun && displayWidth(line)+1+displayWidth(word) > width {
				lines, line, begun = append(lines, line), "", false
			}
			if begun {
				line += " "
			}
			for displayWidth(line)+displayWidth(word) > width { // a word longer than a line
				part := partFitting(word, width-displayWidth(line))
				lines, line, word = append(lines, line+part), "", word[len(part):]
			}
			line, begun = line+word, word != ""
		}
		if begun || len(lines) == first {
			lines = append(lines, line)
		}
	}
	return lines
}

// partFitting returns the start of a word that fits in so many columns, at least one character.
func partFitting(word string, width int) string {
	used := 0
	for i, r := range word {
		used += runeWidth(r)
		if i > 0 && used > width {
			return word[:i]
		}
	}
	return word
}

// displayWidth returns how many columns of a terminal text takes.
func displayWidth(text string) (n int) {
	for _, r := range text {
		n += runeWidth(r)
	}
	return n
}

// wide are the letters that terminals give two columns: those of East Asia and pictures.
// Source: Unicode, EastAsianWidth.txt, in a few ranges that hold nearly all of them.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{{Lo: 0x1100, Hi: 0x115f, Stride: 1}, {Lo: 0x2e80, Hi: 0x303e, Stride: 1}, {Lo: 0x3041, Hi: 0xa4cf, Stride: 1},
		{Lo: 0xac00, Hi: 0xd7a3, Stride: 1}, {Lo: 0xf900, Hi: 0xfaff, Stride: 1}, {Lo: 0xfe30, Hi: 0xfe6f, Stride: 1},
		{Lo: 0xff00, Hi: 0xff60, Stride: 1}, {Lo: 0xffe0, Hi: 0xffe6, Stride: 1}},
	R32: []unicode.Range32{{Lo: 0x1f300, Hi: 0x1f64f, Stride: 1}, {Lo: 0x1f680, Hi: 0x1f6ff, Stride: 1}, {Lo: 0x1f900, Hi: 0x1faff, Stride: 1},
		{Lo: 0x20000, Hi: 0x3fffd, Stride: 1}},
}

func runeWidth(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf): // accents, joiners, variation selectors
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}
