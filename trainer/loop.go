package trainer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tune/adapters"
	"tune/configs"
	"tune/datasets"
	"tune/internal/model"
	"tune/internal/tokenizer"
	"tune/internal/torch"
)

// ErrInterrupted is what Run ends with when its context is cancelled: after a whole step, the weights as that
// step left them.
var ErrInterrupted = errors.New("interrupted")

// Job is what Run needs: a model with what is trained in it, data, and where to tell about it.
type Job struct {
	Model   *model.Model
	Adapter *adapters.Adapter // nil trains every weight
	Train   *datasets.Batcher
	// Validation is never trained on; empty when there is none.
	Validation []datasets.Batch
	Options    configs.Train
	Sample     configs.Sample
	Seed       int64
	Tokenizer  *tokenizer.Tokenizer // for samples
	Recorder   Recorder
	Now        func() time.Time // time.Now, or a test's clock
}

// Summary is what a run comes to.
type Summary struct {
	Steps      int
	FirstLoss  float64
	LastLoss   float64
	Validation []Evaluation // in order, the first before step 1
	Tokens     int          // all real tokens trained on
	Training   time.Duration
	Evaluating time.Duration // evaluations and samples
	PeakMemory int64         // bytes, of the process
	DevicePeak int64         // bytes in tensors on the device, -1 where it cannot be told
	Parameters int64         // trained
}

// Steps returns how many optimizer steps a job takes: MaxSteps, or as many as its epochs give. Batches left
// over at the end of an epoch make a smaller step, so that a step never mixes epochs.
func Steps(batchesPerEpoch int, o configs.Train) int {
	if o.MaxSteps > 0 {
		return o.MaxSteps
	}
	perEpoch := (batchesPerEpoch + o.GradientAccumulationSteps - 1) / o.GradientAccumulationSteps
	return perEpoch * o.NumTrainEpochs
}

// Run trains. The summary tells how far it came, also beside an error: a *DivergedError before the update that
// would have spoiled the weights, ErrInterrupted after the step during which ctx was cancelled.
func Run(ctx context.Context, s *torch.Scope, job Job) (Summary, error) {
	l := &loop{Job: job, scope: s, steps: Steps(job.Train.BatchesPerEpoch(), job.Options)}
	var err error
	if l.schedule, err = NewSchedule(job.Options.LRSchedulerType, job.Options.LearningRate, job.Options.WarmupSteps, l.steps); err != nil {
		return l.summary, err
	}
	if l.learner, err = NewLearner(s, job.Model, job.Adapter, job.Options); err != nil {
		return l.summary, fmt.Errorf("make room for what is trained: %w", err)
	}
	l.summary.Parameters = l.learner.Parameters()
	err = l.run(ctx)
	return l.summary, err
}

type loop struct {
	Job
	scope    *torch.Scope
	learner  *Learner
	schedule Schedule
	steps    int
	summary  Summary
}

func (l *loop) run(ctx context.Context) error {
	torch.Seed(l.Seed) // dropout draws from libtorch's generator
	if err := l.evaluateAndSample(ctx, 0); err != nil {
		return err
	}
	for step := 1; step <= l.steps; step++ {
		lr, began := l.schedule.At(step), l.Now()

		tokens := 0
		for range l.Options.GradientAccumulationSteps {
			batch := l.Train.Next()
			if err := l.learner.Accumulate(batch); err != nil { // forward, backward
				return fmt.Errorf("step %d: %w", step, err)
			}
			tokens += batch.Tokens
			if l.Train.Position().Batch == 0 { // the epoch is over
				break
			}
		}

		// Losses are summed over target tokens and divided once, so every token weighs the same however it
		// was batched. Reading them waits for the device: once a step.
		loss, err := l.learner.Loss()
		if err != nil {
			return fmt.Errorf("step %d: read loss: %w", step, err)
		}
		if !loss.Finite() {
			return &DivergedError{Step: step, Loss: loss.Mean()} // before the update, not after
		}
		gradNorm, err := l.learner.Update(lr) // divide, clip, AdamW, zero
		if err != nil {
			return fmt.Errorf("step %d: update: %w", step, err)
		}
		if !finite(gradNorm) {
			return &DivergedError{Step: step, Loss: loss.Mean(), GradNorm: gradNorm}
		}

		m := StepMetrics{Step: step, Epoch: l.epoch(), Loss: loss.Mean(), LR: lr, GradNorm: gradNorm,
			TargetTokens: loss.Tokens, Tokens: tokens, Elapsed: l.Now().Sub(began)}
		l.measureMemory(&m)
		l.count(m)
		if err := l.Recorder.RecordStep(ctx, m); err != nil {
			return fmt.Errorf("step %d: record: %w", step, err)
		}
		if err := l.reportWarnings(ctx, step); err != nil {
			return fmt.Errorf("step %d: record: %w", step, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("after step %d: %w", step, ErrInterrupted)
		}
		if err := l.evaluateAndSample(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

// evaluateAndSample does what is due after a step: before the first step and after the last, everything.
func (l *loop) evaluateAndSample(ctx context.Context, step int) error {
	due := func(every int) bool { return step == 0 || step == l.steps || every > 0 && step%every == 0 }
	began := l.Now()
	defer func() { l.summary.Evaluating += l.Now().Sub(began) }()

	if len(l.Validation) > 0 && due(l.Options.EvalSteps) {
		loss, err := Evaluate(l.scope, l.Model, l.Validation)
		if err != nil {
			return fmt.Errorf("after step %d: %w", step, err)
		}
		e := Evaluation{Step: step, Loss: loss.Mean(), TargetTokens: loss.Tokens, Elapsed: l.Now().Sub(began)}
		l.summary.Validation = append(l.summary.Validation, e)
		if err := l.Recorder.RecordEvaluation(ctx, e); err != nil {
			return fmt.Errorf("after step %d: record evaluation: %w", step, err)
		}
	}
	if !due(l.Sample.Steps) {
		return nil
	}
	for i, prompt := range l.Sample.Prompts {
		started := l.Now()
		reply, tokens, stopped, err := Reply(ctx, l.scope, l.Model, l.Tokenizer,
			[]tokenizer.Message{{Role: "user", Content: prompt}}, model.GenerateOptions{MaxNewTokens: l.Sample.MaxNewTokens,
				Temperature: l.Sample.Temperature, Seed: l.Seed + int64(i)}, nil)
		if err != nil {
			return fmt.Errorf("after step %d: sample %d: %w", step, i+1, err)
		}
		sample := SampleText{Step: step, Index: i, Prompt: prompt, Reply: reply, Tokens: tokens, Stopped: stopped,
			Elapsed: l.Now().Sub(started)}
		if err := l.Recorder.RecordSample(ctx, sample); err != nil {
			return fmt.Errorf("after step %d: record sample: %w", step, err)
		}
	}
	return nil
}

func (l *loop) measureMemory(m *StepMetrics) {
	process := torch.ProcessMemory()
	m.MemoryBytes, m.PeakMemoryBytes = process.Now, process.Peak
	device, _ := l.Model.Device.DeviceMemory()
	m.DeviceMemoryBytes, m.DevicePeakBytes = device.Now, device.Peak
}

// epoch returns how often the data has been passed over, with the fraction of the pass under way.
func (l *loop) epoch() float64 {
	at := l.Train.Position()
	return float64(at.Epoch) + float64(at.Batch)/float64(l.Train.BatchesPerEpoch())
}

// count adds a step to the summary.
func (l *loop) count(m StepMetrics) {
	sum := &l.summary
	if sum.Steps == 0 {
		sum.FirstLoss = m.Loss
		sum.DevicePeak = -1
	}
	sum.Steps, sum.LastLoss = m.Step, m.Loss
	sum.Tokens += m.Tokens
	sum.Training += m.Elapsed
	sum.PeakMemory = max(sum.PeakMemory, m.PeakMemoryBytes)
	// MPS tells what is held now but no peak of its own: the largest seen stands in.
	sum.DevicePeak = max(sum.DevicePeak, m.DevicePeakBytes, m.DeviceMemoryBytes)
}

// reportWarnings records what libtorch warned of, such as an operator that fell back from MPS to the CPU.
func (l *loop) reportWarnings(ctx context.Context, step int) error {
	for _, message := range torch.Warnings() {
		if err := l.Recorder.RecordEvent(ctx, Event{Step: step, Level: Warning, Kind: "libtorch", Message: message}); err != nil {
			return err
		}
	}
	return nil
}
