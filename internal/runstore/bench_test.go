package runstore

import "testing"

// BenchmarkRecordStep is the cost of the record in the training loop.
func BenchmarkRecordStep(b *testing.B) {
	s, ctx := newStore(b), b.Context()
	must(b, s.CreateRun(ctx, Run{ID: "a"}))
	x := Step{Epoch: 0.5, Loss: 2.5, LearningRate: 1e-4, GradNorm: 3, TargetTokens: 250, Tokens: 400, Seconds: 0.25,
		MemoryBytes: 1 << 30, PeakMemoryBytes: 2 << 30, DeviceMemoryBytes: 3 << 30, DevicePeakMemoryBytes: 4 << 30}
	b.ReportAllocs()
	for b.Loop() {
		x.Step++
		must(b, s.RecordStep(ctx, "a", x))
	}
	r, err := s.Run(ctx, "a")
	must(b, err)
	if r.StepsDone != x.Step {
		b.Fatalf("%d steps recorded, want %d", r.StepsDone, x.Step)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "steps/s")
}

// BenchmarkRuns is the cost of a listing: 200 runs of 100 steps.
func BenchmarkRuns(b *testing.B) {
	s, ctx := newStore(b), b.Context()
	for i := range 200 {
		id := NewID("bench", noon) + string(rune('a'+i%26)) + string(rune('a'+i/26))
		must(b, s.CreateRun(ctx, Run{ID: id}))
		for step := range 100 {
			must(b, s.RecordStep(ctx, id, Step{Step: int64(step + 1), Loss: 1, Tokens: 1, Seconds: 1}))
		}
	}
	for b.Loop() {
		runs, err := s.Runs(ctx, Filter{})
		must(b, err)
		if len(runs) != 200 || runs[0].StepsDone != 100 {
			b.Fatalf("%d runs", len(runs))
		}
	}
}

// BenchmarkRowsSince is what a page costs that looks on while the ten-thousandth step of a run is made.
func BenchmarkRowsSince(b *testing.B) {
	s, ctx := newStore(b), b.Context()
	must(b, s.CreateRun(ctx, Run{ID: "a"}))
	must(b, s.StartRun(ctx, "a"))
	x := Step{Loss: 2.5, Tokens: 400, Seconds: 0.25, MemoryBytes: 1 << 30, PeakMemoryBytes: 2 << 30}
	for range 10_000 {
		x.Step++
		must(b, s.RecordStep(ctx, "a", x))
	}
	rows, err := s.RowsSince(ctx, "a", Position{})
	must(b, err)
	for b.Loop() {
		news, err := s.RowsSince(ctx, "a", rows.Position)
		must(b, err)
		if len(news.Steps) != 0 || news.Run.StepsDone != 10_000 {
			b.Fatalf("%d new steps of %d", len(news.Steps), news.Run.StepsDone)
		}
	}
}
