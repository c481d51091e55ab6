package machine

import (
	"errors"
	"os"
	"syscall"
)

// Process reports whether a process of this machine has this number, and the mark that tells it from every other one
// that had the number before or will have it later. The mark is empty where the system does not tell. When in doubt,
// the process is alive.
func Process(pid int) (mark string, alive bool) {
	if pid <= 0 {
		return "", false
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return "", false
	}
	defer p.Release()
	// Signal 0 reaches nobody; a process of another user answers with a permission error, so it lives.
	if errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone) {
		return "", false
	}
	mark, ended := processMark(pid)
	return mark, !ended
}
