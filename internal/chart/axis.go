package chart

import (
	"fmt"
	"math"
	"slices"
)

// axis is a scale from Low to High with ticks, all within the scale: linear, with ticks Apart from each other, or, with
// Log, logarithmic from a Low above zero.
type axis struct {
	Low, High float64
	Apart     float64
	Ticks     []float64
	Log       bool
	format    func(v float64) string // of the ticks; nil for plain numbers
}

// at returns where v lies: 0 at Low, 1 at High. On a logarithmic axis what is not above zero lies nowhere: NaN.
func (a axis) at(v float64) float64 {
	if !a.Log {
		return (v - a.Low) / (a.High - a.Low)
	}
	if v <= 0 {
		return math.NaN()
	}
	return math.Log(v/a.Low) / math.Log(a.High/a.Low)
}

// labels returns the text of every tick.
func (a axis) labels() []string {
	out := make([]string, len(a.Ticks))
	for i, t := range a.Ticks {
		switch {
		case a.format != nil:
			out[i] = a.format(t)
		case a.Log:
			out[i] = formatSetting(t)
		default:
			out[i] = formatTick(t, a.Apart)
		}
	}
	return out
}

// leastLog is what a logarithmic axis takes for its smallest number: nearer to zero powers and quotients overflow.
const leastLog = 1 / drawable

// logAxis returns a logarithmic axis from low to high, both above zero, with a little room at either end and about count
// ticks: powers of ten, their doubles and halves where the powers are too few.
func logAxis(low, high float64, count int) axis {
	low = max(low, leastLog)
	high = max(high, low*1.05)
	room := math.Pow(high/low, 0.05)
	a := axis{Low: low / room, High: high * room, Log: true}
	for _, mantissas := range [][]float64{{1}, {1, 3}, {1, 2, 5}, {1, 1.5, 2, 3, 5, 7}} {
		a.Ticks = logTicks(a.Low, a.High, mantissas)
		if len(a.Ticks) >= max(2, count/2) {
			break
		}
	}
	if len(a.Ticks) < 2 { // less than a doubling: its ticks are those of a linear axis
		a.Ticks = valueAxis(low, high, count).Ticks
	}
	// Where there are too many, every second or third power is enough.
	if step := (len(a.Ticks) + 2*count - 1) / (2 * count); step > 1 {
		var kept []float64
		for i := 0; i < len(a.Ticks); i += step {
			kept = append(kept, a.Ticks[i])
		}
		a.Ticks = kept
	}
	return a
}

// logTicks returns the multiples of powers of ten between low and high.
func logTicks(low, high float64, mantissas []float64) []float64 {
	var ticks []float64
	for power := math.Floor(math.Log10(low)); power <= math.Ceil(math.Log10(high)); power++ {
		for _, m := range mantissas {
			if v := m * math.Pow(10, power); v >= low && v <= high {
				ticks = append(ticks, v)
			}
		}
	}
	return ticks
}

// valueAxis returns an axis from low to high with a little room at either end and about count ticks inside. An
// axis that begins at zero begins there exactly.
func valueAxis(low, high float64, count int) axis {
	if !(high > low) {
		room := 0.1 * math.Abs(low)
		if room == 0 {
			room = 1
		}
		low, high = low-room, low+room
	}
	// Below this the ticks of an almost constant value would be equal as float64.
	if least := max(1e-9*max(math.Abs(low), math.Abs(high)), 1e-12); high-low < least {
		high += least
		if low != 0 {
			low -= least
		}
	}
	room := 0.05 * (high - low)
	if low != 0 {
		low -= room
	}
	high += room
	a := axis{Low: low, High: high, Apart: niceStep((high - low) / float64(max(count, 1)))}
	first, final := math.Ceil(low/a.Apart-1e-9), math.Floor(high/a.Apart+1e-9)
	for k := first; k <= final; k++ {
		a.Ticks = append(a.Ticks, k*a.Apart)
	}
	return a
}

// stepAxis returns an axis from the first to the last step, not widened, with whole-number ticks, at most about
// count of them. Its first tick is the first step.
func stepAxis(low, high float64, count int) axis {
	if !(high > low) {
		room := max(1, 1e-9*math.Abs(low))
		return axis{Low: low - room, High: low + room, Apart: 1, Ticks: []float64{low}}
	}
	apart := max(niceStep((high-low)/float64(max(count, 1))), 1)
	a := axis{Low: low, High: high, Apart: apart, Ticks: []float64{low}}
	for v := (math.Floor(low/apart) + 1) * apart; v <= high+apart*1e-9 && len(a.Ticks) < 1000; v += apart {
		if v-low >= 0.6*apart { // else its label would run into the first step's
			a.Ticks = append(a.Ticks, v)
		}
	}
	// The length of the run is worth a label, even where it is no round number.
	if high-a.Ticks[len(a.Ticks)-1] >= 0.6*apart {
		a.Ticks = append(a.Ticks, high)
	}
	return a
}

// durationSteps are the distances, in seconds, that people read off a clock: up to a day.
var durationSteps = []float64{
	1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400,
}

// secondsAxis returns an axis from zero to at least high with ticks at durations that people use, about count.
func secondsAxis(high float64, count int) axis {
	high = max(high, 1e-3) // shorter than a millisecond is nothing
	want := high / float64(max(count-1, 1))
	apart := 0.0
	for _, s := range durationSteps {
		if s >= want {
			apart = s
			break
		}
	}
	switch {
	case want < 1:
		apart = niceStep(want)
	case apart == 0:
		apart = 86400 * niceStep(want/86400)
	}
	a := axis{High: high, Apart: apart}
	for k := 0.0; k*apart <= high*(1+1e-9); k++ {
		a.Ticks = append(a.Ticks, k*apart)
	}
	return a
}

// niceStep returns the smallest of 1, 2 and 5 times a power of ten that is at least v, above zero.
func niceStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= v*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// stepRange returns the first and last step of all runs, 0 and 0 where there are none.
func stepRange(runs []Run) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, r := range runs {
		for i := range min(len(r.Steps), max(len(r.Loss), len(r.MemoryBytes), len(r.DeviceMemoryBytes), len(r.GradNorm),
			len(r.LearningRate), len(r.Tokens))) {
			if s := r.Steps[i]; finite(s) {
				low, high = min(low, s), max(high, s)
			}
		}
		for _, p := range solid(r.Validation) {
			low, high = min(low, p.X), max(high, p.X)
		}
	}
	if low > high {
		return 0, 0
	}
	return low, high
}

// lossLimits is the part of the loss axis that is worth drawing.
type lossLimits struct {
	Low, High float64
	Above     int     // how many values lie above High
	Highest   float64 // the highest of them
}

// note says what the axis leaves out; empty where that is nothing.
func (l lossLimits) note() string {
	switch l.Above {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("1 value above the axis (%s)", formatLoss(l.Highest))
	}
	return fmt.Sprintf("%s values above the axis (up to %s)", formatCount(l.Above), formatLoss(l.Highest))
}

// limitLoss returns the range of all losses of runs, less what would flatten everything else: a few first or
// stray values (1 % of a run, at least one) are left out where they would stretch the axis to more than
// five times the range of the rest. ok is false where there is no loss at all.
func limitLoss(runs []Run) (limits lossLimits, ok bool) {
	low, high := math.Inf(1), math.Inf(-1)
	for _, r := range runs {
		values := runLosses(r)
		if len(values) == 0 {
			continue
		}
		slices.Sort(values)
		low = min(low, values[0])
		high = max(high, values[len(values)-1-strays(values)])
	}
	if low > high {
		return lossLimits{}, false
	}
	limits = lossLimits{Low: low, High: high}
	for _, r := range runs {
		for _, v := range runLosses(r) {
			if v > high {
				limits.Above++
				limits.Highest = max(limits.Highest, v)
			}
		}
	}
	return limits, true
}

// strays returns how many of the highest of the sorted values to leave out of the axis.
func strays(sorted []float64) int {
	n := len(sorted)
	if n < 5 { // too few to tell a stray from a trend
		return 0
	}
	allowed := max(1, n/100)
	low := sorted[0]
	// Where all others are equal, their distance from zero is the only measure there is.
	rest := sorted[n-1-allowed] - low
	if rest == 0 {
		rest = math.Abs(low)
	}
	k := 0
	for k < allowed && sorted[n-1-k]-low > 5*rest {
		k++
	}
	return k
}

// runLosses returns every loss of r that is a number, validation included.
func runLosses(r Run) []float64 {
	var values []float64
	for _, p := range solid(pair(r.Steps, r.Loss)) {
		values = append(values, p.Y)
	}
	for _, p := range solid(r.Validation) {
		values = append(values, p.Y)
	}
	return values
}
