package trainer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
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

// ErrStopped is what Run ends with after Job.StopAfter. It is an ErrInterrupted as well: the run can go on.
var ErrStopped = fmt.Errorf("%w as its order says", ErrInterrupted)

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

	// MicroBatch is how many rows of a batch are worked on at a time, in the same optimizer steps; 0 is all.
	MicroBatch int
	// Checkpoints is where the run saves what it needs to go on; nil saves nothing.
	Checkpoints *Checkpoints
	SaveSteps   int    // every so many steps; 0 about once a minute
	Base        string // the base model's name, for the adapters in checkpoints
	// Resume is where the run goes on; nil from the beginning.
	Resume *Checkpoint
	// StopAfter ends the run after this step, as an interrupt would, with an evaluation and a checkpoint of it; 0 does not,
	// and neither does the last step, or one that Resume is behind. Options stay those of the whole run, so that the schedule is right and a run that
	// goes on from there is the one that was never stopped.
	StopAfter int
}

// Summary is what a run comes to.
type Summary struct {
	Steps        int           `json:"steps"`
	FirstLoss    float64       `json:"first_loss"`
	LastLoss     float64       `json:"last_loss"`
	Validation   []Evaluation  `json:"validation"` // in order, the first before step 1
	Tokens       int           `json:"tokens"`     // all real tokens trained on
	Training     time.Duration `json:"training_ns"`
	Evaluating   time.Duration `json:"evaluating_ns"`  // evaluations and samples
	Saving       time.Duration `json:"saving_ns"`      // checkpoints
	PeakMemory   int64         `json:"peak_memory"`    // bytes, of the process
	DevicePeak   int64         `json:"device_peak"`    // bytes in tensors on the device, -1 where it cannot be told
	Parameters   int64         `json:"parameters"`     // trained
	StoppedEarly bool          `json:"stopped_early"`  // by Options.Patience
	Best         *Evaluation   `json:"best,omitempty"` // the lowest validation loss after a step
	FellBack     []string      `json:"fell_back"`      // operators that ran on the CPU in place of an Apple GPU
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
	l.lastSaved = l.Now()
	err = l.run(ctx)
	l.summary.Parameters = l.learner.Parameters()
	l.summary.Best = l.best
	return l.summary, err
}

type loop struct {
	Job
	scope    *torch.Scope
	learner  *Learner
	schedule Schedule
	steps    int
	summary  Summary

	best   *Evaluation // with the lowest validation loss
	worse  int         // evaluations since
	recent []float64   // losses of the last steps

	lastSaved time.Time
	savedStep int           // of the last checkpoint
	saveCost  time.Duration // of the last checkpoint
}

func (l *loop) run(ctx context.Context) error {
	start, err := l.begin(ctx)
	if err != nil {
		return err
	}
	if l.stopsAfter(start) { // of a process that died there
		return l.stop(ctx, start)
	}
	for step := start + 1; step <= l.steps && !l.patienceIsOver(); step++ {
		lr, began := l.schedule.At(step), l.Now()

		tokens := 0
		var batches []datasets.Batch
		for range l.Options.GradientAccumulationSteps {
			batch := l.Train.Next()
			for _, part := range batch.Split(l.MicroBatch) {
				if err := l.learner.Accumulate(part); err != nil { // forward, backward
					return fmt.Errorf("step %d: %w", step, err)
				}
			}
			batches = append(batches, batch)
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
		if !loss.Finite() { // before the update, not after
			return &DivergedError{Step: step, Loss: loss.Mean(), Tensor: l.learner.blameLoss(batches)}
		}
		gradNorm, err := l.learner.Update(lr) // divide, clip, AdamW, zero
		if err != nil {
			return fmt.Errorf("step %d: update: %w", step, err)
		}
		if !finite(gradNorm) {
			return &DivergedError{Step: step, Loss: loss.Mean(), GradNorm: gradNorm, Tensor: l.learner.blameGradient()}
		}

		m := StepMetrics{Step: step, Epoch: l.epoch(), Loss: loss.Mean(), LR: lr, GradNorm: gradNorm,
			TargetTokens: loss.Tokens, Tokens: tokens, Elapsed: l.Now().Sub(began)}
		l.measureMemory(&m)
		l.count(m)
		if err := l.Recorder.RecordStep(ctx, m); err != nil {
			return fmt.Errorf("step %d: record: %w", step, err)
		}
		if err := l.reportOddities(ctx, m); err != nil {
			return fmt.Errorf("step %d: record: %w", step, err)
		}
		if err := l.evaluateAndSample(ctx, step, PartialEvaluation{}); err != nil {
			return err
		}
		if l.saveIsDue(step) {
			if err := l.save(ctx, l.state(step)); err != nil {
				return err
			}
		}
		if l.stopsAfter(step) {
			return l.stop(ctx, step)
		}
	}
	return nil
}

// stopsAfter reports whether the run is to stop after a step that is not its last.
func (l *loop) stopsAfter(step int) bool {
	return l.StopAfter > 0 && step == l.StopAfter && step < l.steps && !l.patienceIsOver()
}

// stop evaluates, where that was not due, saves a checkpoint and ends the run. Neither patience nor the best checkpoint look
// at this evaluation: the run goes on as if nobody had asked.
func (l *loop) stop(ctx context.Context, step int) error {
	if len(l.Validation) > 0 && !l.due(step, l.Options.EvalSteps) {
		began := l.Now()
		done, err := Evaluate(ctx, l.scope, l.Model, l.Validation, PartialEvaluation{})
		if errors.Is(err, ErrInterrupted) {
			return l.interrupted(ctx, l.state(step))
		} else if err != nil {
			return fmt.Errorf("after step %d: %w", step, err)
		}
		e := Evaluation{Step: step, Loss: Loss{done.Sum, done.TargetTokens}.Mean(), TargetTokens: done.TargetTokens,
			Elapsed: l.Now().Sub(began), Extra: true}
		l.summary.Evaluating += e.Elapsed
		if err := l.Recorder.RecordEvaluation(ctx, e); err != nil {
			return fmt.Errorf("after step %d: record evaluation: %w", step, err)
		}
	}
	if err := l.save(ctx, l.state(step)); err != nil {
		return err
	}
	return fmt.Errorf("after step %d: %w", step, ErrStopped)
}

// due reports whether what is done every so many steps is done after this one: before the first step and after the last,
// everything.
func (l *loop) due(step, every int) bool {
	return step == 0 || step == l.steps || every > 0 && step%every == 0
}

// begin is what comes before the first step, or before the first after a checkpoint. It returns the last step that was made.
func (l *loop) begin(ctx context.Context) (step int, err error) {
	if l.Resume == nil {
		torch.Seed(l.Seed) // dropout draws from libtorch's generator
		return 0, l.evaluateAndSample(ctx, 0, PartialEvaluation{})
	}
	state := l.Resume.State
	if err := l.Train.Seek(state.Position); err != nil {
		return 0, fmt.Errorf("%s: %w", l.Resume.Path, err)
	}
	if err := l.learner.restore(l.scope, l.Resume); err != nil {
		return 0, err
	}
	l.summary, l.best, l.worse, l.recent = state.Summary, state.Best, state.Worse, state.Recent
	if state.Pending != nil {
		err = l.evaluateAndSample(ctx, state.Step, *state.Pending)
	}
	return state.Step, err
}

// evaluateAndSample does what is due after a step. An interrupt saves how far it came.
func (l *loop) evaluateAndSample(ctx context.Context, step int, done PartialEvaluation) error {
	began, before := l.Now(), l.state(step)
	defer func() { l.summary.Evaluating += l.Now().Sub(began) }()
	stop := func() error {
		before.Pending = &done
		return l.interrupted(ctx, before)
	}

	if ctx.Err() != nil {
		return stop()
	}
	if len(l.Validation) > 0 && l.due(step, l.Options.EvalSteps) {
		var err error
		if done, err = Evaluate(ctx, l.scope, l.Model, l.Validation, done); errors.Is(err, ErrInterrupted) {
			return stop()
		} else if err != nil {
			return fmt.Errorf("after step %d: %w", step, err)
		}
		e := Evaluation{Step: step, Loss: Loss{done.Sum, done.TargetTokens}.Mean(), TargetTokens: done.TargetTokens, Elapsed: l.Now().Sub(began)}
		l.summary.Validation = append(l.summary.Validation, e)
		if err := l.Recorder.RecordEvaluation(ctx, e); err != nil {
			return fmt.Errorf("after step %d: record evaluation: %w", step, err)
		}
		if !finite(e.Loss) {
			return &DivergedError{Step: step, Loss: e.Loss, Tensor: "the validation loss"}
		}
		l.judge(e)
	}
	if l.due(step, l.Sample.Steps) {
		for i, prompt := range l.Sample.Prompts {
			started := l.Now()
			reply, tokens, stopped, err := Reply(ctx, l.scope, l.Model, l.Tokenizer,
				[]tokenizer.Message{{Role: "user", Content: prompt}}, model.GenerateOptions{MaxNewTokens: l.Sample.MaxNewTokens,
					Temperature: l.Sample.Temperature, Seed: l.Seed + int64(i)}, nil)
			if ctx.Err() != nil { // half a reply is none
				return stop()
			}
			if err != nil {
				return fmt.Errorf("after step %d: sample %d: %w", step, i+1, err)
			}
			sample := SampleText{Step: step, Index: i, Prompt: prompt, Reply: reply, Tokens: tokens, Stopped: stopped,
				Elapsed: l.Now().Sub(started)}
			if err := l.Recorder.RecordSample(ctx, sample); err != nil {
				return fmt.Errorf("after step %d: record sample: %w", step, err)
			}
		}
	}
	if err := l.reportWarnings(ctx, step); err != nil {
		return fmt.Errorf("after step %d: record: %w", step, err)
	}
	if l.best != nil && l.best.Step == step {
		return l.save(ctx, l.state(step)) // the best so far is kept, whatever comes
	}
	return nil
}

// judge compares an evaluation with the best. The one before training has nothing to be kept.
func (l *loop) judge(e Evaluation) {
	switch {
	case e.Step == 0:
	case l.best == nil || e.Loss < l.best.Loss:
		l.best, l.worse = &e, 0
	default:
		l.worse++
	}
}

// patienceIsOver reports whether evaluations have been no better than the best for too long.
func (l *loop) patienceIsOver() bool {
	if l.Options.Patience > 0 && l.worse >= l.Options.Patience {
		l.summary.StoppedEarly = true
	}
	return l.summary.StoppedEarly
}

// interrupted saves a checkpoint and ends the run.
func (l *loop) interrupted(ctx context.Context, state State) error {
	if state.Step > 0 { // before the first step there is nothing that a new start would not make
		if err := l.save(ctx, state); err != nil {
			return errors.Join(fmt.Errorf("after step %d: %w", state.Step, ErrInterrupted), err)
		}
	}
	return fmt.Errorf("after step %d: %w", state.Step, ErrInterrupted)
}

// state is where the run stands behind a step.
func (l *loop) state(step int) State {
	return State{Step: step, Position: l.Train.Position(), Updates: l.learner.flat.Steps(), Best: l.best, Worse: l.worse,
		Recent: slices.Clone(l.recent), Summary: l.summary}
}

// How often a run saves by itself: once in saveEvery, but saving takes no more than one part in saveShare of the time.
const (
	saveEvery = time.Minute
	saveShare = 50
)

func (l *loop) saveIsDue(step int) bool {
	if l.SaveSteps > 0 {
		return step%l.SaveSteps == 0
	}
	return l.Now().Sub(l.lastSaved) >= max(saveEvery, saveShare*l.saveCost)
}

// save writes a checkpoint, once for a step, and removes old ones.
func (l *loop) save(ctx context.Context, state State) error {
	if l.Checkpoints == nil || l.savedStep == state.Step && state.Pending == nil { // the best was due as well
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	began := l.Now()
	// What is in the checkpoint is in the record as well, or a run that goes on from it would have a hole.
	if err := l.Recorder.Sync(ctx); err != nil {
		return fmt.Errorf("after step %d: record: %w", state.Step, err)
	}
	path, err := l.Checkpoints.save(l.scope, l.learner, state, l.Base, began)
	if err != nil {
		return fmt.Errorf("after step %d: %w", state.Step, err)
	}
	best := 0
	if state.Best != nil {
		best = state.Best.Step
	}
	if err := l.Checkpoints.prune(best); err != nil {
		return fmt.Errorf("after step %d: %w", state.Step, err)
	}
	l.lastSaved, l.savedStep = l.Now(), state.Step
	l.saveCost = l.lastSaved.Sub(began)
	l.summary.Saving += l.saveCost
	return l.Recorder.RecordCheckpoint(ctx, SavedCheckpoint{Step: state.Step, Path: path, Best: best == state.Step, Elapsed: l.saveCost})
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

// reportWarnings records what libtorch has warned of, such as an operator that fell back from MPS to the CPU.
func (l *loop) reportWarnings(ctx context.Context, step int) error {
	for _, message := range torch.Warnings() {
		e := Event{Step: step, Level: Warning, Kind: "libtorch", Message: message}
		if operator := fellBack(message); operator != "" {
			e.Kind = MPSFallback
			if !slices.Contains(l.summary.FellBack, operator) { // a process that goes on is told again
				l.summary.FellBack = append(l.summary.FellBack, operator)
			}
		}
		if err := l.Recorder.RecordEvent(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// reportOddities records what is worth a look after a step: warnings of libtorch, a loss far above the last ones, and
// weights that the first step has not moved.
func (l *loop) reportOddities(ctx context.Context, m StepMetrics) error {
	if err := l.reportWarnings(ctx, m.Step); err != nil {
		return err
	}
	if mean, spike := spikes(l.recent, m.Loss); spike {
		text := fmt.Sprintf("the loss of step %d is %.4f, of the %d steps before %.4f on average", m.Step, m.Loss, len(l.recent), mean)
		if err := l.Recorder.RecordEvent(ctx, Event{Step: m.Step, Level: Warning, Kind: "loss_spike", Message: text}); err != nil {
			return err
		}
	}
	l.recent = append(l.recent, m.Loss)
	if len(l.recent) > spikeWindow {
		l.recent = l.recent[1:]
	}
	if m.Step != 1 {
		return nil
	}
	names, err := l.learner.unmoved()
	if err != nil || len(names) == 0 {
		return err
	}
	text := fmt.Sprintf("the first step left %d of the trained tensors as they were: %s", len(names), strings.Join(names[:min(5, len(names))], ", "))
	if len(names) > 5 {
		text += ", ..."
	}
	return l.Recorder.RecordEvent(ctx, Event{Step: m.Step, Level: Warning, Kind: "unchanged_weight", Message: text})
}

// fellBack returns the operator that a warning says has run on the CPU in place of an Apple GPU, which libtorch allows with
// PYTORCH_ENABLE_MPS_FALLBACK; "" for any other warning.
func fellBack(warning string) string {
	before, _, found := strings.Cut(warning, "' is not currently supported on the MPS backend and will fall back to run on the CPU")
	if !found {
		return ""
	}
	return before[strings.LastIndexByte(before, '\'')+1:]
}

const (
	spikeWindow = 20 // steps that a loss is compared with
	spikeLeast  = 10 // and of how many at least
)

// spikes reports whether a loss stands out from the last ones: five standard deviations and three tenths above their mean.
func spikes(recent []float64, loss float64) (mean float64, yes bool) {
	if len(recent) < spikeLeast {
		return 0, false
	}
	for _, v := range recent {
		mean += v / float64(len(recent))
	}
	variance := 0.0
	for _, v := range recent {
		variance += (v - mean) * (v - mean) / float64(len(recent))
	}
	return mean, loss > mean+5*math.Sqrt(variance) && loss > 1.3*mean
}
