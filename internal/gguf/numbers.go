package gguf

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"tune/internal/safetensors"
)

// Type is how a tensor's numbers are stored, numbered as ggml's types.
type Type uint32

// The types that are read and written.
const (
	F32  Type = 0
	F16  Type = 1
	Q8_0 Type = 8 // blocks of 32: a float16 scale and 32 signed bytes
	BF16 Type = 30
)

// types holds what a type is called and how its blocks are built.
var types = map[Type]struct {
	name          string
	block, bytes  int64 // numbers and bytes of a block
	modelFileType uint32
}{
	F32: {"f32", 1, 4, 0}, F16: {"f16", 1, 2, 1}, Q8_0: {"q8_0", 32, 34, 7}, BF16: {"bf16", 1, 2, 32},
}

// TypeNames returns what ParseType takes.
func TypeNames() []string { return []string{"f32", "f16", "bf16", "q8_0"} }

// ParseType returns the type of a name such as q8_0.
func ParseType(name string) (Type, error) {
	for t, spec := range types {
		if spec.name == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("unknown type %q (want f32, f16, bf16 or q8_0)", name)
}

func (t Type) String() string {
	if spec, ok := types[t]; ok {
		return spec.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// size returns the bytes of a tensor.
func (t Type) size(shape []int64) (int64, error) {
	spec, ok := types[t]
	if !ok {
		return 0, fmt.Errorf("%s is not supported (want f32, f16, bf16 or q8_0)", t)
	}
	if len(shape) == 0 || len(shape) > maxDims {
		return 0, fmt.Errorf("%d dimensions, want 1 to %d", len(shape), maxDims)
	}
	n := int64(1)
	for _, d := range shape {
		if d < 1 || n > math.MaxInt64/4/d {
			return 0, fmt.Errorf("shape %v is empty or too large", shape)
		}
		n *= d
	}
	if row := shape[len(shape)-1]; row%spec.block != 0 {
		return 0, fmt.Errorf("%s needs rows of a multiple of %d numbers, shape %v", t, spec.block, shape)
	}
	return n / spec.block * spec.bytes, nil
}

// encoder writes float32 numbers as another type. Numbers come in pieces of any length; Close writes no more, but
// says when they ended inside a block.
type encoder struct {
	w    io.Writer
	to   Type
	rest []float32 // of a block that is not full yet
	out  []byte
}

// Write encodes numbers. Errors: those of the writer, and a number that float16 cannot hold.
func (e *encoder) Write(values []float32) error {
	e.out = e.out[:0]
	switch e.to {
	case F32:
		for _, v := range values {
			e.out = binary.LittleEndian.AppendUint32(e.out, math.Float32bits(v))
		}
	case F16:
		for i, v := range values {
			half, ok := toFloat16(v)
			if !ok {
				return fmt.Errorf("number %d, %g, is too large for f16, use bf16 or f32", i, v)
			}
			e.out = binary.LittleEndian.AppendUint16(e.out, half)
		}
	case BF16:
		if cap(e.out) < 2*len(values) {
			e.out = make([]byte, 0, 2*len(values))
		}
		e.out = e.out[:2*len(values)]
		safetensors.F32ToBF16(e.out, values)
	case Q8_0:
		if len(e.rest) > 0 {
			n := min(len(values), blockQ8-len(e.rest))
			e.rest, values = append(e.rest, values[:n]...), values[n:]
			if len(e.rest) < blockQ8 {
				return nil
			}
			var err error
			if e.out, err = appendQ8(e.out, e.rest); err != nil {
				return err
			}
			e.rest = e.rest[:0]
		}
		for ; len(values) >= blockQ8; values = values[blockQ8:] {
			var err error
			if e.out, err = appendQ8(e.out, values[:blockQ8]); err != nil {
				return err
			}
		}
		e.rest = append(e.rest, values...)
	default:
		return fmt.Errorf("%s is not supported", e.to)
	}
	_, err := e.w.Write(e.out)
	return err
}

// Close reports numbers that fill no block.
func (e *encoder) Close() error {
	if len(e.rest) > 0 {
		return fmt.Errorf("%d numbers are left over from blocks of %d", len(e.rest), blockQ8)
	}
	return nil
}

const blockQ8 = 32

// appendQ8 appends a block of 32 numbers: the scale, which maps the largest of them to 127, and each number over it,
// rounded to the nearest, halves away from zero.
// Source: ggml-org/llama.cpp, ggml/src/ggml-quants.c, quantize_row_q8_0_ref.
func appendQ8(out []byte, values []float32) ([]byte, error) {
	var most float32
	for _, v := range values {
		most = max(most, float32(math.Abs(float64(v))))
	}
	scale := most / 127
	half, ok := toFloat16(scale)
	if !ok {
		return nil, fmt.Errorf("a block whose largest number is %g has no f16 scale, use bf16 or f32", most)
	}
	var inverse float32
	if scale > 0 {
		inverse = 1 / scale
	}
	out = binary.LittleEndian.AppendUint16(out, half)
	for _, v := range values {
		// A scale below the smallest float has an inverse of infinity, and 0·∞ is no number.
		q := math.Round(float64(v * inverse))
		if !(math.Abs(q) <= 127) {
			q = 0
		}
		out = append(out, byte(int8(q)))
	}
	return out, nil
}

// decode appends the numbers of stored bytes, whole blocks of them.
func decode(values []float32, b []byte, from Type) []float32 {
	switch from {
	case F32:
		for ; len(b) >= 4; b = b[4:] {
			values = append(values, math.Float32frombits(binary.LittleEndian.Uint32(b)))
		}
	case F16:
		for ; len(b) >= 2; b = b[2:] {
			values = append(values, fromFloat16(binary.LittleEndian.Uint16(b)))
		}
	case BF16:
		n := len(values)
		values = append(values, make([]float32, len(b)/2)...)
		safetensors.BF16ToF32(values[n:], b)
	case Q8_0:
		for ; len(b) >= 2+blockQ8; b = b[2+blockQ8:] {
			scale := fromFloat16(binary.LittleEndian.Uint16(b))
			for _, q := range b[2 : 2+blockQ8] {
				values = append(values, scale*float32(int8(q)))
			}
		}
	}
	return values
}

// toFloat16 rounds to the nearest float16, halves to even. It is false for a number that float16 cannot hold, NaN
// and the infinities among them: a weight that is one would spoil every text.
func toFloat16(v float32) (uint16, bool) {
	bits := math.Float32bits(v)
	sign := uint16(bits >> 16 & 0x8000)
	magnitude := bits & 0x7fffffff
	switch {
	case magnitude >= 0x477ff000: // 65520, which would round to infinity; NaN and infinity are above
		return 0, false
	case magnitude < 0x33000001: // at most half of the smallest, 2⁻²⁵
		return sign, true
	case magnitude < 0x38800000: // below 2⁻¹⁴: steps of 2⁻²⁴
		shift := 126 - magnitude>>23 // of the 24-bit significand
		significand := magnitude&0x7fffff | 0x800000
		half := uint32(1) << (shift - 1)
		rounded := (significand + half - 1 + significand>>shift&1) >> shift
		return sign | uint16(rounded), true
	}
	rounded := magnitude + 0xfff + magnitude>>13&1
	return sign | uint16((rounded-0x38000000)>>13), true
}

// fromFloat16 is exact.
func fromFloat16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exponent, fraction := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exponent {
	case 0:
		v := float32(fraction) / (1 << 24)
		return math.Float32frombits(math.Float32bits(v) | sign)
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
}
