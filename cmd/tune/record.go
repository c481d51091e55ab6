package main

import (
	"context"

	"tune/internal/runstore"
	"tune/trainer"
)

// session is the trainer's Recorder: it fits the run store and the console to it.

func (r *session) RecordStep(ctx context.Context, m trainer.StepMetrics) error {
	err := r.store.RecordStep(context.WithoutCancel(ctx), r.row.ID, runstore.Step{
		Step: int64(m.Step), Epoch: runstore.Real(m.Epoch), Loss: runstore.Real(m.Loss), LearningRate: runstore.Real(m.LR),
		GradNorm: runstore.Real(m.GradNorm), TargetTokens: int64(m.TargetTokens), Tokens: int64(m.Tokens),
		Seconds: seconds(m.Elapsed), MemoryBytes: known(m.MemoryBytes), PeakMemoryBytes: known(m.PeakMemoryBytes),
		DeviceMemoryBytes: known(m.DeviceMemoryBytes), DevicePeakMemoryBytes: known(m.DevicePeakBytes),
	})
	if err != nil {
		return err
	}
	r.out.step(m)
	return nil
}

// known turns the trainer's -1, "cannot be told", into the store's 0.
func known(bytes int64) int64 { return max(0, bytes) }

func (r *session) RecordEvaluation(ctx context.Context, e trainer.Evaluation) error {
	err := r.store.RecordEvaluation(context.WithoutCancel(ctx), r.row.ID, runstore.Evaluation{Step: int64(e.Step),
		Loss: runstore.Real(e.Loss), TargetTokens: int64(e.TargetTokens), Seconds: seconds(e.Elapsed)})
	if err != nil {
		return err
	}
	r.out.evaluation(e)
	return nil
}

func (r *session) RecordSample(ctx context.Context, t trainer.SampleText) error {
	if t.Step == 0 {
		r.before[t.Index] = t
	}
	r.after[t.Index] = t
	return r.store.RecordSample(context.WithoutCancel(ctx), r.row.ID, runstore.Sample{Step: int64(t.Step),
		PromptIndex: t.Index, Prompt: t.Prompt, Reply: t.Reply, Tokens: int64(t.Tokens), Seconds: seconds(t.Elapsed), StopReason: t.Stopped})
}

func (r *session) RecordEvent(ctx context.Context, e trainer.Event) error {
	level := runstore.LevelInfo
	if e.Level == trainer.Warning {
		level = runstore.LevelWarning
		r.out.line("warning: %s", e.Message)
	}
	return r.store.RecordEvent(context.WithoutCancel(ctx), r.row.ID, runstore.Event{Step: int64(e.Step), Level: level,
		Kind: e.Kind, Message: e.Message})
}
