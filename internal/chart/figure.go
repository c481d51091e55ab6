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
}

const (
	defaultWidth = 840
	minWidth     = 680    // narrower, the keys of the lower panels would not fit beside their headings
	maxSide      = 10_000 // points; a PNG of this size holds 1.6 GB
	maxRuns      = 60     // past this nobody can tell them apart
)

// Figure writes one picture of runs to w: loss, memory and wall time. The same input gives the same SVG and PNG,
// byte for byte; a PDF carries the time it was made.
//
// Errors: no runs, more than 60, a size too small for them or above 10,000 points, an unknown format, and
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
	title, subtitle := titles(runs, opt.Title)
	plan := layout(len(runs), float64(opt.Width), subtitle != "")
	if opt.Height == 0 {
		opt.Height = int(math.Ceil(plan.height()))
	}
	if least := int(math.Ceil(plan.leastHeight())); opt.Height < least || opt.Height > maxSide {
		return fmt.Errorf("chart: height is %d points, want %d to %d", opt.Height, least, maxSide)
	}
	plan.stretch(float64(opt.Height))

	return paint(w, format, opt, runs, func(f *figure) string {
		f.header(title, subtitle)
		f.loss(plan.loss)
		f.memory(plan.memory)
		f.time(plan.time)
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

// plan says where the panels go: loss across the top, memory and time side by side below.
type plan struct {
	runs               int
	width, header      float64
	upper, lower       float64 // heights of the plots, without heading and axis
	loss, memory, time box     // whole panels
}

// layout returns the plan for this many runs, with the heights that suit them.
func layout(runs int, width float64, subtitle bool) plan {
	p := plan{
		runs: runs, width: width, header: titleSpace,
		upper: max(250, float64(runs)*legendPitch(runs)),
		lower: max(140, float64(runs)*timePitch),
	}
	if subtitle {
		p.header += summarySpace
	}
	return p
}

// framing returns the height of everything but the plots.
func (p plan) framing() float64 {
	return margin + p.header + headingSpace + axisSpace + gutter/2 + headingSpace + axisSpace + margin/2
}

func (p plan) height() float64 { return p.framing() + p.upper + p.lower }
func (p plan) leastHeight() float64 {
	return p.framing() + max(120, float64(p.runs)*legendPitchTight) + p.lower
}

// stretch fits the plan to a height: the loss panel takes what there is.
func (p *plan) stretch(height float64) {
	p.upper = height - p.framing() - p.lower
	top := margin + p.header
	middle := top + headingSpace + p.upper + axisSpace + gutter/2
	bottom := middle + headingSpace + p.lower + axisSpace
	half := (p.width - 2*margin - gutter) / 2
	p.loss = box{margin, top, p.width - margin, middle - gutter/2}
	p.memory = box{margin, middle, margin + half, bottom}
	p.time = box{margin + half + gutter, middle, p.width - margin, bottom}
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
