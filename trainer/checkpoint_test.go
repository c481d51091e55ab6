package trainer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tune/configs"
	"tune/datasets"
	"tune/internal/bounded"
	"tune/internal/torch"
)

// into has a run save its checkpoints every so many steps.
func into(c *Checkpoints, every int) setup {
	return func(job *Job, _ *configs.LoRA) { job.Checkpoints, job.SaveSteps = c, every }
}

// from has a run go on from the newest checkpoint up to a step.
func from(t *testing.T, c *Checkpoints, most int) setup {
	t.Helper()
	found, damaged, err := c.Newest(most)
	if err != nil || len(damaged) > 0 {
		t.Fatal(err, damaged)
	}
	return func(job *Job, _ *configs.LoRA) { job.Resume = found }
}

func validated(job *Job, _ *configs.LoRA) {
	d := rows(7)
	job.Validation = []datasets.Batch{datasets.NewBatch(d.Samples, []int{1, 2}, 0), datasets.NewBatch(d.Samples, []int{5, 6}, 0)}
	job.Options.EvalSteps = 3
}

// stopAfter interrupts a run after a step.
func stopAfter(step int) (context.Context, setup) {
	ctx, cancel := context.WithCancel(context.Background())
	return ctx, func(job *Job, _ *configs.LoRA) {
		job.Recorder.(*memoryRecorder).onStep = func(m StepMetrics) {
			if m.Step == step {
				cancel()
			}
		}
	}
}

// stepsOf and evaluationsOf are metrics without what another try cannot repeat: times and memory.
func stepsOf(outs ...outcome) (all []StepMetrics) {
	for _, out := range outs {
		for _, m := range out.memoryRecorder.steps {
			m.Elapsed, m.MemoryBytes, m.PeakMemoryBytes, m.DeviceMemoryBytes, m.DevicePeakBytes = 0, 0, 0, 0, 0
			all = append(all, m)
		}
	}
	return all
}

func evaluationsOf(outs ...outcome) (all []Evaluation) {
	for _, out := range outs {
		for _, e := range out.evaluations {
			e.Elapsed = 0
			all = append(all, e)
		}
	}
	return all
}

// TestResumedRunIsOneNeverStopped, to the last bit: interrupted after any step it goes on with the same losses, gradient
// norms and validation losses and ends with the same weights.
func TestResumedRunIsOneNeverStopped(t *testing.T) {
	accumulating := func(job *Job, lora *configs.LoRA) { job.Options.GradientAccumulationSteps = 2 }
	checkpointing := func(job *Job, lora *configs.LoRA) { job.Options.GradientCheckpointing = true }
	dropping := func(job *Job, lora *configs.LoRA) { lora.Dropout, lora.LoRAPlusLRRatio = 0.3, 4 }
	dora := func(job *Job, lora *configs.LoRA) { lora.UseDoRA = true }
	for name, tc := range map[string]struct {
		full    bool
		changes []setup
	}{
		"LoRA": {}, "full": {full: true}, "accumulation": {changes: []setup{accumulating}},
		"dropout, LoRA+": {changes: []setup{dropping}}, "dropout, checkpointing": {changes: []setup{dropping, checkpointing}}, "DoRA": {changes: []setup{dora}},
	} {
		t.Run(name, func(t *testing.T) {
			changes := append([]setup{validated}, tc.changes...)
			whole := train(t, t.Context(), tc.full, changes...)
			if whole.err != nil {
				t.Fatal(whole.err)
			}
			for _, step := range []int{1, 3, whole.Steps - 1, whole.Steps} {
				c := &Checkpoints{Dir: t.TempDir(), Keep: 1}
				ctx, stop := stopAfter(step)
				first := train(t, ctx, tc.full, append(changes, into(c, 1000), stop)...)
				if !errors.Is(first.err, ErrInterrupted) {
					t.Fatalf("stopped after step %d: %v", step, first.err)
				}
				rest := train(t, t.Context(), tc.full, append(changes, into(c, 1000), from(t, c, step))...)
				if rest.err != nil {
					t.Fatal(rest.err)
				}
				if diff := cmp.Diff(stepsOf(whole), stepsOf(first, rest)); diff != "" {
					t.Errorf("stopped after step %d (-never stopped +resumed):\n%s", step, diff)
				}
				if diff := cmp.Diff(evaluationsOf(whole), evaluationsOf(first, rest)); diff != "" {
					t.Errorf("evaluations of a run stopped after step %d (-never stopped +resumed):\n%s", step, diff)
				}
				if !slices.Equal(whole.weights, rest.weights) {
					t.Errorf("stopped after step %d: the weights differ", step)
				}
				if rest.Best == nil || rest.Best.Step != whole.Best.Step || rest.Best.Loss != whole.Best.Loss || rest.Tokens != whole.Tokens || rest.FirstLoss != whole.FirstLoss {
					t.Errorf("the summary is of %d tokens, first loss %g, best %+v", rest.Tokens, rest.FirstLoss, rest.Best)
				}
			}
		})
	}
}

// TestRunStopsWhereItsOrderSays: with an evaluation and a checkpoint of that step, and goes on as if it had run through, to
// the last bit, its patience and its best checkpoint included. A process that died between the two stops there again.
func TestRunStopsWhereItsOrderSays(t *testing.T) {
	dropping := func(job *Job, lora *configs.LoRA) {
		validated(job, lora)
		lora.Dropout, job.Options.NumTrainEpochs, job.Options.Patience, job.Options.LearningRate = 0.3, 4, 1, 0.05
	}
	whole := train(t, t.Context(), false, dropping)
	if whole.err != nil || !whole.StoppedEarly {
		t.Fatalf("%v, stopped early %v: this run shows nothing of patience", whole.err, whole.StoppedEarly)
	}
	stopAt := func(step int) setup { return func(job *Job, _ *configs.LoRA) { job.StopAfter = step } }
	for _, step := range []int{1, 3, 4} { // the evaluation after step 3 is due
		c := &Checkpoints{Dir: t.TempDir(), Keep: 1}
		first := train(t, t.Context(), false, dropping, into(c, 1000), stopAt(step))
		if !errors.Is(first.err, ErrStopped) || !errors.Is(first.err, ErrInterrupted) || first.Steps != step {
			t.Fatalf("ended after step %d of %d: %v", first.Steps, step, first.err)
		}
		last := first.evaluations[len(first.evaluations)-1]
		if last.Step != step || last.Extra != (step != 3) || last.Loss <= 0 {
			t.Errorf("the last evaluation of a run stopped after step %d is %+v", step, last)
		}
		again := train(t, t.Context(), false, dropping, into(c, 1000), from(t, c, step), stopAt(step))
		if !errors.Is(again.err, ErrStopped) || len(again.memoryRecorder.steps) > 0 {
			t.Errorf("once more it ended with %v after %d more steps", again.err, len(again.memoryRecorder.steps))
		}
		rest := train(t, t.Context(), false, dropping, into(c, 1000), from(t, c, step), stopAt(whole.Steps+100))
		if rest.err != nil {
			t.Fatal(rest.err)
		}
		if diff := cmp.Diff(stepsOf(whole), stepsOf(first, rest)); diff != "" {
			t.Errorf("stopped after step %d (-never stopped +resumed):\n%s", step, diff)
		}
		extra := func(e Evaluation) bool { return e.Extra }
		if diff := cmp.Diff(evaluationsOf(whole), slices.DeleteFunc(evaluationsOf(first, rest), extra)); diff != "" {
			t.Errorf("evaluations of a run stopped after step %d (-never stopped +resumed):\n%s", step, diff)
		}
		if !slices.Equal(whole.weights, rest.weights) || rest.Best.Step != whole.Best.Step || len(rest.Validation) != len(whole.Validation) {
			t.Errorf("stopped after step %d: the weights or the best differ, best %+v, want %+v", step, rest.Best, whole.Best)
		}
	}
	if last := train(t, t.Context(), false, validated, func(job *Job, _ *configs.LoRA) { job.StopAfter = 8 }); last.err != nil {
		t.Errorf("stopped after its last step it is done, got %v", last.err)
	}
}

// TestEvaluationGoesOnWhereItStopped: batches of it that were done are not done again.
func TestEvaluationGoesOnWhereItStopped(t *testing.T) {
	whole := train(t, t.Context(), false, validated)
	ctx, stop := stopAfter(3) // step 3 is evaluated
	c := &Checkpoints{Dir: t.TempDir(), Keep: 1}
	if first := train(t, ctx, false, validated, into(c, 1000), stop); !errors.Is(first.err, ErrInterrupted) {
		t.Fatal(first.err)
	}
	found, _, err := c.Newest(math.MaxInt)
	if err != nil || found.State.Pending == nil {
		t.Fatalf("the checkpoint has no unfinished evaluation: %+v, %v", found, err)
	}
	half := *found
	// As if the first of its batches had been done: its loss comes from the checkpoint's own weights.
	resume := func(job *Job, _ *configs.LoRA) { job.Resume = &half }
	counted := 0
	done := func(job *Job, lora *configs.LoRA) {
		validated(job, lora)
		half.State.Pending = &PartialEvaluation{Batches: 1, Sum: 1000, TargetTokens: job.Validation[0].TargetTokens}
		counted = job.Validation[0].TargetTokens + job.Validation[1].TargetTokens
	}
	rest := train(t, t.Context(), false, done, into(c, 1000), resume)
	if rest.err != nil {
		t.Fatal(rest.err)
	}
	got, want := rest.evaluations[0], whole.evaluations[1]
	if got.Step != 3 || got.TargetTokens != counted || got.TargetTokens != want.TargetTokens {
		t.Errorf("went on with %+v, want step 3 and %d targets", got, counted)
	}
	second := got.Loss*float64(counted) - 1000
	if total := want.Loss * float64(counted); second <= 0 || second >= total {
		t.Errorf("the second batch alone cost %g nats, both %g", second, total)
	}
}

// TestDamagedCheckpointIsPassedOver: whatever file of the newest is cut, changed or gone, the one before it is taken and the
// damage named.
func TestDamagedCheckpointIsPassedOver(t *testing.T) {
	c := &Checkpoints{Dir: t.TempDir(), Keep: 3}
	if out := train(t, t.Context(), false, into(c, 2)); out.err != nil {
		t.Fatal(out.err)
	}
	steps, _ := c.Steps()
	if !slices.Equal(steps, []int{4, 6, 8}) {
		t.Fatalf("checkpoints of steps %v", steps)
	}
	entries, err := os.ReadDir(c.Path(8))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 6 {
		t.Errorf("a checkpoint has %v, want the adapter's three files, state, numbers and sums", entries)
	}
	for _, e := range entries {
		path := filepath.Join(c.Path(8), e.Name())
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		flipped := slices.Clone(whole)
		flipped[len(flipped)/2] ^= 4
		for what, b := range map[string][]byte{"cut": whole[:len(whole)/2], "empty": {}, "changed": flipped, "gone": nil} {
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
			if b == nil {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			found, damaged, err := c.Newest(1000)
			if err != nil || found.State.Step != 6 || len(damaged) != 1 || damaged[0].Path != c.Path(8) || damaged[0].Err == nil {
				t.Errorf("%s %s: took %+v, damaged %v, %v", e.Name(), what, found, damaged, err)
			}
		}
		if err := os.WriteFile(path, whole, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if found, damaged, err := c.Newest(1000); err != nil || found.State.Step != 8 || len(damaged) > 0 {
		t.Errorf("mended: took %+v, damaged %v, %v", found, damaged, err)
	}
	if found, _, err := c.Newest(7); err != nil || found.State.Step != 6 {
		t.Errorf("up to step 7: took %+v, %v", found, err)
	}
	if _, _, err := c.Newest(3); !errors.Is(err, ErrNoCheckpoint) {
		t.Errorf("up to step 3: %v", err)
	}
}

// TestTheBestCheckpointStays, however many come after it.
func TestTheBestCheckpointStays(t *testing.T) {
	c := &Checkpoints{Dir: t.TempDir(), Keep: 1}
	worse := func(job *Job, _ *configs.LoRA) {
		validated(job, nil)
		job.Options.EvalSteps, job.Options.LearningRate, job.Options.LRSchedulerType, job.Options.MaxSteps = 1, 0.2, "constant", 11
	}
	out := train(t, t.Context(), false, worse, into(c, 1))
	if out.err != nil || out.Best == nil {
		t.Fatal(out.err, out.Best)
	}
	steps, _ := c.Steps()
	want := []int{out.Best.Step, out.Steps}
	if out.Best.Step == out.Steps {
		t.Fatalf("the last step is the best: this run shows nothing: %+v", evaluationsOf(out))
	}
	if !slices.Equal(steps, want) {
		t.Errorf("checkpoints of steps %v, want %v", steps, want)
	}
	for _, saved := range out.checkpoints {
		if saved.Step > out.Best.Step && saved.Best {
			t.Errorf("step %d is called the best", saved.Step)
		}
	}
}

// TestPatience: evaluations that get no better end the run, also when it was interrupted on the way there.
func TestPatience(t *testing.T) {
	patient := func(job *Job, _ *configs.LoRA) {
		validated(job, nil)
		job.Options.EvalSteps, job.Options.LearningRate, job.Options.NumTrainEpochs, job.Options.Patience = 1, 0.05, 5, 2
	}
	whole := train(t, t.Context(), false, patient)
	if whole.err != nil || !whole.StoppedEarly || whole.Steps != whole.Best.Step+2 {
		t.Fatalf("%v: stopped early %v after step %d, the best was %+v", whole.err, whole.StoppedEarly, whole.Steps, whole.Best)
	}
	c := &Checkpoints{Dir: t.TempDir(), Keep: 1}
	ctx, stop := stopAfter(whole.Best.Step + 1)
	if first := train(t, ctx, false, patient, into(c, 100), stop); !errors.Is(first.err, ErrInterrupted) {
		t.Fatal(first.err)
	}
	if rest := train(t, t.Context(), false, patient, into(c, 100), from(t, c, 1000)); rest.Steps != whole.Steps || !slices.Equal(rest.weights, whole.weights) {
		t.Errorf("resumed, it stopped after step %d, want %d", rest.Steps, whole.Steps)
	}
}

// TestFewerRowsAtATime make the same optimizer steps, up to the order of additions.
func TestFewerRowsAtATime(t *testing.T) {
	whole := train(t, t.Context(), false)
	for _, rows := range []int{1, 2} {
		split := train(t, t.Context(), false, func(job *Job, _ *configs.LoRA) { job.MicroBatch = rows })
		for i, m := range split.memoryRecorder.steps {
			w := whole.memoryRecorder.steps[i]
			if math.Abs(m.Loss-w.Loss) > 1e-4*w.Loss || m.Tokens != w.Tokens || m.TargetTokens != w.TargetTokens {
				t.Errorf("%d rows, step %d: loss %g of %d tokens, want %g of %d", rows, m.Step, m.Loss, m.Tokens, w.Loss, w.Tokens)
			}
		}
	}
}

// TestDivergenceNamesTheTensor that was the first to have a number that is not finite, and leaves the last checkpoint.
func TestDivergenceNamesTheTensor(t *testing.T) {
	spoil := func(job *Job, at int, name string) {
		job.Recorder.(*memoryRecorder).onStep = func(m StepMetrics) {
			if m.Step != at {
				return
			}
			_ = torch.Run(func(s *torch.Scope) error {
				for _, l := range job.Adapter.Modules {
					if l.Base.Name == name {
						s.Copy(l.B, s.AddScalar(s.Zeros(torch.Float32, torch.CPU, l.B.Shape()...), math.NaN()))
					}
				}
				return s.Err()
			})
		}
	}
	c := &Checkpoints{Dir: t.TempDir(), Keep: 1}
	const module = "model.layers.1.mlp.up_proj"
	out := train(t, t.Context(), false, into(c, 2), func(job *Job, _ *configs.LoRA) { spoil(job, 3, module) })
	var diverged *DivergedError
	if !errors.As(out.err, &diverged) || diverged.Step != 4 || diverged.Tensor != module+".lora_B" {
		t.Fatalf("got %v", out.err)
	}
	if !strings.Contains(out.err.Error(), "step 4: the loss is NaN; the first tensor that is not finite is "+module+".lora_B") {
		t.Errorf("got %v", out.err)
	}
	if found, _, err := c.Newest(1000); err != nil || found.State.Step != 2 {
		t.Errorf("the last good checkpoint is %+v, %v", found, err)
	}
}

func TestSpikes(t *testing.T) {
	steady := make([]float64, spikeWindow)
	for i := range steady {
		steady[i] = 2 + 0.05*math.Sin(float64(i))
	}
	for _, tc := range []struct {
		recent []float64
		loss   float64
		want   bool
	}{{steady, 2.05, false}, {steady, 2.7, true}, {steady, 0.1, false}, {steady[:spikeLeast-1], 9, false}, {slices.Repeat([]float64{1e-3}, 20), 1.2e-3, false}} {
		if _, got := spikes(tc.recent, tc.loss); got != tc.want {
			t.Errorf("%g after %d losses: %v, want %v", tc.loss, len(tc.recent), got, tc.want)
		}
	}
}

// TestUnmovedWeightIsTold: a layer behind which nothing is learned gets no gradient.
func TestUnmovedWeightIsTold(t *testing.T) {
	out := train(t, t.Context(), false)
	for _, e := range out.events {
		if e.Kind == "unchanged_weight" {
			t.Errorf("an ordinary run: %s", e.Message)
		}
	}
	dead := train(t, t.Context(), false, func(job *Job, _ *configs.LoRA) {
		job.Recorder.(*memoryRecorder).onLoad = func(s *torch.Scope, job *Job) { // norms multiply by 1+w: nothing leaves the MLP
			l := job.Model.Layers[2]
			s.Copy(l.PostFeedforwardLayernorm, s.AddScalar(s.Zeros(torch.Float32, torch.CPU, l.PostFeedforwardLayernorm.Shape()...), -1))
		}
	})
	var told string
	for _, e := range dead.events {
		if e.Kind == "unchanged_weight" {
			told = fmt.Sprint(e.Step, " ", e.Message)
		}
	}
	if !strings.Contains(told, "1 the first step left 3 of the trained tensors as they were") || !strings.Contains(told, "model.layers.2.mlp.down_proj.lora_B") {
		t.Errorf("told %q", told)
	}
}

// TestCheckpointRoundTrip: whatever a run's numbers and its state are, they come back as they were, bit for bit.
func TestCheckpointRoundTrip(t *testing.T) {
	c := &Checkpoints{Dir: t.TempDir(), Keep: 1000, Of: Identity{"data.train": "abc"}}
	out := train(t, t.Context(), false, func(job *Job, _ *configs.LoRA) {
		job.Options.MaxSteps = 1
		job.Recorder.(*memoryRecorder).onLoad = func(s *torch.Scope, job *Job) {
			l, err := NewLearner(s, job.Model, job.Adapter, job.Options)
			if err != nil {
				t.Fatal(err)
			}
			rapid.Check(t, func(rt *rapid.T) {
				finite := rapid.Float64().Filter(func(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) })
				state := State{Step: rapid.IntRange(0, 999999).Draw(rt, "step"), Updates: rapid.Int64Range(0, 1<<40).Draw(rt, "updates"),
					Position: datasets.Position{Epoch: rapid.IntRange(0, 99).Draw(rt, "epoch"), Batch: rapid.IntRange(0, 99).Draw(rt, "batch")},
					Worse:    rapid.IntRange(0, 9).Draw(rt, "worse"), Recent: rapid.SliceOfN(finite, 1, 20).Draw(rt, "recent")}
				if rapid.Bool().Draw(rt, "pending") {
					state.Pending = &PartialEvaluation{rapid.IntRange(0, 9).Draw(rt, "batches"), finite.Draw(rt, "sum"), rapid.IntRange(0, 99).Draw(rt, "targets")}
				}
				before := map[string][]byte{}
				random := rapid.Uint32().Draw(rt, "bits")
				for name, x := range l.numbers(s) {
					b := make([]byte, 4*x.Len())
					for i := range b {
						b[i] = byte(random>>(i%4*8)) ^ byte(i*7)
					}
					before[name] = b
					if err := s.Nest(func(s *torch.Scope) error {
						s.Copy(x, s.Bytes(b, torch.Float32, x.Shape(), torch.Float32, torch.CPU, nil))
						return s.Err()
					}); err != nil {
						rt.Fatal(err)
					}
				}
				l.flat.SetSteps(state.Updates)
				generator := s.ReadBytes(s.GeneratorState(torch.CPU))
				if _, err := c.save(s, l, state, "base", time.Unix(1, 0)); err != nil {
					rt.Fatal(err)
				}
				torch.Seed(int64(random)) // and all else is changed
				for _, x := range l.numbers(s) {
					s.Zero(x)
				}
				l.flat.SetSteps(0)
				found, damaged, err := c.Newest(state.Step)
				if err != nil || len(damaged) > 0 {
					rt.Fatal(err, damaged)
				}
				if diff := cmp.Diff(state, found.State); diff != "" || len(found.Identity.Differences(c.Of)) > 0 {
					rt.Fatalf("(-saved +read):\n%s", diff)
				}
				if err := l.restore(s, found); err != nil {
					rt.Fatal(err)
				}
				for name, x := range l.numbers(s) {
					if !bytes.Equal(s.ReadBytes(x), before[name]) {
						rt.Fatalf("%s came back with other bits", name)
					}
				}
				if l.flat.Steps() != state.Updates || !bytes.Equal(s.ReadBytes(s.GeneratorState(torch.CPU)), generator) {
					rt.Fatal("the number of updates or the generator differ")
				}
				if err := os.RemoveAll(c.Dir); err != nil {
					rt.Fatal(err)
				}
			})
			torch.Seed(1)
			l.flat.SetSteps(0)
			for _, x := range l.numbers(s) {
				s.Zero(x)
			}
		}
	})
	if out.err != nil {
		t.Fatal(out.err)
	}
}

// FuzzReadCheckpoint: whatever is in the files of a checkpoint, it is refused or read.
func FuzzReadCheckpoint(f *testing.F) {
	f.Add([]byte(`{"format":1,"state":{"step":3,"recent":[1.5]}}`), []byte("x"), true)
	f.Add([]byte(`{"format":2}`), []byte("x"), true)
	f.Add([]byte("0000  ../../etc/passwd\n"), []byte(""), false)
	f.Fuzz(func(t *testing.T, state, training []byte, honest bool) {
		dir := t.TempDir()
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		must(os.WriteFile(filepath.Join(dir, stateFile), state, 0o600))
		must(os.WriteFile(filepath.Join(dir, trainingFile), training, 0o600))
		if honest {
			must(writeSums(dir))
		} else {
			must(os.WriteFile(filepath.Join(dir, sumsFile), state, 0o600))
		}
		bounded.Run(t, len(state)+len(training), 200, func() {
			if c, err := readCheckpoint(dir); err == nil && c.Path != dir {
				t.Fatalf("read as %+v", c)
			}
		})
	})
}
