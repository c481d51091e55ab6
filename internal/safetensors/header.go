package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
)

const (
	lengthSize    = 8              // bytes of the header's length, at the start of the file
	maxHeaderSize = 100_000_000    // what the Rust reader accepts
	metadataKey   = "__metadata__" // the one header entry that is no tensor
	dataAlignment = 8              // the header is padded so that the data starts at a multiple of this
)

// TensorInfo describes a tensor without its data.
type TensorInfo struct {
	DType DType
	Shape []int64 // empty for a scalar

	begin, end int64 // place in the data area, in bytes
}

// NumElements returns the product of the shape, 1 for a scalar.
func (i TensorInfo) NumElements() int64 {
	if size := i.DType.Size(); size > 0 {
		return (i.end - i.begin) / size
	}
	return 0
}

// NumBytes returns the size of the tensor's data.
func (i TensorInfo) NumBytes() int64 { return i.end - i.begin }

// header is the parsed JSON of a file.
type header struct {
	tensors  map[string]TensorInfo
	metadata map[string]string
}

// parseHeader reads the JSON header and checks it against dataSize, the bytes that follow it in the file.
func parseHeader(raw []byte, dataSize int64) (*header, error) {
	h := &header{tensors: map[string]TensorInfo{}}
	err := walkObject(raw, func(name string, value json.RawMessage) error {
		if name == metadataKey {
			metadata, err := parseStringMap(value)
			if err != nil {
				return fmt.Errorf("%s: %w", metadataKey, err)
			}
			h.metadata = metadata
			return nil
		}
		info, err := parseTensor(value)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		if info.end > dataSize {
			return fmt.Errorf("tensor %q: ends at byte %d of the data, the file has %d: truncated file?",
				name, info.end, dataSize)
		}
		h.tensors[name] = info
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	return h, h.checkCoverage(dataSize)
}

// checkCoverage makes sure that the tensors cover the data exactly: no overlap, no hole, no tail. A hole could hide
// bytes from a reader, an overlap lets a small file describe a huge model.
func (h *header) checkCoverage(dataSize int64) error {
	names := sortedNames(h.tensors)
	sort.SliceStable(names, func(i, j int) bool {
		a, b := h.tensors[names[i]], h.tensors[names[j]]
		if a.begin != b.begin {
			return a.begin < b.begin
		}
		return a.end < b.end // an empty tensor shares its start with the next one
	})
	var at int64
	for i, name := range names {
		begin := h.tensors[name].begin
		switch {
		case begin < at:
			return fmt.Errorf("tensor %q: starts at byte %d of the data, overlaps %q which ends at %d",
				name, begin, names[i-1], at)
		case begin > at:
			return fmt.Errorf("tensor %q: starts at byte %d of the data, want %d: a hole before it", name, begin, at)
		}
		at = h.tensors[name].end
	}
	if at != dataSize {
		return fmt.Errorf("%d bytes after the last tensor", dataSize-at)
	}
	return nil
}

// parseTensor reads one tensor's entry and checks that its offsets hold exactly its dtype and shape.
func parseTensor(raw json.RawMessage) (TensorInfo, error) {
	var info TensorInfo
	var offsets []int64
	seen := 0
	err := walkObject(raw, func(key string, value json.RawMessage) error {
		var into any
		switch key {
		case "dtype":
			into = &info.DType
		case "shape":
			into = &info.Shape
		case "data_offsets":
			into = &offsets
		default:
			return nil // the Rust reader ignores keys that it does not know, too
		}
		seen++
		if bytes.Equal(value, []byte("null")) {
			return fmt.Errorf("%s is null", key)
		}
		if err := json.Unmarshal(value, into); err != nil {
			return fmt.Errorf("%s is %.40s: %w", key, value, plainJSONError(err))
		}
		return nil
	})
	switch {
	case err != nil:
		return info, err
	case seen != 3:
		return info, errors.New("want the keys dtype, shape and data_offsets")
	case len(offsets) != 2:
		return info, fmt.Errorf("data_offsets %v has %d numbers, want 2", offsets, len(offsets))
	}
	info.begin, info.end = offsets[0], offsets[1]
	size, err := byteSize(info.DType, info.Shape)
	if err != nil {
		return info, err
	}
	// Compared without a subtraction that hostile offsets could overflow.
	if info.begin < 0 || info.end < info.begin || info.end-info.begin != size {
		return info, fmt.Errorf("%s%v needs %d bytes, data_offsets are %v", info.DType, info.Shape, size, offsets)
	}
	return info, nil
}

// parseStringMap reads an object whose values are all strings.
func parseStringMap(raw json.RawMessage) (map[string]string, error) {
	m := map[string]string{}
	err := walkObject(raw, func(key string, value json.RawMessage) error {
		var s *string
		if err := json.Unmarshal(value, &s); err != nil || s == nil {
			return fmt.Errorf("%q is %.40s, want a string", key, value)
		}
		m[key] = *s
		return nil
	})
	return m, err
}

// walkObject calls visit for every entry of a JSON object in order. encoding/json takes the last of two equal keys
// silently and matches keys in any letter case; here a second equal key is an error and case counts.
func walkObject(raw []byte, visit func(key string, value json.RawMessage) error) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	open, err := dec.Token()
	if err != nil {
		return plainJSONError(err)
	}
	if open != json.Delim('{') {
		return fmt.Errorf("found %.40s, want a JSON object", raw)
	}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return plainJSONError(err)
		}
		key, ok := token.(string)
		if !ok {
			return fmt.Errorf("found %v, want a key", token)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return fmt.Errorf("%q: %w", key, plainJSONError(err))
		}
		if seen[key] {
			return fmt.Errorf("key %q is there twice", key)
		}
		seen[key] = true
		if err := visit(key, value); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return plainJSONError(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("more text after the JSON object")
	}
	return nil
}

// plainJSONError words the errors of encoding/json without Go's type names.
func plainJSONError(err error) error {
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType):
		return fmt.Errorf("found a %s", wrongType.Value)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON ends too early")
	}
	return err
}

// sortedNames returns the keys of m in order.
func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
