package torch

// #include <stdlib.h>
// #include "shim.h"
import "C"

import "unsafe"

// throw has C++ throw an exception of some kind, and warn has libtorch warn, once in a process or each time: for tests, which
// cannot use cgo.
func throw(kind int) { C.tune_throw(C.int(kind)) }

func warn(message string, once bool) {
	c := C.CString(message)
	defer C.free(unsafe.Pointer(c))
	each := C.int(0)
	if once {
		each = 1
	}
	C.tune_warn(c, each)
}
