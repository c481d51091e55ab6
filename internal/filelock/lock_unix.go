//go:build unix && !solaris && !aix

package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock takes the lock that huggingface_hub takes, flock, so that both programs wait for each other. It returns
// nil, nil when another holds it. The system drops the lock of a process that dies.
func tryLock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	return lockOpened(f, path)
}

// lockOpened is tryLock of a file that was opened at path a moment ago.
func lockOpened(f *os.File, path string) (unlock func(), err error) {
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		switch {
		case errors.Is(err, unix.EWOULDBLOCK):
			return nil, nil
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOLCK):
			return nil, errNoLocks // some network file systems
		}
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	// Some versions of Python's filelock remove the file when they let go: then this one is no longer at path, and
	// others lock its successor.
	held, err := f.Stat()
	there, err2 := os.Stat(path)
	if err != nil || err2 != nil || !os.SameFile(held, there) {
		f.Close()
		return nil, nil
	}
	return func() { f.Close() }, nil // closing lets go
}
