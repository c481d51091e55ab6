package main

import (
	"testing"
	"time"

	"tune/internal/runstore"
)

// TestLinesOfLikeWithLike: the median and the newest of what is the same, and lines of their own for what is not.
func TestLinesOfLikeWithLike(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	none := runstore.Spread{Median: unmeasured, Min: unmeasured, Max: unmeasured}
	train := func(at time.Time, chip, dtype string, threads int, speed float64) runstore.Benchmark {
		return runstore.Benchmark{CreatedAt: at, Kind: runstore.BenchmarkTrain, ModelPath: "m", ModelSHA256: "s", Chip: chip, Device: "cpu",
			DType: dtype, Threads: threads, BatchSize: 4, TrainTokensPerSecond: runstore.SpreadOf([]float64{speed}),
			TimeToFirstToken: none, PrefillTokensPerSecond: none, DecodeTokensPerSecond: none, PeakMemoryBytes: int64(speed)}
	}
	s := &speeds{benchmarks: []runstore.Benchmark{
		train(day(3), "fast", "float32", 2, 300), train(day(1), "fast", "float32", 2, 100), train(day(2), "fast", "float32", 2, 180),
		train(day(1), "slow", "float32", 2, 50), train(day(1), "fast", "bfloat16", 2, 250), train(day(1), "fast", "float32", 1, 90),
	}}
	s.runs = []measuredRun{{RunSummary: runstore.RunSummary{Run: runstore.Run{ModelPath: "elsewhere/m", ModelSHA256: "s", Chip: "fast",
		Device: "cpu", DType: "float32", Threads: 2, BatchSize: 4, Method: "lora", CreatedAt: day(9), WallSeconds: 60}, TokensPerSecond: 170}, quantize: "int4"}}
	lines := linesOf(s.observations())
	if len(lines) != 5 {
		t.Fatalf("%d lines, want 5: %+v", len(lines), lines)
	}
	if l := lines[0]; l.Kind != "run" || l.DType != "float32+int4" || l.WallSeconds != 60 || l.TokensPerSecond != 170 || l.TimeToFirstToken.Finite() {
		t.Errorf("the run: %+v", l)
	}
	if l := lines[1]; l.TokensPerSecond != 250 || l.DType != "bfloat16" {
		t.Errorf("want the fastest first, got %+v", l)
	}
	if l := lines[2]; l.TokensPerSecond != 180 || l.NewestTokensPerSecond != 300 || l.Measurements != 3 || !l.NewestAt.Equal(day(3)) || l.PeakMemoryBytes != 180 {
		t.Errorf("want the median of three, the newest and its date, got %+v", l)
	}
	if lines[3].TokensPerSecond != 90 || lines[4].Machine != "slow" {
		t.Errorf("want fewer threads and another machine apart, got %+v", lines[3:])
	}
}
