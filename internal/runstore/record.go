package runstore

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"
)

// Step is what one optimizer step measured. Memory that was not measured is 0, and NULL in the file.
type Step struct {
	Step                  int64     `json:"step"`          // from 1
	Epoch                 Real      `json:"epoch"`         // passes over the data so far, with fraction
	Loss                  Real      `json:"loss"`          // nats a target token; NaN or infinite when it broke
	LearningRate          Real      `json:"learning_rate"` // used by this step
	GradNorm              Real      `json:"grad_norm"`     // of all gradients together, before clipping
	TargetTokens          int64     `json:"target_tokens"` // with loss
	Tokens                int64     `json:"tokens"`        // all, without padding
	Seconds               Real      `json:"seconds"`
	TokensPerSecond       Real      `json:"tokens_per_second"` // Tokens / Seconds, computed by the database
	MemoryBytes           int64     `json:"memory_bytes"`      // resident, of the process
	PeakMemoryBytes       int64     `json:"peak_memory_bytes"`
	DeviceMemoryBytes     int64     `json:"device_memory_bytes"` // allocated on the device
	DevicePeakMemoryBytes int64     `json:"device_peak_memory_bytes"`
	At                    time.Time `json:"at,omitzero"` // end of the step; now when zero
}

func (x *Step) columns() []column {
	return []column{
		{"step", &x.Step},
		{"epoch", &x.Epoch},
		{"loss", &x.Loss},
		{"loss_note", lossNote{&x.Loss}},
		{"learning_rate", &x.LearningRate},
		{"grad_norm", &x.GradNorm},
		{"target_tokens", &x.TargetTokens},
		{"tokens", &x.Tokens},
		{"seconds", &x.Seconds},
		{"memory_bytes", maybe[int64]{&x.MemoryBytes}},
		{"peak_memory_bytes", maybe[int64]{&x.PeakMemoryBytes}},
		{"device_memory_bytes", maybe[int64]{&x.DeviceMemoryBytes}},
		{"device_peak_memory_bytes", maybe[int64]{&x.DevicePeakMemoryBytes}},
		{"at", utc{&x.At}},
	}
}

// Validation is the split of the validation file in [Evaluation].
const Validation = "validation"

// Evaluation is the loss on rows that are not trained on.
type Evaluation struct {
	Step         int64     `json:"step"`  // after which; 0 before the first
	Split        string    `json:"split"` // Validation when empty
	Loss         Real      `json:"loss"`  // nats a target token
	Perplexity   Real      `json:"perplexity"`
	TargetTokens int64     `json:"target_tokens"`
	Seconds      Real      `json:"seconds"`
	At           time.Time `json:"at,omitzero"` // now when zero
}

func (x *Evaluation) columns() []column {
	return []column{
		{"step", &x.Step},
		{"split", text[string]{&x.Split}},
		{"loss", &x.Loss},
		{"loss_note", lossNote{&x.Loss}},
		{"perplexity", &x.Perplexity},
		{"target_tokens", &x.TargetTokens},
		{"seconds", &x.Seconds},
		{"at", utc{&x.At}},
	}
}

// Sample is a reply that the model wrote between steps.
type Sample struct {
	Step        int64     `json:"step"`         // after which; 0 before the first
	PromptIndex int       `json:"prompt_index"` // place in sample.prompts, from 0
	Prompt      string    `json:"prompt"`
	Reply       string    `json:"reply"`
	Tokens      int64     `json:"tokens"` // of the reply
	Seconds     Real      `json:"seconds"`
	StopReason  string    `json:"stop_reason"`
	At          time.Time `json:"at,omitzero"` // now when zero
}

func (x *Sample) columns() []column {
	return []column{
		{"step", &x.Step},
		{"prompt_index", &x.PromptIndex},
		{"prompt", text[string]{&x.Prompt}},
		{"reply", text[string]{&x.Reply}},
		{"tokens", &x.Tokens},
		{"seconds", &x.Seconds},
		{"stop_reason", text[string]{&x.StopReason}},
		{"at", utc{&x.At}},
	}
}

// Artifact is a file or folder that a run left.
type Artifact struct {
	Kind   string    `json:"kind"` // adapter, model, checkpoint, chart, ...
	Path   string    `json:"path"`
	Bytes  int64     `json:"bytes"`
	SHA256 string    `json:"sha256"`
	At     time.Time `json:"at,omitzero"` // now when zero
}

func (x *Artifact) columns() []column {
	return []column{
		{"kind", text[string]{&x.Kind}},
		{"path", text[string]{&x.Path}},
		{"bytes", &x.Bytes},
		{"sha256", text[string]{&x.SHA256}},
		{"at", utc{&x.At}},
	}
}

// Level is how much an event matters.
type Level string

// The levels of an event.
const (
	LevelInfo    Level = "info"
	LevelWarning Level = "warning"
	LevelError   Level = "error"
)

// Event is something worth knowing later: a warning, an operator that fell back to the CPU, a resume.
type Event struct {
	Step    int64     `json:"step,omitzero"` // 0 when it belongs to no step
	Level   Level     `json:"level"`         // LevelInfo when empty
	Kind    string    `json:"kind"`          // one word to group by, such as fallback
	Message string    `json:"message"`
	At      time.Time `json:"at,omitzero"` // now when zero
}

func (x *Event) columns() []column {
	return []column{
		{"step", maybe[int64]{&x.Step}},
		{"level", text[Level]{&x.Level}},
		{"kind", text[string]{&x.Kind}},
		{"message", text[string]{&x.Message}},
		{"at", utc{&x.At}},
	}
}

// RecordStep writes a step; a step of the same number, from before a resume, is replaced.
// Errors: [ErrNotFound] when the run does not exist; a number below 1.
func (s *Store) RecordStep(ctx context.Context, runID string, x Step) error {
	if s.readOnly {
		return s.explain(fmt.Sprintf("record step %d of run %s", x.Step, runID), ErrReadOnly)
	}
	s.stamp(&x.At)
	if _, err := s.step.ExecContext(ctx, row(runID, x.columns())...); err != nil {
		return s.explain(fmt.Sprintf("record step %d of run %s", x.Step, runID), err)
	}
	return nil
}

// RecordEvaluation writes an evaluation and its perplexity, e to the power of the loss, which the caller need
// not fill; one of the same step and split is replaced. Errors: [ErrNotFound] when the run does not exist.
func (s *Store) RecordEvaluation(ctx context.Context, runID string, x Evaluation) error {
	s.stamp(&x.At)
	if x.Split == "" {
		x.Split = Validation
	}
	x.Perplexity = Real(math.Exp(float64(x.Loss)))
	doing := fmt.Sprintf("record evaluation at step %d of run %s", x.Step, runID)
	_, err := s.exec(ctx, doing, insertEvaluation, row(runID, x.columns())...)
	return err
}

// RecordSample writes a sample; one of the same step and prompt is replaced.
// Errors: [ErrNotFound] when the run does not exist.
func (s *Store) RecordSample(ctx context.Context, runID string, x Sample) error {
	s.stamp(&x.At)
	doing := fmt.Sprintf("record sample %d at step %d of run %s", x.PromptIndex, x.Step, runID)
	_, err := s.exec(ctx, doing, insertSample, row(runID, x.columns())...)
	return err
}

// RecordArtifact writes an artifact; one of the same kind and path is replaced.
// Errors: [ErrNotFound] when the run does not exist.
func (s *Store) RecordArtifact(ctx context.Context, runID string, x Artifact) error {
	s.stamp(&x.At)
	_, err := s.exec(ctx, fmt.Sprintf("record artifact %s of run %s", x.Path, runID), insertArtifact,
		row(runID, x.columns())...)
	return err
}

// RecordEvent adds an event. Errors: [ErrNotFound] when the run does not exist.
func (s *Store) RecordEvent(ctx context.Context, runID string, x Event) error {
	s.stamp(&x.At)
	if x.Level == "" {
		x.Level = LevelInfo
	}
	_, err := s.exec(ctx, fmt.Sprintf("record event %s of run %s", x.Kind, runID), insertEvent,
		row(runID, x.columns())...)
	return err
}

// stamp sets a time that the caller left zero.
func (s *Store) stamp(t *time.Time) {
	if t.IsZero() {
		*t = s.now()
	}
}

// The statements, each made once from the same column list that its values come from.
var (
	insertStep       = upsert("steps", new(Step).columns(), "step")
	insertEvaluation = upsert("evaluations", new(Evaluation).columns(), "step", "split")
	insertSample     = upsert("samples", new(Sample).columns(), "step", "prompt_index")
	insertArtifact   = upsert("artifacts", new(Artifact).columns(), "kind", "path")
	insertEvent      = insert("events", append([]string{"run_id"}, names(new(Event).columns())...))
)

// row puts the run before the values of a row.
func row(runID string, columns []column) []any { return append([]any{runID}, values(columns)...) }

// insert returns the statement that adds a row of these columns.
func insert(table string, names []string) string {
	marks := strings.Repeat(", ?", len(names))[2:]
	return "INSERT INTO " + table + "(" + strings.Join(names, ", ") + ") VALUES(" + marks + ")"
}

// upsert returns an insert that replaces the row with the same run and keys.
func upsert(table string, columns []column, keys ...string) string {
	all := append([]string{"run_id"}, names(columns)...)
	var set []string
	for _, name := range all {
		set = append(set, name+"=excluded."+name) // the keys too: they are equal, and the list stays simple
	}
	return insert(table, all) + " ON CONFLICT(run_id, " + strings.Join(keys, ", ") + ") DO UPDATE SET " +
		strings.Join(set, ", ")
}
