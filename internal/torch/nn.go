package torch

// #include "fused.h"
import "C"

import "math"

// RMSNorm returns Gemma's norm of the last dimension: x/sqrt(mean(x²)+eps)·(1+w), in float32 throughout and
// cast last. Shapes: x (..., D), w (D); result as x, in x's dtype.
// Source: gemma_pytorch, gemma/model.py, RMSNorm.
func (s *Scope) RMSNorm(x, w Tensor, eps float64) Tensor {
	if !s.ready("rms_norm", x, w) {
		return Tensor{}
	}
	if fusible(x, w) {
		return s.norm("rms_norm", x, w, Tensor{}, Tensor{}, Tensor{}, eps)
	}
	dtype, wide := x.DType(), atLeastFloat32(x.DType())
	return s.Local(func(s *Scope) Tensor {
		x32 := s.Cast(x, wide)
		gain := s.AddScalar(s.Cast(w, wide), 1)
		// On MPS the plain form, whose kernels are all known.
		if HasRMSNorm() && x.Device() != MPS && !composing && s.ready("rms_norm", x32, gain) {
			return s.Cast(s.adopt("rms_norm", C.tune_rms_norm(x32.shim(), gain.shim(), C.double(eps)), x, w), dtype)
		}
		inverse := s.Rsqrt(s.AddScalar(s.MeanLast(s.Square(x32)), eps)) // (..., 1)
		return s.Cast(s.Mul(s.Mul(x32, inverse), gain), dtype)
	})
}

// atLeastFloat32 is the dtype that a norm is computed in: tests compare with float64.
func atLeastFloat32(dtype DType) DType {
	if dtype == Float64 {
		return Float64
	}
	return Float32
}

// AddRMSNorm returns residual + RMSNorm(x).
func (s *Scope) AddRMSNorm(residual, x, w Tensor, eps float64) Tensor {
	if s.ready("add_rms_norm", residual, x, w) && fusible(residual, x, w) {
		return s.norm("add_rms_norm", x, w, residual, Tensor{}, Tensor{}, eps)
	}
	return s.Local(func(s *Scope) Tensor { return s.Add(residual, s.RMSNorm(x, w, eps)) })
}

// Rotate returns x turned by its position: RoPE over the two halves of a head.
// Shapes: x (N, H, E); cos, sin (N, 1, E), of x's dtype.
// Source: Su et al. 2021, arXiv:2104.09864, in the half-split form of gemma_pytorch.
func (s *Scope) Rotate(x, cos, sin Tensor) Tensor {
	if s.ready("rotate", x, cos, sin) && fusible(x, cos, sin) {
		return s.norm("rotate", x, Tensor{}, Tensor{}, cos, sin, 0)
	}
	return s.Local(func(s *Scope) Tensor {
		half := x.Dim(-1) / 2
		turned := s.Cat(-1, s.Neg(s.Narrow(x, -1, half, half)), s.Narrow(x, -1, 0, half))
		return s.Add(s.Mul(x, cos), s.Mul(turned, sin))
	})
}

// RMSNormRotate returns Rotate(RMSNorm(x)).
func (s *Scope) RMSNormRotate(x, w, cos, sin Tensor, eps float64) Tensor {
	if s.ready("rms_norm_rotate", x, w, cos, sin) && fusible(x, w, cos, sin) {
		return s.norm("rms_norm_rotate", x, w, Tensor{}, cos, sin, eps)
	}
	return s.Local(func(s *Scope) Tensor { return s.Rotate(s.RMSNorm(x, w, eps), cos, sin) })
}

// GatedGELU returns gelu(gate)·up, in the tanh form of GELU.
func (s *Scope) GatedGELU(gate, up Tensor) Tensor {
	if s.ready("gated_gelu", gate, up) && fusible(gate, up) {
		return s.adopt("gated_gelu", C.tune_gated_gelu(gate.shim(), up.shim()), gate, up)
	}
	return s.Local(func(s *Scope) Tensor { return s.Mul(s.GELU(gate), up) })
}

// SoftCap returns cap·tanh(x/cap), which keeps x within ±cap.
// Source: Gemma 2 technical report, arXiv:2408.00118, section 2.
func (s *Scope) SoftCap(x Tensor, cap float64) Tensor {
	return s.Local(func(s *Scope) Tensor { return s.Scale(s.Tanh(s.Scale(x, 1/cap)), cap) })
}

// Attention returns softmax(scale·q·kᵀ + mask)·v for grouped queries; with a cap above 0 the scaled scores go
// through SoftCap before the mask.
//
// Shapes: q (B, H, T, E), k and v (B, K, S, E) with H a multiple of K; mask (T, S), added to the scores, -inf
// where a query may not look; result (B, H, T, E). The softmax is computed in float32.
func (s *Scope) Attention(q, k, v, mask Tensor, scale, cap float64) Tensor {
	if !s.ready("attention", q, k, v, mask) {
		return Tensor{}
	}
	b, h, t, e := q.Dim(0), q.Dim(1), q.Dim(2), q.Dim(3)
	kv, span := k.Dim(1), k.Dim(2)
	if h%kv != 0 {
		s.run.err = &OpError{Op: "attention", Shapes: [][]int64{q.Shape(), k.Shape()}, Message: "query heads are no multiple of key heads"}
		return Tensor{}
	}
	group := h / kv
	dtype := q.DType()
	return s.Local(func(s *Scope) Tensor {
		// The queries of one group share their keys: as rows of one product, k is never repeated.
		grouped := s.View(q, b, kv, group*t, e)
		// The fused kernel knows no cap. On MPS it gives NaN or wrong shapes for some masks (pytorch#126654); the plain
		// one is exact.
		if HasSDPA() && cap == 0 && q.Device() != MPS && !composing {
			return s.View(s.fusedAttention(grouped, k, v, s.repeatRows(mask, group), scale), b, h, t, e)
		}
		scores := s.Scale(s.MatMul(grouped, s.Transpose(k, 2, 3)), scale) // (B, K, G·T, S)
		if cap > 0 {
			scores = s.SoftCap(scores, cap)
		}
		scores = s.View(scores, b, kv, group, t, span) // (B, K, G, T, S)
		weights := s.Cast(s.SoftmaxLast(s.Add(scores, mask)), dtype)
		return s.View(s.MatMul(s.View(weights, b, kv, group*t, span), v), b, h, t, e)
	})
}

// fusedAttention is libtorch's own kernel, for libtorch 2.1 and later.
func (s *Scope) fusedAttention(q, k, v, mask Tensor, scale float64) Tensor {
	mask = s.Cast(mask, q.DType())
	if !s.ready("attention", q, k, v, mask) {
		return Tensor{}
	}
	return s.adopt("attention", C.tune_sdpa(q.shim(), k.shim(), v.shim(), mask.shim(), C.double(scale)), q, k, v)
}

// repeatRows stacks n copies of a matrix.
func (s *Scope) repeatRows(x Tensor, n int64) Tensor {
	if n == 1 {
		return x
	}
	copies := make([]Tensor, n)
	for i := range copies {
		copies[i] = x
	}
	return s.Cat(0, copies...)
}

// CausalMask returns the (T, S) float32 mask of queries at the last T of S positions: 0 where a query may look,
// -inf elsewhere. window, when above 0, lets a position see itself and the window-1 before it.
func (s *Scope) CausalMask(t, span int64, window int64, device Device) Tensor {
	mask := make([]float32, t*span)
	for i := range t {
		at := span - t + i
		for j := range span {
			if j > at || window > 0 && j <= at-window {
				mask[i*span+j] = float32(math.Inf(-1))
			}
		}
	}
	return s.To(s.Float32s(mask, t, span), Float32, device)
}
