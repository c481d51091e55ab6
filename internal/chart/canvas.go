package chart

import (
	"image/color"

	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/font/liberation"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgpdf"
	"gonum.org/v1/plot/vg/vgsvg"
)

// pixelsPerPoint is how finely a PNG is drawn: twice, for the screens that people have.
const pixelsPerPoint = 2

// canvas draws in points from the top left corner, y downwards, on one of gonum/plot's three back ends.
type canvas struct {
	vg     vg.CanvasWriterTo
	format Format
	width  float64
	height float64
	fonts  *font.Cache
	widths []float64 // of every text so far, in points, in the order they were drawn
}

// box is a rectangle of a canvas.
type box struct{ Left, Top, Right, Bottom float64 }

func (b box) width() float64  { return b.Right - b.Left }
func (b box) height() float64 { return b.Bottom - b.Top }

// lineStyle is the width in points, dashes and colour of a line.
type lineStyle struct {
	width float64
	dash  []float64 // lengths of lines and gaps in turn, in widths; nil for none
	color color.Color
}

// The patterns of dashes: what goes with a line, and what runs are told apart by where colours do not do.
var (
	besideDash = []float64{3, 2}
	runDashes  = [][]float64{nil, {5, 1.8}, {1.2, 1.6}, {7, 2, 1.2, 2}, {9, 3}}
)

// newCanvas returns a canvas of width by height points, filled with the background.
func newCanvas(format Format, width, height float64, background color.Color) *canvas {
	w, h := vg.Points(width), vg.Points(height)
	c := &canvas{format: format, width: width, height: height, fonts: font.NewCache(liberation.Collection())}
	switch format {
	case SVG:
		c.vg = vgsvg.New(w, h)
	case PDF:
		c.vg = vgpdf.New(w, h)
	case PNG:
		c.vg = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(w, h), vgimg.UseDPI(72*pixelsPerPoint))}
	}
	c.rectangle(box{0, 0, width, height}, background)
	return c
}

// point turns the top-left origin into gonum's bottom-left one.
func (c *canvas) point(x, y float64) vg.Point {
	return vg.Point{X: vg.Points(x), Y: vg.Points(c.height - y)}
}

// rectangle fills b.
func (c *canvas) rectangle(b box, fill color.Color) {
	c.polygon(fill, Point{b.Left, b.Top}, Point{b.Right, b.Top}, Point{b.Right, b.Bottom}, Point{b.Left, b.Bottom})
}

// polygon fills the shape with these corners.
func (c *canvas) polygon(fill color.Color, corners ...Point) {
	var path vg.Path
	for i, p := range corners {
		if i == 0 {
			path.Move(c.point(p.X, p.Y))
		} else {
			path.Line(c.point(p.X, p.Y))
		}
	}
	path.Close()
	c.vg.SetColor(fill)
	c.vg.Fill(path)
}

// circle fills a disc, as four Bézier curves: every back end draws those alike.
func (c *canvas) circle(x, y, radius float64, fill color.Color) {
	const k = 0.5522847498 // 4/3·(√2-1), the handle length that makes a quarter circle
	r, h := radius, radius*k
	var path vg.Path
	path.Move(c.point(x+r, y))
	path.CubeTo(c.point(x+r, y+h), c.point(x+h, y+r), c.point(x, y+r))
	path.CubeTo(c.point(x-h, y+r), c.point(x-r, y+h), c.point(x-r, y))
	path.CubeTo(c.point(x-r, y-h), c.point(x-h, y-r), c.point(x, y-r))
	path.CubeTo(c.point(x+h, y-r), c.point(x+r, y-h), c.point(x+r, y))
	path.Close()
	c.vg.SetColor(fill)
	c.vg.Fill(path)
}

// diamond fills a square on its corner, with a rim that sets it off from the lines it lies on.
func (c *canvas) diamond(x, y, radius float64, fill, rim color.Color) {
	for _, d := range []struct {
		r    float64
		fill color.Color
	}{{radius + 1.2, rim}, {radius, fill}} {
		c.polygon(d.fill, Point{x, y - d.r}, Point{x + d.r, y}, Point{x, y + d.r}, Point{x - d.r, y})
	}
}

// line strokes points, cut where they leave within.
func (c *canvas) line(points []Point, within box, style lineStyle) {
	path := make([]vg.Point, len(points))
	for i, p := range points {
		path[i] = c.point(p.X, p.Y)
	}
	clip := draw.Canvas{Rectangle: vg.Rectangle{
		Min: c.point(within.Left, within.Bottom),
		Max: c.point(within.Right, within.Top),
	}}
	c.vg.SetColor(style.color)
	c.vg.SetLineWidth(vg.Points(style.width))
	c.vg.SetLineDash(style.lengths(), 0)
	for _, part := range clip.ClipLinesXY(path) {
		var stroke vg.Path
		for i, p := range part {
			if i == 0 {
				stroke.Move(p)
			} else {
				stroke.Line(p)
			}
		}
		c.vg.Stroke(stroke)
	}
}

// wave strokes a curve through points that is level at each of them.
func (c *canvas) wave(points []Point, style lineStyle) {
	var path vg.Path
	for i, p := range points {
		if i == 0 {
			path.Move(c.point(p.X, p.Y))
			continue
		}
		before := points[i-1]
		half := (before.X + p.X) / 2
		path.CubeTo(c.point(half, before.Y), c.point(half, p.Y), c.point(p.X, p.Y))
	}
	c.vg.SetColor(style.color)
	c.vg.SetLineWidth(vg.Points(style.width))
	c.vg.SetLineDash(nil, 0)
	c.vg.Stroke(path)
}

// straight strokes one line between two points.
func (c *canvas) straight(x0, y0, x1, y1 float64, style lineStyle) {
	var path vg.Path
	path.Move(c.point(x0, y0))
	path.Line(c.point(x1, y1))
	c.vg.SetColor(style.color)
	c.vg.SetLineWidth(vg.Points(style.width))
	c.vg.SetLineDash(style.lengths(), 0)
	c.vg.Stroke(path)
}

// lengths returns the dashes as gonum wants them.
func (l lineStyle) lengths() []vg.Length {
	var out []vg.Length
	for _, n := range l.dash {
		out = append(out, vg.Points(n*l.width))
	}
	return out
}
