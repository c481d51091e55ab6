package chart

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// fakeRun returns a run that looks like a real one: a fast fall, a long tail, noise, a validation every tenth.
func fakeRun(name string, steps int, floor float64, seed uint64) Run {
	random := rand.New(rand.NewPCG(seed, 1))
	r := Run{Name: name}
	every := max(steps/7, 1)
	for i := range steps {
		step := float64(i + 1)
		share := float64(i) / float64(steps)
		loss := floor + 0.8*math.Exp(-9*share) + 0.9*math.Exp(-2.2*share)
		r.Steps = append(r.Steps, step)
		r.Loss = append(r.Loss, loss+0.13*random.NormFloat64())
		r.MemoryBytes = append(r.MemoryBytes, 6.4e8+1.1e8*(1-math.Exp(-12*share))+4e6*random.NormFloat64())
		if i%every == 0 || i == steps-1 {
			r.Validation = append(r.Validation, Point{step, loss + 0.12 + 0.02*random.NormFloat64()})
		}
	}
	train := float64(steps) * (1.9 + 0.4*random.Float64())
	r.Seconds = Times{Load: 2.1, Train: train, Evaluate: 0.11 * train, Save: 0.6, Wall: 1.11*train + 2.8}
	return r
}

// withDevice adds memory on a device that grows and stays.
func withDevice(r Run, bytes float64) Run {
	for i := range r.Steps {
		r.DeviceMemoryBytes = append(r.DeviceMemoryBytes, bytes*(1-0.3*math.Exp(-float64(i)/4)))
	}
	return r
}

func threeRuns() []Run {
	return []Run{
		withDevice(fakeRun("bluey-r8", 56, 1.55, 1), 1.5e9),
		withDevice(fakeRun("bluey-r16", 56, 1.4, 2), 1.7e9),
		withDevice(fakeRun("bluey-r64-all-modules", 84, 1.3, 3), 2.1e9),
	}
}

func manyRuns(n int) []Run {
	var runs []Run
	for i := range n {
		runs = append(runs, fakeRun(fmt.Sprintf("sweep-%02d lr=%.0e", i+1, 1e-5*math.Pow(1.7, float64(i))),
			140, 1.2+0.13*float64(i%7), uint64(i+1)))
	}
	return runs
}

// fullRun is a fakeRun with everything that the kinds show. From the share slow of it on, it is slower by a quarter.
func fullRun(name string, steps int, seed uint64, slow float64) Run {
	r := withDevice(fakeRun(name, steps, 1.3, seed), 1.6e9)
	random := rand.New(rand.NewPCG(seed, 2))
	at := 2.5
	for i := range steps {
		share := float64(i) / float64(steps)
		seconds := 1.9 * (1 + 0.06*random.NormFloat64())
		if share >= slow {
			seconds /= 0.75
		}
		at += seconds
		if i%max(steps/7, 1) == 0 {
			at += 4 // an evaluation
		}
		r.Elapsed = append(r.Elapsed, at)
		r.StepSeconds = append(r.StepSeconds, seconds)
		r.Tokens = append(r.Tokens, 1900)
		r.Epoch = append(r.Epoch, 3*float64(i+1)/float64(steps))
		r.GradNorm = append(r.GradNorm, (0.4+3*math.Exp(-6*share))*math.Exp(0.4*random.NormFloat64()))
		r.LearningRate = append(r.LearningRate, 2e-4*min(share*10, 1)*(1-share))
	}
	r.MaxGradNorm = 1
	r.Group = fmt.Sprint(8 << (seed % 3))
	return r
}

// awkwardRuns holds one run for each thing that breaks charts.
func awkwardRuns() map[string][]Run {
	nan, inf := math.NaN(), math.Inf(1)
	stray := fakeRun("stray first loss", 56, 1.4, 1)
	stray.Loss[0] = 4.1e6
	gaps := fakeRun("gaps", 56, 1.4, 1)
	for _, i := range []int{3, 4, 20, 22, 55} {
		gaps.Loss[i], gaps.MemoryBytes[i] = nan, inf
	}
	long := fakeRun("a run whose name tells the whole story of what was tried, in which order, and why it failed",
		56, 1.4, 1)
	one := func(r Run) []Run { return []Run{r} }
	return map[string][]Run{
		"nothing": {{}},
		"one step": one(Run{
			Name: "one", Steps: []float64{1}, Loss: []float64{2.5},
			MemoryBytes: []float64{1e9},
		}),
		"constant": one(Run{
			Name: "flat", Steps: []float64{1, 2, 3}, Loss: []float64{2, 2, 2},
			MemoryBytes: []float64{5, 5, 5},
		}),
		"zero loss": one(Run{
			Name: "zero", Steps: []float64{1, 2}, Loss: []float64{0, 0},
			MemoryBytes: []float64{0, 0},
		}),
		"only NaN": one(Run{
			Name: "nan", Steps: []float64{1, 2}, Loss: []float64{nan, inf},
			Seconds: Times{nan, inf, -1, 0, nan},
		}),
		"huge": one(Run{
			Name: "huge", Steps: []float64{-1e30, 1e30}, Loss: []float64{1e30, -1e30},
			Seconds: Times{Train: 1e30},
		}),
		"tiny": one(Run{
			Name: "tiny", Steps: []float64{1, 2}, Loss: []float64{5e-324, 1e-300},
			Seconds: Times{Train: 5e-324},
		}),
		"far steps": one(Run{Name: "far", Steps: []float64{1e30}, Loss: []float64{1}}),
		"ragged": one(Run{
			Name: "ragged", Steps: []float64{1, 2, 3}, Loss: []float64{3},
			MemoryBytes: []float64{1, 2, 3, 4, 5},
		}),
		"only valid": one(Run{Name: "v", Validation: []Point{{1, 2}, {nan, 3}, {5, inf}}}),
		"only times": one(Run{
			Name:    "t",
			Seconds: Times{Load: 1, Train: 3600, Evaluate: 10, Save: 1, Wall: 4000},
		}),
		"stray":      {stray},
		"gaps":       {gaps},
		"long names": {long, long, long},
		"markup":     {fakeRun("a <b> & \"c\" 'd'\x00\x1b[31m\ufffe\xff", 9, 1, 1), fakeRun("尝试 é ё 🐶", 9, 1, 2)},
		"no name":    {fakeRun("", 9, 1, 1)},
		"hundred days": one(Run{
			Name: "slow", Steps: []float64{1, 2}, Loss: []float64{3, 2},
			Seconds: Times{Train: 8.64e6},
		}),
		"broken numbers": one(Run{
			Name: "broken", Steps: []float64{1, 2, 3, 4}, Loss: []float64{nan, 2, inf, 0}, Elapsed: []float64{nan, 1, inf, 2},
			StepSeconds: []float64{0, nan, 1e-300, 1}, Tokens: []float64{0, 1, 1e300, nan}, Epoch: []float64{inf, 0, 0, 0},
			GradNorm: []float64{0, 1e-300, 1e29, nan}, LearningRate: []float64{0, 0, nan, 0}, MaxGradNorm: 1e-40,
			ValidationElapsed: []float64{nan}, Validation: []Point{{0, 1}, {9, 2}}, Ending: "diverged",
		}),
		"one full step": {fullRun("one", 1, 1, 1)},
		"all full":      {fullRun("first", 60, 1, 1), fullRun("second, with a long name", 140, 2, 0.6), {Name: "empty"}},
		"twenty full": func() (runs []Run) {
			for i := range 20 {
				runs = append(runs, fullRun(fmt.Sprintf("trial %d", i+1), 40, uint64(i), 0.5))
			}
			return runs
		}(),
		"ten thousand full": {fullRun("long", 10_000, 3, 0.6)},
		"many points":       {fakeRun("long", 100_000, 1.4, 1)},
		"sixty":             manyRuns(60),
	}
}
