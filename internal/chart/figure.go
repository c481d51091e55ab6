package chart

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Format is a kind of picture file.
type Format string

// The formats that Figure writes.
const (
	SVG Format = "svg"
	PNG Format = "png"
	PDF Format = "pdf"
)

// Formats lists every Format.
var Formats = []Format{SVG, PNG, PDF}

// ParseFormat returns the format that a name stands for: a format ("svg"), an extension (".svg"), in either case.
// Its error lists the formats there are.
func ParseFormat(name string) (Format, error) {
	f := Format(strings.ToLower(strings.TrimPrefix(name, ".")))
	if !slices.Contains(Formats, f) {
		return "", fmt.Errorf("chart: unknown format %q (want svg, png or pdf)", name)
	}
	return f, nil
}

// Options says how a figure looks. The zero value is a good figure.
type Options struct {
	// Width and Height in points, which a PNG draws as two pixels each. Default 840 wide, and as high as the
	// runs need.
	Width, Height int
	// Dark puts light lines on a dark background. Default false: white.
	Dark bool
	// Title heads the figure. Default: the name of the run, or how many there are.
	Title string
	View
}

const (
	defaultWidth = 840
	minWidth     = 680    // narrower, the keys of the lower panels would not fit beside their headings
	maxSide      = 10_000 // points; a PNG of this size holds 1.6 GB
	maxRuns      = 60     // past this nobody can tell them apart
)

// Figure writes one picture of runs to w: the kinds of opt under each other, or, without kinds, loss across the top with
// memory and wall time side by side below. The same input gives the same SVG and PNG,
// byte for byte; a PDF carries the time it was made.
//
// Errors: no runs, more than 60, a kind that does not exist, a size too small for them or above 10,000 points, an unknown format, and
// whatever w returns. Nothing is written before the picture is complete.
func Figure(w io.Writer, format Format, runs []Run, opt Options) error {
	if _, err := ParseFormat(string(format)); err != nil {
		return err
	}
	if len(runs) == 0 {
		return fmt.Errorf("chart: no runs to draw")
	}
	if len(runs) > maxRuns {
		return fmt.Errorf("chart: %d runs do not fit one figure (at most %d)", len(runs), maxRuns)
	}
	if opt.Width == 0 {
		opt.Width = defaultWidth
	}
	if opt.Width < minWidth || opt.Width > maxSide {
		return fmt.Errorf("chart: width is %d points, want %d to %d", opt.Width, minWidth, maxSide)
	}
	for _, k := range opt.Kinds {
		if _, err := ParseKind(string(k)); err != nil {
			return err
		}
	}
	title, subtitle := titles(runs, opt.Title)
	rows := timeRows(runs, opt.View)
	plan := layout(len(runs), len(rows), float64(opt.Width), subtitle != "", opt.Kinds)
	if opt.Height == 0 {
		opt.Height = int(math.Ceil(plan.height()))
	}
	if least := int(math.Ceil(plan.leastHeight())); opt.Height < least || opt.Height > maxSide {
		return fmt.Errorf("chart: height is %d points, want %d to %d", opt.Height, least, maxSide)
	}
	plan.stretch(float64(opt.Height))

	return paint(w, format, opt, runs, func(f *figure) string {
		f.header(title, subtitle)
		rows := timeRows(f.runs, opt.View)
		for i, k := range plan.kinds {
			if k == Time {
				f.time(plan.panels[i], rows, opt.By)
				continue
			}
			g := graphOf(k, f.runs, opt.View)
			f.graph(plan.panels[i], &g, len(opt.Kinds) > 0 || k == Loss)
		}
		return title
	})
}

// paint writes a picture of runs that draw draws, once it is complete. draw returns the title.
func paint(w io.Writer, format Format, opt Options, runs []Run, draw func(*figure) string) (err error) {
	colors := light
	if opt.Dark {
		colors = dark
	}
	// The back ends panic where a temporary file cannot be written; a chart must not end a training run.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("chart: draw %s: %v", format, r)
		}
	}()
	f := &figure{
		canvas: newCanvas(format, float64(opt.Width), float64(opt.Height), colors.background),
		theme:  colors, runs: make([]Run, len(runs)),
	}
	for i, r := range runs {
		r.Name = label(r.Name)
		f.runs[i] = r
	}
	title := draw(f)
	if err := f.writeTo(w, title); err != nil {
		return fmt.Errorf("chart: write %s: %w", format, err)
	}
	return nil
}

// figure is a picture being drawn.
type figure struct {
	*canvas
	theme theme
	runs  []Run
}

const (
	margin       = 26.0 // around the figure
	gutter       = 34.0 // between panels
	titleSpace   = 30.0 // the title
	summarySpace = 14.0 // the line below it
	headingSpace = 26.0 // a panel's heading, above its plot
	axisSpace    = 34.0 // tick labels and the axis label, below the plot

	titleSize   = 16.0
	headingSize = 12.0
	textSize    = 10.5
	smallSize   = 9.5
)

// plan says where the panels go: as many as there are kinds under each other, or loss across the top, memory and time side
// by side below.
type plan struct {
	kinds         []Kind
	stacked       bool
	runs          int
	width, header float64
	heights       []float64 // of the plots of every row of panels, without heading and axis
	panels        []box     // whole panels
}

// layout returns the plan for this many runs, with the heights that suit them. bars is how many rows the wall time takes.
func layout(runs, bars int, width float64, subtitle bool, kinds []Kind) plan {
	p := plan{kinds: kinds, stacked: len(kinds) > 0, runs: runs, width: width, header: titleSpace}
	if subtitle {
		p.header += summarySpace
	}
	if !p.stacked {
		p.kinds = []Kind{Loss, Memory, Time}
		p.heights = []float64{max(250, float64(runs)*legendPitch(runs)), max(140, float64(runs)*timePitch)}
		return p
	}
	for _, k := range kinds {
		height := max(210, float64(runs)*legendPitch(runs))
		switch {
		case k == Time:
			height = max(40, float64(bars)*stackedPitch)
		case len(kinds) == 1:
			height = max(290, height)
		}
		p.heights = append(p.heights, height)
	}
	return p
}

// framing returns the height of everything but the plots.
func (p plan) framing() float64 {
	rows := float64(len(p.heights))
	return margin + p.header + rows*(headingSpace+axisSpace) + (rows-1)*gutter/2 + margin/2
}

func (p plan) height() float64 {
	sum := p.framing()
	for _, h := range p.heights {
		sum += h
	}
	return sum
}

// leastHeight is the height below which names or bars would lie on each other.
func (p plan) leastHeight() float64 {
	least := p.height()
	for _, i := range p.elastic() {
		least += max(120, float64(p.runs)*legendPitchTight) - p.heights[i]
	}
	return least
}

// elastic lists the rows that take what height there is: all curves, or the upper row.
func (p plan) elastic() []int {
	if !p.stacked {
		return []int{0}
	}
	var rows []int
	for i, k := range p.kinds {
		if k != Time {
			rows = append(rows, i)
		}
	}
	return rows
}

// stretch fits the plan to a height and places the panels.
func (p *plan) stretch(height float64) {
	rows := p.elastic()
	for more := height - p.height(); len(rows) > 0; rows = rows[1:] {
		share := more / float64(len(rows))
		p.heights[rows[0]] += share
		more -= share
	}
	top := margin + p.header
	for i, h := range p.heights {
		panel := box{margin, top, p.width - margin, top + headingSpace + h + axisSpace}
		top = panel.Bottom + gutter/2
		if !p.stacked && i == 1 {
			half := (panel.width() - gutter) / 2
			p.panels = append(p.panels, box{panel.Left, panel.Top, panel.Left + half, panel.Bottom})
			panel.Left += half + gutter
		}
		p.panels = append(p.panels, panel)
	}
}

// titles returns the figure's title and the line below it, which may be empty.
func titles(runs []Run, title string) (string, string) {
	subtitle := ""
	if len(runs) == 1 {
		subtitle = summary(runs[0])
	}
	switch title = strings.TrimSpace(title); {
	case title != "":
		if len(runs) > 1 {
			subtitle = fmt.Sprintf("%d runs", len(runs))
		}
		return label(title), subtitle
	case len(runs) == 1:
		return label(runs[0].Name), subtitle
	}
	return fmt.Sprintf("%d runs", len(runs)), ""
}

// header writes the title and the line below it.
func (f *figure) header(title, subtitle string) {
	style := textStyle{titleSize, true, f.theme.text}
	f.text(margin, margin+12, 0, style, f.shorten(style, title, f.width-2*margin))
	style = textStyle{textSize, false, f.theme.muted}
	f.text(margin, margin+29, 0, style, f.shorten(style, subtitle, f.width-2*margin))
}

// summary says in one line what a run came to.
func summary(r Run) string {
	var parts []string
	if n := len(solid(pair(r.Steps, r.Loss))); n == 1 {
		parts = append(parts, "1 step")
	} else if n > 1 {
		parts = append(parts, formatCount(n)+" steps")
	}
	if wall := r.Seconds.wall(); wall > 0 {
		parts = append(parts, FormatDuration(wall))
	}
	if raw := solid(pair(r.Steps, r.Loss)); len(raw) == 1 {
		parts = append(parts, "loss "+formatLoss(raw[0].Y))
	} else if len(raw) > 1 {
		parts = append(parts, fmt.Sprintf("loss %s to %s", formatLoss(raw[0].Y), formatLoss(raw[len(raw)-1].Y)))
	}
	if points := solid(r.Validation); len(points) > 1 {
		parts = append(parts, fmt.Sprintf("validation %s to %s",
			formatLoss(points[0].Y), formatLoss(points[len(points)-1].Y)))
	} else if len(points) == 1 {
		parts = append(parts, "validation "+formatLoss(points[0].Y))
	}
	return strings.Join(parts, "  ·  ")
}
