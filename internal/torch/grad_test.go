package torch

import (
	"math"
	"strings"
	"testing"
)

// TestFlatUpdateInParts: each stretch moves at its own rate, by AdamW in float64.
func TestFlatUpdateInParts(t *testing.T) {
	inScope(t, func(s *Scope) error {
		flat := s.NewFlat(CPU, [][]int64{{3}, {2}})
		start := []float32{1, -2, 3, 0.5, -0.25}
		s.Copy(flat.Data, s.Float32s(start))
		o := AdamW{LR: 99, Beta1: 0.9, Beta2: 0.99, Epsilon: 1e-8, WeightDecay: 0.01, Parts: []Part{{3, 0.1}, {0, 7}, {2, 0.4}}}
		p, m, v := make([]float64, 5), make([]float64, 5), make([]float64, 5)
		for i := range p {
			p[i] = float64(start[i])
		}
		for step := 1; step <= 3; step++ {
			s.Copy(flat.Grad, s.Scale(flat.Data, 2)) // the gradient of Σ x²
			flat.Update(s, o)
			for i := range p {
				lr := 0.1
				if i >= 3 {
					lr = 0.4
				}
				g := 2 * p[i]
				m[i] = o.Beta1*m[i] + (1-o.Beta1)*g
				v[i] = o.Beta2*v[i] + (1-o.Beta2)*g*g
				mHat, vHat := m[i]/(1-math.Pow(o.Beta1, float64(step))), v[i]/(1-math.Pow(o.Beta2, float64(step)))
				p[i] -= lr*o.WeightDecay*p[i] + lr*mHat/(math.Sqrt(vHat)+o.Epsilon)
			}
			for i, got := range s.ReadFloat32s(flat.Data) {
				if math.Abs(float64(got)-p[i]) > 1e-6 { // float32, values of order 1
					t.Errorf("step %d: parameter %d is %g, want %g", step, i, got, p[i])
				}
			}
		}
		return s.Err()
	})
}

func TestFlatUpdateRefusesPartsOfAnotherLength(t *testing.T) {
	err := Run(func(s *Scope) error {
		flat := s.NewFlat(CPU, [][]int64{{3}, {2}})
		flat.Update(s, AdamW{LR: 1, Parts: []Part{{3, 1}}})
		return s.Err()
	})
	if err == nil || !strings.Contains(err.Error(), "parts of 3 numbers together") {
		t.Errorf("got %v, want an error with both lengths", err)
	}
}
