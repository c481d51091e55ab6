package adapterfile

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"tune/internal/safetensors"
)

// floats returns a stored tensor of the given number of dimensions as float32, and its sizes.
func floats(file *safetensors.File, name string, dims int) ([]float32, []int, error) {
	info, _ := file.Info(name)
	shape, err := sizes(file, name, dims)
	if err != nil {
		return nil, nil, err
	}
	data, _ := file.Bytes(name)
	out := make([]float32, info.NumElements()) // bounded by the file: safetensors checked the shape against it
	switch info.DType {
	case safetensors.F32:
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
	case safetensors.BF16:
		safetensors.BF16ToF32(out, data)
	case safetensors.F16:
		for i := range out {
			out[i] = halfToFloat(binary.LittleEndian.Uint16(data[2*i:]))
		}
	default:
		return nil, nil, fmt.Errorf("%s: tensor %s has dtype %s (want F32, BF16 or F16)", file.Path(), name, info.DType)
	}
	return out, shape, nil
}

// sizes returns the shape of a stored tensor, which must have that many dimensions, none of them empty.
func sizes(file *safetensors.File, name string, dims int) ([]int, error) {
	info, _ := file.Info(name)
	if len(info.Shape) != dims || slices.Contains(info.Shape, 0) {
		return nil, fmt.Errorf("%s: tensor %s has shape %v, want %d sizes above 0", file.Path(), name, info.Shape, dims)
	}
	shape := make([]int, dims)
	for i, d := range info.Shape {
		shape[i] = int(d)
	}
	return shape, nil
}

// halfToFloat widens an IEEE 754 half, exactly.
func halfToFloat(h uint16) float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, uint32(h>>10)&0x1f, uint32(h)&0x3ff
	switch exponent {
	case 0: // zero and subnormals: fraction·2^-24
		return math.Float32frombits(sign | math.Float32bits(float32(fraction)*0x1p-24))
	case 0x1f: // infinities and NaN
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13) // the bias is 15 there, 127 here
}

// tensorOf is values as a float32 tensor to write.
func tensorOf(name string, values []float32, shape ...int) safetensors.Tensor {
	t := safetensors.Tensor{Name: name, DType: safetensors.F32, Data: func(w io.Writer) error {
		return writeFloats(w, values, make([]byte, 0, 1<<16))
	}}
	for _, d := range shape {
		t.Shape = append(t.Shape, int64(d))
	}
	return t
}

// writeFloats writes values little-endian, as many at a time as the buffer has room for.
func writeFloats(w io.Writer, values []float32, buffer []byte) error {
	for chunk := range slices.Chunk(values, cap(buffer)/4) {
		buffer = buffer[:0]
		for _, v := range chunk {
			buffer = binary.LittleEndian.AppendUint32(buffer, math.Float32bits(v))
		}
		if _, err := w.Write(buffer); err != nil {
			return err
		}
	}
	return nil
}

// transposed returns the columns of x (rows, columns) as rows.
func transposed(x []float32, rows, columns int) []float32 {
	out := make([]float32, len(x))
	for r := range rows {
		for c := range columns {
			out[c*rows+r] = x[r*columns+c]
		}
	}
	return out
}
