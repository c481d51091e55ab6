package dashboard

import (
	"math"
	"slices"
	"time"

	"tune/internal/chart"
	"tune/internal/runstore"
)

// curves are the steps of a run by column: the same numbers as in the table steps, at a third of the size of rows.
type curves struct {
	Step              []int64         `json:"step"`
	Epoch             []runstore.Real `json:"epoch"`
	Loss              []runstore.Real `json:"loss"`
	SmoothLoss        []runstore.Real `json:"smooth_loss,omitempty"` // the debiased moving average that charts draw
	LearningRate      []runstore.Real `json:"learning_rate"`
	GradNorm          []runstore.Real `json:"grad_norm"`
	TargetTokens      []int64         `json:"target_tokens"`
	Tokens            []int64         `json:"tokens"`
	Seconds           []runstore.Real `json:"seconds"`
	TokensPerSecond   []runstore.Real `json:"tokens_per_second"`
	MemoryBytes       []runstore.Real `json:"memory_bytes"` // null where it was not measured
	DeviceMemoryBytes []runstore.Real `json:"device_memory_bytes"`
	At                []time.Time     `json:"at,omitempty"`
}

// byColumn takes steps apart. smooth may be nil.
func byColumn(steps []runstore.Step, smooth []runstore.Real) *curves {
	n := len(steps)
	reals := func() []runstore.Real { return make([]runstore.Real, n) }
	c := &curves{Step: make([]int64, n), Epoch: reals(), Loss: reals(), SmoothLoss: smooth, LearningRate: reals(),
		GradNorm: reals(), TargetTokens: make([]int64, n), Tokens: make([]int64, n), Seconds: reals(),
		TokensPerSecond: reals(), MemoryBytes: reals(), DeviceMemoryBytes: reals()}
	for i := range steps {
		x := &steps[i]
		c.Step[i], c.Epoch[i], c.Loss[i], c.LearningRate[i] = x.Step, x.Epoch, x.Loss, x.LearningRate
		c.GradNorm[i], c.TargetTokens[i], c.Tokens[i], c.Seconds[i] = x.GradNorm, x.TargetTokens, x.Tokens, x.Seconds
		c.TokensPerSecond[i] = x.TokensPerSecond
		c.MemoryBytes[i], c.DeviceMemoryBytes[i] = measured(x.MemoryBytes), measured(x.DeviceMemoryBytes)
	}
	return c
}

// measured is a number that is 0 where nobody measured it.
func measured(n int64) runstore.Real {
	if n == 0 {
		return runstore.Real(math.NaN())
	}
	return runstore.Real(n)
}

// smoothLoss is the average that the charts of tune draw, over all steps of a run.
func smoothLoss(steps []runstore.Step) []runstore.Real {
	losses, n := make([]float64, len(steps)), 0
	for i, x := range steps {
		losses[i] = float64(x.Loss)
		if x.Loss.Finite() {
			n++
		}
	}
	out := make([]runstore.Real, len(steps))
	for i, v := range chart.Smooth(losses, chart.SmoothingWeight(n)) {
		out[i] = runstore.Real(v)
	}
	return out
}

const (
	// maxPoints is how many steps a page is given as they are. A plot is a thousand pixels wide.
	maxPoints = 4000
	// buckets is into how many parts a longer run is cut. Of each part up to 11 steps stay; most are the same.
	buckets = 360
)

// thinned returns which steps to show of many: of each part of the run the lowest and the highest of every curve, so that
// no peak is lost, a broken loss, and the ends.
func thinned(steps []runstore.Step) []int {
	if len(steps) <= maxPoints {
		all := make([]int, len(steps))
		for i := range all {
			all[i] = i
		}
		return all
	}
	kept := []int{0, len(steps) - 1}
	for b := range buckets {
		from, to := b*len(steps)/buckets, (b+1)*len(steps)/buckets
		for _, value := range []func(*runstore.Step) float64{
			func(x *runstore.Step) float64 { return float64(x.Loss) },
			func(x *runstore.Step) float64 { return float64(x.GradNorm) },
			func(x *runstore.Step) float64 { return float64(x.TokensPerSecond) },
			func(x *runstore.Step) float64 { return float64(x.MemoryBytes) },
			func(x *runstore.Step) float64 { return float64(x.DeviceMemoryBytes) },
			func(x *runstore.Step) float64 { return float64(x.LearningRate) },
		} {
			kept = append(kept, extremes(steps, from, to, value)...)
		}
	}
	slices.Sort(kept)
	return slices.Compact(kept)
}

// extremes returns where in steps[from:to] a value is lowest and highest, and the first place where it is no number.
func extremes(steps []runstore.Step, from, to int, value func(*runstore.Step) float64) []int {
	low, high, broken := -1, -1, -1
	for i := from; i < to; i++ {
		switch v := value(&steps[i]); {
		case math.IsNaN(v) || math.IsInf(v, 0):
			if broken < 0 {
				broken = i
			}
		case low < 0:
			low, high = i, i
		case v < value(&steps[low]):
			low = i
		case v > value(&steps[high]):
			high = i
		}
	}
	return slices.DeleteFunc([]int{low, high, broken}, func(i int) bool { return i < 0 })
}

// pick returns the elements at some places.
func pick[T any](all []T, places []int) []T {
	out := make([]T, len(places))
	for i, p := range places {
		out[i] = all[p]
	}
	return out
}
