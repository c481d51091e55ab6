package web

import (
	"math"
	"slices"

	"tune/internal/chart"
	"tune/internal/runstore"
)

// Smoothed returns the average of a run's losses that the charts of tune draw: chart.Smooth over all of its steps.
func Smoothed(steps []runstore.Step) []float64 {
	losses, n := make([]float64, len(steps)), 0
	for i, x := range steps {
		losses[i] = float64(x.Loss)
		if x.Loss.Finite() {
			n++
		}
	}
	return chart.Smooth(losses, chart.SmoothingWeight(n))
}

// Thinned returns the places of the steps to show: all of them up to points, or of each of so many parts of the run the lowest and
// the highest of every curve, so that no peak is lost, a broken loss, the steps that keep names (nil for none), and the ends.
func Thinned(steps []runstore.Step, points, parts int, keep func(step int64) bool) []int {
	if len(steps) <= points {
		all := make([]int, len(steps))
		for i := range all {
			all[i] = i
		}
		return all
	}
	kept := []int{0, len(steps) - 1}
	for i, x := range steps {
		if keep != nil && keep(x.Step) {
			kept = append(kept, i)
		}
	}
	for b := range parts {
		from, to := b*len(steps)/parts, (b+1)*len(steps)/parts
		for _, value := range curveValues {
			kept = append(kept, extremes(steps, from, to, value)...)
		}
	}
	slices.Sort(kept)
	return slices.Compact(kept)
}

// curveValues are the curves whose peaks must not be lost.
var curveValues = []func(*runstore.Step) float64{
	func(x *runstore.Step) float64 { return float64(x.Loss) },
	func(x *runstore.Step) float64 { return float64(x.GradNorm) },
	func(x *runstore.Step) float64 { return float64(x.TokensPerSecond) },
	func(x *runstore.Step) float64 { return float64(x.MemoryBytes) },
	func(x *runstore.Step) float64 { return float64(x.DeviceMemoryBytes) },
	func(x *runstore.Step) float64 { return float64(x.LearningRate) },
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
