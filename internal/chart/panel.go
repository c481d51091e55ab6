package chart

import "math"

// heading writes a panel's title and its unit and returns where that ends.
func (f *figure) heading(panel box, title, unit string) (right float64) {
	bold := textStyle{headingSize, true, f.theme.text}
	plain := textStyle{textSize, false, f.theme.muted}
	y := panel.Top + 11
	f.text(panel.Left, y, 0, bold, title)
	x := panel.Left + f.measure(bold, title)
	if unit != "" {
		x += 6
		f.text(x, y, 0, plain, unit)
		x += f.measure(plain, unit)
	}
	return x
}

// note writes a remark right of a panel's heading and returns where it ends.
func (f *figure) note(panel box, from float64, text string) (right float64) {
	if text == "" {
		return from
	}
	style := textStyle{smallSize, false, f.theme.muted}
	f.text(from+14, panel.Top+11, 0, style, text)
	return from + 14 + f.measure(style, text)
}

// key is one sample of a mark and what it means.
type key struct {
	text  string
	width float64            // of the mark, in points
	mark  func(x, y float64) // draws from x to the right, around y
}

const (
	keyLine     = 16.0 // a sample of a line
	keyBox      = 9.0  // a sample of a filled area, or a marker
	keyGap      = 14.0
	keyGapTight = 8.0
)

// advance returns the width of a key, without the gap to the next.
func (f *figure) advance(k key, style textStyle) float64 {
	return k.width + 5 + f.measure(style, k.text)
}

// keys writes samples, flush right, at the height of the panel's heading: closer together where room is short, and
// without the first ones where it is too short for that.
func (f *figure) keys(panel box, from float64, keys []key) {
	style := textStyle{smallSize, false, f.theme.muted}
	length := func(gap float64) float64 {
		sum := 0.0
		for _, k := range keys {
			sum += gap + f.advance(k, style)
		}
		return sum
	}
	gap := keyGap
	if length(gap) > panel.Right-from {
		gap = keyGapTight
	}
	for len(keys) > 0 && length(gap) > panel.Right-from {
		keys = keys[1:]
	}
	left := panel.Right - length(gap) + gap
	for _, k := range keys {
		k.mark(left, panel.Top+7.5)
		f.text(left+k.width+5, panel.Top+11, 0, style, k.text)
		left += f.advance(k, style) + gap
	}
}

// frame draws the grid, the ticks' labels and the base line with what it counts, and returns the part that is left for data.
func (f *figure) frame(panel box, x, y axis, label string) box {
	style := textStyle{textSize, false, f.theme.muted}
	room := 0.0
	for _, text := range y.labels() {
		room = max(room, f.measure(style, text))
	}
	plot := box{panel.Left + room + 8, panel.Top + headingSpace, panel.Right, panel.Bottom - axisSpace}
	for i, text := range y.labels() {
		at := plot.Bottom - y.at(y.Ticks[i])*plot.height()
		f.straight(plot.Left, at, plot.Right, at, lineStyle{width: 0.8, color: f.theme.grid})
		f.text(plot.Left-8, at+0.35*textSize, 1, style, text)
	}
	f.stepTicks(plot, x, style, label)
	return plot
}

// stepTicks draws the x axis below plot.
func (f *figure) stepTicks(plot box, x axis, style textStyle, label string) {
	f.straight(plot.Left, plot.Bottom, plot.Right, plot.Bottom, lineStyle{width: 1, color: f.theme.axis})
	end := math.Inf(-1) // of the label before
	for i, text := range x.labels() {
		at := plot.Left + x.at(x.Ticks[i])*plot.width()
		width := f.measure(style, text)
		left := min(max(at-width/2, 0), f.width-margin/2-width) // never cut
		if left < end+8 {
			continue
		}
		f.straight(at, plot.Bottom, at, plot.Bottom+4, lineStyle{width: 1, color: f.theme.axis})
		f.text(left, plot.Bottom+15, 0, style, text)
		end = left + width
	}
	f.text((plot.Left+plot.Right)/2, plot.Bottom+29, 0.5, style, label)
}

// empty says, in the middle of a panel, that there is nothing to draw.
func (f *figure) empty(panel box, text string) {
	plot := box{panel.Left, panel.Top + headingSpace, panel.Right, panel.Bottom - axisSpace}
	f.straight(plot.Left, plot.Bottom, plot.Right, plot.Bottom, lineStyle{width: 1, color: f.theme.axis})
	f.text((plot.Left+plot.Right)/2, (plot.Top+plot.Bottom)/2, 0.5, textStyle{textSize, false, f.theme.muted}, text)
}

// place returns where a point of data lies on the canvas.
func place(p Point, plot box, x, y axis) Point {
	return Point{plot.Left + x.at(p.X)*plot.width(), plot.Bottom - y.at(p.Y)*plot.height()}
}
