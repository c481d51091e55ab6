package main

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"tune/configs"
	"tune/internal/chart"
	"tune/internal/runstore"
)

// chartedRun is what a chart shows of a run, as tune chart --json writes it. What comes after the wall time is written only
// where a kind wants it.
type chartedRun struct {
	ID                string          `json:"id"`
	Name              string          `json:"name"`
	Status            string          `json:"status"`
	Steps             []int64         `json:"steps"`
	Loss              []runstore.Real `json:"loss"`
	Validation        []chartedPoint  `json:"validation"`
	MemoryBytes       []int64         `json:"memory_bytes"`
	DeviceMemoryBytes []int64         `json:"device_memory_bytes"`
	LoadSeconds       runstore.Real   `json:"load_seconds"`
	TrainSeconds      runstore.Real   `json:"train_seconds"`
	EvaluateSeconds   runstore.Real   `json:"evaluate_seconds"`
	SaveSeconds       runstore.Real   `json:"save_seconds"`
	WallSeconds       runstore.Real   `json:"wall_seconds"`

	Group           string          `json:"group,omitempty"`           // what --by names
	ElapsedSeconds  []runstore.Real `json:"elapsed_seconds,omitempty"` // since the run began, without the time between its processes
	Epoch           []runstore.Real `json:"epoch,omitempty"`
	Tokens          []int64         `json:"tokens,omitempty"` // of the step
	Seconds         []runstore.Real `json:"seconds,omitempty"`
	TokensPerSecond []runstore.Real `json:"tokens_per_second,omitempty"`
	GradNorm        []runstore.Real `json:"grad_norm,omitempty"`
	MaxGradNorm     runstore.Real   `json:"max_grad_norm,omitempty"` // 0 where gradients are not clipped
	LearningRate    []runstore.Real `json:"learning_rate,omitempty"`
	Slowdown        *chartedFall    `json:"slowdown,omitempty"` // where the run became slower and stayed so

	config *configs.Config // nil where it cannot be read
}

type chartedPoint struct {
	Step           int64         `json:"step"`
	Loss           runstore.Real `json:"loss"`
	ElapsedSeconds runstore.Real `json:"elapsed_seconds"`
}

type chartedFall struct {
	Step  int64         `json:"step"`
	Share runstore.Real `json:"share"` // how much slower: 0.22 is 22 %
}

// keep leaves out what none of the kinds wants.
func (r *chartedRun) keep(kinds []chart.Kind) {
	wants := func(wanted ...chart.Kind) bool {
		return slices.ContainsFunc(kinds, func(k chart.Kind) bool { return slices.Contains(wanted, k) })
	}
	if len(kinds) == 0 || !wants(chart.Loss, chart.Memory, chart.Speed, chart.GradNorm, chart.LearningRate, chart.LossTime, chart.LossTokens) {
		r.ElapsedSeconds, r.Epoch, r.Tokens = nil, nil, nil
	}
	if !wants(chart.Speed) {
		r.Seconds, r.TokensPerSecond, r.Slowdown = nil, nil, nil
	}
	if !wants(chart.GradNorm) {
		r.GradNorm, r.MaxGradNorm = nil, 0
	}
	if !wants(chart.LearningRate) {
		r.LearningRate = nil
	}
}

// readCharted reads the runs that the command line means.
func readCharted(c *cli.Context, view chart.View) ([]chartedRun, error) {
	store, err := openRuns(c)
	if err != nil {
		return nil, err
	}
	runs, err := readChosen(c, store, view, time.Now())
	return runs, closing(store, err)
}

func readChosen(c *cli.Context, store *runstore.Store, view chart.View, now time.Time) ([]chartedRun, error) {
	ids, err := chosenRuns(c, store, now)
	if err != nil {
		return nil, err
	}
	var runs []chartedRun
	for _, id := range ids {
		run, err := store.Run(c.Context, id)
		if err != nil {
			return nil, err
		}
		one, err := readOne(c, store, &run, view, now)
		if err != nil {
			return nil, err
		}
		runs = append(runs, one)
	}
	return runs, nil
}

func readOne(c *cli.Context, store *runstore.Store, run *runstore.RunSummary, view chart.View, now time.Time) (chartedRun, error) {
	steps, err := store.Steps(c.Context, run.ID)
	if err != nil {
		return chartedRun{}, err
	}
	evaluations, err := store.Evaluations(c.Context, run.ID)
	if err != nil {
		return chartedRun{}, err
	}
	events, err := store.Events(c.Context, run.ID)
	if err != nil {
		return chartedRun{}, err
	}
	out := charted(run, steps, evaluations, events, now)
	if out.Group, err = groupOf(run, out.config, view.By); err != nil {
		return chartedRun{}, err
	}
	return out, nil
}

func charted(run *runstore.RunSummary, steps []runstore.Step, evaluations []runstore.Evaluation, events []runstore.Event, now time.Time) chartedRun {
	out := chartedRun{ID: run.ID, Name: run.Name, Status: statusOfRun(run), LoadSeconds: run.LoadSeconds,
		TrainSeconds: run.TrainSeconds, EvaluateSeconds: run.EvaluateSeconds, SaveSeconds: run.SaveSeconds,
		WallSeconds: runstore.Real(wallSeconds(run, now))}
	if !run.WallSeconds.Finite() {
		out.TrainSeconds = run.StepSeconds // of a run that has not ended: the rest is not known yet
	}
	// A config of another tune may hold what this one refuses; the chart then does without.
	if cfg, err := configs.Parse(run.ID, []byte(run.Config), nil); err == nil {
		out.config, out.MaxGradNorm = cfg, runstore.Real(cfg.Train.MaxGradNorm)
	}
	away := timesAway(steps, events)
	elapsed := func(at time.Time) runstore.Real {
		if run.StartedAt.IsZero() || at.IsZero() {
			return runstore.Real(math.NaN())
		}
		return runstore.Real(max(0, (at.Sub(run.StartedAt) - away.before(at)).Seconds()))
	}
	var perSecond []float64
	for _, x := range steps {
		out.Steps = append(out.Steps, x.Step)
		out.Loss = append(out.Loss, x.Loss)
		out.MemoryBytes = append(out.MemoryBytes, x.MemoryBytes)
		out.DeviceMemoryBytes = append(out.DeviceMemoryBytes, x.DeviceMemoryBytes)
		out.ElapsedSeconds = append(out.ElapsedSeconds, elapsed(x.At))
		out.Epoch = append(out.Epoch, x.Epoch)
		out.Tokens = append(out.Tokens, x.Tokens)
		out.Seconds = append(out.Seconds, x.Seconds)
		out.TokensPerSecond = append(out.TokensPerSecond, x.TokensPerSecond)
		out.GradNorm = append(out.GradNorm, x.GradNorm)
		out.LearningRate = append(out.LearningRate, x.LearningRate)
		perSecond = append(perSecond, float64(x.TokensPerSecond))
	}
	if fall, ok := chart.FindSlowdown(perSecond); ok {
		out.Slowdown = &chartedFall{steps[fall.Index].Step, runstore.Real(fall.Share)}
	}
	for _, e := range evaluations {
		if e.Split == runstore.Validation {
			out.Validation = append(out.Validation, chartedPoint{e.Step, e.Loss, elapsed(e.At)})
		}
	}
	return out
}

// absences are the times in which nobody trained a run: between the last step of one process and the moment that another
// took it up again.
type absences []absence

type absence struct {
	until time.Time
	long  time.Duration
}

func timesAway(steps []runstore.Step, events []runstore.Event) absences {
	var out absences
	for _, e := range events {
		if e.Kind != "resumed" {
			continue
		}
		if next := slices.IndexFunc(steps, func(x runstore.Step) bool { return x.At.After(e.At) }); next > 0 {
			out = append(out, absence{e.At, max(0, e.At.Sub(steps[next-1].At))})
		}
	}
	return out
}

// before returns how long the run had been left alone when it was at.
func (a absences) before(at time.Time) time.Duration {
	sum := time.Duration(0)
	for _, x := range a {
		if at.After(x.until) {
			sum += x.long
		}
	}
	return sum
}

// groupOf returns what the times of a run are grouped by; unknown where its config cannot be read.
func groupOf(run *runstore.RunSummary, cfg *configs.Config, by string) (string, error) {
	switch by {
	case "":
		return "", nil
	case "name":
		return run.Name, nil
	case "model":
		return filepath.Base(run.ModelPath), nil
	case "device":
		return run.Device, nil
	case "chip":
		return run.Chip, nil
	}
	if defaults := configs.Default(); cfg == nil {
		cfg = &defaults // for the check of the key alone
		if _, err := cfg.Value(by); err == nil {
			return "", nil
		}
	}
	value, err := cfg.Value(by)
	if err != nil {
		return "", badInput{fmt.Errorf("tune chart: --by: %w", err), "it can be model, device, chip, name or a key of the config, such as lora.rank"}
	}
	return value, nil
}

// drawnRuns fits runs to the chart package.
func drawnRuns(runs []chartedRun) []chart.Run {
	names := runLabels(runs)
	out := make([]chart.Run, len(runs))
	for i := range runs {
		out[i] = runs[i].drawn()
		out[i].Name = names[i]
	}
	return out
}

func (r *chartedRun) drawn() chart.Run {
	out := chart.Run{Name: r.Name, Group: r.Group, MaxGradNorm: float64(r.MaxGradNorm), Seconds: chart.Times{Load: float64(r.LoadSeconds), Train: float64(r.TrainSeconds),
		Evaluate: float64(r.EvaluateSeconds), Save: float64(r.SaveSeconds), Wall: float64(r.WallSeconds)}}
	if r.Status != string(runstore.Done) {
		out.Ending = r.Status
	}
	for i := range r.Steps {
		out.Steps = append(out.Steps, float64(r.Steps[i]))
		out.Loss = append(out.Loss, float64(r.Loss[i]))
		out.MemoryBytes = append(out.MemoryBytes, float64(r.MemoryBytes[i]))
		out.DeviceMemoryBytes = append(out.DeviceMemoryBytes, float64(r.DeviceMemoryBytes[i]))
		out.Elapsed = append(out.Elapsed, float64(r.ElapsedSeconds[i]))
		out.StepSeconds = append(out.StepSeconds, float64(r.Seconds[i]))
		out.Tokens = append(out.Tokens, float64(r.Tokens[i]))
		out.Epoch = append(out.Epoch, float64(r.Epoch[i]))
		out.GradNorm = append(out.GradNorm, float64(r.GradNorm[i]))
		out.LearningRate = append(out.LearningRate, float64(r.LearningRate[i]))
	}
	for _, p := range r.Validation {
		out.Validation = append(out.Validation, chart.Point{X: float64(p.Step), Y: float64(p.Loss)})
		out.ValidationElapsed = append(out.ValidationElapsed, float64(p.ElapsedSeconds))
	}
	return out
}
