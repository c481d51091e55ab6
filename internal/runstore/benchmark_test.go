package runstore

import (
	"errors"
	"math"
	"testing"
	"time"
)

// fullBenchmark has a value of its own in every column but run_id and id.
func fullBenchmark() Benchmark {
	return Benchmark{
		CreatedAt: noon, Kind: BenchmarkGenerate, ModelPath: "models/pocket", ModelSHA256: "aa", ModelRevision: "c0ffee",
		Adapter: "runs/a/adapter", TotalParameters: 2000000, Device: "cpu", DeviceName: "Test CPU", DType: "float32",
		Threads: 4, PrefillTokens: 512, DecodeTokens: 128, Repetitions: 3,
		TimeToFirstToken:       Spread{Median: 0.5, Min: 0.25, Max: 0.75},
		PrefillTokensPerSecond: Spread{Median: 1024, Min: 682.5, Max: 2048},
		DecodeTokensPerSecond:  Spread{Median: 30, Min: 29, Max: 31},
		PeakMemoryBytes:        5, DevicePeakMemoryBytes: 6, TuneVersion: "v0.2.0", LibtorchVersion: "1.13.1",
		GoVersion: "go1.26.0", GitCommit: "abc", GitDirty: true, Chip: "Test Chip", MachineModel: "Box1,1", OS: "Test OS 1",
		Arch: "arm64", Cores: 8, PerformanceCores: 3, MemoryBytes: 16 << 30,
	}
}

func TestBenchmarksReadBackAsWritten(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	must(t, s.CreateRun(ctx, fullRun("a")))

	full := fullBenchmark()
	full.RunID = "a"
	nan := Spread{Real(math.NaN()), Real(math.NaN()), Real(math.NaN())}
	least := Benchmark{Kind: BenchmarkTrain, ModelPath: "m", Device: "cpu", DType: "float32", Repetitions: 1,
		TimeToFirstToken: nan, PrefillTokensPerSecond: nan, DecodeTokensPerSecond: nan}
	for i, x := range []*Benchmark{&full, &least} {
		id, err := s.RecordBenchmark(ctx, *x)
		must(t, err)
		if id != int64(i+1) {
			t.Errorf("id %d, want %d", id, i+1)
		}
		x.ID = id
	}
	least.CreatedAt = noon // the clock's
	all, err := s.Benchmarks(ctx, "")
	compare(t, []Benchmark{full, least}, all, err)
	some, err := s.Benchmarks(ctx, BenchmarkGenerate)
	compare(t, []Benchmark{full}, some, err)

	// A deleted run takes its steps along; what was measured of it stays true.
	_, err = s.db.Exec("DELETE FROM runs WHERE id='a'")
	must(t, err)
	full.RunID = ""
	some, err = s.Benchmarks(ctx, BenchmarkGenerate)
	compare(t, []Benchmark{full}, some, err)
}

func TestABenchmarkThatIsWrongIsRefused(t *testing.T) {
	s := newStore(t)
	for _, tc := range []struct {
		name   string
		change func(*Benchmark)
		want   string
	}{
		{"run", func(x *Benchmark) { x.RunID = "none" }, "record benchmark: no such run"},
		{"kind", func(x *Benchmark) { x.Kind = "merge" }, `record benchmark: kind "merge" (want generate or train)`},
		{"repetitions", func(x *Benchmark) { x.Repetitions = 0 }, "record benchmark: no repetitions"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := fullBenchmark()
			tc.change(&x)
			if _, err := s.RecordBenchmark(t.Context(), x); err == nil || err.Error() != s.Path()+": "+tc.want {
				t.Errorf("%v, want %s", err, tc.want)
			}
		})
	}
	r, err := OpenReadOnly(s.Path())
	must(t, err)
	defer r.Close()
	if _, err := r.RecordBenchmark(t.Context(), fullBenchmark()); !errors.Is(err, ErrReadOnly) {
		t.Errorf("%v, want ErrReadOnly", err)
	}
}

func TestSpreadOf(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		want   Spread
	}{
		{[]float64{7}, Spread{7, 7, 7}},
		{[]float64{3, 1}, Spread{2, 1, 3}},
		{[]float64{9, 1, 4}, Spread{4, 1, 9}},
		{[]float64{8, 1, 2, 4}, Spread{3, 1, 8}},
	} {
		if got := SpreadOf(tc.values); got != tc.want {
			t.Errorf("SpreadOf(%v) = %v, want %v", tc.values, got, tc.want)
		}
	}
	values := []float64{2, 1}
	if SpreadOf(values); values[0] != 2 {
		t.Error("the caller's values were sorted")
	}
}

func TestBenchmarksComeInTheOrderOfTime(t *testing.T) {
	s := newStore(t)
	for _, minutes := range []int{5, 3, 4} {
		x := fullBenchmark()
		x.CreatedAt = noon.Add(time.Duration(minutes) * time.Minute)
		_, err := s.RecordBenchmark(t.Context(), x)
		must(t, err)
	}
	got, err := s.Benchmarks(t.Context(), "")
	must(t, err)
	if len(got) != 3 || got[0].ID != 2 || got[1].ID != 3 || got[2].ID != 1 {
		t.Errorf("%v", got)
	}
}
