package model

import (
	"path/filepath"
	"slices"
	"testing"

	"tune/internal/golden"
	"tune/internal/torch"
)

// TestWeightsStayInBFloat16BesideFloat32: a float32 model keeps the matrices that its file has in bfloat16 so, gives what
// it gives with the same numbers in float32, with a cache too, and saves them unchanged.
func TestWeightsStayInBFloat16BesideFloat32(t *testing.T) {
	dir := filepath.Join("..", "..", "models", "pocket")
	inScope(t, func(s *torch.Scope) error {
		kept, err := load(s, dir)
		if err != nil {
			return err
		}
		wide, err := load(s, dir)
		if err != nil {
			return err
		}
		for i, p := range wide.Parameters() {
			expected := torch.Float32
			if torch.CPU.KeepsBFloat16(p.Shape) {
				expected = torch.BFloat16
			}
			if got := kept.Parameters()[i].Field.DType(); got != expected {
				t.Errorf("%s %v is kept in %s, want %s", p.Name, p.Shape, got, expected)
			}
			*p.Field = s.Cast(*p.Field, torch.Float32)
		}
		ids := []int64{2, 17, 300, 41, 9, 2000, 77, 8, 1, 1234}
		logits := func(m *Model) []float32 {
			p, err := m.NewPass(s, Sequence(ids), nil)
			if err != nil {
				t.Fatal(err)
			}
			return s.ReadFloat32s(m.Logits(s, m.Hidden(s, p)))
		}
		golden.Near(t, "logits", logits(kept), logits(wide), 3e-5) // float32, another order of additions; as the golden logits
		generated := func(m *Model) []float32 {
			cache := m.NewCache(s)
			var last []float32
			for _, part := range [][]int64{ids[:4], ids[4:5], ids[5:]} {
				if last, err = m.Extend(t.Context(), s, cache, part); err != nil {
					t.Fatal(err)
				}
			}
			return last
		}
		golden.Near(t, "logits behind a cache", generated(kept), generated(wide), 3e-5)
		to := t.TempDir()
		if err := kept.Save(s, to, torch.BFloat16); err != nil {
			return err
		}
		again, err := load(s, to)
		if err != nil {
			return err
		}
		for i, p := range again.Parameters() {
			if !slices.Equal(s.ReadFloat32s(s.Cast(*p.Field, torch.Float32)), s.ReadFloat32s(*wide.Parameters()[i].Field)) {
				t.Errorf("%s is saved with other numbers", p.Name)
			}
		}
		return s.Err()
	})
}
