package chart

import (
	"fmt"
	"math"
	"slices"
)

// graph is a panel of curves as numbers, before it is known what draws it. What belongs to a run stands at its index.
type graph struct {
	kind        Kind
	title, unit string
	nothing     string // said where there is nothing to draw
	found       bool   // there is something
	x           Quantity
	xLow, xHigh float64
	yLow, yHigh float64
	log         bool
	faint       [][]Point // every step
	lines       [][]Point
	dashes      [][]Point // what goes with a line, dashed
	marks       [][]Point
	keys        graphKeys
	levels      []level // lines across
	places      []spot  // lines down
	note        string
	values      []string // beside the run's name in the legend
}

// graphKeys are the names of what a graph draws; what is empty is not explained.
type graphKeys struct{ faint, lines, dashes, marks string }

// level is a value worth a line across the plot. Run -1 stands for all.
type level struct {
	run  int
	y    float64
	text string
}

// spot is a place of a run worth a line down the plot.
type spot struct {
	run  int
	x    float64
	text string
}

// crowd is how many runs a panel takes before their single steps would cover it.
const crowd = 6

// graphOf returns the panel of curves of a kind.
func graphOf(k Kind, runs []Run, v View) graph {
	g := graph{kind: k, x: v.quantity(k), nothing: "nothing recorded", values: make([]string, len(runs)), yLow: math.Inf(1), yHigh: math.Inf(-1)}
	switch k {
	case Memory:
		g.memory(runs)
	case Speed:
		g.speed(runs)
	case GradNorm:
		g.gradNorm(runs, v)
	case LearningRate:
		g.learningRate(runs)
	default:
		g.loss(runs, v)
	}
	g.spanX(runs, v)
	return g
}

// loss shows every step faint, smoothed on top, and validation.
func (g *graph) loss(runs []Run, v View) {
	g.title, g.unit, g.nothing = "Loss", "nats per target token", "no loss recorded"
	limits, ok := limitLoss(runs)
	if !ok {
		return
	}
	if g.log = v.Log && limits.Low > 0; g.log {
		limits.High = max(limits.High, limits.Highest) // strays do not flatten a logarithmic axis
		limits.Above = 0
	}
	g.found, g.note, g.yLow, g.yHigh = true, limits.note(), limits.Low, limits.High
	g.keys = graphKeys{faint: "each step", lines: "smoothed"}
	for i := range runs {
		raw := runs[i].over(g.x, runs[i].Loss)
		line := smoothed(raw, limits.High, v.Smooth)
		g.faint, g.lines = append(g.faint, raw), append(g.lines, line)
		marks := solid(runs[i].validationOver(g.x))
		g.marks = append(g.marks, marks)
		if len(marks) > 0 {
			g.keys.marks = "validation"
		}
		g.values[i] = lastLosses(line, runs[i].Validation)
	}
	if v.Smooth < 0 {
		g.faint, g.keys.faint, g.keys.lines = nil, "", "each step"
	}
	if g.x != ByStep && !slices.ContainsFunc(append(slices.Clone(g.lines), g.marks...), holds) {
		g.found, g.nothing = false, fmt.Sprintf("no %s recorded", quantityName(g.x))
	}
}

func holds(points []Point) bool { return len(solid(points)) > 0 }

// memory shows what each run held, from zero, in GB.
func (g *graph) memory(runs []Run) {
	g.title, g.unit, g.nothing = "Memory", "GB", "no memory recorded"
	resident, device, peak := memoryCurves(runs, g.x)
	if peak == 0 {
		return
	}
	g.found, g.yLow, g.yHigh, g.lines, g.dashes = true, 0, peak, resident, device
	if len(runs) == 1 {
		g.note = "peak " + FormatBytes(peak*1e9)
	}
	if anyCurve(device) {
		g.keys = graphKeys{lines: "resident", dashes: "tensors"}
	}
	for i := range runs {
		if high := highest(resident[i]); high > 0 {
			g.values[i] = "peak " + FormatBytes(high*1e9)
		}
	}
}

// speed shows the tokens a second of every step faint and their moving median, and marks where a run became slower.
func (g *graph) speed(runs []Run) {
	g.title, g.unit, g.nothing = "Speed", "tokens per second", "no speed recorded"
	g.keys = graphKeys{faint: "each step", lines: "moving median"}
	for i := range runs {
		r := &runs[i]
		perSecond := r.perSecond()
		raw := r.over(g.x, perSecond)
		reach := max(2, len(perSecond)/30)
		line := r.over(g.x, movingMedian(perSecond, reach))
		g.faint, g.lines = append(g.faint, raw), append(g.lines, line)
		points := solid(raw)
		if len(points) == 0 {
			continue
		}
		// A single step faster than all others, as a short row makes it, is cut off rather than heeded.
		g.found, g.yLow, g.yHigh = true, 0, max(g.yHigh, min(highest(raw), 2*highest(line)))
		g.values[i] = "median " + formatRate(median(ys(points)))
		if slow, ok := FindSlowdown(perSecond); ok {
			fall := fmt.Sprintf("%.0f %%", -100*slow.Share)
			if len(runs) > 1 {
				g.values[i] += ", slower: " + fall
			}
			if along := r.along(g.x); slow.Index < len(along) && finite(along[slow.Index]) {
				g.places = append(g.places, spot{i, along[slow.Index], "slower from here: " + fall})
			}
		}
	}
	g.yHigh *= 1.1 // for the words at a place
	if len(runs) == 1 {
		g.note = g.values[0]
	}
}

// perSecond returns the tokens a second of every step.
func (r *Run) perSecond() []float64 {
	out := make([]float64, min(len(r.Tokens), len(r.StepSeconds)))
	for i := range out {
		out[i] = r.Tokens[i] / r.StepSeconds[i]
		if !finite(out[i]) || out[i] <= 0 {
			out[i] = math.NaN()
		}
	}
	return out
}

// gradNorm shows the norm of the gradients before clipping and what they are clipped to.
func (g *graph) gradNorm(runs []Run, v View) {
	g.title, g.unit, g.nothing = "Gradient norm", "before clipping", "no gradient norm recorded"
	low := math.Inf(1) // of all above zero
	for i := range runs {
		r := &runs[i]
		raw := r.over(g.x, r.GradNorm)
		g.faint = append(g.faint, raw)
		clips, clipped, points := finite(r.MaxGradNorm) && r.MaxGradNorm > 0, 0, solid(raw)
		for _, p := range points {
			g.found, g.yLow, g.yHigh = true, min(g.yLow, p.Y), max(g.yHigh, p.Y)
			if p.Y > 0 {
				low = min(low, p.Y)
			}
			if clips && p.Y > r.MaxGradNorm {
				clipped++
			}
		}
		if len(points) == 0 {
			continue
		}
		g.values[i] = "median " + formatSmall(median(ys(points)))
		if clips {
			g.values[i] += fmt.Sprintf(", clipped in %.0f %%", 100*float64(clipped)/float64(len(points)))
			g.clipsAt(i, r.MaxGradNorm)
		}
	}
	if g.log = finite(low) && g.yHigh >= 30*low; g.log {
		g.yLow = max(low, g.yHigh*1e-9) // a norm of almost nothing must not press all others together
	} else {
		g.yLow = 0
	}
	for _, l := range g.levels {
		if finite(l.y) && (!g.log || l.y > g.yLow*1e-3) && l.y < g.yHigh*1e3 {
			g.yLow, g.yHigh = min(g.yLow, l.y), max(g.yHigh, l.y)
		}
	}
	g.keys = graphKeys{faint: "each step", lines: "smoothed"}
	for _, raw := range g.faint {
		g.lines = append(g.lines, g.smoothedNorm(raw, v.Smooth))
	}
	if len(runs) == 1 {
		g.note = g.values[0]
	}
}

// smoothedNorm returns the moving average of norms; on a logarithmic axis that of their logarithms, or each peak would pull
// the line to its height.
func (g *graph) smoothedNorm(raw []Point, weight float64) []Point {
	if !g.log {
		return smoothed(raw, math.Inf(1), weight)
	}
	logs := make([]Point, len(raw))
	for i, p := range raw {
		logs[i] = Point{p.X, math.Log(p.Y)} // of zero a gap
	}
	logs = smoothed(logs, math.Inf(1), weight)
	for i := range logs {
		logs[i].Y = math.Exp(logs[i].Y)
	}
	return logs
}

// clipsAt adds a line for what gradients are clipped to, one for all runs that have it in common.
func (g *graph) clipsAt(run int, norm float64) {
	for i := range g.levels {
		if g.levels[i].y == norm {
			g.levels[i].run = -1
			return
		}
	}
	g.levels = append(g.levels, level{run, norm, "max_grad_norm " + formatSetting(norm)})
}

// learningRate shows what the schedule gave.
func (g *graph) learningRate(runs []Run) {
	g.title, g.nothing = "Learning rate", "no learning rate recorded"
	lowest := math.Inf(1) // of the peaks
	for i := range runs {
		line := runs[i].over(g.x, runs[i].LearningRate)
		g.lines = append(g.lines, line)
		if !holds(line) {
			continue
		}
		peak := highest(line)
		g.found, g.yLow, g.yHigh = true, 0, max(g.yHigh, peak)
		g.values[i] = "peak " + formatSetting(peak)
		if peak > 0 {
			lowest = min(lowest, peak)
		}
	}
	// A linear axis would press a rate that is much lower than another's onto the base line.
	if g.log = g.yHigh >= 20*lowest; g.log {
		g.yLow = lowest / 30 // schedules begin and end at zero, which is nowhere
	}
	if len(runs) == 1 {
		g.note = g.values[0]
	}
}

// spanX finds the ends of the x axis.
func (g *graph) spanX(runs []Run, v View) {
	if g.x == ByStep {
		g.xLow, g.xHigh = stepRange(runs)
		return
	}
	for _, curves := range [][][]Point{g.faint, g.lines, g.dashes, g.marks} {
		for _, points := range curves {
			for _, p := range points {
				if finite(p.X) {
					g.xHigh = max(g.xHigh, p.X)
				}
			}
		}
	}
}

// xAxis returns the x axis with about count ticks.
func (g *graph) xAxis(count int) axis {
	switch g.x {
	case ByTime:
		a := secondsAxis(g.xHigh, count)
		a.format = formatDurationTick
		return a
	case ByTokens, ByEpoch:
		a := valueAxis(0, max(g.xHigh, 1e-3), count)
		a.High = max(g.xHigh, 1e-3)
		a.Ticks = slices.DeleteFunc(a.Ticks, func(t float64) bool { return t > a.High })
		if g.x == ByTokens {
			a.format = formatTokens
		}
		return a
	}
	return stepAxis(g.xLow, g.xHigh, count)
}

// yAxis returns the y axis with about count ticks.
func (g *graph) yAxis(count int) axis {
	if g.log {
		return logAxis(g.yLow, g.yHigh, count)
	}
	a := valueAxis(g.yLow, g.yHigh, count)
	if g.kind == LearningRate { // 1e-4, as it stands in a config
		a.format = formatSetting
	}
	return a
}

// showsSteps reports whether the single steps are drawn: among many runs they would cover everything. The peaks of a
// gradient norm are what one looks for.
func (g *graph) showsSteps() bool {
	most := crowd
	if g.kind == GradNorm {
		most = 2 * crowd
	}
	return len(g.faint) > 0 && len(g.faint) <= most
}

// quantityName is what stands at an axis of a quantity.
func quantityName(q Quantity) string {
	if q == ByTime {
		return "wall time"
	}
	return string(q)
}

func ys(points []Point) []float64 {
	out := make([]float64, len(points))
	for i, p := range points {
		out[i] = p.Y
	}
	return out
}

// highest returns the highest Y that is a number, 0 where none is above it.
func highest(points []Point) float64 {
	high := 0.0
	for _, p := range points {
		if finite(p.Y) {
			high = max(high, p.Y)
		}
	}
	return high
}

// formatRate returns tokens a second.
func formatRate(perSecond float64) string {
	if perSecond < 10 {
		return fmt.Sprintf("%.2g tok/s", perSecond)
	}
	return formatTick(perSecond, 1) + " tok/s"
}

// formatSmall returns a value with three digits.
func formatSmall(v float64) string { return formatSetting(threeDigits(v)) }

// formatTokens returns a number of tokens on an axis: "0", "500", "25k", "1.5M".
func formatTokens(n float64) string {
	if n < 0.5 {
		return "0"
	}
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e3, "k"}} {
		if n >= unit.size {
			return fmt.Sprintf("%.4g", n/unit.size) + unit.name
		}
	}
	return fmt.Sprintf("%.3g", n)
}
