package torch

// #include "shim.h"
import "C"

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/sugarme/gotch/libtch"
)

// Tensor is a handle to a libtorch tensor. The zero Tensor is none.
type Tensor struct{ c libtch.Ctensor }

// DType is the type of a tensor's elements, numbered as libtorch's ScalarType.
type DType int

// The dtypes that models and batches use.
const (
	UInt8    DType = 0
	Int8     DType = 1
	Int64    DType = 4
	Float16  DType = 5 // read from files only: Gemma's activations overflow it
	Float32  DType = 6
	Float64  DType = 7 // for tests: Apple's GPUs have none
	Bool     DType = 11
	BFloat16 DType = 15
)

// Size returns the bytes of one element.
func (d DType) Size() int64 {
	switch d {
	case Int64, Float64:
		return 8
	case Float32:
		return 4
	case BFloat16, Float16:
		return 2
	}
	return 1
}

func (d DType) String() string {
	switch d {
	case UInt8:
		return "uint8"
	case Int8:
		return "int8"
	case Int64:
		return "int64"
	case Float32:
		return "float32"
	case Float64:
		return "float64"
	case Float16:
		return "float16"
	case Bool:
		return "bool"
	case BFloat16:
		return "bfloat16"
	}
	return fmt.Sprintf("dtype %d", int(d))
}

// Defined reports whether t is a tensor at all.
func (t Tensor) Defined() bool { return t.c != nil }

// Shape returns t's sizes; nil for the zero Tensor.
func (t Tensor) Shape() []int64 {
	if t.c == nil {
		return nil
	}
	var sizes [8]int64
	n := C.tune_shape(t.shim(), (*C.int64_t)(unsafe.Pointer(&sizes[0])), 8)
	if n < 0 || n > 8 {
		lastError()
		return nil
	}
	return append(make([]int64, 0, n), sizes[:n]...)
}

// Dim returns the size of one dimension; negative counts from the end.
func (t Tensor) Dim(d int) int64 {
	shape := t.Shape()
	if d < 0 {
		d += len(shape)
	}
	if d < 0 || d >= len(shape) {
		return 0
	}
	return shape[d]
}

// Len returns the number of elements.
func (t Tensor) Len() int64 { return count(t.Shape()) }

// DType returns the type of t's elements.
func (t Tensor) DType() DType { return DType(libtch.AtScalarType(t.c)) }

// Device returns where t lives.
func (t Tensor) Device() Device { return Device(C.tune_device_of(t.shim())) }

// RequiresGrad reports whether the backward pass reaches t.
func (t Tensor) RequiresGrad() bool { return t.c != nil && C.tune_requires_grad(t.shim()) != 0 }

// Free ends a tensor that was kept out of its outermost scope.
func (t Tensor) Free() {
	if t.c != nil {
		freeAll([]libtch.Ctensor{t.c})
	}
}

func (t Tensor) shim() C.tune_tensor { return C.tune_tensor(unsafe.Pointer(t.c)) }

func count(shape []int64) int64 {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	return n
}

// sizes returns what a C call wants for a shape; libtorch wants a pointer even for a scalar's empty one.
func sizes(shape []int64) *C.int64_t {
	if len(shape) == 0 {
		shape = []int64{0}
	}
	return (*C.int64_t)(unsafe.Pointer(&shape[0]))
}

func (s *Scope) adopt(op string, c C.tune_tensor, operands ...Tensor) Tensor {
	return s.own(op, libtch.Ctensor(unsafe.Pointer(c)), operands...)
}

// Int64s makes an int64 tensor on the CPU; without a shape it is a vector.
func (s *Scope) Int64s(v []int64, shape ...int64) Tensor {
	return fromSlice(s, v, Int64, shape)
}

// Float32s makes a float32 tensor on the CPU; without a shape it is a vector.
func (s *Scope) Float32s(v []float32, shape ...int64) Tensor {
	return fromSlice(s, v, Float32, shape)
}

// UInt8s makes a vector of bytes on the CPU.
func (s *Scope) UInt8s(v []byte) Tensor { return fromSlice(s, v, UInt8, nil) }

func fromSlice[T int64 | float32 | byte](s *Scope, v []T, dtype DType, shape []int64) Tensor {
	if len(shape) == 0 {
		shape = []int64{int64(len(v))}
	}
	if !s.ready("tensor") {
		return Tensor{}
	}
	if count(shape) != int64(len(v)) {
		s.run.err = &OpError{Op: "tensor", Shapes: [][]int64{shape}, Message: fmt.Sprintf("%d values given", len(v))}
		return Tensor{}
	}
	return s.adopt("tensor", C.tune_from_memory(unsafe.Pointer(unsafe.SliceData(v)), sizes(shape), C.int(len(shape)),
		C.int(dtype), C.int(dtype), C.int(CPU)))
}

// pieceBytes is how much of a stored tensor is copied at a time.
const pieceBytes = 16 << 20

// Bytes makes a tensor from the little-endian bytes of elements of type from, as a safetensors file holds them,
// converted to dtype on device. The bytes may be a mapped file.
//
// They are copied in pieces, and copied, where given, is called with each piece that is no longer needed: whoever
// gives the pages of a mapped file back then never has a weight in memory twice. The tensor does not borrow the
// mapping itself: merging writes into weights, and a file that is cut short would end a training run with SIGBUS.
func (s *Scope) Bytes(b []byte, from DType, shape []int64, dtype DType, device Device, copied func(piece []byte)) Tensor {
	if !s.ready("tensor") {
		return Tensor{}
	}
	if count(shape)*from.Size() != int64(len(b)) {
		s.run.err = &OpError{Op: "tensor", Shapes: [][]int64{shape}, Message: fmt.Sprintf("%d bytes of %s given", len(b), from)}
		return Tensor{}
	}
	t := s.Empty(dtype, device, shape...)
	at := int64(0)
	for piece := range slices.Chunk(b, pieceBytes) {
		if !s.ready("tensor", t) {
			return Tensor{}
		}
		n := int64(len(piece)) / from.Size()
		s.check("tensor", C.tune_fill_from_memory(t.shim(), C.int64_t(at), unsafe.Pointer(unsafe.SliceData(piece)), C.int64_t(n),
			C.int(from)) != 0, t)
		at += n
		if copied != nil {
			copied(piece)
		}
	}
	return t
}

// Empty makes a tensor whose values are whatever the memory held.
func (s *Scope) Empty(dtype DType, device Device, shape ...int64) Tensor {
	if !s.ready("empty") {
		return Tensor{}
	}
	t := s.adopt("empty", C.tune_empty(sizes(shape), C.int(len(shape)), C.int(dtype), C.int(device)))
	if !t.Defined() && s.run.err != nil {
		if e, ok := s.run.err.(*OpError); ok && e.Op == "empty" && e.Shapes == nil {
			e.Shapes = [][]int64{shape}
		}
	}
	return t
}

// Zeros makes a tensor of zeros.
func (s *Scope) Zeros(dtype DType, device Device, shape ...int64) Tensor {
	t := s.Empty(dtype, device, shape...)
	s.Zero(t)
	return t
}

// To returns t with another dtype or device; t itself when it has both already.
func (s *Scope) To(t Tensor, dtype DType, device Device) Tensor {
	if !s.ready("to", t) {
		return Tensor{}
	}
	return s.adopt("to", C.tune_to(t.shim(), C.int(dtype), C.int(device)), t)
}

// Cast returns t with another dtype on the same device.
func (s *Scope) Cast(t Tensor, dtype DType) Tensor {
	if !s.ready("cast", t) || t.DType() == dtype {
		return t
	}
	return s.To(t, dtype, t.Device())
}

// Copy writes src over dst's values, converting; the shapes must be equal. Not recorded by autograd.
func (s *Scope) Copy(dst, src Tensor) {
	if s.ready("copy", dst, src) {
		s.check("copy", C.tune_copy_into(dst.shim(), src.shim()) != 0, dst, src)
	}
}

// ReadFloat32s copies t to the host as float32. It waits for the device.
func (s *Scope) ReadFloat32s(t Tensor) []float32 {
	host := s.Cast(t, Float32)
	if !s.ready("read", host) {
		return nil
	}
	out := make([]float32, host.Len())
	s.check("read", C.tune_copy_out(host.shim(), unsafe.Pointer(unsafe.SliceData(out)), C.int64_t(4*len(out))) != 0, t)
	return out
}

// ReadFloat32 copies a tensor of one element to the host. It waits for the device.
func (s *Scope) ReadFloat32(t Tensor) float32 {
	if v := s.ReadFloat32s(t); len(v) == 1 {
		return v[0]
	}
	if s.run.err == nil {
		s.run.err = &OpError{Op: "read", Shapes: [][]int64{t.Shape()}, Message: "want one element"}
	}
	return 0
}

// ReadBytes copies t's elements to the host, little-endian, in t's dtype. It waits for the device.
func (s *Scope) ReadBytes(t Tensor) []byte {
	if !s.ready("read", t) {
		return nil
	}
	out := make([]byte, t.Len()*t.DType().Size())
	s.check("read", C.tune_copy_out(t.shim(), unsafe.Pointer(unsafe.SliceData(out)), C.int64_t(len(out))) != 0, t)
	return out
}
