package chart

import (
	"math"
	"slices"
	"strings"
	"unicode"
)

// Run is what one training run left behind, ready to draw. Everything that is counted by step belongs to Steps index by
// index; any of it may be shorter or empty, and NaN marks a value that was not recorded.
type Run struct {
	Name              string
	Steps             []float64 // step numbers, ascending
	Loss              []float64 // nats per target token
	Validation        []Point   // X a step, Y in nats per target token
	ValidationElapsed []float64 // seconds since the run began, of each of Validation; its step's where it is missing
	MemoryBytes       []float64 // resident memory of the process
	DeviceMemoryBytes []float64 // in tensors on the device; empty or zero where it cannot be told
	Elapsed           []float64 // seconds since the run began, at the end of the step
	StepSeconds       []float64 // that the step took
	Tokens            []float64 // of the step
	Epoch             []float64 // passes over the data so far, with fraction
	GradNorm          []float64 // before clipping
	LearningRate      []float64
	MaxGradNorm       float64 // that gradients are clipped to; 0 where they are not
	Seconds           Times
	Group             string // what the times of runs are grouped by; see [View]
	Ending            string // said beside the wall time of a run that is not done, such as "running"
}

// Point is a value Y at step X.
type Point struct{ X, Y float64 }

// Times says where a run's wall time went, in seconds. Wall may exceed the sum of the parts: the difference is
// drawn as "other". Where Wall is missing (0) the sum stands for it.
type Times struct{ Load, Train, Evaluate, Save, Wall float64 }

// phase is one part of a run's wall time.
type phase struct {
	name    string
	seconds float64
}

const (
	phaseCount = 5
	phaseOther = phaseCount - 1
)

// phases splits t into load, train, evaluate, save and other, in the order they are stacked.
func (t Times) phases() [phaseCount]phase {
	p := [phaseCount]phase{
		{"load", atLeastZero(t.Load)},
		{"train", atLeastZero(t.Train)},
		{"evaluate", atLeastZero(t.Evaluate)},
		{"save", atLeastZero(t.Save)},
		{name: "other"},
	}
	sum := 0.0
	for _, part := range p {
		sum += part.seconds
	}
	// Parts are timed one by one and wall as a whole, so a sliver always remains: below 1 % it says nothing.
	wall := atLeastZero(t.Wall)
	if rest := wall - sum; rest > 0.01*wall {
		p[phaseOther].seconds = rest
	}
	return p
}

// wall returns the recorded wall time, or the sum of the parts where there is none.
func (t Times) wall() float64 {
	if w := atLeastZero(t.Wall); w > 0 {
		return w
	}
	return t.stacked()
}

// stacked returns the length of the stacked bar, in seconds.
func (t Times) stacked() float64 {
	sum := 0.0
	for _, part := range t.phases() {
		sum += part.seconds
	}
	return sum
}

// drawable bounds what an axis can hold: differences and sums of such values cannot overflow.
const drawable = 1e30

// finite reports whether v is a number that an axis can hold.
func finite(v float64) bool { return math.Abs(v) <= drawable }

func atLeastZero(v float64) float64 {
	if !finite(v) {
		return 0
	}
	return max(0, v)
}

// pair joins steps and values, as far as both go. Steps that are no number are dropped; values that are no
// number stay, as NaN, so that a line knows where to break.
func pair(steps, values []float64) []Point {
	var points []Point
	for i := range min(len(steps), len(values)) {
		if !finite(steps[i]) {
			continue
		}
		y := values[i]
		if !finite(y) {
			y = math.NaN()
		}
		points = append(points, Point{steps[i], y})
	}
	return points
}

// solid returns the points whose coordinates are both numbers.
func solid(points []Point) []Point {
	var kept []Point
	for _, p := range points {
		if finite(p.X) && finite(p.Y) {
			kept = append(kept, p)
		}
	}
	return kept
}

// memory returns the points of a memory series in bytes; nil where it holds nothing above zero.
func memory(steps, bytes []float64) []Point {
	points, any := pair(steps, bytes), false
	for i, p := range points {
		if p.Y < 0 {
			points[i].Y = math.NaN()
		}
		any = any || p.Y > 0
	}
	if !any {
		return nil
	}
	return points
}

// memoryCurves returns what every run held over a quantity, resident and on its device, in GB, and the highest of all values.
// A run that recorded nothing has a nil curve.
func memoryCurves(runs []Run, q Quantity) (resident, device [][]Point, peak float64) {
	inGB := func(points []Point) []Point {
		for i := range points {
			points[i].Y /= 1e9
			if finite(points[i].Y) {
				peak = max(peak, points[i].Y)
			}
		}
		return points
	}
	for _, r := range runs {
		resident = append(resident, inGB(memory(r.along(q), r.MemoryBytes)))
		device = append(device, inGB(memory(r.along(q), r.DeviceMemoryBytes)))
	}
	return resident, device, peak
}

// anyCurve reports whether any of the curves holds something.
func anyCurve(curves [][]Point) bool {
	return slices.ContainsFunc(curves, func(c []Point) bool { return c != nil })
}

// along returns what a curve of r is drawn over, index by index of its steps.
func (r *Run) along(q Quantity) []float64 {
	switch q {
	case ByTime:
		return r.Elapsed
	case ByTokens:
		total, out := 0.0, make([]float64, len(r.Tokens))
		for i, n := range r.Tokens {
			total += atLeastZero(n)
			out[i] = total
		}
		return out
	case ByEpoch:
		return r.Epoch
	}
	return r.Steps
}

// over returns values of r's steps over a quantity.
func (r *Run) over(q Quantity, values []float64) []Point { return pair(r.along(q), values) }

// validationOver returns the validation losses over a quantity: a loss after a step stands where the step does, one
// before the first step at zero.
func (r *Run) validationOver(q Quantity) []Point {
	if q == ByStep {
		return r.Validation
	}
	along, out := r.along(q), []Point(nil)
	for i, p := range r.Validation {
		if !finite(p.X) || !finite(p.Y) {
			continue
		}
		if q == ByTime && i < len(r.ValidationElapsed) && finite(r.ValidationElapsed[i]) {
			out = append(out, Point{r.ValidationElapsed[i], p.Y})
			continue
		}
		n, exact := slices.BinarySearch(r.Steps, p.X)
		if exact {
			n++
		}
		switch n = min(n, len(along)); {
		case len(along) == 0:
			return nil
		case n == 0:
			out = append(out, Point{0, p.Y})
		default:
			out = append(out, Point{along[n-1], p.Y})
		}
	}
	return out
}

// last returns the Y of the last point that is a number.
func last(points []Point) (y float64, ok bool) {
	for i := len(points) - 1; i >= 0; i-- {
		if finite(points[i].Y) {
			return points[i].Y, true
		}
	}
	return 0, false
}

// label returns a name that fits on one line of any output: no control characters, nothing XML refuses.
func label(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.Is(unicode.Cf, r): // invisible, and able to turn the direction of what follows
			return -1
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, strings.ToValidUTF8(name, "?"))
	if name = strings.TrimSpace(name); name == "" {
		return "(no name)"
	}
	return name
}

// ellipsis shortens text until fits accepts it, ending it with dots. The empty string when not even the dots fit.
func ellipsis(text, dots string, fits func(string) bool) string {
	if fits(text) {
		return text
	}
	letters := []rune(text)
	// Widths grow with every letter, so halving finds the longest that fits.
	low, high := 0, len(letters)
	for low < high {
		middle := (low + high + 1) / 2
		if fits(strings.TrimRight(string(letters[:middle]), " ") + dots) {
			low = middle
		} else {
			high = middle - 1
		}
	}
	if cut := strings.TrimRight(string(letters[:low]), " ") + dots; low > 0 && fits(cut) {
		return cut
	}
	if fits(dots) {
		return dots
	}
	return ""
}
