package chart

import (
	"image/color"
	"math"
)

// theme is the set of colours of a figure.
type theme struct {
	background color.RGBA
	text       color.RGBA // titles and names
	muted      color.RGBA // tick labels, units
	grid       color.RGBA
	axis       color.RGBA
	runs       []color.RGBA           // one a run, repeating
	phases     [phaseCount]color.RGBA // load, train, evaluate, save, other
	faint      float64                // share of a run's colour in its single steps
	results    []color.RGBA           // from the best result of a sweep to the worst
}

// The runs' colours are those of Okabe and Ito, "Color Universal Design", 2008, which people with any common
// colour blindness can tell apart, without its yellow (too light for a line) and followed by five of Paul Tol's
// muted scheme (Technical Note SRON/EPS/TN/09-002, 2021) for more than seven runs. Twelve hues are more than a colour-blind
// eye can tell apart, seven are not: the lines of the other five are dashed.
// Results go from blue to orange, two hues that no common colour blindness takes for each other.
// The phases' colours are greys around one strong tone: colour means the run, everywhere else in the figure.
var (
	light = theme{
		background: rgb(0xffffff), text: rgb(0x1b1f24), muted: rgb(0x5f6b7a), grid: rgb(0xe6e9ee), axis: rgb(0xaab2bd),
		runs: []color.RGBA{
			rgb(0x0072b2), rgb(0xd55e00), rgb(0x009e73), rgb(0xcc79a7), rgb(0xe69f00), rgb(0x56b4e9), rgb(0x4d4d4d),
			rgb(0x882255), rgb(0x44aa99), rgb(0x332288), rgb(0x999933), rgb(0xaa4499),
		},
		phases:  [phaseCount]color.RGBA{rgb(0xb9c4d0), rgb(0x3d5a80), rgb(0x7fa6c9), rgb(0xe0a458), rgb(0xe6e9ee)},
		faint:   0.36,
		results: []color.RGBA{rgb(0x00489d), rgb(0x3a8fc4), rgb(0x9fb8b0), rgb(0xe5ad5c), rgb(0xd0561d)},
	}
	dark = theme{
		background: rgb(0x0f141a), text: rgb(0xe8ecf1), muted: rgb(0x98a4b3), grid: rgb(0x232b35), axis: rgb(0x4a5564),
		runs: []color.RGBA{
			rgb(0x4aa8e0), rgb(0xf08a3c), rgb(0x35c79a), rgb(0xe39cc4), rgb(0xf2c14e), rgb(0x9ad4f5), rgb(0x7d8590),
			rgb(0xc65a8a), rgb(0x6fd0c0), rgb(0x9a8cf0), rgb(0xc6c65a), rgb(0xd98ad9),
		},
		phases:  [phaseCount]color.RGBA{rgb(0x5c6b7c), rgb(0x7ba3d4), rgb(0x4a6c94), rgb(0xd9a55f), rgb(0x2a333e)},
		faint:   0.42,
		results: []color.RGBA{rgb(0x6cc5ff), rgb(0x4a97cf), rgb(0x7f8c8d), rgb(0xb9803a), rgb(0xe07a2f)},
	}
)

func (t theme) run(i int) color.RGBA { return t.runs[i%len(t.runs)] }

// result returns the colour of a result: 0 is the worst, 1 the best; grey for NaN.
func (t theme) result(good float64) color.RGBA {
	if math.IsNaN(good) {
		return t.axis
	}
	at := min(max(1-good, 0), 1) * float64(len(t.results)-1)
	k := min(int(at), len(t.results)-2)
	return mix(t.results[k+1], t.results[k], at-float64(k))
}

func rgb(hex uint32) color.RGBA {
	return color.RGBA{uint8(hex >> 16), uint8(hex >> 8), uint8(hex), 0xff}
}

// mix returns c laid over under, share of it. Mixed colours are opaque: gonum's back ends disagree on
// translucent ones.
func mix(c, under color.RGBA, share float64) color.RGBA {
	blend := func(a, b uint8) uint8 { return uint8(math.Round(float64(a)*share + float64(b)*(1-share))) }
	return color.RGBA{blend(c.R, under.R), blend(c.G, under.G), blend(c.B, under.B), 0xff}
}
