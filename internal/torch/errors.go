package torch

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"
)

// ErrOutOfMemory is what errors.Is finds when the device, or the host, had no memory left for a tensor.
var ErrOutOfMemory = errors.New("out of memory")

// OpError is a failed libtorch call. errors.Is(err, ErrOutOfMemory) tells running out of memory from the rest.
type OpError struct {
	Op      string    // the operator, such as "matmul"
	Shapes  [][]int64 // of its tensor operands, in order
	Message string    // libtorch's first line
}

func (e *OpError) Error() string {
	var shapes strings.Builder
	for i, shape := range e.Shapes {
		if i > 0 {
			shapes.WriteString(", ")
		}
		fmt.Fprint(&shapes, shape)
	}
	return fmt.Sprintf("torch: %s(%s): %s", e.Op, shapes.String(), e.Message)
}

// Is reports whether target is ErrOutOfMemory and libtorch's message says so.
func (e *OpError) Is(target error) bool {
	if target != ErrOutOfMemory {
		return false
	}
	// CUDA and MPS say the first, the CPU's allocator one of the others.
	for _, sign := range []string{"out of memory", "can't allocate memory", "not enough memory", "bad_alloc"} {
		if strings.Contains(e.Message, sign) {
			return true
		}
	}
	return false
}

// lastError takes the thread's pending libtorch error, or "" when there is none.
func lastError() string {
	c := C.tune_last_error()
	if c == nil {
		return ""
	}
	defer C.free(unsafe.Pointer(c))
	// What follows the first line is a C++ stack trace, which helps nobody who reads it in a terminal.
	line, _, _ := strings.Cut(C.GoString(c), "\n")
	return strings.TrimSpace(line)
}

// Warnings takes the messages that libtorch has warned with since the last call, oldest first.
func Warnings() []string {
	var all []string
	for c := C.tune_next_warning(); c != nil; c = C.tune_next_warning() {
		line, _, _ := strings.Cut(C.GoString(c), "\n")
		all = append(all, strings.TrimSpace(line))
		C.free(unsafe.Pointer(c))
	}
	return all
}
