package torch

// #include "fused.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// GroupSize is how many numbers of a quantised row share a scale.
const GroupSize = C.TUNE_GROUP

// Quantised is a frozen matrix (out, in) of 8 or 4 bits a number, with a scale for each group of GroupSize numbers of a
// row; a row is filled up to whole groups. With 8 bits a number is q·scale, q from -127 to 127. With 4 it is
// (q - zero)·scale, q from 0 to 15, where each group has a zero of its own: of random weights that leaves three quarters
// of the squared error of q from -7 to 7. Either way 0 stays 0, and a number is off by half a scale at most.
//
// Source: absmax quantisation by groups as in arXiv:2305.14314, section 2.
type Quantised struct {
	Data   Tensor // int8 (out, groups·64); of 4 bits uint8 (out, groups·32), a group's first half in the low bits
	Scales Tensor // (out, groups) bfloat16
	Zeros  Tensor // (out, groups) uint8, of 4 bits only
	In     int64
}

// Defined reports whether q is a matrix at all.
func (q Quantised) Defined() bool { return q.Data.Defined() }

// Bits returns how many a number has.
func (q Quantised) Bits() int {
	if q.Zeros.Defined() {
		return 4
	}
	return 8
}

func (q Quantised) shim() C.tune_weight {
	return C.tune_weight{data: q.Data.shim(), scales: q.Scales.shim(), zeros: q.Zeros.shim(), in: C.int64_t(q.In)}
}

// Quantise makes a matrix of bits, 8 or 4, a number from the little-endian bytes of elements of type from, float32,
// bfloat16 or float16, as [Scope.Bytes] does: piece by piece, so that it is never there unquantised.
//
// Errors: a number that is not finite.
func (s *Scope) Quantise(b []byte, from DType, shape []int64, bits int, device Device, copied func(piece []byte)) Quantised {
	if !s.ready("quantise") {
		return Quantised{}
	}
	if len(shape) != 2 || count(shape)*from.Size() != int64(len(b)) || bits != 8 && bits != 4 {
		s.run.err = &OpError{Op: "quantise", Shapes: [][]int64{shape}, Message: fmt.Sprintf("%d bytes of %s given, %d bits wanted", len(b), from, bits)}
		return Quantised{}
	}
	out, in := shape[0], shape[1]
	groups := (in + GroupSize - 1) / GroupSize
	q := Quantised{Scales: s.Empty(BFloat16, CPU, out, groups), In: in}
	if bits == 4 {
		q.Data, q.Zeros = s.Empty(UInt8, CPU, out, groups*GroupSize/2), s.Empty(UInt8, CPU, out, groups)
	} else {
		q.Data = s.Empty(Int8, CPU, out, groups*GroupSize)
	}
	row := max(1, in*from.Size())
	each := max(1, pieceBytes/row) // rows of a piece
	for at := int64(0); at < out; at += each {
		if s.run.err != nil {
			return Quantised{}
		}
		n := min(each, out-at)
		piece := b[at*row : (at+n)*row]
		w := q.shim()
		s.check("quantise", C.tune_quantise(&w, C.int64_t(at), C.int64_t(n), unsafe.Pointer(unsafe.SliceData(piece)), C.int(from)) != 0)
		if copied != nil {
			copied(piece)
		}
	}
	if device != CPU {
		onHost := q
		q.Data, q.Scales = s.To(q.Data, q.Data.DType(), device), s.To(q.Scales, BFloat16, device)
		if bits == 4 {
			q.Zeros = s.To(q.Zeros, UInt8, device)
		}
		for _, t := range []Tensor{onHost.Data, onHost.Scales, onHost.Zeros} {
			s.Drop(t)
		}
	}
	return q
}

// Dequantise returns the matrix (out, in) in dtype.
func (s *Scope) Dequantise(q Quantised, dtype DType) Tensor { return s.dequantise(q, dtype, 0) }

func (s *Scope) dequantise(q Quantised, dtype DType, compose C.int) Tensor {
	if !s.ready("dequantise", q.Data, q.Scales) {
		return Tensor{}
	}
	w := q.shim()
	return s.adopt("dequantise", C.tune_dequantise(&w, C.int(dtype), compose), q.Data, q.Scales)
}

// QuantisedLinear returns x·Wᵀ for x (N, in). The matrix is made whole in x's dtype for the product, and again for that
// of the backward pass; it gets no gradient.
func (s *Scope) QuantisedLinear(x Tensor, q Quantised) Tensor {
	if !s.ready("linear", x, q.Data, q.Scales) {
		return Tensor{}
	}
	w := q.shim()
	return s.adopt("linear", C.tune_linear(x.shim(), &w), x, q.Data)
}

// KeepsBFloat16 reports whether a frozen weight of a shape may stay in bfloat16 beside float32 activations on d, in
// [Scope.FrozenLinear], [Scope.Adapted] and [Scope.HeadLoss]: half the memory for the same numbers, and faster, where a
// processor multiplies bfloat16 (Intel AMX).
func (d Device) KeepsBFloat16(shape []int64) bool {
	return d == CPU && len(shape) == 2 && C.tune_keeps_bfloat16(C.int64_t(shape[0]), C.int64_t(shape[1])) != 0
}

// FrozenLinear returns x·Wᵀ for x (N, in) and a weight (out, in) that gets no gradient, of x's dtype or, where
// [Device.KeepsBFloat16] says so, bfloat16.
func (s *Scope) FrozenLinear(x, w Tensor) Tensor {
	if !s.ready("linear", x, w) {
		return Tensor{}
	}
	return s.adopt("linear", C.tune_linear(x.shim(), &C.tune_weight{dense: w.shim()}), x, w)
}
