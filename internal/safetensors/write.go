package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"tune/internal/files"
)

// Tensor is a tensor to write. Data is called once, when its turn comes, and must write exactly the bytes that
// DType and Shape ask for, little-endian and row-major; so a large model can be converted tensor by tensor. For
// data that is in memory already, FromBytes makes it.
type Tensor struct {
	Name  string
	DType DType
	Shape []int64
	Data  func(w io.Writer) error
}

// FromBytes returns a Tensor.Data that writes data.
func FromBytes(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

// Write makes a safetensors file at path, readable by everyone (mode 0644).
//
// The same tensors and metadata give the same bytes in whatever order they come: widest dtype first, then by name,
// as the Rust writer has it. The file appears whole or not at all: it is written under another name in the same
// folder, synced, renamed, and the folder synced. Errors name the file and the tensor.
func Write(path string, tensors []Tensor, metadata map[string]string) error {
	tensors = slices.Clone(tensors)
	slices.SortStableFunc(tensors, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(b.DType.order(), a.DType.order()), cmp.Compare(a.Name, b.Name))
	})
	head, err := encodeHeader(tensors, metadata)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	err = files.ReplaceFile(path, func(w io.Writer) error {
		if _, err := w.Write(head); err != nil {
			return err
		}
		for _, tensor := range tensors {
			if err := writeTensor(w, tensor); err != nil {
				return fmt.Errorf("tensor %q: %w", tensor.Name, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// encodeHeader returns the length and the JSON header of the tensors, which must be in the order of the file. The
// JSON is written by hand because encoding/json would sort the names, and the header's order is the data's.
func encodeHeader(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	var b bytes.Buffer
	b.Write(make([]byte, lengthSize))
	b.WriteByte('{')
	if len(metadata) > 0 {
		for key, value := range metadata {
			if !utf8.ValidString(key) || !utf8.ValidString(value) {
				return nil, fmt.Errorf("metadata %q: %q is not UTF-8", key, value)
			}
		}
		fmt.Fprintf(&b, "%q:%s", metadataKey, marshal(metadata))
	}
	seen := map[string]bool{}
	var at int64
	for _, tensor := range tensors {
		size, err := checkTensor(tensor, seen)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", tensor.Name, err)
		}
		if at+size < at {
			return nil, fmt.Errorf("tensor %q: all tensors together overflow 64 bits", tensor.Name)
		}
		if b.Len() > lengthSize+len("{") {
			b.WriteByte(',')
		}
		shape := tensor.Shape
		if shape == nil {
			shape = []int64{} // "[]" and not "null"
		}
		fmt.Fprintf(&b, `%s:{"dtype":%s,"shape":%s,"data_offsets":[%d,%d]}`,
			marshal(tensor.Name), marshal(tensor.DType), marshal(shape), at, at+size)
		at += size
	}
	b.WriteByte('}')
	for b.Len()%dataAlignment != 0 {
		b.WriteByte(' ')
	}
	length := b.Len() - lengthSize
	if length > maxHeaderSize {
		return nil, fmt.Errorf("header of %d bytes, at most %d are allowed", length, maxHeaderSize)
	}
	binary.LittleEndian.PutUint64(b.Bytes(), uint64(length))
	return b.Bytes(), nil
}

// checkTensor returns the tensor's bytes; seen collects the names.
func checkTensor(tensor Tensor, seen map[string]bool) (int64, error) {
	switch {
	case tensor.Name == metadataKey:
		return 0, errors.New("this name is reserved")
	case !utf8.ValidString(tensor.Name):
		return 0, errors.New("the name is not UTF-8")
	case seen[tensor.Name]:
		return 0, errors.New("the name is there twice")
	case tensor.Data == nil:
		return 0, errors.New("no Data function")
	}
	seen[tensor.Name] = true
	return byteSize(tensor.DType, tensor.Shape)
}

// marshal returns JSON as serde_json writes it: without Go's escapes for HTML.
func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("safetensors: encode %T: %v", v, err)) // strings and integers always encode
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// writeTensor streams one tensor's data and counts it: a byte too few or too many would shift every later tensor.
func writeTensor(w io.Writer, tensor Tensor) error {
	want, err := byteSize(tensor.DType, tensor.Shape)
	if err != nil {
		return err
	}
	limited := &exactWriter{w: w, left: want}
	if err := tensor.Data(limited); err != nil {
		return err
	}
	if limited.left > 0 {
		return fmt.Errorf("%s%v needs %d bytes, Data wrote %d", tensor.DType, tensor.Shape, want, want-limited.left)
	}
	return nil
}

// exactWriter refuses to write more than left bytes.
type exactWriter struct {
	w    io.Writer
	left int64
}

func (e *exactWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > e.left {
		return 0, fmt.Errorf("at least %d bytes too many come from Data", int64(len(p))-e.left)
	}
	n, err := e.w.Write(p)
	e.left -= int64(n)
	return n, err
}
