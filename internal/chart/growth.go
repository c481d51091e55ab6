package chart

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
)

// Measured is training at several values of one quantity.
type Measured struct {
	Name            string    // what sets it apart in the figure, such as a dtype
	X               []float64 // the quantity, ascending
	TokensPerSecond []float64
	MemoryBytes     []float64 // at the peak
}

// Growth writes a picture of how speed and memory grow with a quantity that is called label: every measurement as a dot,
// and through the memory a dashed line that fits it best. The same input gives the same SVG and PNG.
//
// Errors: nothing to draw, an unknown format, and whatever w returns.
func Growth(w io.Writer, format Format, title, subtitle, label string, measured []Measured) (err error) {
	if _, err := ParseFormat(string(format)); err != nil {
		return err
	}
	var xs []float64
	var speed, memory float64
	for _, m := range measured {
		for i := range min(len(m.X), len(m.TokensPerSecond), len(m.MemoryBytes)) {
			xs = append(xs, m.X[i])
			speed, memory = max(speed, m.TokensPerSecond[i]), max(memory, m.MemoryBytes[i])
		}
	}
	if len(xs) == 0 {
		return fmt.Errorf("chart: %s: nothing was measured", title)
	}
	defer func() { // as in Figure
		if r := recover(); r != nil {
			err = fmt.Errorf("chart: draw %s: %v", format, r)
		}
	}()
	const width, height = defaultWidth, 320
	f := &figure{canvas: newCanvas(format, width, height, light.background), theme: light}
	f.header(title, subtitle)
	half := (width - 2*margin - gutter) / 2
	top := margin + titleSpace + summarySpace
	left := box{margin, top, margin + half, height - margin/2}
	right := box{margin + half + gutter, top, width - margin, height - margin/2}
	unit, scale := memoryUnit(memory)

	slices.Sort(xs)
	xs = slices.Compact(xs)
	x := axis{High: xs[len(xs)-1] * 1.02, Ticks: xs}
	x.Apart = x.Ticks[0] // labels as precise as the smallest
	f.speedPanel(left, x, speed, label, measured)
	f.heading(right, "Peak memory", unit)
	f.keys(right, right.Left+120, []key{{"best straight line", keyLine, func(at, y float64) {
		f.straight(at, y, at+keyLine, y, fitStyle(f.theme.muted))
	}}})
	y := valueAxis(0, memory/scale, 5)
	plot := f.frame(right, x, y, label)
	for i, m := range measured {
		fit, points := FitLine(m.X, m.MemoryBytes), pair(m.X, m.MemoryBytes)
		ends := []Point{{0, fit.At(0)}, {x.High, fit.At(x.High)}}
		for _, p := range [][]Point{points, ends} {
			for k := range p {
				p[k].Y /= scale
			}
		}
		f.line([]Point{place(ends[0], plot, x, y), place(ends[1], plot, x, y)}, plot, fitStyle(f.theme.run(i)))
		f.marks(points, plot, x, y, f.theme.run(i))
	}
	if err := f.writeTo(w, title); err != nil {
		return fmt.Errorf("chart: write %s: %w", format, err)
	}
	return nil
}

// speedPanel draws tokens a second, with the key of the colours.
func (f *figure) speedPanel(panel box, x axis, highest float64, label string, measured []Measured) {
	from := f.heading(panel, "Speed", "tokens a second")
	keys := make([]key, len(measured))
	for i, m := range measured {
		keys[i] = key{m.Name, keyBox, func(at, y float64) { f.circle(at+keyBox/2, y, 3.5, f.theme.run(i)) }}
	}
	f.keys(panel, from, keys)
	y := valueAxis(0, highest, 5)
	plot := f.frame(panel, x, y, label)
	for i, m := range measured {
		points := pair(m.X, m.TokensPerSecond)
		f.curve(points, plot, x, y, lineStyle{width: 1.8, color: f.theme.run(i)})
		f.marks(points, plot, x, y, f.theme.run(i))
	}
}

// marks draws a dot at every point.
func (f *figure) marks(points []Point, plot box, x, y axis, fill color.RGBA) {
	for _, p := range solid(points) {
		at := place(p, plot, x, y)
		f.circle(at.X, at.Y, 4.2, f.theme.background)
		f.circle(at.X, at.Y, 3.2, fill)
	}
}

func fitStyle(c color.Color) lineStyle { return lineStyle{width: 1.4, dash: besideDash, color: c} }

// memoryUnit is the unit in which an axis that reaches peak bytes has short labels.
func memoryUnit(peak float64) (name string, bytes float64) {
	if peak < 2e9 {
		return "MB", 1e6
	}
	return "GB", 1e9
}

// Fit is a straight line through measurements, by least squares.
type Fit struct {
	Slope, Intercept float64
	Off              float64 // the largest distance of a measurement from the line, over the measurement
}

// At returns the line's value at x.
func (f Fit) At(x float64) float64 { return f.Intercept + f.Slope*x }

// FitLine returns the straight line nearest to ys at xs, level where there is one x only.
func FitLine(xs, ys []float64) Fit {
	n := float64(min(len(xs), len(ys)))
	var x, y, xx, xy float64 // means, then sums of squares about them
	for i := range int(n) {
		x, y = x+xs[i]/n, y+ys[i]/n
	}
	for i := range int(n) {
		xx, xy = xx+(xs[i]-x)*(xs[i]-x), xy+(xs[i]-x)*(ys[i]-y)
	}
	f := Fit{Intercept: y}
	if xx > 0 {
		f.Slope = xy / xx
		f.Intercept = y - f.Slope*x
	}
	for i := range int(n) {
		if ys[i] != 0 {
			f.Off = max(f.Off, math.Abs(f.At(xs[i])-ys[i])/math.Abs(ys[i]))
		}
	}
	return f
}
