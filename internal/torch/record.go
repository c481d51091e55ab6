package torch

// #include "record.h"
import "C"

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Operator is what a Recording found out about one operator, under libtorch's name for it.
type Operator struct {
	Name string // such as aten::mm
	// Calls in all, and those that no other operator made: aten::linear calls aten::matmul and that aten::mm, one after
	// the other, and only the first of them is outermost.
	Calls, Outermost int
	// Total is the time from call to return, Self the part outside other operators. On a GPU both are the time that it
	// took to ask for the work.
	Total, Self time.Duration
}

// Recording counts and times the operators that its thread dispatches, and those of the backward passes that begin
// there. It costs each operator a fraction of a microsecond. The kernels of fused.cpp are
// among them, as tune::norm and so on.
type Recording struct{}

// recordingLock is held from RecordOperators to Stop: libtorch is asked about one thread at a time.
var recordingLock sync.Mutex

// RecordOperators starts a recording, which Stop must end on the same goroutine. A second one waits for that.
func RecordOperators() (*Recording, error) { return record(0) }

// RecordTypes is RecordOperators with names such as "aten::addmm.out BFloat16 Float": the overload, and the dtypes of the
// tensors that the operator was given.
func RecordTypes() (*Recording, error) { return record(1) }

func record(types C.int) (*Recording, error) {
	recordingLock.Lock()
	runtime.LockOSThread()
	if C.tune_record_start(types) != 0 {
		defer recordingLock.Unlock()
		defer runtime.UnlockOSThread()
		return nil, fmt.Errorf("torch: record operators: %s", lastError())
	}
	return &Recording{}, nil
}

// Stop ends the recording and returns the operators, the one that took longest itself first.
func (r *Recording) Stop() []Operator {
	defer recordingLock.Unlock()
	defer runtime.UnlockOSThread()
	n := int(C.tune_record_stop())
	var found []Operator
	for i := range n {
		o := C.tune_record_operator(C.int(i))
		found = append(found, Operator{Name: C.GoString(o.name), Calls: int(o.calls), Outermost: int(o.outermost),
			Total: time.Duration(o.total_ns), Self: time.Duration(o.self_ns)})
	}
	lastError()
	slices.SortFunc(found, func(a, b Operator) int {
		return cmp.Or(cmp.Compare(b.Self, a.Self), cmp.Compare(a.Name, b.Name))
	})
	return found
}

// CountOperators calls f and returns how many operators it dispatched, in all and by name. Those that an operator
// calls in turn are part of it and not counted.
func CountOperators(f func()) (n int, names map[string]int) {
	r, err := RecordOperators()
	if err != nil {
		panic(err) // libtorch has no memory left for a list of one
	}
	names = map[string]int{}
	defer func() {
		for _, o := range r.Stop() {
			if o.Outermost > 0 {
				n, names[o.Name] = n+o.Outermost, o.Outermost
			}
		}
	}()
	f()
	return n, names
}
