package torch

// #include "shim.h"
import "C"
import "fmt"

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
	// Parts are stretches of the buffer, from its start on and together as long, that learn at rates of their own
	// instead of LR; nil for one rate. Each takes the operators of an update anew, so there should be few.
	Parts []Part
}

// Part is a stretch of a flat buffer with its learning rate.
type Part struct {
	Len int64
	LR  float64
}

// Update applies AdamW with decoupled weight decay to the whole buffer, as PyTorch's does: bias correction,
// epsilon outside the square root. It leaves Grad as it was.
//
// Errors: recorded on s; parts that are not as long as the buffer are one, and nothing is updated then.
// Source: Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2.
func (f *Flat) Update(s *Scope, o AdamW) {
	f.makeMoments(s)
	if !s.ready("adamw", f.Data, f.Grad, f.m, f.v) {
		return
	}
	parts, covered := o.Parts, int64(0)
	if parts == nil {
		parts = []Part{{f.Data.Len(), o.LR}}
	}
	for _, part := range parts {
		covered += part.Len
	}
	if covered != f.Data.Len() {
		s.run.err = &OpError{Op: "adamw", Shapes: [][]int64{f.Data.Shape()},
			Message: fmt.Sprintf("parts of %d numbers together", covered)}
		return
	}
	f.step++
	at := int64(0)
	for _, part := range parts {
		if part.Len > 0 {
			f.update(s, o, at, part)
		}
		at += part.Len
	}
}

func (f *Flat) makeMoments(s *Scope) {
	if !f.m.Defined() {
		f.m = s.KeepOut(s.Zeros(Float32, f.Data.Device(), f.Data.Len()))
		f.v = s.KeepOut(s.Zeros(Float32, f.Data.Device(), f.Data.Len()))
	}
}

// Moments returns AdamW's averages of the gradients and of their squares, each (total), zeros before the first update: what
// a checkpoint keeps beside Data and Steps.
func (f *Flat) Moments(s *Scope) (m, v Tensor) {
	f.makeMoments(s)
	return f.m, f.v
}

// Steps returns how many updates there have been.
func (f *Flat) Steps() int64 { return f.step }

// SetSteps says how many updates there have been, for bias correction to go on from there.
func (f *Flat) SetSteps(n int64) { f.step = n }

// update applies one step of AdamW to a stretch of the buffer.
func (f *Flat) update(s *Scope, o AdamW, at int64, part Part) {
	data, grad, m, v := f.Data, f.Grad, f.m, f.v
	if part.Len < data.Len() {
		data, grad = s.Narrow(data, 0, at, part.Len), s.Narrow(grad, 0, at, part.Len)
		m, v = s.Narrow(m, 0, at, part.Len), s.Narrow(v, 0, at, part.Len)
	}
	if !s.ready("adamw", data, grad, m, v) {
		return
	}
	s.check("adamw", C.tune_adamw(data.shim(), grad.shim(), m.shim(), v.shim(), C.double(part.LR), C.double(o.Beta1),
		C.double(o.Beta2), C.double(o.Epsilon), C.double(o.WeightDecay), C.int64_t(f.step)) != 0, data)
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
