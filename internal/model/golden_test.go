package model

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"tune/internal/golden"
	"tune/internal/torch"
)

// inScope runs a test's tensor work and fails the test with its error.
func inScope(t *testing.T, f func(s *torch.Scope) error) {
	t.Helper()
	if err := torch.Run(f); err != nil {
		t.Fatal(err)
	}
}

func load(s *torch.Scope, dir string) (*Model, error) {
	return Load(s, dir, Options{DType: torch.Float32, Device: torch.CPU})
}

func input(b golden.Batch) Input { return Input{IDs: b.IDs, Positions: b.Positions, Starts: b.Starts} }

func TestGoldenForward(t *testing.T) {
	for _, dir := range golden.Cases(t, "gemma") {
		for _, bucket := range []int64{1, 64} { // lengths filled up as on MPS must change nothing
			t.Run(fmt.Sprintf("%s/bucket %d", filepath.Base(dir), bucket), func(t *testing.T) {
				want := golden.Tensors(t, filepath.Join(dir, "forward.safetensors"))
				batch := golden.ForwardBatch(want)
				inScope(t, func(s *torch.Scope) error {
					m, err := load(s, filepath.Join(dir, "model"))
					if err != nil {
						return err
					}
					m.Bucket = bucket
					p, err := m.NewPass(s, input(batch), nil)
					if err != nil {
						return err
					}
					n, d := int64(len(batch.IDs)), int(m.Config.HiddenSize)
					hidden := want["hidden_states"]
					layerSize := len(hidden.Floats) / int(hidden.Shape[0])
					compare := func(i int, x torch.Tensor) {
						got := s.ReadFloat32s(s.Narrow(x, 0, 0, n))
						golden.Near(t, fmt.Sprintf("hidden_states[%d]", i), got,
							batch.At(hidden.Floats[i*layerSize:(i+1)*layerSize], d), 2e-4) // as golden/README.md allows
					}

					x := m.Embed(s, p)
					for i := range m.Layers {
						compare(i, x)
						x = m.Layer(s, i, x, p)
					}
					compare(len(m.Layers), s.RMSNorm(x, m.Norm, m.Config.RMSNormEps))
					logits := s.ReadFloat32s(s.Narrow(m.Logits(s, x), 0, 0, n))
					golden.Near(t, "logits", logits, batch.At(want["logits"].Floats, int(m.Config.VocabSize)), 3e-5)

					sum, err := m.Loss(s, x, batch.Targets, false)
					if err != nil {
						return err
					}
					loss := s.ReadFloat32(sum) / float32(batch.TargetTokens())
					golden.Near(t, "loss", []float32{loss}, want["loss"].Floats, 1e-5)
					return s.Err()
				})
			})
		}
	}
}

func TestGoldenGenerate(t *testing.T) {
	for _, dir := range golden.Cases(t, "gemma") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			var c struct {
				Generation struct {
					Prompt, Base []int64
				}
			}
			golden.JSON(t, filepath.Join(dir, "case.json"), &c)
			inScope(t, func(s *torch.Scope) error {
				m, err := load(s, filepath.Join(dir, "model"))
				if err != nil {
					return err
				}
				var got []int64
				w, err := m.Generate(context.Background(), s, c.Generation.Prompt,
					GenerateOptions{MaxNewTokens: len(c.Generation.Base)}, func(id int64) bool {
						got = append(got, id)
						return true
					})
				if err != nil {
					return err
				}
				if !slices.Equal(got, c.Generation.Base) || w.Stopped != StopLength {
					t.Errorf("wrote %v (%s), want %v", got, w.Stopped, c.Generation.Base)
				}
				return nil
			})
		})
	}
}
