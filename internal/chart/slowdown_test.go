package chart

import (
	"math"
	"math/rand/v2"
	"testing"
)

// speedSeries makes the tokens a second of n steps with noise, a share of the speed, around a course from 0 to 1.
func speedSeries(n int, noise float64, seed uint64, course func(at float64) float64) []float64 {
	random := rand.New(rand.NewPCG(seed, 5))
	out := make([]float64, n)
	for i := range out {
		out[i] = max(1, 1000*course(float64(i)/float64(n))*(1+noise*random.NormFloat64()))
	}
	return out
}

func steady(float64) float64 { return 1 }

// fall is a course that drops to a level at some place.
func fall(place, to float64) func(float64) float64 {
	return func(at float64) float64 {
		if at < place {
			return 1
		}
		return to
	}
}

func TestFindSlowdown(t *testing.T) {
	type course = func(float64) float64
	for _, tc := range []struct {
		name     string
		course   course
		from, to float64 // where the fall may be found, as a share of the run; 0 and 0 where there is none
		share    float64
	}{
		{"level", steady, 0, 0, 0},
		{"throttled", fall(0.6, 0.75), 0.55, 0.65, 0.25},
		{"throttled early", fall(0.15, 0.7), 0.1, 0.2, 0.3},
		{"throttled late", fall(0.78, 0.6), 0.73, 0.83, 0.4},
		{"a small fall", fall(0.5, 0.93), 0, 0, 0},
		{"slow warm-up", func(at float64) float64 { return min(1, 0.2+16*at) }, 0, 0, 0},
		{"slow warm-up, then throttled", func(at float64) float64 { return min(1, 0.2+16*at) * fall(0.6, 0.75)(at) }, 0.55, 0.65, 0.25},
		{"faster and faster", func(at float64) float64 { return 0.5 + at }, 0, 0, 0},
		{"slower and slower", func(at float64) float64 { return 1 - 0.4*at }, 0.25, 0.75, 0.22},
		{"recovered", func(at float64) float64 {
			if at > 0.4 && at < 0.6 {
				return 0.6
			}
			return 1
		}, 0, 0, 0},
		{"a burst at the start", func(at float64) float64 { return 1 + 0.8*math.Exp(-at*100) }, 0, 0, 0},
	} {
		for _, n := range []int{100, 1000, 10_000} {
			for seed := range uint64(20) {
				series := speedSeries(n, 0.06, seed, tc.course)
				got, ok := FindSlowdown(series)
				at := float64(got.Index) / float64(n)
				switch {
				case ok != (tc.to > 0):
					t.Errorf("%s, %d steps, seed %d: slower %t at %.2f by %.2f", tc.name, n, seed, ok, at, got.Share)
				case ok && (at < tc.from || at > tc.to || math.Abs(got.Share-tc.share) > 0.06):
					t.Errorf("%s, %d steps, seed %d: slower at %.2f by %.2f, want it from %.2f to %.2f by %.2f", tc.name, n, seed, at,
						got.Share, tc.from, tc.to, tc.share)
				}
			}
		}
	}
}

// TestNoiseIsNoSlowdown: rows of different lengths make steps of different speed, evaluations and checkpoints single slow ones.
func TestNoiseIsNoSlowdown(t *testing.T) {
	wrong := 0
	const each = 200
	for _, n := range []int{30, 56, 84, 140, 1000} {
		for seed := range uint64(each) {
			series := speedSeries(n, 0.25, seed, steady)
			for i := range series {
				if i%7 == 6 { // behind an evaluation
					series[i] /= 3
				}
			}
			series[n-1] /= 4 // a short batch
			if _, ok := FindSlowdown(series); ok {
				wrong++
			}
		}
	}
	if share := float64(wrong) / (5 * each); share > 0.01 {
		t.Errorf("%.1f %% of level runs with much noise are called slower, want at most 1 %%", 100*share)
	}
}

func TestSlowdownNeedsNumbers(t *testing.T) {
	nan := math.NaN()
	for name, series := range map[string][]float64{
		"none": nil, "one": {5}, "few": {9, 9, 9, 9, 1, 1, 1, 1}, "no numbers": make([]float64, 100),
	} {
		if _, ok := FindSlowdown(series); ok {
			t.Errorf("%s: slower", name)
		}
	}
	series := speedSeries(200, 0.02, 1, fall(0.5, 0.5))
	for i := 0; i < len(series); i += 3 {
		series[i] = nan
	}
	if got, ok := FindSlowdown(series); !ok || got.Index < 95 || got.Index > 105 {
		t.Errorf("a fall at step 100 of a series with gaps: %+v, %t", got, ok)
	}
}
