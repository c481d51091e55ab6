package chart

import (
	"math"
	"slices"
	"strings"
)

const (
	axisNameSpace = 30.0 // above the axes
	tickGap       = 7.0  // between an axis and what is written beside it
	ribbonWidth   = 7.0  // of the colours along the result's axis
)

// draw draws lines, then axes, then labels, so that nothing covers what is to be read.
func (p *parallel) draw(f *figure) {
	area := box{margin, margin + titleSpace + summarySpace + axisNameSpace, f.width - margin, f.height - margin}
	style := textStyle{textSize, false, f.theme.muted}
	strong := textStyle{textSize, true, f.theme.text}
	room, limit := p.rooms(f, style, strong, area.width())
	xs := p.places(f, strong, area, room)

	heights := p.heights(area)
	for _, i := range p.order {
		p.line(f, i, xs, heights)
	}
	for k := range p.axes {
		p.axis(f, k, xs[k], area)
	}
	for k := range p.axes {
		p.name(f, k, xs, area, strong)
		p.labels(f, k, xs[k], area, heights[k], style, strong, limit)
	}
}

// rooms returns how much is written left of the first axis and right of the last, and how wide a label may be.
func (p *parallel) rooms(f *figure, style, strong textStyle, width float64) (room [2]float64, limit float64) {
	limit = min(150, 0.62*width/float64(len(p.axes)))
	for _, t := range p.axes[0].ticks {
		room[0] = max(room[0], f.measure(strong, f.shorten(strong, t.text, limit)))
	}
	last := len(p.axes) - 1
	for _, t := range p.axes[last].ticks {
		room[1] = max(room[1], f.measure(style, f.shorten(style, t.text, limit)))
	}
	if p.best >= 0 {
		room[1] = max(room[1], f.measure(strong, f.shorten(strong, p.written(p.best, last), limit)))
	}
	return room, limit
}

// places returns where the axes stand.
func (p *parallel) places(f *figure, strong textStyle, area box, room [2]float64) []float64 {
	last := len(p.axes) - 1
	left, right := area.Left+room[0]+tickGap, area.Right-room[1]-tickGap-ribbonWidth
	// The names are centred on their axes, so the outer ones need half their width, as far as that is reasonable.
	half := func(k int) float64 { return min(60, f.measure(strong, p.axes[k].Name)/2) }
	left, right = max(left, area.Left+half(0)), min(right, area.Right-half(last))
	xs := make([]float64, len(p.axes))
	for k := range xs {
		xs[k] = left + float64(k)/float64(last)*(right-left)
	}
	return xs
}

// heights returns, for every axis and line, where on the canvas the line crosses the axis; NaN where it does not.
func (p *parallel) heights(area box) [][]float64 {
	out := make([][]float64, len(p.axes))
	for k, a := range p.axes {
		out[k] = make([]float64, len(p.lines))
		shared := map[float64][]int{} // the lines at a height, from the worst to the best
		for _, i := range p.order {
			out[k][i] = area.Bottom - a.at[i]*area.height()
			if !math.IsNaN(a.at[i]) {
				shared[a.at[i]] = append(shared[a.at[i]], i)
			}
		}
		if !a.spread {
			continue
		}
		band := a.band(area.height())
		for _, lines := range shared {
			for n, i := range lines {
				if len(lines) > 1 {
					out[k][i] += band * (0.5 - float64(n)/float64(len(lines)-1))
				}
			}
		}
	}
	return out
}

// band is how far apart the lines lie that share a value, in points.
func (a *parallelAxis) band(height float64) float64 {
	narrowest := 1.0
	for i := range a.ticks[1:] {
		narrowest = min(narrowest, math.Abs(a.ticks[i+1].at-a.ticks[i].at))
	}
	return min(bandMost, bandShare*narrowest*height)
}

// line draws one trial, as far as it has values.
func (p *parallel) line(f *figure, i int, xs []float64, heights [][]float64) {
	style := lineStyle{width: 1.3, color: f.theme.result(p.good[i])}
	switch {
	case math.IsNaN(p.good[i]):
		style = lineStyle{width: 1, color: f.theme.axis}
	case i == p.best:
		style.width = 3.4
	case len(p.lines) > 60:
		style.width = 0.8
	}
	for _, part := range strokes(crossings(xs, heights, i)) {
		f.wave(part, style)
		if i == p.best {
			for _, at := range part {
				f.circle(at.X, at.Y, 4.6, f.theme.background)
				f.circle(at.X, at.Y, 3.4, style.color)
			}
		}
	}
}

// crossings returns where a line crosses the axes.
func crossings(xs []float64, heights [][]float64, line int) []Point {
	out := make([]Point, len(xs))
	for k, x := range xs {
		out[k] = Point{x, heights[k][line]}
	}
	return out
}

// axis draws a setting's axis as a line, with a thicker piece where lines share a value, and the result's as the colours
// that stand for it.
func (p *parallel) axis(f *figure, k int, x float64, area box) {
	a := &p.axes[k]
	style := lineStyle{width: 1, color: f.theme.axis}
	if k < len(p.axes)-1 {
		f.straight(x, area.Top, x, area.Bottom, style)
		for _, t := range a.ticks {
			y := area.Bottom - t.at*area.height()
			f.straight(x-4, y, x, y, style)
		}
		return
	}
	const pieces = 60
	low, high := 1.0, 0.0
	for _, at := range a.at {
		if !math.IsNaN(at) {
			low, high = min(low, at), max(high, at)
		}
	}
	f.straight(x, area.Top, x, area.Bottom, style)
	for n := pieces; n > 0; n-- {
		good := 1 - (float64(n)-0.5)/pieces
		if a.HigherIsBetter {
			good = 1 - good
		}
		// Each piece reaches down to the end, or the edges between them would show.
		top := low + (high-low)*float64(n)/pieces
		f.rectangle(box{x, area.Bottom - top*area.height(), x + ribbonWidth, area.Bottom - low*area.height()},
			f.theme.result(good))
	}
}

// name writes an axis' name above it, without its first words where there is no room for them.
func (p *parallel) name(f *figure, k int, xs []float64, area box, style textStyle) {
	room := 2 * min(xs[k]-margin/2, f.width-margin/2-xs[k])
	if len(xs) > 1 {
		room = min(room, xs[1]-xs[0]-10)
	}
	text := p.axes[k].Name
	for f.measure(style, text) > room {
		_, rest, more := strings.Cut(text, ".")
		if !more {
			break
		}
		text = rest
	}
	f.text(xs[k], area.Top-14, 0.5, style, f.shorten(style, text, room))
}

// labels writes an axis' ticks beside it and the value of the best line.
func (p *parallel) labels(f *figure, k int, x float64, area box, heights []float64, style, strong textStyle, limit float64) {
	a, last := &p.axes[k], k == len(p.axes)-1
	var taken []box
	write := func(style textStyle, y float64, text string) {
		text = f.shorten(style, text, limit)
		width := f.measure(style, text)
		left := x - tickGap - width
		if last {
			left = x + ribbonWidth + tickGap
		}
		b := box{left - 2, y - 0.62*textSize, left + width + 2, y + 0.62*textSize}
		if text == "" || slices.ContainsFunc(taken, func(o box) bool { return b.Top < o.Bottom && o.Top < b.Bottom }) {
			return
		}
		taken = append(taken, b)
		f.rectangle(b, f.theme.background) // the lines run behind it
		f.text(left, y+0.35*textSize, 0, style, text)
	}
	best := ""
	if p.best >= 0 && !math.IsNaN(a.at[p.best]) {
		y := area.Bottom - a.at[p.best]*area.height()
		best = p.written(p.best, k)
		write(strong, y, best)
	}
	// The outer ones first: they tell the range.
	for n := range a.ticks {
		t := a.ticks[n/2]
		if n%2 == 1 {
			t = a.ticks[len(a.ticks)-1-n/2]
		}
		write(style, area.Bottom-t.at*area.height(), t.text)
	}
	if len(a.ticks) == 0 {
		write(style, area.Bottom, "-")
	}
}
