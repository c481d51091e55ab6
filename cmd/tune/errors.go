package main

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"tune/configs"
	"tune/datasets"
	"tune/internal/adapterfile"
	"tune/internal/runstore"
)

// The exit codes. Anyone may rely on them.
const (
	exitFailure  = 1 // something went wrong at run time
	exitBadInput = 2 // the user's input needs a change
)

// badInput is an error of the user's input, with what to try next.
type badInput struct {
	error
	hint string
}

func (e badInput) Unwrap() error { return e.error }

// hinted is a failure at run time with what to try next.
type hinted struct {
	error
	hint string
}

func (e hinted) Unwrap() error { return e.error }

// bug is a panic, caught.
type bug struct {
	value any
	stack []byte
}

func (e *bug) Error() string { return fmt.Sprintf("this is a bug in tune: %v", e.value) }

// catch calls f and turns a panic into an error, so that a run's row can say how it ended.
func catch(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &bug{v, debug.Stack()}
		}
	}()
	return f()
}

// report writes an error to stderr, each of its lines marked, and returns the exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	for line := range strings.SplitSeq(printable(err.Error()), "\n") {
		fmt.Fprintf(stderr, "tune: error: %s\n", line)
	}
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(stderr, "tune: hint: %s\n", hint)
	}
	if b, ok := errors.AsType[*bug](err); ok {
		fmt.Fprintf(stderr, "%s", b.stack)
		return exitFailure
	}
	if isBadInput(err) {
		return exitBadInput
	}
	return exitFailure
}

// inputErrors are what the other packages say of input that the user can correct.
var inputErrors = []error{configs.ErrInvalid, datasets.ErrInvalid, runstore.ErrNotFound, runstore.ErrNoDatabase,
	runstore.ErrForeign, runstore.ErrNewer, runstore.ErrDamaged}

// isBadInput tells input that the user can correct, exit code 2, from a failure, exit code 1.
func isBadInput(err error) bool {
	if _, ok := errors.AsType[badInput](err); ok {
		return true
	}
	if _, ok := errors.AsType[*runstore.AmbiguousError](err); ok {
		return true
	}
	for _, target := range inputErrors {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// hintOf returns what to try next, or "".
func hintOf(err error) string {
	if b, ok := errors.AsType[badInput](err); ok && b.hint != "" {
		return b.hint
	}
	if h, ok := errors.AsType[hinted](err); ok && h.hint != "" {
		return h.hint
	}
	if n, ok := errors.AsType[*adapterfile.NoAdapterError](err); ok && n.Hint != "" {
		return n.Hint
	}
	if _, ok := errors.AsType[*bug](err); ok {
		return "please report it with the lines below"
	}
	if _, ok := errors.AsType[*runstore.AmbiguousError](err); ok {
		return "type more of the id"
	}
	switch {
	case errors.Is(err, runstore.ErrNotFound):
		return "tune runs lists them"
	case errors.Is(err, runstore.ErrNoDatabase):
		return "tune run configs/bluey.yaml makes the first run; --db names another database"
	case errors.Is(err, runstore.ErrDamaged):
		return "tune runs check --db FILE says what is wrong; with --salvage NEW.db it saves what can be read"
	case errors.Is(err, runstore.ErrFull):
		return "make room on the disk; what was recorded before is safe"
	}
	return ""
}
