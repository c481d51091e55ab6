package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"slices"
)

// File is an open safetensors file, mapped into memory. Its methods may be called from many goroutines, but not at
// the same time as Close. The file on disk must not be cut short while it is open: touching pages that are gone
// ends the process.
type File struct {
	path   string
	mapped []byte
	data   []byte // the part of mapped after the header
	header *header
}

// Open maps the file read-only and checks it: the header's length and JSON, duplicate names, dtypes, shapes, and
// that the tensors' places fit their shapes and cover the data without overlap, hole or tail.
//
// Errors name the file and, where there is one, the tensor; errors.Is(err, fs.ErrNotExist) tells a missing file.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	defer f.Close() // the mapping outlives the descriptor
	stat, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("safetensors: %w", err)
	case !stat.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a regular file", path)
	case stat.Size() < lengthSize:
		return nil, fmt.Errorf("%s: %d bytes are too few for a safetensors file: truncated file?", path, stat.Size())
	case stat.Size() > math.MaxInt:
		return nil, fmt.Errorf("%s: %d bytes are too many for this machine's address space", path, stat.Size())
	}
	mapped, err := mapFile(f, int(stat.Size()))
	if err != nil {
		return nil, fmt.Errorf("%s: map into memory: %w", path, err)
	}
	file, err := newFile(path, mapped)
	if err != nil {
		_ = unmapFile(mapped) // the first error is the one to report
		return nil, err
	}
	return file, nil
}

// newFile checks the bytes of a whole file.
func newFile(path string, mapped []byte) (*File, error) {
	length, rest := binary.LittleEndian.Uint64(mapped), mapped[lengthSize:]
	switch {
	case length > maxHeaderSize:
		return nil, fmt.Errorf("%s: header of %d bytes, at most %d are allowed: not a safetensors file?",
			path, length, maxHeaderSize)
	case length > uint64(len(rest)):
		return nil, fmt.Errorf("%s: header of %d bytes, the file has %d after its length: truncated file?",
			path, length, len(rest))
	}
	data := rest[length:]
	header, err := parseHeader(rest[:length], int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &File{path: path, mapped: mapped, data: data, header: header}, nil
}

// Path returns the path that the file was opened with.
func (f *File) Path() string { return f.path }

// Names returns the tensors' names in alphabetical order.
func (f *File) Names() []string { return sortedNames(f.header.tensors) }

// Info returns a tensor's dtype and shape, and whether the file has it.
func (f *File) Info(name string) (TensorInfo, bool) {
	info, ok := f.header.tensors[name]
	info.Shape = slices.Clone(info.Shape)
	return info, ok
}

// Bytes returns a tensor's data, little-endian and row-major, and whether the file has it. The slice is the mapped
// file: it must not be written to, and it is gone after Close, when Bytes itself reports false.
func (f *File) Bytes(name string) ([]byte, bool) {
	info, ok := f.header.tensors[name]
	if !ok || f.data == nil {
		return nil, false
	}
	return f.data[info.begin:info.end:info.end], true
}

// Metadata returns a copy of the header's free key-value pairs; nil when there are none.
func (f *File) Metadata() map[string]string {
	if len(f.header.metadata) == 0 {
		return nil
	}
	metadata := make(map[string]string, len(f.header.metadata))
	for key, value := range f.header.metadata {
		metadata[key] = value
	}
	return metadata
}

// Close unmaps the file. Slices from Bytes must not be used afterwards. A second Close does nothing.
func (f *File) Close() error {
	if f.mapped == nil {
		return nil
	}
	mapped := f.mapped
	f.mapped, f.data = nil, nil
	if err := unmapFile(mapped); err != nil {
		return fmt.Errorf("%s: unmap: %w", f.path, err)
	}
	return nil
}
