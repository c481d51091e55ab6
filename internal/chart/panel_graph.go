package chart

import (
	"image/color"
	"math"
)

// ticksApart is how much of the width a tick takes, in points.
func (g *graph) ticksApart() float64 {
	switch {
	case g.x == ByTime:
		return 80
	case g.kind == Memory:
		return 60
	}
	return 70
}

// graph draws a panel of curves: single steps faint, then lines, then marks above all of them.
func (f *figure) graph(panel box, g *graph, legend bool) {
	right := f.heading(panel, g.title, g.unit)
	if !g.found {
		f.empty(panel, g.nothing)
		return
	}
	right = f.note(panel, right, g.note)
	f.graphKeys(panel, right, g)
	if legend && len(f.runs) > 1 {
		panel.Right -= f.legend(panel, g.values)
	}
	count := 6
	if g.kind == Memory {
		count = 5
	}
	x, y := g.xAxis(int(panel.width()/g.ticksApart())), g.yAxis(count)
	plot := f.frame(panel, x, y, quantityName(g.x))
	for _, l := range g.levels {
		f.level(plot, y, l)
	}
	if g.showsSteps() {
		for i, points := range g.faint {
			f.curve(points, plot, x, y, lineStyle{width: 0.9, color: f.faint(i)})
		}
	}
	for i, points := range g.lines {
		f.curve(points, plot, x, y, f.runLine(i, g.lineWidth()))
		if g.dashes != nil {
			f.curve(g.dashes[i], plot, x, y, lineStyle{width: g.lineWidth(), dash: besideDash, color: f.theme.run(i)})
		}
	}
	size := 4.0
	if len(f.runs) > 5 {
		size = 3.2
	}
	for i, marks := range g.marks {
		for _, p := range extremesByColumn(marks, plot, x) {
			if at := place(p, plot, x, y); at.Y >= plot.Top-0.01 {
				f.diamond(at.X, at.Y, size, f.theme.run(i), f.theme.background)
			}
		}
	}
	f.spots(plot, x, g)
}

func (g *graph) lineWidth() float64 {
	if g.kind == Memory {
		return 1.8
	}
	return 2
}

// level draws a line across the plot; its words are among the keys.
func (f *figure) level(plot box, y axis, l level) {
	at := plot.Bottom - y.at(l.y)*plot.height()
	if !(at >= plot.Top && at <= plot.Bottom) {
		return
	}
	tone := f.theme.muted
	if l.run >= 0 && len(f.runs) > 1 {
		tone = f.theme.run(l.run)
	}
	f.straight(plot.Left, at, plot.Right, at, lineStyle{width: 1, dash: []float64{5, 3}, color: tone})
}

// spots draws a line down the plot at every place, and its words where there is one place only: the legend has those of
// the others.
func (f *figure) spots(plot box, x axis, g *graph) {
	for _, s := range g.places {
		at := plot.Left + x.at(s.x)*plot.width()
		tone := f.theme.text
		if len(f.runs) > 1 {
			tone = f.theme.run(s.run)
		}
		f.straight(at, plot.Top, at, plot.Bottom, lineStyle{width: 1.2, dash: []float64{3, 2}, color: tone})
	}
	if len(g.places) != 1 {
		return
	}
	s, style := g.places[0], textStyle{textSize, true, f.theme.text}
	at, width := plot.Left+x.at(s.x)*plot.width(), f.measure(style, s.text)
	left := at + 6
	if left+width > plot.Right {
		left = at - 6 - width
	}
	f.rectangle(box{left - 3, plot.Top + 1, left + width + 3, plot.Top + 17}, f.theme.background)
	f.text(left, plot.Top+13, 0, style, s.text)
}

// extremesByColumn thins markers that would cover each other.
func extremesByColumn(points []Point, plot box, x axis) []Point {
	return decimate(points, func(v float64) int { return int(x.at(v) * plot.width() / 4) })
}

// graphKeys explains what the panel draws, as far as there is more than one thing.
func (f *figure) graphKeys(panel box, from float64, g *graph) {
	tone := f.theme.muted
	if len(f.runs) == 1 && g.kind != Memory {
		tone = f.theme.run(0)
	}
	line := func(text string, style lineStyle) key {
		return key{text, keyLine, func(x, y float64) { f.straight(x, y, x+keyLine, y, style) }}
	}
	var keys []key
	if g.keys.faint != "" && g.showsSteps() {
		keys = append(keys, line(g.keys.faint, lineStyle{width: 0.9, color: mix(tone, f.theme.background, f.theme.faint)}))
	}
	if g.keys.lines != "" {
		keys = append(keys, line(g.keys.lines, lineStyle{width: g.lineWidth(), color: tone}))
	}
	if g.keys.dashes != "" {
		keys = append(keys, line(g.keys.dashes, lineStyle{width: g.lineWidth(), dash: besideDash, color: tone}))
	}
	for _, l := range g.levels {
		tone := f.theme.muted
		if l.run >= 0 && len(f.runs) > 1 {
			tone = f.theme.run(l.run)
		}
		keys = append(keys, line(l.text, lineStyle{width: 1, dash: []float64{5, 3}, color: tone}))
	}
	if g.keys.marks != "" {
		keys = append(keys, key{g.keys.marks, keyBox, func(x, y float64) {
			f.diamond(x+keyBox/2, y, 4, tone, f.theme.background)
		}})
	}
	f.keys(panel, from, keys)
}

// faint returns the colour of a run's single steps, fainter the more of them cover each other.
func (f *figure) faint(run int) color.RGBA {
	share := f.theme.faint
	if len(f.runs) > 3 {
		share /= 2
	}
	return mix(f.theme.run(run), f.theme.background, share)
}

// curve draws points in plot: lines where there are neighbours, dots where a point stands alone.
func (f *figure) curve(points []Point, plot box, x, y axis, style lineStyle) {
	column := func(v float64) int { return int(math.Round(x.at(v) * plot.width())) }
	for _, stroke := range strokes(decimate(onAxis(points, y), column)) {
		placed := make([]Point, len(stroke))
		for i, p := range stroke {
			placed[i] = place(p, plot, x, y)
		}
		if len(placed) > 1 {
			f.line(placed, plot, style)
		} else if p := placed[0]; p.Y >= plot.Top-0.01 && p.Y <= plot.Bottom+0.01 {
			f.circle(p.X, p.Y, style.width+0.8, style.color)
		}
	}
}

// onAxis makes gaps of what a logarithmic axis has no place for.
func onAxis(points []Point, y axis) []Point {
	if !y.Log {
		return points
	}
	out := make([]Point, len(points))
	for i, p := range points {
		if out[i] = p; p.Y <= 0 {
			out[i].Y = math.NaN()
		}
	}
	return out
}
