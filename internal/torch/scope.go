package torch

// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/sugarme/gotch/libtch"
)

// Scope owns the tensors made through it and frees them when the function that received it returns.
// It belongs to the goroutine of its Run and must not leave it.
type Scope struct {
	run    *run
	parent *Scope
	owned  []libtch.Ctensor
	closed bool
}

// run is what nested scopes share: one thread, one first error, one grad mode.
type run struct {
	err  error
	grad bool
	open int // scopes that have not ended
}

// live counts tensors that exist on the Go side: made and not yet freed.
var live atomic.Int64

// Live returns how many tensors exist. Tests use it to show that none outlives its scope.
func Live() int64 { return live.Load() }

// Run calls f with a fresh scope on one OS thread. It returns f's error, or the first error that an operator
// in the scope recorded. Gradients are off until Grad turns them on.
func Run(f func(s *Scope) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	C.tune_install_warning_handler() // per thread in newer versions of libtorch
	lastError()                      // of an earlier user of this thread

	before := libtch.AtGradSetEnabled(0)
	defer libtch.AtGradSetEnabled(before)

	s := &Scope{run: &run{open: 1}}
	defer s.close()
	return s.cause(f(s))
}

// Nest calls f with a scope inside s, for what one step makes and the next does not need. Errors are s's.
func (s *Scope) Nest(f func(s *Scope) error) error {
	inner := s.inside()
	defer inner.close()
	return s.cause(f(inner))
}

// cause is the first recorded error, of which err is often but a consequence; err itself where it says more about it.
func (s *Scope) cause(err error) error {
	if s.run.err == nil || errors.Is(err, s.run.err) {
		return err
	}
	return s.run.err
}

// Local calls f with a scope inside s and keeps only its result in s: intermediates are freed at once, not
// when s ends. Autograd holds on to what the backward pass needs.
func (s *Scope) Local(f func(s *Scope) Tensor) Tensor {
	inner := s.inside()
	defer inner.close()
	t := f(inner)
	inner.Keep(t)
	return t
}

func (s *Scope) inside() *Scope {
	s.run.open++
	return &Scope{run: s.run, parent: s}
}

// Keep hands t to the scope around s; from the outermost scope to the caller, who ends it with Free.
// A tensor that s does not own is left where it is.
func (s *Scope) Keep(t Tensor) Tensor {
	if s.disown(t) && s.parent != nil {
		s.parent.owned = append(s.parent.owned, t.c)
	}
	return t
}

// KeepOut hands t to the outermost scope: it lives as long as the Run.
func (s *Scope) KeepOut(t Tensor) Tensor {
	outermost := s
	for outermost.parent != nil {
		outermost = outermost.parent
	}
	return s.MoveTo(outermost, t)
}

// MoveTo hands t to another scope of the same Run.
func (s *Scope) MoveTo(owner *Scope, t Tensor) Tensor {
	for scope := s; scope != nil && t.Defined(); scope = scope.parent {
		if scope.disown(t) {
			owner.owned = append(owner.owned, t.c)
			break
		}
	}
	return t
}

// Drop frees a tensor of s before s ends. One that s does not own is left alone.
func (s *Scope) Drop(t Tensor) {
	if s.disown(t) {
		t.Free()
	}
}

// disown takes t off the list of what s frees, and reports whether it was there.
func (s *Scope) disown(t Tensor) bool {
	if t.c == nil {
		return false
	}
	// Newest first: what is kept was usually made last.
	for i := len(s.owned) - 1; i >= 0; i-- {
		if s.owned[i] == t.c {
			s.owned = append(s.owned[:i], s.owned[i+1:]...)
			return true
		}
	}
	return false
}

// Err returns the first error that an operator of this Run recorded. After it operators do nothing and
// return the zero Tensor.
func (s *Scope) Err() error { return s.run.err }

// Grad runs f with autograd on or off and restores the mode.
func (s *Scope) Grad(on bool, f func()) {
	before := s.run.grad
	s.setGrad(on)
	defer s.setGrad(before)
	f()
}

func (s *Scope) setGrad(on bool) {
	s.run.grad = on
	mode := 0
	if on {
		mode = 1
	}
	libtch.AtGradSetEnabled(mode)
}

func (s *Scope) close() {
	if s.closed {
		return
	}
	s.closed = true
	freeAll(s.owned)
	s.owned = nil
	s.run.open--
	if checkInvariants && s.parent == nil && s.run.open != 0 {
		panic(fmt.Sprintf("torch: %d scopes of a run are still open at its end", s.run.open))
	}
}

func freeAll(handles []libtch.Ctensor) {
	if len(handles) == 0 {
		return
	}
	C.tune_free((*C.tune_tensor)(unsafe.Pointer(&handles[0])), C.int(len(handles)))
	live.Add(-int64(len(handles)))
}

// own takes over a handle that the operator op returned, or records why there is none.
func (s *Scope) own(op string, c libtch.Ctensor, operands ...Tensor) Tensor {
	if c == nil {
		s.fail(op, operands...)
		return Tensor{}
	}
	live.Add(1)
	if checkInvariants && s.closed {
		panic("torch: " + op + " in a scope that has ended")
	}
	s.owned = append(s.owned, c)
	return Tensor{c}
}

// fail records the thread's pending libtorch error as the scope's, when it is the first.
func (s *Scope) fail(op string, operands ...Tensor) {
	message := lastError()
	if message == "" {
		message = "failed without a message"
	}
	if s.run.err != nil {
		return
	}
	e := &OpError{Op: op, Message: message}
	for _, t := range operands {
		e.Shapes = append(e.Shapes, t.Shape())
	}
	s.run.err = e
}

// ready reports whether an operator may run: no earlier error, and operands that exist.
func (s *Scope) ready(op string, operands ...Tensor) bool {
	if s.run.err != nil {
		return false
	}
	for _, t := range operands {
		if t.c == nil {
			s.run.err = &OpError{Op: op, Message: "an operand is the zero Tensor"}
			return false
		}
	}
	return true
}

// check records a pending error of a call that returns no tensor.
func (s *Scope) check(op string, ok bool, operands ...Tensor) {
	if !ok {
		s.fail(op, operands...)
	}
}
