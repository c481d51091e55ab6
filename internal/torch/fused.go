package torch

// #include "fused.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// fusible reports whether the operators of fused.cpp take these tensors: on the CPU, in float32 or bfloat16. Elsewhere
// the same is composed of libtorch's operators.
func fusible(tensors ...Tensor) bool {
	if composing {
		return false
	}
	for _, t := range tensors {
		if t.Defined() && (t.Device() != CPU || t.DType() != Float32 && t.DType() != BFloat16) {
			return false
		}
	}
	return true
}

// composing is what Compose has set.
var composing bool

// Compose has the CPU take the operators that an Apple GPU takes, composed of libtorch's own, until stop is called: for tests
// that look at them on a machine that has no such GPU. No other goroutine may be at work.
func Compose() (stop func()) {
	set := func(on bool, flag C.int) { composing = on; C.tune_compose(flag) }
	set(true, 1)
	return func() { set(false, 0) }
}

// norm is residual + rotate(RMSNorm(x)), each part left out where its tensor is none.
func (s *Scope) norm(op string, x, w, residual, cos, sin Tensor, eps float64) Tensor {
	if !s.ready(op, x) {
		return Tensor{}
	}
	return s.adopt(op, C.tune_norm(x.shim(), w.shim(), residual.shim(), cos.shim(), sin.shim(), C.double(eps)), x, w, residual)
}

// Adapted is a linear layer with an adapter beside its weight.
type Adapted struct {
	W     Tensor    // (out, in), of x's dtype or as [Device.KeepsBFloat16] allows; none where Q is the weight
	Q     Quantised // (out, in)
	A, B  Tensor    // (R, in), (out, R): float32 leaves with a gradient in place
	Scale float64   // of B·A
}

// Adapted returns x·Wᵀ + Scale·(x·Aᵀ)·Bᵀ for each of several layers that read the same x (N, in), in x's dtype. The
// products with A are one, where the layers' A lie behind each other in memory, and so are their gradients. A quantised
// weight is made whole for its product and not kept: the backward pass makes it again.
//
// The backward pass adds to the gradients of A and B directly; W gets none.
func (s *Scope) Adapted(x Tensor, layers ...Adapted) []Tensor {
	n := len(layers)
	out := make([]Tensor, n)
	weights := make([]C.tune_weight, n)
	handles := make([]C.tune_tensor, 3*n)
	scales := make([]C.double, n)
	for i, l := range layers {
		if !s.ready("adapted", x, l.A, l.B) || !l.Q.Defined() && !s.ready("adapted", l.W) {
			return out
		}
		weights[i], weights[i].dense = l.Q.shim(), l.W.shim()
		handles[i], handles[n+i], scales[i] = l.A.shim(), l.B.shim(), C.double(l.Scale)
	}
	made := handles[2*n:]
	if C.tune_adapted(x.shim(), C.int(n), &weights[0], &handles[0], &handles[n], &scales[0], &made[0]) == 0 {
		s.fail("adapted", x, layers[0].W, layers[0].A, layers[0].B)
		return out
	}
	for i := range out {
		out[i] = s.adopt("adapted", made[i], x)
	}
	return out
}

// FlatAttention is [Scope.Attention] within each sequence of a flat batch, with the mask by arithmetic: the sequence b
// is rows starts[b] to starts[b+1], a query sees itself and what is before it, with a window above 0 the window-1 nearest
// of them. They are worked on as sequences of width tokens, at least the longest of them. ok is false where this device or
// dtype has no such kernel.
//
// Shapes: q (N, H, E), k and v (N, K, E) with H a multiple of K; result (N, H·E).
func (s *Scope) FlatAttention(q, k, v Tensor, starts []int64, width, window int64, scale, cap float64) (o Tensor, ok bool) {
	if !fusible(q, k, v) {
		return Tensor{}, false
	}
	if !s.ready("attention", q, k, v) {
		return Tensor{}, true
	}
	if len(starts) < 2 {
		s.run.err = &OpError{Op: "attention", Message: fmt.Sprintf("sequences start at %v", starts)}
		return Tensor{}, true
	}
	return s.adopt("attention", C.tune_attention(q.shim(), k.shim(), v.shim(), (*C.int64_t)(unsafe.Pointer(&starts[0])),
		C.int(len(starts)-1), C.int64_t(width), C.int64_t(window), C.double(scale), C.double(cap)), q, k, v), true
}

// HeadLoss adds to sum, a float32 tensor of one element, the cross entropy of the first rows of h (M, D) through the head
// (V, D), in nats; labels (M, 1) are int64. With a cap above 0 the logits go through SoftCap first. With gradient it
// returns the gradient with respect to h, zeros behind the first rows, and adds the head's own to headGrad, which is none
// where the head is not trained. ok is false, and nothing done, where this device or dtype has no such kernel.
func (s *Scope) HeadLoss(sum, h, head, headGrad, labels Tensor, rows int64, cap float64, gradient bool) (dh Tensor, ok bool) {
	if !fusible(h, head) || h.DType() != head.DType() && !(head.DType() == BFloat16 && CPU.KeepsBFloat16(head.Shape())) {
		return Tensor{}, false
	}
	if !s.ready("head_loss", sum, h, head, labels) {
		return Tensor{}, true
	}
	wanted := 0
	if gradient {
		wanted = 1
	}
	return s.adopt("head_loss", C.tune_head_loss(h.shim(), head.shim(), headGrad.shim(), labels.shim(), C.int64_t(rows), C.double(cap),
		sum.shim(), C.int(wanted)), h, head, labels), true
}
