package dashboard

import (
	"math"
	"time"

	"tune/internal/runstore"
	"tune/internal/web"
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
	out := make([]runstore.Real, len(steps))
	for i, v := range web.Smoothed(steps) {
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

// thinned returns which steps to show of many.
func thinned(steps []runstore.Step) []int { return web.Thinned(steps, maxPoints, buckets, nil) }

// pick returns the elements at some places.
func pick[T any](all []T, places []int) []T {
	out := make([]T, len(places))
	for i, p := range places {
		out[i] = all[p]
	}
	return out
}
