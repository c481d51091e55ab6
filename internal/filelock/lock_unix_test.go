//go:build unix && !solaris && !aix

package filelock

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestLockFileThatWasRemoved: Python's filelock may delete the file between our opening and our locking it. The lock on
// the deleted one counts for nothing, whether or not another file has taken its place.
func TestLockFileThatWasRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	for _, successor := range []bool{false, true} {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if successor {
			unlock, err := tryLock(path)
			if errors.Is(err, errNoLocks) {
				t.Skip("this file system has no locks: TestMarker stands for them")
			}
			if err != nil || unlock == nil {
				t.Fatalf("the new file cannot be locked: %v", err)
			}
			defer unlock()
		}
		unlock, err := lockOpened(f, path)
		if errors.Is(err, errNoLocks) {
			t.Skip("this file system has no locks: TestMarker stands for them")
		}
		if unlock != nil || err != nil {
			t.Errorf("with a successor %t: the deleted file counts as locked (%v)", successor, err)
		}
	}
	if third, err := tryLock(path); third != nil || err != nil {
		t.Errorf("locked twice (%v)", err)
	}
}
