package chart

import (
	"fmt"
	"math"
	"strings"
)

// plot is a pair of axes with room for dots between them.
type plot struct {
	*dots
	x, y   axis
	below  string // what the x axis counts
	gutter int    // columns of the y labels
}

// newPlot returns an empty plot of some rows for a graph, as wide as the terminal allows; nil where that is too narrow.
func (t *terminal) newPlot(rows int, g *graph) *plot {
	y := g.yAxis(max(2, rows/2))
	gutter := width(string(g.x))
	for _, text := range y.labels() {
		gutter = max(gutter, width(text))
	}
	columns := t.opt.Columns - gutter - 2
	if columns < 4 {
		t.narrow = true
		return nil
	}
	return &plot{newDots(columns, rows, t.opt.Unicode), g.xAxis(columns / 12), y, string(g.x), gutter}
}

// place returns the dot of a point, which may lie outside the axes.
func (p *plot) place(at Point) (x, y int) {
	across, down := p.size()
	return dotAt(p.x.at(at.X), across), dotAt(1-p.y.at(at.Y), down)
}

// dotAt returns the dot at a share of n dots, as far off as an int can be trusted to tell.
func dotAt(share float64, n int) int {
	const far = 1e9
	if !(share > -far) { // also what is no number
		share = -far
	}
	return int(math.Round(min(share, far) * float64(n-1)))
}

// stroke is how a curve is drawn.
type stroke int

const (
	dotted stroke = iota // one dot a point
	dashed
	joined
)

// curve draws points in a style.
func (p *plot) curve(points []Point, rank int, sgr string, ascii rune, style stroke) {
	across, _ := p.size()
	column := func(v float64) int { return dotAt(p.x.at(v), across) }
	for _, part := range strokes(decimate(onAxis(points, p.y), column)) {
		px, py := p.place(part[0])
		p.set(px, py, rank, sgr, ascii)
		for _, at := range part[1:] {
			x, y := p.place(at)
			if style == dotted {
				p.set(x, y, rank, sgr, ascii)
			} else {
				p.line(px, py, x, y, rank, sgr, ascii, style == dashed)
			}
			px, py = x, y
		}
	}
}

// letters puts a run's letter on its line in two places, other ones than any other run's.
func (t *terminal) letters(p *plot, points []Point, run int) {
	points = solid(onAxis(points, p.y))
	if len(points) == 0 {
		return
	}
	for _, k := range [2]int{run, run + len(t.runs)} {
		x, y := p.place(points[(2*k+1)*len(points)/(4*len(t.runs))])
		p.put(x, y, t.letter(run), t.sgr(run))
	}
}

// addPlot adds the plot's lines: labels and dots, then the step axis.
func (t *terminal) addPlot(p *plot) {
	labels := make([]string, p.rows)
	for i, text := range p.y.labels() {
		line := int(math.Round((1 - p.y.at(p.y.Ticks[i])) * float64(p.rows-1)))
		if line >= 0 && line < p.rows {
			labels[line] = text
		}
	}
	for y := range p.rows {
		var r row
		r.write(fmt.Sprintf("%*s ", p.gutter, labels[y]), sgrMuted)
		bar := t.either("│", "|")
		if labels[y] != "" {
			bar = t.either("┤", "+")
		}
		r.write(bar, sgrMuted)
		t.add(append(r, p.row(y)...))
	}

	base := make([]string, p.columns)
	for i := range base {
		base[i] = t.either("─", "-")
	}
	var numbers row
	numbers.write(fmt.Sprintf("%*s", p.gutter, p.below), sgrMuted)
	for i, text := range p.x.labels() {
		at := int(math.Round(p.x.at(p.x.Ticks[i]) * float64(p.columns-1)))
		from := p.gutter + 2 + at - len(text)/2
		from = max(min(from, t.opt.Columns-len(text)), p.gutter+1)
		if i > 0 && from < len(numbers)+1 {
			continue
		}
		base[at] = t.either("┬", "+")
		numbers.pad(from)
		numbers.write(text, sgrMuted)
	}
	var axis row
	axis.write(strings.Repeat(" ", p.gutter+1)+t.either("└", "+")+strings.Join(base, ""), sgrMuted)
	t.add(axis)
	t.add(numbers)
}
