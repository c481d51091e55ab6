package torch

import "github.com/sugarme/gotch/libtch"

// unary calls a wrapper of one tensor.
func (s *Scope) unary(op string, f func(out *libtch.Ctensor, x libtch.Ctensor), x Tensor) Tensor {
	if !s.ready(op, x) {
		return Tensor{}
	}
	var out libtch.Ctensor
	f(&out, x.c)
	return s.own(op, out, x)
}

// binary calls a wrapper of two tensors.
func (s *Scope) binary(op string, f func(out *libtch.Ctensor, x, y libtch.Ctensor), x, y Tensor) Tensor {
	if !s.ready(op, x, y) {
		return Tensor{}
	}
	var out libtch.Ctensor
	f(&out, x.c, y.c)
	return s.own(op, out, x, y)
}

// scaled calls a wrapper of a tensor and a number.
func (s *Scope) scaled(op string, f func(out *libtch.Ctensor, x libtch.Ctensor, v libtch.Cscalar), x Tensor,
	v float64) Tensor {
	if !s.ready(op, x) {
		return Tensor{}
	}
	scalar := libtch.AtsFloat(v)
	defer libtch.AtsFree(scalar)
	var out libtch.Ctensor
	f(&out, x.c, scalar)
	return s.own(op, out, x)
}

// Add returns x+y, broadcast.
func (s *Scope) Add(x, y Tensor) Tensor { return s.binary("add", libtch.AtgAdd, x, y) }

// Sub returns x-y, broadcast.
func (s *Scope) Sub(x, y Tensor) Tensor { return s.binary("sub", libtch.AtgSub, x, y) }

// Mul returns x·y element by element, broadcast.
func (s *Scope) Mul(x, y Tensor) Tensor { return s.binary("mul", libtch.AtgMul, x, y) }

// Div returns x/y element by element, broadcast.
func (s *Scope) Div(x, y Tensor) Tensor { return s.binary("div", libtch.AtgDiv, x, y) }

// MatMul returns the matrix product of the last two dimensions, broadcast over the others.
func (s *Scope) MatMul(x, y Tensor) Tensor { return s.binary("matmul", libtch.AtgMatmul, x, y) }

// AddScalar returns x+v.
func (s *Scope) AddScalar(x Tensor, v float64) Tensor {
	return s.scaled("add scalar", libtch.AtgAddScalar, x, v)
}

// Scale returns v·x.
func (s *Scope) Scale(x Tensor, v float64) Tensor {
	return s.scaled("scale", libtch.AtgMulScalar, x, v)
}

// Neg returns -x.
func (s *Scope) Neg(x Tensor) Tensor { return s.unary("neg", libtch.AtgNeg, x) }

// Rsqrt returns 1/sqrt(x).
func (s *Scope) Rsqrt(x Tensor) Tensor { return s.unary("rsqrt", libtch.AtgRsqrt, x) }

// Square returns x².
func (s *Scope) Square(x Tensor) Tensor { return s.unary("square", libtch.AtgSquare, x) }

// Sqrt returns √x.
func (s *Scope) Sqrt(x Tensor) Tensor { return s.unary("sqrt", libtch.AtgSqrt, x) }

// Exp returns e^x.
func (s *Scope) Exp(x Tensor) Tensor { return s.unary("exp", libtch.AtgExp, x) }

// Tanh returns the hyperbolic tangent of x.
func (s *Scope) Tanh(x Tensor) Tensor { return s.unary("tanh", libtch.AtgTanh, x) }

// Norm returns the 2-norm of all elements together, as a tensor of one element.
func (s *Scope) Norm(x Tensor) Tensor { return s.unary("norm", libtch.AtgNorm, x) }

// Sum returns the sum of all elements, in float32.
func (s *Scope) Sum(x Tensor) Tensor {
	return s.unary("sum", func(out *libtch.Ctensor, c libtch.Ctensor) { libtch.AtgSum(out, c, int32(Float32)) }, x)
}

// MeanLast returns the mean over the last dimension, which stays with size 1.
func (s *Scope) MeanLast(x Tensor) Tensor {
	dtype := int32(-1) // as x
	return s.unary("mean", func(out *libtch.Ctensor, c libtch.Ctensor) {
		libtch.AtgMeanDim(out, c, []int64{-1}, 1, 1, dtype)
	}, x)
}

// SumLast returns the sum over the last dimension, which goes away.
func (s *Scope) SumLast(x Tensor) Tensor {
	dtype := int32(-1) // as x
	return s.unary("sum", func(out *libtch.Ctensor, c libtch.Ctensor) {
		libtch.AtgSumDimIntlist(out, c, []int64{-1}, 1, 0, dtype)
	}, x)
}

// LogSumExpLast returns log Σ exp(x) over the last dimension, which stays with size 1.
func (s *Scope) LogSumExpLast(x Tensor) Tensor {
	return s.unary("logsumexp", func(out *libtch.Ctensor, c libtch.Ctensor) {
		libtch.AtgLogsumexp(out, c, []int64{-1}, 1, 1)
	}, x)
}

// SoftmaxLast returns softmax over the last dimension, computed in float32 and left so.
func (s *Scope) SoftmaxLast(x Tensor) Tensor {
	return s.unary("softmax", func(out *libtch.Ctensor, c libtch.Ctensor) {
		libtch.AtgSoftmax(out, c, -1, int32(Float32))
	}, x)
}

// GELU returns the tanh form of the Gaussian error linear unit, which every Gemma uses.
func (s *Scope) GELU(x Tensor) Tensor {
	return s.unary("gelu", func(out *libtch.Ctensor, c libtch.Ctensor) { libtch.AtgGelu(out, c, "tanh") }, x)
}

// Dropout sets a share p of the elements to zero and scales the others by 1/(1-p).
func (s *Scope) Dropout(x Tensor, p float64) Tensor {
	return s.unary("dropout", func(out *libtch.Ctensor, c libtch.Ctensor) { libtch.AtgDropout(out, c, p, 1) }, x)
}

// Linear returns x·Wᵀ for x (..., in) and W (out, in): (..., out).
func (s *Scope) Linear(x, w Tensor) Tensor {
	return s.binary("linear", func(out *libtch.Ctensor, x, w libtch.Ctensor) { libtch.AtgLinear(out, x, w, nil) }, x, w)
}

// Embedding returns the rows of w (V, D) that ids name: (len(ids), D).
func (s *Scope) Embedding(w, ids Tensor) Tensor {
	return s.binary("embedding", func(out *libtch.Ctensor, w, ids libtch.Ctensor) {
		libtch.AtgEmbedding(out, w, ids, -1, 0, 0)
	}, w, ids)
}

// Rows returns the rows of x that index, a vector of int64, names: x[index].
func (s *Scope) Rows(x, index Tensor) Tensor {
	return s.binary("index_select", func(out *libtch.Ctensor, x, index libtch.Ctensor) {
		libtch.AtgIndexSelect(out, x, 0, index)
	}, x, index)
}

// GatherLast picks along the last dimension of x (N, V) the elements that index (N, 1) names: (N, 1).
func (s *Scope) GatherLast(x, index Tensor) Tensor {
	return s.binary("gather", func(out *libtch.Ctensor, x, index libtch.Ctensor) {
		libtch.AtgGather(out, x, -1, index, 0)
	}, x, index)
}

// View returns x with another shape over the same memory, copying where the memory does not allow it.
func (s *Scope) View(x Tensor, shape ...int64) Tensor {
	return s.unary("reshape", func(out *libtch.Ctensor, c libtch.Ctensor) {
		libtch.AtgReshape(out, c, shape, len(shape))
	}, x)
}

// Transpose swaps two dimensions, without copying.
func (s *Scope) Transpose(x Tensor, a, b int64) Tensor {
	return s.unary("transpose", func(out *libtch.Ctensor, c libtch.Ctensor) { libtch.AtgTranspose(out, c, a, b) }, x)
}

// Narrow returns length elements from start along one dimension, without copying.
func (s *Scope) Narrow(x Tensor, dim, start, length int64) Tensor {
	return s.unary("narrow", func(out *libtch.Ctensor, c libtch.Ctensor) {
		libtch.AtgNarrow(out, c, dim, start, length)
	}, x)
}

// Cat joins tensors along one dimension.
func (s *Scope) Cat(dim int64, parts ...Tensor) Tensor {
	if !s.ready("cat", parts...) || len(parts) == 0 {
		return Tensor{}
	}
	handles := make([]libtch.Ctensor, len(parts))
	for i, t := range parts {
		handles[i] = t.c
	}
	var out libtch.Ctensor
	libtch.AtgCat(&out, handles, len(handles), dim)
	return s.own("cat", out, parts...)
}

// Detach returns x cut off from what autograd has recorded.
func (s *Scope) Detach(x Tensor) Tensor { return s.unary("detach", libtch.AtgDetach, x) }

// The operators below write into their first operand.

// inPlace drops the second handle to x that libtorch's in-place operators return.
func (s *Scope) inPlace(t Tensor) {
	if t.Defined() {
		s.owned = s.owned[:len(s.owned)-1]
		t.Free()
	}
}

// Zero fills x with zeros.
func (s *Scope) Zero(x Tensor) { s.inPlace(s.unary("zero_", libtch.AtgZero_, x)) }

// AddTo adds y to x in place.
func (s *Scope) AddTo(x, y Tensor) { s.inPlace(s.binary("add_", libtch.AtgAdd_, x, y)) }

// SubFrom subtracts y from x in place.
func (s *Scope) SubFrom(x, y Tensor) { s.inPlace(s.binary("sub_", libtch.AtgSub_, x, y)) }

// ScaleBy multiplies x by v in place.
func (s *Scope) ScaleBy(x Tensor, v float64) { s.inPlace(s.scaled("mul_", libtch.AtgMulScalar_, x, v)) }

// ExpTo replaces x by e^x.
func (s *Scope) ExpTo(x Tensor) { s.inPlace(s.unary("exp_", libtch.AtgExp_, x)) }

// AddMM adds a·b to x in place, for matrices.
func (s *Scope) AddMM(x, a, b Tensor) {
	if !s.ready("addmm_", x, a, b) {
		return
	}
	var out libtch.Ctensor
	libtch.AtgAddmm_(&out, x.c, a.c, b.c)
	s.inPlace(s.own("addmm_", out, x, a, b))
}

// ScatterAddLast adds source (N, 1) to x (N, V) at the columns that index (N, 1) names, in place.
func (s *Scope) ScatterAddLast(x, index, source Tensor) {
	if !s.ready("scatter_add_", x, index, source) {
		return
	}
	var out libtch.Ctensor
	libtch.AtgScatterAdd_(&out, x.c, -1, index.c, source.c)
	s.inPlace(s.own("scatter_add_", out, x, index, source))
}
