package adapters

import (
	"path/filepath"
	"strings"
	"testing"

	"tune/internal/golden"
	"tune/internal/model"
	"tune/internal/torch"
)

// TestAdapterOnQuantisedBase: plain, with DoRA and with dropout, an adapter gives on a quantised base what it gives on a
// plain one with the same numbers for weights, and gets the same gradients.
func TestAdapterOnQuantisedBase(t *testing.T) {
	batch := golden.ForwardBatch(golden.Tensors(t, filepath.Join(gemma3Dir(t), "..", "forward.safetensors")))
	for _, bits := range []int{8, 4} {
		for _, dora := range []bool{false, true} {
			for _, dropout := range []float64{0, 0.3} {
				inScope(t, func(s *torch.Scope) error {
					quantised, err := model.Load(s, gemma3Dir(t), model.Options{DType: torch.Float32, Device: torch.CPU, QuantizeBits: bits})
					if err != nil {
						return err
					}
					plain, err := loadModel(s, gemma3Dir(t))
					if err != nil {
						return err
					}
					for i, p := range quantised.Projections() {
						(*plain.Projections()[i].Linear).(*model.Dense).Weight = (*p.Linear).(*model.Dense).Whole(s, torch.Float32)
					}
					c := loraConfig()
					c.UseDoRA, c.Dropout = dora, dropout
					run := func(m *model.Model) (logits, gradient []float32) {
						a, err := New(s, m, c, 1)
						if err != nil {
							t.Fatal(err)
						}
						for i, l := range a.Modules { // B is zero at first, and then A has no gradient
							values := make([]float32, l.B.Len())
							for j := range values {
								values[j] = float32((7*i+3*j)%11-5) / 100
							}
							s.Copy(l.B, s.Float32s(values, l.B.Shape()...))
						}
						a.Train(true)
						torch.Seed(3)
						if logits, _, err = forward(s, m, batch, true); err != nil {
							t.Fatal(err)
						}
						return logits, s.ReadFloat32s(a.Flat.Grad)
					}
					logits, gradient := run(quantised)
					wantLogits, wantGradient := run(plain)
					golden.Near(t, "logits", logits, wantLogits, 3e-5) // float32, another order of additions; as the golden logits
					golden.Near(t, "gradient", gradient, wantGradient, 1e-4)
					return s.Err()
				})
			}
		}
	}
}

func TestMergeRefusesAQuantisedBase(t *testing.T) {
	inScope(t, func(s *torch.Scope) error {
		m, err := model.Load(s, gemma3Dir(t), model.Options{DType: torch.Float32, Device: torch.CPU, QuantizeBits: 4})
		if err != nil {
			return err
		}
		a, err := New(s, m, loraConfig(), 1)
		if err != nil {
			return err
		}
		if err := a.Merge(s); err == nil || !strings.Contains(err.Error(), "quantised to int4") {
			t.Errorf("merged: %v", err)
		}
		return s.Err()
	})
}
