package torch

// #include <stdlib.h>
// #include "shim.h"
import "C"

import "unsafe"

// throw has C++ throw an exception of some kind, and warn has libtorch warn: for tests, which cannot use cgo.
func throw(kind int) { C.tune_throw(C.int(kind)) }

func warn(message string) {
	c := C.CString(message)
	defer C.free(unsafe.Pointer(c))
	C.tune_warn(c)
}
