package chart

import (
	"image/color"
	"strings"

	xfont "golang.org/x/image/font"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
)

// textStyle is the size in points, weight and colour of a text.
type textStyle struct {
	size  float64
	bold  bool
	color color.RGBA
}

// text writes on the baseline y. Align 0 starts at x, 0.5 centres on it, 1 ends there.
func (c *canvas) text(x, y, align float64, style textStyle, text string) {
	if text == "" {
		return
	}
	text = c.readable(style, text)
	width := c.measure(style, text)
	x -= align * width
	c.widths = append(c.widths, width)
	c.vg.SetColor(style.color)
	if c.format == PDF {
		// gonum's PDF back end embeds one font, the first, whatever it is asked for.
		encoded, ok := windows1252(text)
		if style.bold || !ok {
			c.outline(x, y, c.face(style), text)
			return
		}
		text = encoded
	}
	c.vg.FillString(c.face(style), c.point(x, y), text)
}

// outline fills the letters' shapes.
func (c *canvas) outline(x, y float64, face font.Face, text string) {
	var buffer sfnt.Buffer
	em := fixed.Int26_6(face.Face.UnitsPerEm()) // one unit of the font is then one 64th of a point
	scale := face.Font.Size.Points() / float64(em)
	at := func(p fixed.Point26_6) vg.Point { return c.point(x+float64(p.X)*scale, y+float64(p.Y)*scale) }
	var path vg.Path
	before, first := sfnt.GlyphIndex(0), true
	for _, letter := range text {
		glyph, err := face.Face.GlyphIndex(&buffer, letter)
		if err != nil {
			continue // nothing that Liberation, which is built in, can run into
		}
		if kern, err := face.Face.Kern(&buffer, before, glyph, em, xfont.HintingNone); err == nil && !first {
			x += float64(kern) * scale
		}
		segments, err := face.Face.LoadGlyph(&buffer, glyph, em, nil)
		if err != nil {
			continue
		}
		for _, s := range segments {
			switch s.Op {
			case sfnt.SegmentOpMoveTo:
				path.Move(at(s.Args[0]))
			case sfnt.SegmentOpLineTo:
				path.Line(at(s.Args[0]))
			case sfnt.SegmentOpQuadTo:
				path.QuadTo(at(s.Args[0]), at(s.Args[1]))
			case sfnt.SegmentOpCubeTo:
				path.CubeTo(at(s.Args[0]), at(s.Args[1]), at(s.Args[2]))
			}
		}
		if advance, err := face.Face.GlyphAdvance(&buffer, glyph, em, xfont.HintingNone); err == nil {
			x += float64(advance) * scale
		}
		before, first = glyph, false
	}
	c.vg.Fill(path)
}

// readable puts a question mark for every letter that the picture cannot show: Liberation has the Latin, Greek
// and Cyrillic ones. An SVG keeps all, for a viewer has other fonts too.
func (c *canvas) readable(style textStyle, text string) string {
	if c.format == SVG {
		return text
	}
	var buffer sfnt.Buffer
	face := c.face(style)
	return strings.Map(func(r rune) rune {
		if glyph, err := face.Face.GlyphIndex(&buffer, r); err != nil || glyph == 0 {
			return '?'
		}
		return r
	}, text)
}

// measure returns the width of a text in points. In an SVG, letters that Liberation lacks because they are an em
// wide (Chinese, Japanese, Korean, emoji) come from another font, and are counted as such.
func (c *canvas) measure(style textStyle, text string) float64 {
	wide := 0
	narrow := strings.Map(func(r rune) rune {
		if displayWidth(r) == 2 {
			wide++
			return -1
		}
		return r
	}, c.readable(style, text))
	face := c.face(style)
	return face.Width(narrow).Points() + float64(wide)*style.size
}

// shorten cuts a text to a width in points, with an ellipsis.
func (c *canvas) shorten(style textStyle, text string, width float64) string {
	return ellipsis(text, "…", func(s string) bool { return c.measure(style, s) <= width })
}

func (c *canvas) face(style textStyle) font.Face {
	f := font.Font{Typeface: "Liberation", Variant: "Sans"}
	if style.bold {
		f.Weight = xfont.WeightBold
	}
	return c.fonts.Lookup(f, vg.Points(style.size))
}

// windows1252 returns text in the encoding of gonum's PDF fonts; ok is false where a letter is not in it.
func windows1252(text string) (encoded string, ok bool) {
	out := make([]byte, 0, len(text))
	for _, r := range text {
		switch {
		case r < 0x80 || r >= 0xa0 && r <= 0xff:
			out = append(out, byte(r))
		case windows1252High[r] != 0:
			out = append(out, windows1252High[r])
		default:
			return "", false
		}
	}
	return string(out), true
}

// windows1252High holds the letters that code page 1252 has at 0x80 to 0x9f, where Latin-1 has none.
var windows1252High = map[rune]byte{
	'€': 0x80, '‚': 0x82, 'ƒ': 0x83, '„': 0x84, '…': 0x85, '†': 0x86, '‡': 0x87, 'ˆ': 0x88, '‰': 0x89, 'Š': 0x8a,
	'‹': 0x8b, 'Œ': 0x8c, 'Ž': 0x8e, '‘': 0x91, '’': 0x92, '“': 0x93, '”': 0x94, '•': 0x95, '–': 0x96, '—': 0x97,
	'˜': 0x98, '™': 0x99, 'š': 0x9a, '›': 0x9b, 'œ': 0x9c, 'ž': 0x9e, 'Ÿ': 0x9f,
}
