package torch

// #include "shim.h"
import "C"

// Flat is one float32 buffer of which every trainable tensor is a view, with a second one for the gradients
// and two for AdamW's moments: an update is then a handful of operators, however many tensors there are.
type Flat struct {
	Data   Tensor // (total), the parameters
	Grad   Tensor // (total), where Backward adds the gradients
	m, v   Tensor // (total), AdamW's moments; made at the first update
	Leaves []Tensor
	step   int64
}

// NewFlat makes a flat buffer of zeros for tensors of the given shapes; Leaves are its views, in that order,
// as autograd's leaves. The tensors belong to s.
func (s *Scope) NewFlat(device Device, shapes [][]int64) *Flat {
	var total int64
	for _, shape := range shapes {
		total += count(shape)
	}
	f := &Flat{Data: s.Zeros(Float32, device, total), Grad: s.Zeros(Float32, device, total)}
	at := int64(0)
	for _, shape := range shapes {
		n := count(shape)
		view := s.View(s.Narrow(f.Data, 0, at, n), shape...)
		grad := s.View(s.Narrow(f.Grad, 0, at, n), shape...)
		f.Leaves = append(f.Leaves, s.leaf(view, grad))
		at += n
	}
	return f
}

func (s *Scope) leaf(view, grad Tensor) Tensor {
	if !s.ready("leaf", view, grad) {
		return Tensor{}
	}
	return s.adopt("leaf", C.tune_leaf(view.shim(), grad.shim()), view)
}

// AdamW are the settings of one update.
type AdamW struct {
	LR, Beta1, Beta2, Epsilon, WeightDecay float64
}

// Update applies AdamW with decoupled weight decay to the whole buffer, as PyTorch's does: bias correction,
// epsilon outside the square root. It leaves Grad as it was.
// Source: Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2.
func (f *Flat) Update(s *Scope, o AdamW) {
	if !f.m.Defined() {
		f.m = s.KeepOut(s.Zeros(Float32, f.Data.Device(), f.Data.Len()))
		f.v = s.KeepOut(s.Zeros(Float32, f.Data.Device(), f.Data.Len()))
	}
	if !s.ready("adamw", f.Data, f.Grad, f.m, f.v) {
		return
	}
	f.step++
	s.check("adamw", C.tune_adamw(f.Data.shim(), f.Grad.shim(), f.m.shim(), f.v.shim(), C.double(o.LR), C.double(o.Beta1),
		C.double(o.Beta2), C.double(o.Epsilon), C.double(o.WeightDecay), C.int64_t(f.step)) != 0, f.Data)
}

// GradOf returns the gradient that Backward has left at a leaf.
func (s *Scope) GradOf(t Tensor) Tensor {
	if !s.ready("grad", t) {
		return Tensor{}
	}
	return s.adopt("grad", C.tune_grad(t.shim()), t)
}

// Leaf returns x as the start of a new graph: detached, with the backward pass reaching it.
func (s *Scope) Leaf(x Tensor) Tensor {
	leaf := s.Detach(x)
	if s.ready("leaf", leaf) {
		C.tune_set_requires_grad(leaf.shim(), 1)
		if message := lastError(); message != "" && s.run.err == nil {
			s.run.err = &OpError{Op: "leaf", Shapes: [][]int64{x.Shape()}, Message: message}
		}
	}
	return leaf
}

// Backward runs the backward pass from t, adding to the gradients of the leaves. grad is the gradient of what
// is minimised with respect to t, of t's shape; the zero Tensor stands for 1 where t has one element.
func (s *Scope) Backward(t, grad Tensor) {
	if !s.ready("backward", t) {
		return
	}
	C.tune_backward(t.shim(), grad.shim())
	if message := lastError(); message != "" && s.run.err == nil {
		s.run.err = &OpError{Op: "backward", Shapes: [][]int64{t.Shape()}, Message: message}
	}
}
