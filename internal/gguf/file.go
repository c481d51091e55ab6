package gguf

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"unicode/utf8"
)

// File is an open GGUF file: its metadata and where its tensors are.
type File struct {
	Version  uint32
	Metadata map[string]any // uint64, int64, float64, bool, string, or a slice of one of them; widened
	Tensors  []TensorInfo   // in the order of the file

	path   string
	f      *os.File
	byName map[string]int // of Tensors
	data   int64          // where tensor data starts
	size   int64
}

// TensorInfo says what a tensor is. Shape has PyTorch's order, (out, in).
type TensorInfo struct {
	Name   string
	Type   Type
	Shape  []int64
	offset int64
}

// Bounds that no real file comes near; a hostile one must not make us allocate the world.
const (
	maxEntries   = 1 << 16
	maxKeyLength = 1 << 16
)

// Open reads the head of a GGUF file of version 2 or 3. Errors name the file, the place and what was found there.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("is no regular file")
	}
	file := &File{path: path, f: f, Metadata: map[string]any{}, byName: map[string]int{}}
	if err == nil {
		file.size = info.Size()
		err = file.read()
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return file, nil
}

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// Path returns the name that the file was opened by.
func (f *File) Path() string { return f.path }

// Find returns the tensor of a name.
func (f *File) Find(name string) (TensorInfo, bool) {
	i, ok := f.byName[name]
	if !ok {
		return TensorInfo{}, false
	}
	return f.Tensors[i], true
}

// Floats returns a tensor's numbers as float32. Errors name the file and the tensor.
func (f *File) Floats(name string) ([]float32, error) {
	t, ok := f.Find(name)
	if !ok {
		return nil, fmt.Errorf("%s: tensor %s is missing", f.path, name)
	}
	size, err := t.Type.size(t.Shape)
	if err != nil {
		return nil, fmt.Errorf("%s: tensor %s: %w", f.path, name, err)
	}
	b := make([]byte, size)
	if _, err := f.f.ReadAt(b, f.data+t.offset); err != nil {
		return nil, fmt.Errorf("%s: tensor %s: %w", f.path, name, err)
	}
	return decode(nil, b, t.Type), nil
}

// reader reads the head and counts where it is. What it allocates is bounded by what is left of the file.
type reader struct {
	r    *bufio.Reader
	at   int64
	size int64
}

func (r *reader) bytes(n uint64) ([]byte, error) {
	if n > uint64(r.size-r.at) {
		return nil, fmt.Errorf("at byte %d: %d bytes wanted, the file has %d more: truncated?", r.at, n, r.size-r.at)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.r, b); err != nil {
		return nil, fmt.Errorf("at byte %d: %w", r.at, err)
	}
	r.at += int64(n)
	return b, nil
}

func (r *reader) uint32() (uint32, error) {
	b, err := r.bytes(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (r *reader) uint64() (uint64, error) {
	b, err := r.bytes(8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

func (r *reader) string() (string, error) {
	n, err := r.uint64()
	if err != nil {
		return "", err
	}
	b, err := r.bytes(n)
	return string(b), err
}

// name reads a key or a tensor's name.
func (r *reader) name() (string, error) {
	at := r.at
	n, err := r.uint64()
	if err != nil {
		return "", err
	}
	if n > maxKeyLength && n <= uint64(r.size-r.at) { // before so much is read
		return "", fmt.Errorf("at byte %d: a name of %d bytes, at most %d are read", at, n, maxKeyLength)
	}
	b, err := r.bytes(n)
	if err == nil && (len(b) == 0 || !utf8.Valid(b)) {
		err = fmt.Errorf("at byte %d: %.40q is no name", at, b)
	}
	return string(b), err
}

func (f *File) read() error {
	r := &reader{r: bufio.NewReaderSize(f.f, 1<<20), size: f.size}
	head, err := r.bytes(4)
	if err != nil {
		return fmt.Errorf("is no GGUF file: %w", err)
	}
	if string(head) != magic {
		return fmt.Errorf("is no GGUF file: it begins with %q, want %q", head, magic)
	}
	if f.Version, err = r.uint32(); err != nil {
		return err
	}
	if f.Version != 2 && f.Version != 3 {
		return fmt.Errorf("GGUF version %d (want 2 or 3, little-endian)", f.Version)
	}
	tensors, err := r.uint64()
	if err != nil {
		return err
	}
	entries, err := r.uint64()
	if err != nil {
		return err
	}
	if tensors > maxEntries || entries > maxEntries {
		return fmt.Errorf("%d tensors and %d keys, at most %d are read", tensors, entries, maxEntries)
	}
	for range entries {
		key, err := r.name()
		if err != nil {
			return err
		}
		if _, twice := f.Metadata[key]; twice {
			return fmt.Errorf("key %s is there twice", key)
		}
		kind, err := r.uint32()
		if err == nil {
			f.Metadata[key], err = r.value(kind, true)
		}
		if err != nil {
			return fmt.Errorf("key %s: %w", key, err)
		}
	}
	for range tensors {
		if err := f.readTensor(r); err != nil {
			return err
		}
	}
	return f.place(r.at)
}

// value reads a value, widened to the largest type of its kind.
func (r *reader) value(kind uint32, array bool) (any, error) {
	sizes := map[uint32]uint64{kindUint8: 1, kindInt8: 1, kindUint16: 2, kindInt16: 2, kindUint32: 4, kindInt32: 4,
		kindFloat32: 4, kindBool: 1, kindUint64: 8, kindInt64: 8, kindFloat64: 8}
	switch {
	case kind == kindString:
		return r.string()
	case kind == kindArray && array:
		return r.array()
	}
	size, ok := sizes[kind]
	if !ok {
		return nil, fmt.Errorf("at byte %d: value type %d is not known here", r.at, kind)
	}
	b, err := r.bytes(size)
	if err != nil {
		return nil, err
	}
	var wide [8]byte
	copy(wide[:], b)
	bits := binary.LittleEndian.Uint64(wide[:])
	switch kind {
	case kindInt8:
		return int64(int8(bits)), nil
	case kindInt16:
		return int64(int16(bits)), nil
	case kindInt32:
		return int64(int32(bits)), nil
	case kindInt64:
		return int64(bits), nil
	case kindFloat32:
		return float64(math.Float32frombits(uint32(bits))), nil
	case kindFloat64:
		return math.Float64frombits(bits), nil
	case kindBool:
		return bits != 0, nil
	}
	return bits, nil
}

// array reads a list of values of one type; lists of lists are not used by any model.
func (r *reader) array() (any, error) {
	kind, err := r.uint32()
	if err != nil {
		return nil, err
	}
	n, err := r.uint64()
	if err != nil {
		return nil, err
	}
	if n > uint64(r.size-r.at) { // each element takes a byte at least
		return nil, fmt.Errorf("at byte %d: a list of %d values in a file of %d bytes", r.at, n, r.size)
	}
	var list []any
	for range n {
		v, err := r.value(kind, false)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	switch {
	case n == 0:
		return []any{}, nil
	case kind == kindString:
		return listOf[string](list), nil
	case kind == kindBool:
		return listOf[bool](list), nil
	case kind == kindFloat32 || kind == kindFloat64:
		return listOf[float64](list), nil
	case kind == kindInt8 || kind == kindInt16 || kind == kindInt32 || kind == kindInt64:
		return listOf[int64](list), nil
	}
	return listOf[uint64](list), nil
}

func listOf[T any](list []any) []T {
	out := make([]T, len(list))
	for i, v := range list {
		out[i] = v.(T)
	}
	return out
}

// readTensor reads the entry of one tensor.
func (f *File) readTensor(r *reader) error {
	var t TensorInfo
	var err error
	if t.Name, err = r.name(); err != nil {
		return err
	}
	if _, twice := f.Find(t.Name); twice {
		return fmt.Errorf("tensor %s is there twice", t.Name)
	}
	dims, err := r.uint32()
	if err != nil {
		return err
	}
	if dims < 1 || dims > maxDims {
		return fmt.Errorf("tensor %s: %d dimensions, want 1 to %d", t.Name, dims, maxDims)
	}
	t.Shape = make([]int64, dims)
	for i := range t.Shape {
		d, err := r.uint64()
		if err != nil {
			return err
		}
		if d > math.MaxInt32 {
			return fmt.Errorf("tensor %s: a dimension of %d", t.Name, d)
		}
		t.Shape[len(t.Shape)-1-i] = int64(d)
	}
	kind, err := r.uint32()
	if err != nil {
		return err
	}
	t.Type = Type(kind)
	offset, err := r.uint64()
	if err != nil {
		return err
	}
	if offset > uint64(f.size) {
		return fmt.Errorf("tensor %s: starts at %d, behind the end of the file", t.Name, offset)
	}
	t.offset = int64(offset)
	f.byName[t.Name] = len(f.Tensors)
	f.Tensors = append(f.Tensors, t)
	return nil
}

// place finds where the data starts and checks that every tensor of a known type lies inside the file and in no other
// one: tensors that share their bytes would let a small file describe a huge model.
func (f *File) place(head int64) error {
	align := int64(alignment)
	if v, ok := f.Metadata["general.alignment"]; ok {
		n, ok := v.(uint64)
		if !ok || n < 1 || n > 1<<20 {
			return fmt.Errorf("general.alignment: want a number from 1 to %d, got %v", 1<<20, v)
		}
		align = int64(n)
	}
	f.data = (head + align - 1) / align * align
	inOrder := slices.SortedStableFunc(slices.Values(f.Tensors), func(a, b TensorInfo) int {
		return cmp.Compare(a.offset, b.offset)
	})
	var before string
	var end int64 // of the tensor before, in the data
	for _, t := range inOrder {
		if _, known := types[t.Type]; !known {
			continue // Floats refuses it; other tensors of the file may still be read
		}
		size, err := t.Type.size(t.Shape)
		if err != nil {
			return fmt.Errorf("tensor %s: %w", t.Name, err)
		}
		if size > f.size-f.data-t.offset { // a sum of the three could overflow
			return fmt.Errorf("tensor %s: %d bytes from byte %d on, the file has %d: truncated?",
				t.Name, size, f.data+t.offset, f.size)
		}
		if t.offset < end {
			return fmt.Errorf("tensor %s: starts at byte %d of the data, overlaps %s which ends at %d",
				t.Name, t.offset, before, end)
		}
		before, end = t.Name, t.offset+size
	}
	return nil
}
