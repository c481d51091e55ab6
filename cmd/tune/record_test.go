package main

import (
	"context"
	"encoding/gob"
	"io"
	"os"
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

// BenchmarkTellStep is what a step costs the worker: encoding its numbers and writing them into the pipe.
func BenchmarkTellStep(b *testing.B) {
	read, write, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for decoder := gob.NewDecoder(read); ; {
			var m message
			if decoder.Decode(&m) != nil {
				return
			}
		}
	}()
	w := &worker{messages: gob.NewEncoder(write)}
	for step := 1; b.Loop(); step++ {
		m := trainer.StepMetrics{Step: step, Loss: 2.5, LR: 1e-4, GradNorm: 1, TargetTokens: 300, Tokens: 400, Elapsed: 25 * time.Millisecond,
			MemoryBytes: 1 << 28, PeakMemoryBytes: 1 << 28, DeviceMemoryBytes: 1 << 26, DevicePeakBytes: 1 << 26}
		if err := w.RecordStep(context.Background(), m); err != nil {
			b.Fatal(err)
		}
		if step%1000 == 0 {
			w.waiting = nil // as a checkpoint does
		}
	}
	write.Close()
	<-done
}
