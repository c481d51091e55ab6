package chart

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Expense is a machine that training is paid on.
type Expense struct {
	Name    string
	Upfront float64 // paid before the first hour
	PerHour float64 // for each hour of work of the machine that was bought
	// Assumed says that PerHour rests on a speed that nobody knows: its line is dashed.
	Assumed bool
}

// at is what was paid after so many hours.
func (e Expense) at(hours float64) float64 { return e.Upfront + hours*e.PerHour }

// meets returns after how many hours two have cost the same, infinite where they never do.
func (e Expense) meets(other Expense) float64 {
	if hours := (e.Upfront - other.Upfront) / (other.PerHour - e.PerHour); hours > 0 {
		return hours
	}
	return math.Inf(1)
}

const (
	maxExpenses      = 30
	costLegendWidth  = 190.0
	costHeight       = 380
	costLegendPitch  = 30.0
	costRoomAtTheTop = 1.35 // of what the machine that was bought costs in the end: steeper lines leave the picture
)

// CostFigure writes a picture of what training costs over its hours: a machine that was bought, with its price before the
// first hour, against rented ones. Where a rented one begins to be dearer is marked. Amounts are in currency, a label; hours
// is where the picture ends, such as the life of the machine. The same input gives the same SVG and PNG.
//
// Errors: no hours or an amount that is no number, more than 30 rented machines, a size that is too small or above 10,000
// points, an unknown format, and whatever w returns.
func CostFigure(w io.Writer, format Format, own Expense, rented []Expense, hours float64, currency string, opt Options) error {
	if err := checkCost(format, own, rented, hours, &opt); err != nil {
		return err
	}
	return paint(w, format, opt, nil, func(f *figure) string {
		title := strings.TrimSpace(opt.Title)
		if title == "" {
			title = "Bought or rented"
		}
		title = label(title)
		f.header(title, "")
		f.costs(box{margin, margin + titleSpace, f.width - margin, f.height - margin/2}, own, rented, hours, currency)
		return title
	})
}

// checkCost refuses what cannot be drawn, and gives a size to a picture that has none.
func checkCost(format Format, own Expense, rented []Expense, hours float64, opt *Options) error {
	if _, err := ParseFormat(string(format)); err != nil {
		return err
	}
	if !(hours > 0) || math.IsInf(hours, 1) {
		return fmt.Errorf("chart: %g hours, want some", hours)
	}
	if len(rented) > maxExpenses {
		return fmt.Errorf("chart: %d rented machines do not fit one figure (at most %d)", len(rented), maxExpenses)
	}
	for _, e := range append([]Expense{own}, rented...) {
		if !finite(e.at(hours)) {
			return fmt.Errorf("chart: what %q costs is not known", e.Name)
		}
	}
	least := int(margin + titleSpace + headingSpace + axisSpace + margin/2 + costLegendPitch*float64(len(rented)+2))
	if opt.Width == 0 {
		opt.Width = defaultWidth
	}
	if opt.Height == 0 {
		opt.Height = max(costHeight, least)
	}
	if opt.Width < minWidth || opt.Width > maxSide {
		return fmt.Errorf("chart: width is %d points, want %d to %d", opt.Width, minWidth, maxSide)
	}
	if opt.Height < least || opt.Height > maxSide {
		return fmt.Errorf("chart: height is %d points, want %d to %d", opt.Height, least, maxSide)
	}
	return nil
}

// costs draws the only panel.
func (f *figure) costs(panel box, own Expense, rented []Expense, hours float64, currency string) {
	f.heading(panel, "Paid so far", label(currency))
	highest := own.at(hours)
	for _, e := range rented {
		highest = max(highest, min(e.at(hours), own.at(hours)*costRoomAtTheTop))
	}
	legend := panel
	panel.Right -= costLegendWidth + gutter/2
	legend.Left = panel.Right + gutter/2
	x, y := valueAxis(0, hours, int(panel.width()/75)), valueAxis(0, highest, 6)
	plot := f.frame(panel, x, y, "hours of training on the machine that was bought")
	at := func(h, paid float64) Point { return place(Point{h, paid}, plot, x, y) }
	for i, e := range rented {
		style := lineStyle{width: 1.8, color: f.theme.run(i + 1)}
		if e.Assumed {
			style.dash = besideDash
		}
		f.line([]Point{at(0, e.Upfront), at(hours, e.at(hours))}, plot, style)
	}
	f.line([]Point{at(0, own.Upfront), at(hours, own.at(hours))}, plot, lineStyle{width: 2.8, color: f.theme.run(0)})
	f.crossings(plot, own, rented, hours, at)
	f.costLegend(legend, own, rented, hours, slices.ContainsFunc(rented, func(e Expense) bool { return e.Assumed }))
}

// crossings marks where a rented machine begins to be dearer, with the hours where there is room for them.
func (f *figure) crossings(plot box, own Expense, rented []Expense, hours float64, at func(hours, paid float64) Point) {
	style := textStyle{smallSize, false, f.theme.text}
	order := make([]int, len(rented))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(own.meets(rented[a]), own.meets(rented[b])) })
	end := plot.Left // of the hours before
	for _, i := range order {
		h := own.meets(rented[i])
		if h > hours {
			break
		}
		p := at(h, own.at(h))
		f.straight(p.X, p.Y, p.X, plot.Bottom, lineStyle{width: 0.9, dash: besideDash, color: mix(f.theme.run(i+1), f.theme.background, 0.6)})
		f.circle(p.X, p.Y, 5.2, f.theme.background)
		f.circle(p.X, p.Y, 4, f.theme.run(i+1))
		text := formatCount(int(math.Round(h))) + " h"
		if left := p.X - 4 - f.measure(style, text); left > end+4 {
			f.rectangle(box{left - 2, p.Y - 17, p.X - 3, p.Y - 5}, f.theme.background) // lines that pass would cut it
			f.text(left, p.Y-8, 0, style, text)
			end = p.X + 5
		}
	}
}

// costLegend names the lines, with their prices and where buying begins to pay.
func (f *figure) costLegend(panel box, own Expense, rented []Expense, hours float64, assumed bool) {
	name, value := textStyle{textSize, false, f.theme.text}, textStyle{smallSize, false, f.theme.muted}
	y := panel.Top + headingSpace + 8
	entry := func(i int, title, text string) {
		f.circle(panel.Left+4, y-3.6, 4, f.theme.run(i))
		f.text(panel.Left+14, y, 0, name, f.shorten(name, label(title), panel.width()-14))
		f.text(panel.Left+14, y+12.5, 0, value, f.shorten(value, text, panel.width()-14))
		y += costLegendPitch
	}
	entry(0, own.Name, fmt.Sprintf("%s, then %s an hour", FormatAmount(own.Upfront), FormatAmount(own.PerHour)))
	for i, e := range rented {
		text := FormatAmount(e.PerHour) + " an hour"
		switch h := own.meets(e); {
		case math.IsInf(h, 1):
			text += " · always cheaper"
		case h > hours:
			text += " · cheaper up to the end"
		default:
			text += " · dearer from " + formatCount(int(math.Round(h))) + " h"
		}
		entry(i+1, e.Name, text)
	}
	if assumed {
		f.straight(panel.Left, y-3.6, panel.Left+keyLine, y-3.6, lineStyle{width: 1.8, dash: besideDash, color: f.theme.muted})
		f.text(panel.Left+keyLine+6, y, 0, value, f.shorten(value, "speed unknown: drawn as equally fast", panel.width()-keyLine-6))
	}
}

// FormatAmount returns an amount of money with the digits that say something: "1,600", "12.50", "0.526", "0.00042". One that
// is no number is "-".
func FormatAmount(v float64) string {
	size := math.Abs(v)
	switch {
	case !finite(v):
		return "-"
	case size >= 999.995:
		return groupThousands(strconv.FormatFloat(v, 'f', 0, 64))
	case size >= 0.9995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case size < 1e-9:
		return "0"
	}
	digits := 2 - int(math.Floor(math.Log10(size)))
	return strings.TrimRight(strings.TrimRight(strconv.FormatFloat(v, 'f', digits, 64), "0"), ".")
}
