package adapters

import (
	"tune/internal/model"
	"tune/internal/torch"
)

// Linear is a linear module with an adapter beside its weight.
type Linear struct {
	Base      *model.Dense
	A         torch.Tensor // (R, in)
	B         torch.Tensor // (out, R)
	Magnitude torch.Tensor // (out), DoRA's m; none without DoRA
	Scale     float64      // Alpha/Rank, or Alpha/√Rank with rsLoRA

	adapter *Adapter
}

// Forward returns x·Wᵀ + Scale·(dropout(x)·Aᵀ)·Bᵀ, the adapted linear layer; with DoRA every output is also
// scaled by its trained magnitude over the norm of its row of W + Scale·B·A, g. Where dropout is at work DoRA drops
// what g adds to the base's product as well: x·Wᵀ + (g-1)·dropout(x)·Wᵀ + g·Scale·(dropout(x)·Aᵀ)·Bᵀ.
//
// Shapes: x (N, in), W (out, in), A (R, in), B (out, R); result (N, out).
// Dtypes: A and B stay float32; the sum is taken in float32 and rounded to the dtype of x, as PEFT does.
// Source: arXiv:2106.09685, section 4.1, equation 3; arXiv:2402.09353, equation 5, with the norm held constant
// in the gradient as its section 4.3 says; DoRA's dropout as in PEFT, tuners/lora/variants.py and dora.py.
func (l *Linear) Forward(s *torch.Scope, x torch.Tensor) torch.Tensor {
	if l.adapter.off {
		return l.Base.Forward(s, x)
	}
	if l.plain() {
		return s.Adapted(x, l.parts())[0]
	}
	dtype := x.DType()
	return s.Local(func(s *torch.Scope) torch.Tensor {
		y := l.Base.Forward(s, x)
		in := s.Cast(x, torch.Float32)
		p, dropping := l.adapter.Config.Dropout, l.dropping()
		if dropping {
			in = s.Dropout(in, p)
		}
		low := s.Scale(s.Linear(in, l.A), l.Scale) // (N, R); scaling here touches fewest numbers
		update := s.Linear(low, l.B)               // (N, out), float32
		if !l.Magnitude.Defined() {
			return s.Cast(s.Add(y, update), dtype)
		}
		gain := s.Div(l.Magnitude, l.rowNorms(s)) // (out)
		if !dropping {
			return s.Cast(s.Mul(s.Add(y, update), gain), dtype)
		}
		dropped := l.Base.Forward(s, s.Cast(in, dtype))
		beside := s.Add(s.Mul(dropped, s.AddScalar(gain, -1)), s.Mul(update, gain))
		return s.Cast(s.Add(y, beside), dtype)
	})
}

// ForwardJoined runs layers that read the same x; the plain ones among them share the product with A.
func (l *Linear) ForwardJoined(s *torch.Scope, x torch.Tensor, layers []model.Linear) []torch.Tensor {
	out := make([]torch.Tensor, len(layers))
	var plain []torch.Adapted
	var at []int
	for i, layer := range layers {
		if other, ok := layer.(*Linear); ok && !other.adapter.off && other.plain() {
			plain, at = append(plain, other.parts()), append(at, i)
		} else {
			out[i] = layer.Forward(s, x)
		}
	}
	if len(plain) > 0 {
		for i, y := range s.Adapted(x, plain...) {
			out[at[i]] = y
		}
	}
	return out
}

// dropping reports whether dropout is at work.
func (l *Linear) dropping() bool { return l.adapter.Config.Dropout > 0 && l.adapter.training }

// plain reports whether the layer is x·Wᵀ + Scale·(x·Aᵀ)·Bᵀ and no more.
func (l *Linear) plain() bool { return !l.Magnitude.Defined() && !l.dropping() }

func (l *Linear) parts() torch.Adapted {
	return torch.Adapted{W: l.Base.Weight, Q: l.Base.Quantised, A: l.A, B: l.B, Scale: l.Scale}
}

// rowNorms returns the norms of the rows of W + Scale·B·A, cut off from the gradient: (out).
func (l *Linear) rowNorms(s *torch.Scope) torch.Tensor {
	var norms torch.Tensor
	s.Grad(false, func() {
		norms = s.Local(func(s *torch.Scope) torch.Tensor {
			return s.Sqrt(s.SumLast(s.Square(l.sum(s))))
		})
	})
	return norms
}

// sum returns W + Scale·B·A in float32: (out, in).
func (l *Linear) sum(s *torch.Scope) torch.Tensor {
	return s.Local(func(s *torch.Scope) torch.Tensor {
		return s.Add(l.Base.Whole(s, torch.Float32), s.Scale(s.MatMul(l.B, l.A), l.Scale))
	})
}

// merged returns the weight that alone gives what the module gives, in the model's dtype: computed in float32 and
// rounded last, since rounding the update first loses it in bfloat16.
func (l *Linear) merged(s *torch.Scope) torch.Tensor {
	return s.Local(func(s *torch.Scope) torch.Tensor {
		w := l.sum(s)
		if l.Magnitude.Defined() {
			w = s.Mul(w, s.View(s.Div(l.Magnitude, l.rowNorms(s)), -1, 1))
		}
		return s.Cast(s.Detach(w), l.adapter.model.DType)
	})
}
