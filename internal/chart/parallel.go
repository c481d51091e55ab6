package chart

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Axis is one vertical axis of a parallel-coordinates figure: a setting, or, as the last one, the result.
type Axis struct {
	Name string // such as lora.rank; where room is short its first words go
	// Log makes the axis logarithmic. An axis whose values are all above zero is so anyway where that spreads
	// them better: where they span decades, or are few and grow by factors, such as 4, 8, 16 and 32.
	Log bool
	// HigherIsBetter says of the last axis that a good result is a high one. Default: a low one, as of a loss.
	HigherIsBetter bool
}

// Value is what a trial has on an axis: a number, or a word. One word makes the whole axis one of words, in the
// order in which they come.
type Value struct {
	Number float64 // NaN where there is none
	Word   string  // counts where it is not empty
}

// Number is a Value that is a number; NaN says that there is none.
func Number(v float64) Value { return Value{Number: v} }

// Word is a Value that is a word.
func Word(text string) Value { return Value{Word: text} }

// Line is one trial, with its values in the order of the axes. One that has no result, because it failed or still
// runs, is drawn in grey.
type Line struct {
	Name   string
	Values []Value // those that are missing at the end count as none
}

const (
	maxAxes  = 20
	maxLines = 2000

	bandShare = 0.35 // of the distance between two values: how far the lines that share one are spread
	bandMost  = 26.0
)

// Parallel writes a parallel-coordinates figure of a sweep to w: a vertical axis for every setting, the result as the
// last one, and every trial as a line across them, coloured from the best result to the worst. The best line is thick and
// its values are written beside it. Lines that share a value are spread a little around it, sorted by their results.
//
// The same input gives the same SVG and PNG, byte for byte. opt is as in [Figure].
//
// Errors: fewer than two axes or more than 20, no lines or more than 2,000, a size that is too small or above 10,000
// points, an unknown format, and whatever w returns. Nothing is written before the picture is complete.
func Parallel(w io.Writer, format Format, axes []Axis, lines []Line, opt Options) error {
	if _, err := ParseFormat(string(format)); err != nil {
		return err
	}
	if len(axes) < 2 || len(axes) > maxAxes {
		return fmt.Errorf("chart: %d axes, want 2 to %d: the settings and, last, the result", len(axes), maxAxes)
	}
	if len(lines) == 0 || len(lines) > maxLines {
		return fmt.Errorf("chart: %d lines, want 1 to %d", len(lines), maxLines)
	}
	if opt.Width == 0 {
		opt.Width = max(defaultWidth, 110*len(axes))
	}
	if opt.Height == 0 {
		opt.Height = 430
	}
	if opt.Width < minWidth || opt.Width > maxSide {
		return fmt.Errorf("chart: width is %d points, want %d to %d", opt.Width, minWidth, maxSide)
	}
	if least := 240; opt.Height < least || opt.Height > maxSide {
		return fmt.Errorf("chart: height is %d points, want %d to %d", opt.Height, least, maxSide)
	}
	return paint(w, format, opt, nil, func(f *figure) string {
		p := newParallel(axes, lines)
		title := strings.TrimSpace(opt.Title)
		if title == "" {
			title = count(len(lines), "trial")
		}
		title = label(title)
		f.header(title, p.summary())
		p.draw(f)
		return title
	})
}

// parallel is a parallel-coordinates figure being drawn.
type parallel struct {
	axes  []parallelAxis
	lines []Line
	good  []float64 // for every line 0 (worst) to 1 (best); NaN without a result
	order []int     // the lines from the worst to the best, those without a result first
	best  int       // -1 where no line has a result
	above string    // what the result's axis leaves out
}

// parallelAxis is an axis with the place of every line on it.
type parallelAxis struct {
	Axis
	at     []float64 // for every line 0 (bottom) to 1 (top); NaN where it has no value
	ticks  []parallelTick
	spread bool // few values that several lines share
	words  bool
}

type parallelTick struct {
	at   float64
	text string
}

func newParallel(axes []Axis, lines []Line) *parallel {
	p := &parallel{lines: lines, best: -1, good: make([]float64, len(lines)), order: make([]int, len(lines))}
	result := len(axes) - 1
	for i, a := range axes {
		a.Name = label(a.Name)
		values := make([]Value, len(lines))
		for k, l := range lines {
			values[k] = Number(math.NaN())
			if i < len(l.Values) {
				values[k] = l.Values[i]
			}
			if v := &values[k]; v.Word != "" {
				v.Word = label(v.Word)
			} else if !finite(v.Number) {
				v.Number = math.NaN()
			}
		}
		if i == result {
			p.above = boundResults(values, a)
		}
		p.axes = append(p.axes, newParallelAxis(a, values))
	}
	p.axes[result].spread = false // a result is a measurement, which stands where it is
	p.rank(result)
	return p
}

// boundResults moves results that would press all others together to where the axis of the others ends, and says so.
func boundResults(values []Value, a Axis) string {
	var numbers []float64
	sign := 1.0
	if a.HigherIsBetter {
		sign = -1
	}
	for _, v := range values {
		if v.Word == "" && !math.IsNaN(v.Number) {
			numbers = append(numbers, sign*v.Number)
		}
	}
	slices.Sort(numbers)
	n := len(numbers)
	if n < 5 { // too few to tell a stray from the rest
		return ""
	}
	best, most := numbers[0], numbers[(n-1)*4/5]
	limit := best + 5*(most-best)
	if numbers[n-1] <= limit || most == best {
		return ""
	}
	worst := best
	for _, v := range numbers {
		if v <= limit {
			worst = v
		}
	}
	moved := 0
	for i := range values {
		if values[i].Word == "" && sign*values[i].Number > limit {
			values[i].Number, moved = sign*worst, moved+1
		}
	}
	to := "up"
	if a.HigherIsBetter {
		to = "down"
	}
	return fmt.Sprintf("%s beyond the axis (%s to %s)", count(moved, "result"), to, formatLoss(sign*numbers[n-1]))
}

func newParallelAxis(a Axis, values []Value) parallelAxis {
	out := parallelAxis{Axis: a, at: make([]float64, len(values))}
	out.words = slices.ContainsFunc(values, func(v Value) bool { return v.Word != "" })
	if out.words {
		out.placeWords(values)
	} else {
		out.placeNumbers(values)
	}
	return out
}

// placeWords gives every word its own height, the first at the top.
func (a *parallelAxis) placeWords(values []Value) {
	var words []string
	index := make([]int, len(values))
	for i, v := range values {
		text := v.Word
		if text == "" {
			if index[i] = -1; math.IsNaN(v.Number) {
				continue
			}
			text = formatSetting(v.Number)
		}
		if index[i] = slices.Index(words, text); index[i] < 0 {
			index[i], words = len(words), append(words, text)
		}
	}
	height := func(k int) float64 { return 1 - (float64(k)+0.5)/float64(len(words)) }
	for i, k := range index {
		a.at[i] = math.NaN()
		if k >= 0 {
			a.at[i] = height(k)
		}
	}
	for k, text := range words {
		a.ticks = append(a.ticks, parallelTick{height(k), text})
	}
	a.spread = true
}

const fewValues = 8 // as many as have a label each

// placeNumbers puts numbers on a scale. Where they are few each has its own label.
func (a *parallelAxis) placeNumbers(values []Value) {
	var distinct []float64
	for _, v := range values {
		if !math.IsNaN(v.Number) {
			distinct = append(distinct, v.Number)
		}
	}
	slices.Sort(distinct)
	distinct = slices.Compact(distinct)
	if len(distinct) == 0 {
		for i := range a.at {
			a.at[i] = math.NaN()
		}
		return
	}
	a.Log = distinct[0] > 0 && (a.Log || logSuits(distinct))
	a.spread = len(distinct) <= fewValues
	low, high := distinct[0], distinct[len(distinct)-1]
	if a.Log {
		low, high = max(low, leastLog), max(high, leastLog)
	}
	scale := valueAxis(low, high, 6)
	if a.Log {
		scale = logAxis(low, high, 6)
	}
	if a.spread && high > low {
		scale = spreadScale(low, high, a.Log)
	}
	for i, v := range values {
		a.at[i] = math.NaN()
		if !math.IsNaN(v.Number) {
			a.at[i] = scale.at(max(v.Number, low))
		}
	}
	if a.spread {
		for _, v := range distinct {
			a.ticks = append(a.ticks, parallelTick{scale.at(max(v, low)), formatSetting(v)})
		}
		return
	}
	for i, text := range scale.labels() {
		a.ticks = append(a.ticks, parallelTick{scale.at(scale.Ticks[i]), text})
	}
}

// spreadScale returns a scale without ticks that leaves room at both ends for the lines that share a value.
func spreadScale(low, high float64, log bool) axis {
	const room = 0.07
	if log {
		factor := math.Pow(high/low, room)
		return axis{Low: low / factor, High: high * factor, Log: true}
	}
	return axis{Low: low - room*(high-low), High: high + room*(high-low)}
}

// logSuits reports whether a logarithmic axis spreads these values, ascending and above zero, better than a linear one.
func logSuits(distinct []float64) bool {
	low, high := distinct[0], distinct[len(distinct)-1]
	if len(distinct) > fewValues { // most of them crowd at the low end of a linear axis
		return high/low >= 30 && distinct[len(distinct)/2]-low < (high-low)/4
	}
	if len(distinct) < 3 {
		return false
	}
	narrow, narrowLog := 1.0, 1.0 // the narrowest gap, over the whole
	for i, v := range distinct[1:] {
		before := distinct[i]
		narrow = min(narrow, (v-before)/(high-low))
		narrowLog = min(narrowLog, math.Log(v/before)/math.Log(high/low))
	}
	return narrowLog > narrow
}

// rank sorts the lines by their results and finds the best.
func (p *parallel) rank(result int) {
	heights := p.axes[result].at
	low, high := math.Inf(1), math.Inf(-1)
	for _, at := range heights {
		if !math.IsNaN(at) {
			low, high = min(low, at), max(high, at)
		}
	}
	for i, at := range heights {
		p.order[i] = i
		p.good[i] = 1
		if high > low || math.IsNaN(at) {
			p.good[i] = (high - at) / (high - low)
			if p.axes[result].HigherIsBetter {
				p.good[i] = (at - low) / (high - low)
			}
		}
	}
	slices.SortStableFunc(p.order, func(a, b int) int {
		switch x, y := p.good[a], p.good[b]; {
		case math.IsNaN(x) && math.IsNaN(y), x == y:
			return b - a // of equals the first is drawn last
		case math.IsNaN(x) || x < y:
			return -1
		}
		return 1
	})
	if k := p.order[len(p.order)-1]; !math.IsNaN(p.good[k]) {
		p.best = k
	}
}

// summary is the line below the title.
func (p *parallel) summary() string {
	var parts []string
	if p.best >= 0 {
		parts = append(parts, fmt.Sprintf("best %s: %s", label(p.lines[p.best].Name), p.written(p.best, len(p.axes)-1)))
	}
	without := 0
	for _, g := range p.good {
		if math.IsNaN(g) {
			without++
		}
	}
	if without > 0 {
		parts = append(parts, fmt.Sprintf("%d without a result, in grey", without))
	}
	if p.above != "" {
		parts = append(parts, p.above)
	}
	return strings.Join(parts, "  ·  ")
}

// written is a line's value on an axis, as text.
func (p *parallel) written(line, axis int) string {
	if axis >= len(p.lines[line].Values) {
		return ""
	}
	switch v := p.lines[line].Values[axis]; {
	case v.Word != "":
		return label(v.Word)
	case !finite(v.Number):
		return ""
	case axis == len(p.axes)-1:
		return formatLoss(v.Number)
	case p.axes[axis].spread:
		return formatSetting(v.Number) // as its tick
	default:
		return formatSetting(threeDigits(v.Number))
	}
}
