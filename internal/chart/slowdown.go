package chart

import (
	"math"
	"slices"
)

// Slowdown is a fall of a run's speed that lasted to its end, such as a machine that throttles makes when it is hot.
type Slowdown struct {
	Index int     // of the first step that is slower
	Share float64 // how much slower, of the speed before: 0.22 is 22 %
}

const (
	leastSteps     = 30   // fewer cannot tell a fall from noise
	slowShare      = 0.15 // a fall below this is not worth a word
	slowdownBlocks = 200  // as many stretches as a long run is looked at in
)

// FindSlowdown looks for a fall of speed that lasted to the end of a run: perSecond holds the tokens a second of every
// step. ok is false where there is none.
//
// The median of the last fifth must lie at least 15 % below the best that a tenth of the run sustained, and further than
// noise alone explains; almost everything after the fall must lie below what came before it. Medians make a slow warm-up,
// single slow steps (an evaluation or a checkpoint before them) and a short last batch count for nothing, and a run that has
// recovered by its end has not slowed down. Values that are not above zero are left out.
func FindSlowdown(perSecond []float64) (found Slowdown, ok bool) {
	var steps []int
	var speeds []float64
	for i, v := range perSecond {
		if finite(v) && v > 0 {
			steps, speeds = append(steps, i), append(speeds, v)
		}
	}
	if len(speeds) < leastSteps {
		return Slowdown{}, false
	}
	size := (len(speeds) + slowdownBlocks - 1) / slowdownBlocks
	blocks := medians(speeds, size)
	n := len(blocks)
	noise := jitter(blocks)
	tenth := max(n/10, 4)
	best := 0.0
	for i := 0; i+tenth <= n; i++ {
		best = max(best, median(blocks[i:i+tenth]))
	}
	fifth := n / 5
	final := median(blocks[n-fifth:])
	// The standard error of a median is 1.25 of the mean's; the best of many stretches lies about two of them high.
	unsure := 1.25 * noise * (2.5/math.Sqrt(float64(tenth)) + 2/math.Sqrt(float64(fifth)))
	if final > (1-slowShare)*best || best-final < unsure {
		return Slowdown{}, false
	}
	at := fallsAt(blocks)
	// The warm-up, slow as it may be, is not what the rest is held against.
	before, after := median(blocks[min(at/4, 10):at]), median(blocks[at:])
	below := 0
	for _, v := range blocks[at:] {
		if v < (before+after)/2 {
			below++
		}
	}
	share := 1 - after/before
	if share < slowShare || float64(below) < 0.75*float64(n-at) {
		return Slowdown{}, false
	}
	return Slowdown{Index: steps[at*size], Share: share}, true
}

// medians returns the median of every stretch of values; a rest shorter than half a stretch is left out.
func medians(values []float64, size int) []float64 {
	var out []float64
	for i := 0; i+(size+1)/2 <= len(values); i += size {
		out = append(out, median(values[i:min(i+size, len(values))]))
	}
	return out
}

// median returns the middle of values, of which there must be one.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// jitter returns the standard deviation of values about their slow course, from the differences of neighbours: a fall is
// one difference among many and does not count.
func jitter(values []float64) float64 {
	differences := make([]float64, len(values)-1)
	for i := range differences {
		differences[i] = math.Abs(values[i+1] - values[i])
	}
	const normal = 0.6745 * math.Sqrt2 // median |x - y| of two values, in standard deviations
	return median(differences) / normal
}

// fallsAt returns where two levels, each a median, fit values best. The higher one comes first and both last a while.
func fallsAt(values []float64) int {
	n := len(values)
	least := max(n/10, 4)
	at, best := least, math.Inf(1)
	for k := least; k <= n-least; k++ {
		before, after := median(values[:k]), median(values[k:])
		if before <= after {
			continue
		}
		off := 0.0
		for i, v := range values {
			level := before
			if i >= k {
				level = after
			}
			off += math.Abs(v - level)
		}
		if off < best {
			at, best = k, off
		}
	}
	return at
}

// movingMedian returns the median of the values around each one, reach before and behind it. What is no number stays a gap.
func movingMedian(values []float64, reach int) []float64 {
	out := make([]float64, len(values))
	var near []float64
	for i, v := range values {
		out[i] = math.NaN()
		if !finite(v) {
			continue
		}
		near = near[:0]
		for _, x := range values[max(0, i-reach):min(len(values), i+reach+1)] {
			if finite(x) {
				near = append(near, x)
			}
		}
		out[i] = median(near)
	}
	return out
}
