package runstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// BenchmarkKind is what a benchmark measured.
type BenchmarkKind string

// The kinds of benchmarks.
const (
	BenchmarkGenerate BenchmarkKind = "generate" // a prompt read, a reply written
	BenchmarkTrain    BenchmarkKind = "train"    // optimizer steps
)

// Spread is the median of several measurements with the smallest and the largest of them. NaN means not measured.
type Spread struct {
	Median Real `json:"median"`
	Min    Real `json:"min"`
	Max    Real `json:"max"`
}

// SpreadOf returns the spread of values, which must not be empty; the median of an even number of them is the mean
// of the two in the middle.
func SpreadOf(values []float64) Spread {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Spread{Median: Real((sorted[(n-1)/2] + sorted[n/2]) / 2), Min: Real(sorted[0]), Max: Real(sorted[n-1])}
}

// columns lists a median under its own name and the ends of the spread with a suffix.
func (x *Spread) columns(name string) []column {
	return []column{{name, &x.Median}, {name + "_min", &x.Min}, {name + "_max", &x.Max}}
}

// positive is columns for what is 0, and NULL in the file, where it was not measured.
func (x *Spread) positive(name string) []column {
	return []column{{name, positive{&x.Median}}, {name + "_min", positive{&x.Min}}, {name + "_max", positive{&x.Max}}}
}

// Benchmark is one measurement of speed, with all that it depends on. What is unknown is left zero.
type Benchmark struct {
	ID        int64         `json:"id"`                  // given by the database
	CreatedAt time.Time     `json:"created_at,omitzero"` // now when zero
	Kind      BenchmarkKind `json:"kind"`

	RunID           string `json:"run_id"` // the run whose adapter or model it was; empty when none
	ModelPath       string `json:"model_path"`
	ModelSHA256     string `json:"model_sha256"`
	ModelRevision   string `json:"model_revision"` // commit of a model of the Hub
	Adapter         string `json:"adapter"`        // its folder; empty when none
	TotalParameters int64  `json:"total_parameters"`

	Device     string `json:"device"`
	DeviceName string `json:"device_name"`
	DType      string `json:"dtype"`
	Threads    int    `json:"threads"`

	PrefillTokens          int64  `json:"prefill_tokens"` // of the prompt
	DecodeTokens           int64  `json:"decode_tokens"`  // written after the first
	Repetitions            int    `json:"repetitions"`    // that the spreads are over; warm-up not counted
	TimeToFirstToken       Spread `json:"time_to_first_token_seconds"`
	PrefillTokensPerSecond Spread `json:"prefill_tokens_per_second"`
	DecodeTokensPerSecond  Spread `json:"decode_tokens_per_second"`
	BatchSize              int    `json:"batch_size"` // rows a step; this and the next four of training only, else 0
	LoRARank               int    `json:"lora_rank"`
	GradientCheckpointing  bool   `json:"gradient_checkpointing"`
	TrainTokensPerSecond   Spread `json:"train_tokens_per_second"`
	StepSeconds            Spread `json:"step_seconds"`
	PeakMemoryBytes        int64  `json:"peak_memory_bytes"` // of the process, loading included
	DevicePeakMemoryBytes  int64  `json:"device_peak_memory_bytes"`

	TuneVersion      string `json:"tune_version"`
	LibtorchVersion  string `json:"libtorch_version"`
	GoVersion        string `json:"go_version"`
	GitCommit        string `json:"git_commit"`
	GitDirty         bool   `json:"git_dirty"`
	Chip             string `json:"chip"`
	MachineModel     string `json:"machine_model"`
	OS               string `json:"os"`
	Arch             string `json:"arch"`
	Cores            int    `json:"cores"`
	PerformanceCores int    `json:"performance_cores"`
	MemoryBytes      int64  `json:"memory_bytes"`
}

// columns lists everything but the id, which the database gives.
func (x *Benchmark) columns() []column {
	return slices.Concat(
		[]column{
			{"created_at", utc{&x.CreatedAt}},
			{"kind", text[BenchmarkKind]{&x.Kind}},
			{"run_id", maybeText{&x.RunID}},
			{"model_path", text[string]{&x.ModelPath}},
			{"model_sha256", text[string]{&x.ModelSHA256}},
			{"model_revision", text[string]{&x.ModelRevision}},
			{"adapter", text[string]{&x.Adapter}},
			{"total_parameters", maybe[int64]{&x.TotalParameters}},
			{"device", text[string]{&x.Device}},
			{"device_name", text[string]{&x.DeviceName}},
			{"dtype", text[string]{&x.DType}},
			{"threads", maybe[int]{&x.Threads}},
			{"prefill_tokens", maybe[int64]{&x.PrefillTokens}},
			{"decode_tokens", maybe[int64]{&x.DecodeTokens}},
			{"repetitions", &x.Repetitions},
		},
		x.TimeToFirstToken.columns("time_to_first_token_seconds"),
		x.PrefillTokensPerSecond.columns("prefill_tokens_per_second"),
		x.DecodeTokensPerSecond.columns("decode_tokens_per_second"),
		x.TrainTokensPerSecond.positive("train_tokens_per_second"),
		x.StepSeconds.positive("step_seconds"),
		[]column{
			{"batch_size", maybe[int]{&x.BatchSize}},
			{"lora_rank", maybe[int]{&x.LoRARank}},
			{"gradient_checkpointing", flag{&x.GradientCheckpointing}},
			{"peak_memory_bytes", maybe[int64]{&x.PeakMemoryBytes}},
			{"device_peak_memory_bytes", maybe[int64]{&x.DevicePeakMemoryBytes}},
			{"tune_version", text[string]{&x.TuneVersion}},
			{"libtorch_version", text[string]{&x.LibtorchVersion}},
			{"go_version", text[string]{&x.GoVersion}},
			{"git_commit", text[string]{&x.GitCommit}},
			{"git_dirty", &x.GitDirty},
			{"chip", text[string]{&x.Chip}},
			{"machine_model", text[string]{&x.MachineModel}},
			{"os", text[string]{&x.OS}},
			{"arch", text[string]{&x.Arch}},
			{"cores", maybe[int]{&x.Cores}},
			{"performance_cores", maybe[int]{&x.PerformanceCores}},
			{"memory_bytes", maybe[int64]{&x.MemoryBytes}},
		})
}

// RecordBenchmark writes a benchmark and returns its id. Errors: [ErrNotFound] when RunID names no run; a kind that
// does not exist; no repetitions.
func (s *Store) RecordBenchmark(ctx context.Context, x Benchmark) (id int64, err error) {
	const doing = "record benchmark"
	switch {
	case s.readOnly:
		return 0, s.explain(doing, ErrReadOnly)
	case x.Kind != BenchmarkGenerate && x.Kind != BenchmarkTrain:
		return 0, s.explain(doing, fmt.Errorf("kind %q (want generate or train)", x.Kind))
	case x.Repetitions < 1:
		return 0, s.explain(doing, errors.New("no repetitions"))
	}
	s.stamp(&x.CreatedAt)
	result, err := s.db.ExecContext(ctx, insertBenchmark, values(x.columns())...)
	if err != nil {
		return 0, s.explain(doing, err)
	}
	id, err = result.LastInsertId()
	if err != nil {
		return 0, s.explain(doing, err)
	}
	return id, s.checkpoint(ctx) // nothing else follows that would make it safe on the disk
}

var insertBenchmark = insert("benchmarks", names(new(Benchmark).columns()))

// Benchmarks returns the benchmarks of one kind, or all when kind is empty, in the order they were made.
func (s *Store) Benchmarks(ctx context.Context, kind BenchmarkKind) ([]Benchmark, error) {
	columns := func(x *Benchmark) []column { return append(x.columns(), column{"id", &x.ID}) }
	rows, err := s.db.QueryContext(ctx, "SELECT "+strings.Join(names(columns(new(Benchmark))), ", ")+
		" FROM benchmarks WHERE ?1 = '' OR kind = ?1 ORDER BY created_at, id", string(kind))
	out, err := collect(rows, err, columns)
	return out, s.explain("read benchmarks", err)
}
