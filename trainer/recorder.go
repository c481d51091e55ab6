package trainer

import (
	"context"
	"fmt"
	"time"
)

// Recorder keeps what a run tells about itself. An error ends the run: what cannot be recorded is not trained.
type Recorder interface {
	RecordStep(ctx context.Context, m StepMetrics) error
	RecordEvaluation(ctx context.Context, e Evaluation) error
	RecordSample(ctx context.Context, t SampleText) error
	RecordEvent(ctx context.Context, e Event) error
	// Sync returns when everything recorded so far would outlive this process: a checkpoint must not be ahead of it.
	Sync(ctx context.Context) error
	// RecordCheckpoint tells of a checkpoint that was saved.
	RecordCheckpoint(ctx context.Context, c SavedCheckpoint) error
}

// SavedCheckpoint is a checkpoint on the disk.
type SavedCheckpoint struct {
	Step    int
	Path    string
	Best    bool // by the validation loss
	Elapsed time.Duration
}

// StepMetrics is one optimizer step. Memory is in bytes, -1 where it cannot be told.
type StepMetrics struct {
	Step              int     // from 1
	Epoch             float64 // passes over the data so far
	Loss              float64 // nats a target token, before the update
	LR                float64
	GradNorm          float64 // of all gradients together, before clipping
	TargetTokens      int
	Tokens            int // all real tokens, prompts included
	Elapsed           time.Duration
	MemoryBytes       int64 // resident, of the process
	PeakMemoryBytes   int64
	DeviceMemoryBytes int64 // in tensors on the device
	DevicePeakBytes   int64
}

// TokensPerSecond counts all real tokens, as published tables do.
func (m StepMetrics) TokensPerSecond() float64 {
	if m.Elapsed <= 0 {
		return 0
	}
	return float64(m.Tokens) / m.Elapsed.Seconds()
}

// Evaluation is the loss on the validation data after a step; step 0 is before the first.
type Evaluation struct {
	Step         int
	Loss         float64 // nats a target token
	TargetTokens int
	Elapsed      time.Duration
	Extra        bool `json:",omitempty"` // made only because the run was to stop there: it does not count for the best
}

// SampleText is a reply that the model wrote after a step; step 0 is before the first.
type SampleText struct {
	Step          int
	Index         int // of the prompt
	Prompt, Reply string
	Tokens        int
	Stopped       string // why it ended
	Elapsed       time.Duration
}

// The levels of an Event.
const (
	Info    = "info"
	Warning = "warning"
)

// MPSFallback is the kind of the event that an operator ran on the CPU in place of an Apple GPU.
const MPSFallback = "mps_fallback"

// Event is something worth telling that is no number, such as a warning of libtorch.
type Event struct {
	Step    int
	Level   string
	Kind    string
	Message string
}

// DivergedError is a loss or gradient that is no finite number. The update that it belongs to was not made.
type DivergedError struct {
	Step     int
	Loss     float64
	GradNorm float64 // 0 when the loss itself was not finite
	Tensor   string  // the first that is not finite; empty where it could not be told
}

func (e *DivergedError) Error() string {
	what := fmt.Sprintf("the gradient norm is %g", e.GradNorm)
	if !finite(e.Loss) {
		what = fmt.Sprintf("the loss is %g", e.Loss)
	}
	if e.Tensor != "" {
		what += fmt.Sprintf("; the first tensor that is not finite is %s", e.Tensor)
	}
	return fmt.Sprintf("step %d: %s: training diverged", e.Step, what)
}
