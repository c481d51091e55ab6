package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tune/internal/runstore"
)

// What a command is going to write is looked at before its work: a path that cannot be written would cost all of it.

// checkNewDir refuses a folder that cannot be made, or written into where it is there already. Nothing stays behind.
func checkNewDir(dir string) error {
	at := filepath.Clean(dir)
	for {
		info, err := os.Stat(at)
		_, link := os.Lstat(at)
		switch parent := filepath.Dir(at); {
		case err == nil && info.IsDir():
			return checkWritable(at)
		case err == nil && at == filepath.Clean(dir):
			return fmt.Errorf("%s: is a file, want a folder", dir)
		case err == nil:
			return fmt.Errorf("%s: cannot be made: %s is a file", dir, at)
		case errors.Is(err, fs.ErrNotExist) && link == nil:
			return fmt.Errorf("%s: cannot be made: %s is a link to nothing", dir, at)
		case errors.Is(err, fs.ErrPermission), parent == at:
			return fmt.Errorf("%s: %w", dir, pathless(err))
		default: // it is not there, or a part of its path is a file: the folder above tells
			at = parent
		}
	}
}

// checkWritable refuses a folder that takes no new folder. Trying is the only way to know: there are disks that are
// read-only, and file systems such as /proc in which nothing can be made whatever the permissions say.
func checkWritable(dir string) error {
	probe, err := os.MkdirTemp(dir, ".tune-*")
	if err != nil {
		return fmt.Errorf("nothing can be made in %s: %w", dir, pathless(err))
	}
	return os.Remove(probe)
}

// checkOutputDir refuses an output.dir in which a run could not keep what it learns.
func checkOutputDir(dir string) error {
	if err := checkNewDir(dir); err != nil {
		return badInput{fmt.Errorf("output.dir: %w", err), "--set output.dir=DIR names another folder"}
	}
	return nil
}

// checkDatabase refuses a database that cannot be opened for writing, which key names: a flag, or a key of a config.
func checkDatabase(key, path string) error {
	bad := func(format string, a ...any) error {
		return badInput{fmt.Errorf(key+": "+format, a...), ""}
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return bad("%s: is a folder, want a file", path)
	}
	folder := filepath.Dir(path)
	switch info, err := os.Stat(folder); {
	case errors.Is(err, fs.ErrNotExist):
		return bad("%s: there is no folder %s (it is not made)", path, folder)
	case err != nil:
		return bad("%s: %w", path, pathless(err))
	case !info.IsDir():
		return bad("%s: %s is a file, want a folder", path, folder)
	}
	// Also of a database that is there: SQLite keeps two files beside it while it is open for writing.
	if err := checkWritable(folder); err != nil {
		return bad("%s: %w", path, err)
	}
	return nil
}

// openStore opens the database that key names for writing.
func openStore(key, path string) (*runstore.Store, error) {
	if err := checkDatabase(key, path); err != nil {
		return nil, err
	}
	store, err := runstore.Open(path)
	if errors.Is(err, runstore.ErrReadOnly) || errors.Is(err, fs.ErrPermission) {
		err = badInput{fmt.Errorf("%s: %w", key, err), ""}
	}
	if err != nil {
		return nil, err
	}
	store.EndDeadRuns(context.Background())
	return store, nil
}

// makeRunDir makes the folder of a run, for its owner alone: it holds what people have written. One that is there, and
// those above it, keep their modes.
func makeRunDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
