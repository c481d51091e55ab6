package trainer

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Recorder keeps what a run tells about itself. An error ends the run: what cannot be recorded is not trained.
type Recorder interface {
	RecordStep(ctx context.Context, m StepMetrics) error
	RecordEvaluation(ctx context.Context, e Evaluation) error
	RecordSample(ctx context.Context, t SampleText) error
	RecordEvent(ctx context.Context, e Event) error
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
}

func (e *DivergedError) Error() string {
	if math.IsNaN(e.Loss) || math.IsInf(e.Loss, 0) {
		return fmt.Sprintf("step %d: the loss is %g: training diverged", e.Step, e.Loss)
	}
	return fmt.Sprintf("step %d: the gradient norm is %g: training diverged", e.Step, e.GradNorm)
}
