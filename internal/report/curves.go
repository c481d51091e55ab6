package report

import (
	"encoding/json"
	"html/template"
	"math"
	"strconv"

	"tune/internal/chart"
	"tune/internal/runstore"
	"tune/internal/web"
)

// real is a number in the page, with the five digits that a plot can show; null where it is none.
type real float64

// MarshalJSON writes the number as short as it can be.
func (r real) MarshalJSON() ([]byte, error) {
	v := float64(r)
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return []byte("null"), nil
	}
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 5, 64), 64)
	if err != nil {
		return nil, err
	}
	return json.Marshal(rounded)
}

// curves are the numbers that the page plots of a run: by step, with a null where a step has none. The steps with an
// evaluation are among them, also step 0, which is before training.
type curves struct {
	Label        string  `json:"label"`
	Step         []int64 `json:"step"`
	Loss         []real  `json:"loss"`
	Smooth       []real  `json:"smooth"`
	Validation   []real  `json:"validation"`
	LearningRate []real  `json:"learning_rate"`
	GradNorm     []real  `json:"grad_norm"`
	Speed        []real  `json:"tokens_per_second"`
	Memory       []real  `json:"memory_bytes"`
	Tensors      []real  `json:"device_memory_bytes"`
	Seconds      []real  `json:"seconds"` // of all steps until then
	Tokens       []int64 `json:"tokens"`  // of all steps until then
}

const (
	// maxPoints is how many steps of a run a page has as they are. A plot is a thousand pixels wide.
	maxPoints = 2000
	// buckets is into how many parts a longer run is cut. Of each part up to 17 steps stay; most are the same.
	buckets = 150
)

// newCurves takes a run apart. points is how many steps may stay before it is thinned.
func newCurves(r *Run, label string, points int) *curves {
	c := &curves{Label: label}
	smooth := web.Smoothed(r.Steps)
	seconds, tokens := sums(r.Steps)
	validation := map[int64]runstore.Real{}
	for _, e := range r.Evaluations {
		if e.Split == runstore.Validation {
			validation[e.Step] = e.Loss
		}
	}
	nothing := real(math.NaN())
	valueAt := func(step int64) real {
		if v, ok := validation[step]; ok {
			return real(v)
		}
		return nothing
	}
	row := func(step int64, s *runstore.Step, smooth, seconds real, tokens int64) {
		c.Step, c.Validation = append(c.Step, step), append(c.Validation, valueAt(step))
		c.Loss, c.Smooth = append(c.Loss, real(s.Loss)), append(c.Smooth, smooth)
		c.LearningRate, c.GradNorm = append(c.LearningRate, real(s.LearningRate)), append(c.GradNorm, real(s.GradNorm))
		c.Speed = append(c.Speed, real(s.TokensPerSecond))
		c.Memory, c.Tensors = append(c.Memory, measured(s.MemoryBytes)), append(c.Tensors, measured(s.DeviceMemoryBytes))
		c.Seconds, c.Tokens = append(c.Seconds, seconds), append(c.Tokens, tokens)
	}
	if _, ok := validation[0]; ok {
		none := runstore.Real(math.NaN())
		row(0, &runstore.Step{Loss: none, LearningRate: none, GradNorm: none, TokensPerSecond: none}, nothing, 0, 0)
	}
	parts := max(1, min(buckets, points/13)) // of the 17 that may stay of a part, most are the same
	for _, i := range web.Thinned(r.Steps, points, parts, func(step int64) bool { _, ok := validation[step]; return ok }) {
		row(r.Steps[i].Step, &r.Steps[i], real(smooth[i]), seconds[i], tokens[i])
	}
	return c
}

// measured is a number that is 0 where nobody measured it.
func measured(n int64) real {
	if n == 0 {
		return real(math.NaN())
	}
	return real(n)
}

// sums are the time and the tokens of all steps up to each.
func sums(steps []runstore.Step) (seconds []real, tokens []int64) {
	time, count := 0.0, int64(0)
	for _, x := range steps {
		if x.Seconds.Finite() {
			time += float64(x.Seconds)
		}
		count += x.Tokens
		seconds, tokens = append(seconds, real(time)), append(tokens, count)
	}
	return seconds, tokens
}

// jsonFor writes a value for an element script: no letter in it can end the element.
func jsonFor(v any) (template.JS, error) {
	b, err := json.Marshal(v) // which writes <, > and & as \u003c, \u003e and \u0026
	return template.JS(b), err
}

// drawn fits a run to internal/chart.
func drawn(r *Run, label string) chart.Run {
	out := chart.Run{Name: label, Seconds: chart.Times{Load: float64(r.LoadSeconds), Train: float64(r.trained()),
		Evaluate: float64(r.EvaluateSeconds), Save: float64(r.SaveSeconds), Wall: r.Took}}
	for _, x := range r.Steps {
		out.Steps, out.Loss = append(out.Steps, float64(x.Step)), append(out.Loss, float64(x.Loss))
		out.MemoryBytes = append(out.MemoryBytes, float64(x.MemoryBytes))
		out.DeviceMemoryBytes = append(out.DeviceMemoryBytes, float64(x.DeviceMemoryBytes))
	}
	for _, e := range r.Evaluations {
		if e.Split == runstore.Validation {
			out.Validation = append(out.Validation, chart.Point{X: float64(e.Step), Y: float64(e.Loss)})
		}
	}
	return out
}

// trained is the time in steps: of a run that has not ended only these are known.
func (r *Run) trained() runstore.Real {
	if r.TrainSeconds.Finite() {
		return r.TrainSeconds
	}
	return r.StepSeconds
}
