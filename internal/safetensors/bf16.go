package safetensors

import (
	"encoding/binary"
	"math"
)

// BF16ToF32 widens the bfloat16 values in src to float32, exactly. src holds 2*len(dst) bytes or more, little-endian;
// a shorter one is a bug of the caller and panics.
func BF16ToF32(dst []float32, src []byte) {
	src = src[:2*len(dst)]
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
	}
}

// F32ToBF16 rounds src to bfloat16, to the nearest and halves to even, as PyTorch does. A value beyond the largest
// bfloat16 becomes infinite, a NaN stays a NaN (0x7fc0). dst holds 2*len(src) bytes or more; a shorter one is a bug
// of the caller and panics.
//
// Source: PyTorch, c10/util/BFloat16.h, round_to_nearest_even.
func F32ToBF16(dst []byte, src []float32) {
	dst = dst[:2*len(src)]
	for i, x := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], roundBF16(x))
	}
}

func roundBF16(x float32) uint16 {
	bits := math.Float32bits(x)
	if x != x {
		// Rounding could carry a NaN's fraction into infinity.
		return 0x7fc0
	}
	lowest := bits >> 16 & 1 // of the bits that stay: 1 when the truncated value is odd
	return uint16((bits + 0x7fff + lowest) >> 16)
}
