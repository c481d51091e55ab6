package model

import (
	"os"
	"path/filepath"
	"testing"

	"tune/internal/safetensors"
	"tune/internal/torch"
)

// BenchmarkLoad loads the model in $TUNE_BENCH_MODEL once, in one dtype a process: the peak of a process's memory
// never goes down. What is counted is the peak after loading minus what the process held before, over the bytes of
// the weights in the dtype they were loaded in. bench/load.sh calls it.
func BenchmarkLoad(b *testing.B) {
	dir := os.Getenv("TUNE_BENCH_MODEL")
	if dir == "" {
		b.Skip("no model in $TUNE_BENCH_MODEL: make bench-load makes one")
	}
	for _, dtype := range []torch.DType{torch.BFloat16, torch.Float32} {
		b.Run(dtype.String(), func(b *testing.B) {
			if b.N > 1 {
				b.Skip("the peak of a second load says nothing: use -benchtime 1x")
			}
			err := torch.Run(func(s *torch.Scope) error {
				s.Zero(s.Empty(torch.Float32, torch.CPU, 1)) // libtorch's own start is not the model's
				before := torch.ProcessMemory()
				m, err := Load(s, dir, Options{DType: dtype, Device: torch.CPU})
				if err != nil {
					return err
				}
				after := torch.ProcessMemory()
				check(b, s, m, dir)
				weights := m.Config.Count() * dtype.Size()
				ratio := float64(after.Peak-before.Now) / float64(weights)
				b.ReportMetric(float64(weights)/1e6, "weights-MB")
				b.ReportMetric(float64(after.Peak)/1e6, "peak-MB")
				b.ReportMetric(ratio, "peak/weights")
				if ratio > 1.15 {
					b.Errorf("peak memory is %.3f times the weights, at most 1.15 is wanted", ratio)
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}

// check compares the ends of the largest weight with the file: a benchmark of something wrong says nothing.
func check(b *testing.B, s *torch.Scope, m *Model, dir string) {
	b.Helper()
	files, err := safetensors.OpenDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer files.Close()
	raw, ok := files.Bytes("model.embed_tokens.weight")
	if !ok {
		b.Fatalf("%s: no embedding", filepath.Join(dir, "model.safetensors"))
	}
	for _, row := range []int64{0, m.Config.VocabSize - 1} {
		want := make([]float32, m.Config.HiddenSize)
		safetensors.BF16ToF32(want, raw[2*row*m.Config.HiddenSize:])
		for i, got := range s.ReadFloat32s(s.Narrow(m.EmbedTokens, 0, row, 1)) {
			if got != want[i] {
				b.Fatalf("row %d of the embedding is %g at %d, the file says %g", row, got, i, want[i])
			}
		}
	}
}
