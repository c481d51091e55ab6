package main

import (
	"context"
	"io"
	"path/filepath"
	"testing"
	"time"

	"tune/configs"
	"tune/internal/runstore"
	"tune/internal/torch"
	"tune/trainer"
)

// BenchmarkRecordStep is what a step costs besides training: reading the memory, its row in a database on disk, the
// progress bar. docs/performance.md holds it against a step of the smallest shape.
func BenchmarkRecordStep(b *testing.B) {
	ctx := context.Background()
	store, err := runstore.Open(filepath.Join(b.TempDir(), "runs.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	cfg := configs.Default()
	row, err := newRow(ctx, &cfg, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	if err := store.CreateRun(ctx, row); err != nil {
		b.Fatal(err)
	}
	r := &session{store: store, row: row, out: &console{out: io.Discard, err: io.Discard, screen: screen{terminal: true, unicode: true},
		total: int64(1 << 40)}}
	for step := 1; b.Loop(); step++ {
		process := torch.ProcessMemory()
		device, _ := torch.CPU.DeviceMemory()
		torch.Warnings()
		m := trainer.StepMetrics{Step: step, Loss: 2.5, LR: 1e-4, GradNorm: 1, TargetTokens: 300, Tokens: 400, Elapsed: 25 * time.Millisecond,
			MemoryBytes: process.Now, PeakMemoryBytes: process.Peak, DeviceMemoryBytes: device.Now, DevicePeakBytes: device.Peak}
		if err := r.record(ctx, message{Step: &m}); err != nil {
			b.Fatal(err)
		}
	}
}
