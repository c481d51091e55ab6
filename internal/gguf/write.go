package gguf

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"tune/internal/files"
)

const (
	magic     = "GGUF"
	version   = 3
	alignment = 32 // of tensor data, when general.alignment says nothing else
	maxDims   = 4
)

// KV is one entry of the metadata. Value is a uint32, int32, uint64, float32, bool, string, or a slice of int32,
// uint32, float32 or string.
type KV struct {
	Key   string
	Value any
}

// Tensor is a tensor to write. Shape has the order of PyTorch, (out, in); the file reverses it. Data is called once,
// when its turn comes, and passes the numbers on, row by row, in pieces of any length.
type Tensor struct {
	Name  string
	Type  Type
	Shape []int64
	Data  func(each func([]float32) error) error
}

// Write makes a GGUF file, version 3, at path. The file appears whole or not at all; one tensor's piece is in memory
// at a time. Errors name the file and the key or tensor.
func Write(path string, metadata []KV, tensors []Tensor) error {
	err := files.ReplaceFile(path, func(w io.Writer) error { return write(w, metadata, tensors) })
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func write(w io.Writer, metadata []KV, tensors []Tensor) error {
	head, err := encodeHead(metadata, tensors)
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, t := range tensors {
		if err := t.write(w); err != nil {
			return fmt.Errorf("tensor %s: %w", t.Name, err)
		}
	}
	return nil
}

// encodeHead returns everything before the first tensor's data, filled up to the alignment.
func encodeHead(metadata []KV, tensors []Tensor) ([]byte, error) {
	b := []byte(magic)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(tensors)))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(metadata)))
	keys := map[string]bool{}
	for _, kv := range metadata {
		if keys[kv.Key] {
			return nil, fmt.Errorf("key %s is there twice", kv.Key)
		}
		keys[kv.Key] = true
		b = appendString(b, kv.Key)
		var err error
		if b, err = appendValue(b, kv.Value); err != nil {
			return nil, fmt.Errorf("key %s: %w", kv.Key, err)
		}
	}
	var offset int64
	names := map[string]bool{}
	for _, t := range tensors {
		if names[t.Name] {
			return nil, fmt.Errorf("tensor %s is there twice", t.Name)
		}
		names[t.Name] = true
		size, err := t.Type.size(t.Shape)
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", t.Name, err)
		}
		b = appendString(b, t.Name)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(t.Shape)))
		for _, d := range slices.Backward(t.Shape) {
			b = binary.LittleEndian.AppendUint64(b, uint64(d))
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(t.Type))
		b = binary.LittleEndian.AppendUint64(b, uint64(offset))
		offset += aligned(size)
	}
	return append(b, make([]byte, aligned(int64(len(b)))-int64(len(b)))...), nil
}

// write writes a tensor's data and fills up to the alignment.
func (t Tensor) write(w io.Writer) error {
	want := int64(1)
	for _, d := range t.Shape {
		want *= d
	}
	e := &encoder{w: w, to: t.Type}
	var got int64
	err := t.Data(func(values []float32) error {
		if got += int64(len(values)); got > want {
			return fmt.Errorf("shape %v has %d numbers, more came", t.Shape, want)
		}
		return e.Write(values)
	})
	if err == nil && got < want {
		err = fmt.Errorf("shape %v has %d numbers, %d came", t.Shape, want, got)
	}
	if err == nil {
		err = e.Close()
	}
	if err != nil {
		return err
	}
	size, err := t.Type.size(t.Shape)
	if err != nil {
		return err
	}
	_, err = w.Write(make([]byte, aligned(size)-size))
	return err
}

func aligned(n int64) int64 { return (n + alignment - 1) / alignment * alignment }

// The numbers of value types in a file.
const (
	kindUint8 = iota
	kindInt8
	kindUint16
	kindInt16
	kindUint32
	kindInt32
	kindFloat32
	kindBool
	kindString
	kindArray
	kindUint64
	kindInt64
	kindFloat64
)

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// appendValue appends a value with its type.
func appendValue(b []byte, value any) ([]byte, error) {
	kind := func(k uint32) []byte { return binary.LittleEndian.AppendUint32(b, k) }
	switch v := value.(type) {
	case uint32:
		return binary.LittleEndian.AppendUint32(kind(kindUint32), v), nil
	case int32:
		return binary.LittleEndian.AppendUint32(kind(kindInt32), uint32(v)), nil
	case uint64:
		return binary.LittleEndian.AppendUint64(kind(kindUint64), v), nil
	case float32:
		return binary.LittleEndian.AppendUint32(kind(kindFloat32), math.Float32bits(v)), nil
	case bool:
		if v {
			return append(kind(kindBool), 1), nil
		}
		return append(kind(kindBool), 0), nil
	case string:
		return appendString(kind(kindString), v), nil
	case []string:
		return appendArray(b, kindString, v, appendString), nil
	case []int32:
		return appendArray(b, kindInt32, v, func(b []byte, x int32) []byte {
			return binary.LittleEndian.AppendUint32(b, uint32(x))
		}), nil
	case []uint32:
		return appendArray(b, kindUint32, v, binary.LittleEndian.AppendUint32), nil
	case []float32:
		return appendArray(b, kindFloat32, v, func(b []byte, x float32) []byte {
			return binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}), nil
	}
	return nil, fmt.Errorf("a value of type %T cannot be written", value)
}

func appendArray[T any](b []byte, kind uint32, values []T, add func([]byte, T) []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, kindArray)
	b = binary.LittleEndian.AppendUint32(b, kind)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(values)))
	for _, v := range values {
		b = add(b, v)
	}
	return b
}
