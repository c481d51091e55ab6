// Package files writes files and folders that appear whole or not at all.
package files

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// ReplaceDir makes dir from what fill writes into an empty folder beside it. Until fill has returned and the
// files are synced, dir stays as it was; a process that dies in between leaves dir, old or new, complete.
func ReplaceDir(dir string, fill func(dir string) error) (err error) {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(parent, "."+filepath.Base(dir)+"-new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh) // nothing is left of it after the rename
	if err := os.Chmod(fresh, 0o755); err != nil {
		return err
	}
	if err := fill(fresh); err != nil {
		return err
	}
	if err := syncAll(fresh); err != nil {
		return err
	}

	// A folder cannot be renamed over one that is not empty: the old one steps aside first.
	old := ""
	if _, err := os.Lstat(dir); err == nil {
		if old, err = os.MkdirTemp(parent, "."+filepath.Base(dir)+"-old-"); err != nil {
			return err
		}
		defer os.RemoveAll(old)
		if err := os.Rename(dir, filepath.Join(old, "was")); err != nil {
			return err
		}
	}
	if err := os.Rename(fresh, dir); err != nil {
		if old != "" {
			if back := os.Rename(filepath.Join(old, "was"), dir); back != nil {
				return fmt.Errorf("%w; and the old folder could not be put back: %v", err, back)
			}
		}
		return err
	}
	return syncPath(parent)
}

// ReplaceFile puts what fill writes in the place of path, readable by everyone (mode 0644), whole or not at all: it is
// written under another name in the same folder, synced, renamed, and the folder synced.
func ReplaceFile(path string, fill func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close() // a second Close is harmless
			os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := fill(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil { // os.CreateTemp gives 0600, which hides a model from other accounts
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncPath(dir)
}

// syncAll makes the files of a folder, and the folder, last through a power cut.
func syncAll(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := syncPath(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return syncPath(dir)
}

// syncPath makes a file, or the names in a folder, last through a power cut.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	// Some file systems cannot sync a folder and say so; they have their own way of keeping a rename.
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}

// SHA256 returns the hash of a file, in hexadecimal, and its size in bytes.
func SHA256(path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	if size, err = io.Copy(h, f); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}
