package safetensors

import (
	"fmt"
	"math"
	"math/bits"
)

// DType is the type of a tensor's elements, spelled as in the header.
type DType string

// The dtypes that have a whole number of bytes. The sub-byte dtypes of newer files (F4, F6) are refused.
const (
	Bool   DType = "BOOL"
	U8     DType = "U8"
	I8     DType = "I8"
	F8E5M2 DType = "F8_E5M2"
	F8E4M3 DType = "F8_E4M3"
	F8E8M0 DType = "F8_E8M0"
	I16    DType = "I16"
	U16    DType = "U16"
	F16    DType = "F16"
	BF16   DType = "BF16"
	I32    DType = "I32"
	U32    DType = "U32"
	F32    DType = "F32"
	C64    DType = "C64"
	F64    DType = "F64"
	I64    DType = "I64"
	U64    DType = "U64"
)

// dtypeOrder lists the dtypes as the Rust writer orders them, narrow before wide. It writes the last first, which
// keeps every tensor aligned to its own width.
var dtypeOrder = []struct {
	dtype DType
	size  int64
}{
	{Bool, 1}, {U8, 1}, {I8, 1}, {F8E5M2, 1}, {F8E4M3, 1}, {F8E8M0, 1}, {I16, 2}, {U16, 2}, {F16, 2}, {BF16, 2},
	{I32, 4}, {U32, 4}, {F32, 4}, {C64, 8}, {F64, 8}, {I64, 8}, {U64, 8},
}

// Size returns the bytes of one element, or 0 for a dtype that is not in the list.
func (d DType) Size() int64 {
	for _, known := range dtypeOrder {
		if known.dtype == d {
			return known.size
		}
	}
	return 0
}

// order is the place of d in dtypeOrder, or -1.
func (d DType) order() int {
	for i, known := range dtypeOrder {
		if known.dtype == d {
			return i
		}
	}
	return -1
}

// byteSize returns how many bytes a tensor takes. An unknown dtype, a negative dimension and a size that does not
// fit an int64 are errors.
func byteSize(dtype DType, shape []int64) (int64, error) {
	size := dtype.Size()
	if size == 0 {
		return 0, fmt.Errorf("unknown dtype %q", dtype)
	}
	for _, dim := range shape {
		if dim < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension", shape)
		}
		high, low := bits.Mul64(uint64(size), uint64(dim))
		if high != 0 || low > math.MaxInt64 {
			return 0, fmt.Errorf("shape %v of %s overflows 64 bits", shape, dtype)
		}
		size = int64(low)
	}
	return size, nil
}
