// Package filelock lets one process at a time, of those that ask, do what they must not do together.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// errNoLocks is what tryLock returns where the system or the file system has no locks.
var errNoLocks = errors.New("no file locks here")

// How often a lock is tried that another holds, and the signs of life of one that is only a file.
const (
	lockEvery = 100 * time.Millisecond
	beatEvery = 5 * time.Second
	deadAfter = 60 * time.Second
)

// Take waits until nobody else, in this process or another, holds the lock file at path. waiting is called once if
// there is a wait. The file stays where it is: others may be waiting for it. A process that dies holds nothing.
// Errors: those of the file system, and the cause of ctx's end.
func Take(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return waitFor(ctx, tryLock, path, waiting)
}

// waitFor tries to take the lock until it is free; where take has no locks, by a marker.
func waitFor(ctx context.Context, take func(path string) (unlock func(), err error), path string, waiting func()) (unlock func(), err error) {
	told := false
	for {
		unlock, err := take(path)
		if errors.Is(err, errNoLocks) {
			take = tryMarker
			continue
		}
		if unlock != nil || err != nil {
			return unlock, err
		}
		if !told {
			told = true
			waiting()
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(lockEvery):
		}
	}
}

// tryMarker is tryLock without locks: a file beside path that only one can create. Its holder touches it as long as
// it lives; one that nobody has touched for a minute is a dead process's. It returns nil, nil when it is held.
func tryMarker(path string) (unlock func(), err error) {
	path += ".held"
	if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > deadAfter {
		if err := clearMarker(path, info); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintln(f, os.Getpid())
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(beatEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case now := <-tick.C:
				_ = os.Chtimes(path, now, now) // a missed beat is made up for by the next
			}
		}
	}()
	return func() { close(stop); <-stopped; _ = os.Remove(path) }, nil
}

// clearMarker removes the marker that info is of. Another process may have done so a moment ago and made its own:
// what is moved aside is looked at, and put back when it is no longer the dead one.
func clearMarker(path string, dead fs.FileInfo) error {
	aside := fmt.Sprintf("%s.%d.%d", path, os.Getpid(), time.Now().UnixNano())
	if err := os.Rename(path, aside); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if moved, err := os.Stat(aside); err == nil && !(os.SameFile(moved, dead) && moved.ModTime().Equal(dead.ModTime())) {
		return os.Rename(aside, path)
	}
	return os.Remove(aside)
}
