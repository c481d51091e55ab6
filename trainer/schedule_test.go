package trainer

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestSchedulesAreBounded: whatever the lengths, a rate lies between 0 and its peak, rises evenly to the peak over the
// warm-up, never rises again, and keeps the peak or falls towards 0, which it reaches behind the last step.
func TestSchedulesAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]string{"constant", "linear", "cosine"}).Draw(t, "kind")
		peak := rapid.Float64Range(1e-9, 10).Draw(t, "peak")
		total := rapid.IntRange(1, 400).Draw(t, "total")
		warmup := rapid.IntRange(0, 500).Draw(t, "warm-up")
		s, err := NewSchedule(kind, peak, warmup, total)
		if err != nil {
			t.Fatal(err)
		}
		rising := min(warmup, total)
		tolerance := 1e-12 * peak // float64, a handful of operations
		before := math.Inf(1)
		for step := 1; step <= total; step++ {
			lr := s.At(step)
			switch done := step - 1; {
			case !(lr >= 0 && lr <= peak*(1+1e-12)):
				t.Fatalf("step %d of %d: %g is not from 0 to %g", step, total, lr, peak)
			case done < rising && math.Abs(lr-peak*float64(done)/float64(rising)) > tolerance:
				t.Fatalf("step %d of a warm-up of %d: %g of %g", step, rising, lr, peak)
			case done == rising && math.Abs(lr-peak) > tolerance:
				t.Fatalf("the first step after the warm-up has %g, want the peak, %g", lr, peak)
			case done > rising && lr > before+tolerance:
				t.Fatalf("step %d: rises from %g to %g", step, before, lr)
			case kind == "constant" && done >= rising && lr != peak:
				t.Fatalf("step %d: %g, want the peak, %g", step, lr, peak)
			case kind != "constant" && lr == 0 && done >= rising:
				t.Fatalf("step %d of %d: learns nothing before the end", step, total)
			}
			before = lr
		}
		// Only after a warm-up that leaves steps to fall: one as long as the run ends at its top.
		end := map[string]float64{"constant": peak}[kind]
		if rising == total {
			end = peak
		}
		for _, step := range []int{total + 1, total + 2, 10 * total} {
			if lr := s.At(step); math.Abs(lr-end) > tolerance {
				t.Fatalf("step %d, behind the last of %d: %g, want %g", step, total, lr, end)
			}
		}
	})
}
