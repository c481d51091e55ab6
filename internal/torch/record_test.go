package torch

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCountOperators(t *testing.T) {
	inScope(t, func(s *Scope) error {
		x := s.Float32s([]float32{1, 2, 3, 4}, 2, 2)
		for _, tc := range []struct {
			name string
			f    func()
			want map[string]int
		}{
			{"nothing", func() {}, map[string]int{}},
			{"an add", func() { s.Add(x, x) }, map[string]int{"aten::add": 1}},
			{"two adds and a product", func() { s.Add(x, s.MatMul(s.Add(x, x), x)) }, map[string]int{"aten::add": 2, "aten::matmul": 1}},
		} {
			n, names := CountOperators(tc.f)
			if diff := cmp.Diff(tc.want, names); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.name, diff)
			}
			sum := 0
			for _, count := range tc.want {
				sum += count
			}
			if n != sum {
				t.Errorf("%s: %d operators, want %d", tc.name, n, sum)
			}
		}
		return s.Err()
	})
}

// TestRecordingSeesWhatOperatorsCall: a linear layer is one operator that is outermost, and the product in it another.
func TestRecordingSeesWhatOperatorsCall(t *testing.T) {
	inScope(t, func(s *Scope) error {
		x := s.Float32s([]float32{1, 2, 3, 4}, 2, 2)
		r, err := RecordOperators()
		if err != nil {
			return err
		}
		s.Linear(x, x)
		found := map[string]Operator{}
		for _, o := range r.Stop() {
			found[o.Name] = o
		}
		outer, inner := found["aten::linear"], found["aten::mm"]
		if outer.Calls != 1 || outer.Outermost != 1 || inner.Calls != 1 || inner.Outermost != 0 {
			t.Errorf("linear: %+v, mm: %+v", outer, inner)
		}
		if outer.Total < inner.Total || outer.Self > outer.Total-inner.Total {
			t.Errorf("times: linear %v, of them itself %v, mm %v", outer.Total, outer.Self, inner.Total)
		}
		return s.Err()
	})
}

// TestCountOperatorsOfABackwardPass: those of autograd count, its engine's own records do not.
func TestCountOperatorsOfABackwardPass(t *testing.T) {
	inScope(t, func(s *Scope) error {
		w := s.NewFlat(CPU, [][]int64{{2, 2}}).Leaves[0]
		var loss Tensor
		s.Grad(true, func() { loss = s.Sum(s.Square(w)) })
		n, names := CountOperators(func() { s.Backward(loss, Tensor{}) })
		if n == 0 || names["aten::mul"]+names["aten::mul_"] == 0 {
			t.Errorf("a backward pass dispatched %d operators: %v", n, names)
		}
		t.Logf("%d: %v", n, names)
		return s.Err()
	})
}

// TestAdamWIsFewOperators: an update takes a handful, however many tensors there are.
func TestAdamWIsFewOperators(t *testing.T) {
	inScope(t, func(s *Scope) error {
		flat := s.NewFlat(CPU, make([][]int64, 100))
		o := AdamW{LR: 1e-3, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, WeightDecay: 0.01}
		flat.Update(s, o) // makes the moments
		if n, names := CountOperators(func() { flat.Update(s, o) }); n == 0 || n > 10 {
			t.Errorf("an update takes %d operators, want 1 to 10: %v", n, names)
		}
		return s.Err()
	})
}
