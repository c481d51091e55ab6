package trainer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tune/adapters"
	"tune/configs"
	"tune/datasets"
	"tune/internal/checkpoint"
	"tune/internal/golden"
	"tune/internal/model"
	"tune/internal/tokenizer"
	"tune/internal/torch"
)

// memoryRecorder keeps what a run tells.
type memoryRecorder struct {
	steps       []StepMetrics
	evaluations []Evaluation
	samples     []SampleText
	events      []Event
	checkpoints []SavedCheckpoint
	fail        int // the step whose record fails
	onStep      func(StepMetrics)
	onLoad      func(*torch.Scope, *Job) // before the run
}

func (r *memoryRecorder) RecordStep(_ context.Context, m StepMetrics) error {
	if m.Step == r.fail {
		return errors.New("disk full")
	}
	r.steps = append(r.steps, m)
	if r.onStep != nil {
		r.onStep(m)
	}
	return nil
}
func (r *memoryRecorder) RecordEvaluation(_ context.Context, e Evaluation) error {
	r.evaluations = append(r.evaluations, e)
	return nil
}
func (r *memoryRecorder) RecordSample(_ context.Context, t SampleText) error {
	r.samples = append(r.samples, t)
	return nil
}
func (r *memoryRecorder) RecordEvent(_ context.Context, e Event) error {
	r.events = append(r.events, e)
	return nil
}
func (r *memoryRecorder) Sync(context.Context) error { return nil }
func (r *memoryRecorder) RecordCheckpoint(_ context.Context, c SavedCheckpoint) error {
	r.checkpoints = append(r.checkpoints, c)
	return nil
}

// rows makes a dataset of n rows of different lengths, their first third a prompt.
func rows(n int) *datasets.Dataset {
	d := &datasets.Dataset{}
	for i := range n {
		length := 6 + 5*i%23
		sample := datasets.Sample{Line: i + 1}
		for t := range length {
			id := int64(4 + (7*i+3*t)%300)
			label := id
			if t < length/3 || t == 0 {
				label = datasets.NoLoss
			}
			sample.InputIDs, sample.Labels = append(sample.InputIDs, id), append(sample.Labels, label)
		}
		d.Samples = append(d.Samples, sample)
	}
	return d
}

func options() configs.Train {
	o := configs.Default().Train
	o.BatchSize, o.LearningRate, o.NumTrainEpochs, o.WarmupSteps = 3, 5e-3, 2, 2
	return o
}

// outcome is what a training run left: its metrics and its weights.
type outcome struct {
	*memoryRecorder
	Summary
	weights []float32
	err     error
}

// setup changes a run before it starts.
type setup func(*Job, *configs.LoRA)

// train runs a job on the reference Gemma 3, with an adapter unless full.
func train(t *testing.T, ctx context.Context, full bool, changes ...setup) outcome {
	t.Helper()
	out := outcome{memoryRecorder: &memoryRecorder{}}
	lora := configs.LoRA{Rank: 4, Alpha: 8, TargetModules: checkpoint.LinearModules()}
	job := Job{Options: options(), Seed: 11, Recorder: out.memoryRecorder, Now: time.Now}
	for _, change := range changes {
		change(&job, &lora)
	}
	if job.Train == nil {
		job.Train = datasets.NewBatcher(rows(10), datasets.BatchOptions{BatchSize: job.Options.BatchSize, Shuffle: true, Seed: 11})
	}
	err := torch.Run(func(s *torch.Scope) error {
		m, err := model.Load(s, filepath.Join(golden.Dir(t), "gemma3", "model"), model.Options{DType: torch.Float32, Device: torch.CPU})
		if err != nil {
			return err
		}
		job.Model = m
		if !full {
			if job.Adapter, err = adapters.New(s, m, lora, 11); err != nil {
				return err
			}
		}
		if out.onLoad != nil {
			out.onLoad(s, &job)
		}
		out.Summary, out.err = Run(ctx, s, job)
		if full {
			for _, p := range m.Parameters() {
				out.weights = append(out.weights, s.ReadFloat32s(*p.Field)...)
			}
		} else {
			out.weights = s.ReadFloat32s(job.Adapter.Flat.Data)
		}
		return s.Err()
	})
	if err != nil && out.err == nil {
		t.Fatal(err)
	}
	return out
}

func losses(o outcome) (all []float64) {
	for _, m := range o.steps {
		all = append(all, m.Loss)
	}
	return all
}

func TestRunLearnsAndRepeats(t *testing.T) {
	for _, full := range []bool{false, true} {
		a, b := train(t, context.Background(), full), train(t, context.Background(), full)
		if a.err != nil {
			t.Fatal(a.err)
		}
		if a.Steps != 8 || len(a.steps) != 8 { // 10 rows in batches of 3, two epochs
			t.Errorf("full %v: %d steps, %d recorded, want 8", full, a.Steps, len(a.steps))
		}
		if !slices.Equal(losses(a), losses(b)) || !slices.Equal(a.weights, b.weights) {
			t.Errorf("full %v: one seed gave two results", full)
		}
		if first, last := a.FirstLoss, a.LastLoss; !(last < first) {
			t.Errorf("full %v: loss went from %g to %g", full, first, last)
		}
		if a.steps[0].LR != 0 || a.steps[7].Epoch != 2 {
			t.Errorf("full %v: first rate %g, last epoch %g", full, a.steps[0].LR, a.steps[7].Epoch)
		}
		tokens := 0
		for _, m := range a.steps {
			tokens += m.Tokens
			if m.Elapsed <= 0 || m.MemoryBytes <= 0 || m.PeakMemoryBytes <= 0 || m.GradNorm <= 0 {
				t.Errorf("full %v: step %+v lacks a measurement", full, m)
			}
		}
		want := 0
		for _, sample := range rows(10).Samples {
			want += 2 * len(sample.InputIDs)
		}
		if tokens != want || a.Tokens != want {
			t.Errorf("full %v: %d tokens in steps, %d in all, want %d", full, tokens, a.Tokens, want)
		}
	}
}

// same compares two runs that must agree up to the order of float32 sums.
func same(t *testing.T, what string, got, want outcome) {
	t.Helper()
	if got.err != nil || want.err != nil {
		t.Fatalf("%s: %v, %v", what, got.err, want.err)
	}
	a, b := losses(got), losses(want)
	if len(a) != len(b) {
		t.Fatalf("%s: %d steps, want %d", what, len(a), len(b))
	}
	for i := range a {
		if math.Abs(a[i]-b[i]) > 2e-5 {
			t.Errorf("%s: step %d: loss %.7f, want %.7f", what, i+1, a[i], b[i])
		}
	}
	golden.NearNorm(t, what+": weights", got.weights, want.weights, 1e-4) // Adam enlarges rounding of small gradients
}

func TestAccumulationMatchesOneBatch(t *testing.T) {
	one := train(t, context.Background(), false, func(j *Job, _ *configs.LoRA) { j.Options.BatchSize = 8 })
	for _, size := range []int{1, 2, 4} {
		many := train(t, context.Background(), false, func(j *Job, _ *configs.LoRA) {
			j.Options.BatchSize, j.Options.GradientAccumulationSteps = size, 8/size
		})
		same(t, fmt.Sprintf("%d batches of %d", 8/size, size), many, one)
	}
}

func TestCheckpointingMatches(t *testing.T) {
	checkpointing := func(j *Job, _ *configs.LoRA) { j.Options.GradientCheckpointing = true }
	for name, change := range map[string]setup{
		"plain":      func(*Job, *configs.LoRA) {},
		"dropout":    func(_ *Job, l *configs.LoRA) { l.Dropout = 0.3 },
		"top layers": func(_ *Job, l *configs.LoRA) { l.LayersToTransform = []int{3, 5} },
	} {
		same(t, name, train(t, context.Background(), false, change, checkpointing), train(t, context.Background(), false, change))
	}
	same(t, "full", train(t, context.Background(), true, checkpointing), train(t, context.Background(), true))
}

func TestDropoutDrops(t *testing.T) {
	with := train(t, context.Background(), false, func(_ *Job, l *configs.LoRA) { l.Dropout = 0.5 })
	if slices.Equal(with.weights, train(t, context.Background(), false).weights) {
		t.Error("dropout changed nothing")
	}
}

func TestPaddingChangesNothing(t *testing.T) {
	padded := train(t, context.Background(), false, func(j *Job, _ *configs.LoRA) {
		j.Train = datasets.NewBatcher(rows(10), datasets.BatchOptions{BatchSize: 3, Shuffle: true, Seed: 11, PadTo: 40})
	})
	same(t, "padded to 40", padded, train(t, context.Background(), false))
}

func TestBucketChangesNothing(t *testing.T) {
	bucketed := train(t, context.Background(), false, func(j *Job, _ *configs.LoRA) {
		j.Recorder.(*memoryRecorder).onStep = func(StepMetrics) { j.Model.Bucket = 16 }
	})
	same(t, "lengths in sixteens", bucketed, train(t, context.Background(), false))
}

func TestDivergenceStopsBeforeTheUpdate(t *testing.T) {
	out := train(t, context.Background(), false, func(j *Job, _ *configs.LoRA) {
		j.Options.LearningRate, j.Options.MaxGradNorm, j.Options.WarmupSteps = 1e30, 0, 0
		j.Options.MaxSteps = 50
	})
	var diverged *DivergedError
	if !errors.As(out.err, &diverged) {
		t.Fatalf("got %v, want a DivergedError", out.err)
	}
	if diverged.Step != len(out.steps)+1 || !strings.Contains(out.err.Error(), fmt.Sprintf("step %d", diverged.Step)) {
		t.Errorf("%v after %d recorded steps", out.err, len(out.steps))
	}
	for _, v := range out.weights {
		if math.IsNaN(float64(v)) {
			t.Fatal("the weights were spoiled by the update of a step without a finite loss")
		}
	}
}

func TestInterruptEndsAfterAStep(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	out := train(t, ctx, false, func(j *Job, _ *configs.LoRA) {
		j.Recorder.(*memoryRecorder).onStep = func(m StepMetrics) {
			if m.Step == 3 {
				cancel()
			}
		}
	})
	if !errors.Is(out.err, ErrInterrupted) || len(out.steps) != 3 || out.Steps != 3 {
		t.Errorf("got %v after %d steps, want ErrInterrupted after 3", out.err, len(out.steps))
	}
}

func TestWhatCannotBeRecordedEndsTheRun(t *testing.T) {
	out := train(t, context.Background(), false, func(j *Job, _ *configs.LoRA) { j.Recorder.(*memoryRecorder).fail = 4 })
	if out.err == nil || !strings.Contains(out.err.Error(), "step 4: record: disk full") {
		t.Errorf("got %v", out.err)
	}
}

func TestEvaluationAndSamples(t *testing.T) {
	tok, err := tokenizer.Open(filepath.Join(golden.Dir(t), "..", "tokenizers", "small-gemma3"))
	if err != nil {
		t.Fatal(err)
	}
	held := rows(14)
	held.Samples = held.Samples[10:]
	validation := []datasets.Batch{datasets.NewBatch(held.Samples, []int{0, 1}, 0), datasets.NewBatch(held.Samples, []int{2, 3}, 0)}
	out := train(t, context.Background(), false, func(j *Job, _ *configs.LoRA) {
		j.Validation, j.Options.EvalSteps, j.Tokenizer = validation, 3, tok
	})
	var at []int
	for _, e := range out.evaluations {
		at = append(at, e.Step)
		if e.TargetTokens != validation[0].TargetTokens+validation[1].TargetTokens || e.Loss <= 0 {
			t.Errorf("evaluation %+v", e)
		}
	}
	if !slices.Equal(at, []int{0, 3, 6, 8}) {
		t.Errorf("evaluated after steps %v, want before the first, every third and after the last", at)
	}
	same(t, "evaluating", out, train(t, context.Background(), false)) // and it must not disturb training
}

func TestSchedules(t *testing.T) {
	for _, tc := range []struct {
		kind          string
		warmup, total int
		want          []float64
	}{
		{"constant", 0, 3, []float64{1, 1, 1}},
		{"constant", 2, 4, []float64{0, 0.5, 1, 1}},
		{"linear", 0, 4, []float64{1, 0.75, 0.5, 0.25}},
		{"linear", 2, 6, []float64{0, 0.5, 1, 0.75, 0.5, 0.25}},
		{"cosine", 0, 4, []float64{1, (1 + math.Sqrt2/2) / 2, 0.5, (1 - math.Sqrt2/2) / 2}},
		{"cosine", 1, 3, []float64{0, 1, 0.5}},
		{"linear", 9, 3, []float64{0, 1. / 3, 2. / 3}}, // a warm-up longer than the run is cut to it
	} {
		s, err := NewSchedule(tc.kind, 1, tc.warmup, tc.total)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range tc.want {
			if got := s.At(i + 1); math.Abs(got-want) > 1e-12 {
				t.Errorf("%s, warm-up %d of %d: step %d has %g, want %g", tc.kind, tc.warmup, tc.total, i+1, got, want)
			}
		}
	}
	if _, err := NewSchedule("polynomial", 1, 0, 1); err == nil || !strings.Contains(err.Error(), "polynomial") {
		t.Errorf("unknown kind: %v", err)
	}
}

func TestStepsOfTheOriginalRecipe(t *testing.T) {
	o := configs.Default().Train
	o.NumTrainEpochs, o.BatchSize = 5, 4
	if got := Steps(28, o); got != 140 { // 111 rows in batches of 4, five times
		t.Errorf("%d steps, want 140", got)
	}
	o.GradientAccumulationSteps = 3
	if got := Steps(28, o); got != 50 {
		t.Errorf("%d steps with accumulation 3, want 50", got)
	}
	o.MaxSteps = 7
	if got := Steps(28, o); got != 7 {
		t.Errorf("%d steps, want max_steps 7", got)
	}
}
