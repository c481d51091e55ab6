package adapters

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/checkpoint"
	"tune/internal/golden"
	"tune/internal/model"
	"tune/internal/torch"
)

func inScope(t *testing.T, f func(s *torch.Scope) error) {
	t.Helper()
	if err := torch.Run(f); err != nil {
		t.Fatal(err)
	}
}

func loadModel(s *torch.Scope, dir string) (*model.Model, error) {
	return model.Load(s, dir, model.Options{DType: torch.Float32, Device: torch.CPU})
}

// forward is what a reference adapter's batch gives.
func forward(s *torch.Scope, m *model.Model, b golden.Batch, backward bool) (logits []float32, loss float32, err error) {
	p, err := m.NewPass(s, model.Input{IDs: b.IDs, Positions: b.Positions, Starts: b.Starts}, nil)
	if err != nil {
		return nil, 0, err
	}
	var x, sum torch.Tensor
	s.Grad(backward, func() {
		x = m.Hidden(s, p)
		sum, err = m.Loss(s, x, b.Targets, backward)
	})
	if err != nil {
		return nil, 0, err
	}
	logits = s.ReadFloat32s(m.Logits(s, s.Detach(x)))
	return logits, s.ReadFloat32(sum) / float32(b.TargetTokens()), s.Err()
}

// adapterFolders finds every adapter with reference numbers: adapter/ with forward_adapter.safetensors beside it,
// and folders such as rslora/ and dora/ that hold both.
func adapterFolders(t *testing.T) map[string][3]string { // name → adapter, forward_adapter, model's case
	found := map[string][3]string{}
	for _, dir := range golden.Cases(t, "gemma") {
		name := filepath.Base(dir)
		found[name] = [3]string{filepath.Join(dir, "adapter"), filepath.Join(dir, "forward_adapter.safetensors"), dir}
		if alias := filepath.Join(dir, "adapter_multimodal_names"); exists(alias) {
			found[name+"/multimodal names"] = [3]string{alias, filepath.Join(dir, "forward_adapter.safetensors"), dir}
		}
		nested, _ := filepath.Glob(filepath.Join(dir, "*", "forward_adapter.safetensors"))
		for _, file := range nested {
			folder := filepath.Dir(file)
			found[name+"/"+filepath.Base(folder)] = [3]string{filepath.Join(folder, "adapter"), file, dir}
		}
	}
	return found
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestGoldenAdapter(t *testing.T) {
	for name, where := range adapterFolders(t) {
		t.Run(name, func(t *testing.T) {
			want := golden.Tensors(t, where[1])
			batch := golden.ForwardBatch(golden.Tensors(t, filepath.Join(where[2], "forward.safetensors")))
			inScope(t, func(s *torch.Scope) error {
				m, err := loadModel(s, filepath.Join(where[2], "model"))
				if err != nil {
					return err
				}
				a, err := Load(s, m, where[0])
				if err != nil {
					return err
				}
				logits, loss, err := forward(s, m, batch, true)
				if err != nil {
					return err
				}
				golden.Near(t, "logits", logits, batch.At(want["logits"].Floats, int(m.Config.VocabSize)), 3e-5)
				golden.Near(t, "loss", []float32{loss}, want["loss"].Floats, 1e-5)

				compared := 0
				for _, l := range a.Modules {
					for suffix, leaf := range map[string]torch.Tensor{
						".lora_A.weight": l.A, ".lora_B.weight": l.B, ".lora_magnitude_vector": l.Magnitude} {
						if !leaf.Defined() {
							continue
						}
						gradient, ok := gradientOf(want, l.Base.Name+suffix)
						if !ok {
							continue
						}
						got := s.ReadFloat32s(s.Scale(s.GradOf(leaf), 1/float64(batch.TargetTokens())))
						golden.NearNorm(t, "gradient of "+l.Base.Name+suffix, got, gradient, 5e-5)
						compared++
					}
				}
				if reference := len(want) - 2; compared != reference { // all but logits and loss
					t.Errorf("compared %d gradients, the reference has %d", compared, reference)
				}
				if strings.Contains(name, "rslora") == (a.Modules[0].Scale == a.Config.Alpha/float64(a.Config.Rank)) {
					t.Errorf("scale %g for rank %d, alpha %g", a.Modules[0].Scale, a.Config.Rank, a.Config.Alpha)
				}
				return s.Err()
			})
		})
	}
}

// gradientOf finds the reference gradient of a tensor under either of its names.
func gradientOf(want map[string]golden.Tensor, name string) ([]float32, bool) {
	for key, tensor := range want {
		key, ok := strings.CutPrefix(key, "grad.base_model.model.")
		if plain, text := checkpoint.PlainName(key); ok && text && plain == name {
			return tensor.Floats, true
		}
	}
	return nil, false
}

func TestGoldenAdapterGenerate(t *testing.T) {
	for _, dir := range golden.Cases(t, "gemma") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			var c struct {
				Generation struct{ Prompt, Base, Adapter []int64 }
			}
			golden.JSON(t, filepath.Join(dir, "case.json"), &c)
			inScope(t, func(s *torch.Scope) error {
				m, err := loadModel(s, filepath.Join(dir, "model"))
				if err != nil {
					return err
				}
				a, err := Load(s, m, filepath.Join(dir, "adapter"))
				if err != nil {
					return err
				}
				for _, on := range []bool{true, false} {
					a.Enable(on)
					want := c.Generation.Base
					if on {
						want = c.Generation.Adapter
					}
					var got []int64
					_, err := m.Generate(context.Background(), s, c.Generation.Prompt,
						model.GenerateOptions{MaxNewTokens: len(want)}, func(id int64) bool {
							got = append(got, id)
							return true
						})
					if err != nil {
						return err
					}
					if !slices.Equal(got, want) {
						t.Errorf("adapter %v: wrote %v, want %v", on, got, want)
					}
				}
				return nil
			})
		})
	}
}

// TestMergeOfKeptWeights: weights that are kept in bfloat16 beside float32 are merged in float32.
func TestMergeOfKeptWeights(t *testing.T) {
	inScope(t, func(s *torch.Scope) error {
		m, err := loadModel(s, filepath.Join("..", "models", "pocket"))
		if err != nil {
			return err
		}
		a, err := New(s, m, loraConfig(), 1)
		if err != nil {
			return err
		}
		for i, l := range a.Modules {
			s.AddTo(l.B, s.AddScalar(s.Zeros(torch.Float32, torch.CPU, l.B.Shape()...), 0.01/float64(i+3)))
		}
		logits := func() []float32 {
			p, err := m.NewPass(s, model.Sequence([]int64{2, 17, 300, 41, 9, 2000, 77, 8, 1, 1234}), nil)
			if err != nil {
				t.Fatal(err)
			}
			return s.ReadFloat32s(m.Logits(s, m.Hidden(s, p)))
		}
		adapted := logits()
		if err := a.Merge(s); err != nil {
			return err
		}
		golden.Near(t, "logits", logits(), adapted, 5e-5)
		return s.Err()
	})
}

func TestGoldenMerge(t *testing.T) {
	for name, where := range adapterFolders(t) {
		t.Run(name, func(t *testing.T) {
			want := golden.Tensors(t, where[1])
			batch := golden.ForwardBatch(golden.Tensors(t, filepath.Join(where[2], "forward.safetensors")))
			inScope(t, func(s *torch.Scope) error {
				m, err := loadModel(s, filepath.Join(where[2], "model"))
				if err != nil {
					return err
				}
				a, err := Load(s, m, where[0])
				if err != nil {
					return err
				}
				if err := a.Merge(s); err != nil {
					return err
				}
				for _, p := range m.Projections() {
					if _, plain := (*p.Linear).(*model.Dense); !plain {
						return fmt.Errorf("%s is still adapted", p.Name)
					}
				}
				logits, _, err := forward(s, m, batch, false)
				golden.Near(t, "logits", logits, batch.At(want["logits"].Floats, int(m.Config.VocabSize)), 5e-5)
				return err
			})
		})
	}
}
