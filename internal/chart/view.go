package chart

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is what a panel shows.
type Kind string

// The kinds of panels.
const (
	Loss         Kind = "loss"        // each step faint, smoothed, and validation
	Memory       Kind = "memory"      // of the process, and in tensors
	Speed        Kind = "speed"       // tokens a second, and the place from where a run is slower to its end
	GradNorm     Kind = "grad-norm"   // of the gradients before clipping, and what they are clipped to
	LearningRate Kind = "lr"          // as the schedule had it
	Time         Kind = "time"        // wall time by what it was spent on, a bar a run
	LossTime     Kind = "loss-time"   // loss over wall time
	LossTokens   Kind = "loss-tokens" // loss over the tokens trained on
)

// Kinds lists every Kind.
var Kinds = []Kind{Loss, Memory, Speed, GradNorm, LearningRate, Time, LossTime, LossTokens}

// ParseKind returns the kind of this name. Its error lists the kinds there are.
func ParseKind(name string) (Kind, error) {
	if k := Kind(name); slices.Contains(Kinds, k) {
		return k, nil
	}
	return "", fmt.Errorf("chart: unknown kind %q (want %s)", name, listed(Kinds))
}

// Quantity is what curves are drawn over.
type Quantity string

// The quantities that curves can be drawn over.
const (
	ByStep   Quantity = "step"
	ByTime   Quantity = "time"
	ByTokens Quantity = "tokens"
	ByEpoch  Quantity = "epoch"
)

// Quantities lists every Quantity.
var Quantities = []Quantity{ByStep, ByTime, ByTokens, ByEpoch}

// ParseQuantity returns the quantity of this name. Its error lists those there are.
func ParseQuantity(name string) (Quantity, error) {
	if q := Quantity(name); slices.Contains(Quantities, q) {
		return q, nil
	}
	return "", fmt.Errorf("chart: unknown quantity %q (want %s)", name, listed(Quantities))
}

// listed joins names as a sentence lists them: "a, b or c".
func listed[T ~string](names []T) string {
	parts := make([]string, len(names))
	for i, n := range names {
		parts[i] = string(n)
	}
	last := len(parts) - 1
	return strings.Join(parts[:last], ", ") + " or " + parts[last]
}

// View says what to show of runs. The zero View is loss, memory and wall time.
type View struct {
	// Kinds are the panels, from top to bottom.
	Kinds []Kind
	// X is what curves are drawn over. Default: the step, for memory and speed among Kinds the time. Kinds that have it
	// in their name keep theirs.
	X Quantity
	// Smooth is the weight of the average, below 1. Default 0: one that suits the length of the run. Below zero: none.
	Smooth float64
	// Log makes the axis of a loss logarithmic.
	Log bool
	// By names what Group of the runs holds. Default "": the bars of their times are not grouped.
	By string
}

// quantity returns what the curves of a kind are drawn over.
func (v View) quantity(k Kind) Quantity {
	switch {
	case k == LossTime:
		return ByTime
	case k == LossTokens:
		return ByTokens
	case v.X != "":
		return v.X
	case len(v.Kinds) > 0 && (k == Memory || k == Speed):
		return ByTime // heat, pauses and leaks go by the clock
	}
	return ByStep
}
