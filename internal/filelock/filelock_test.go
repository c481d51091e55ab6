package filelock

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestMarker: the lock of systems that have none.
func TestMarker(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	unlock, err := tryMarker(path)
	if err != nil || unlock == nil {
		t.Fatal(err)
	}
	if other, err := tryMarker(path); other != nil || err != nil {
		t.Errorf("a second one got it too (%v)", err)
	}
	unlock()
	if unlock, err = tryMarker(path); err != nil || unlock == nil {
		t.Fatalf("not free after the first let go: %v", err)
	}
	unlock()

	// One that a dead process has left.
	if err := os.WriteFile(path+".held", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if other, err := tryMarker(path); other != nil || err != nil {
		t.Errorf("a fresh mark was passed over (%v)", err)
	}
	old := time.Now().Add(-2 * deadAfter)
	if err := os.Chtimes(path+".held", old, old); err != nil {
		t.Fatal(err)
	}
	if unlock, err = tryMarker(path); err != nil || unlock == nil {
		t.Fatalf("an old mark holds on: %v", err)
	}
	unlock()
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

// TestWaitForAMarkerIsTold: also where the first try only finds out that there are no locks.
func TestWaitForAMarkerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	unlock, err := tryMarker(path)
	if err != nil || unlock == nil {
		t.Fatal(err)
	}
	none := func(string) (func(), error) { return nil, errNoLocks }
	told := 0
	second, err := waitFor(t.Context(), none, path, func() { told++; time.AfterFunc(3*lockEvery, unlock) })
	if err != nil {
		t.Fatal(err)
	}
	second()
	if told != 1 {
		t.Errorf("told %d times that it waits, want once", told)
	}
}

// TestFreshMarkerIsNotCleared: another process was faster in clearing a dead one's, and has it now.
func TestFreshMarkerIsNotCleared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.held")
	old := time.Now().Add(-2 * deadAfter)
	if err := errors.Join(os.WriteFile(path, nil, 0o644), os.Chtimes(path, old, old)); err != nil {
		t.Fatal(err)
	}
	dead, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("fresh"), 0o644), clearMarker(path, dead)); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); string(text) != "fresh" {
		t.Errorf("the fresh marker is gone: %q, %v", text, err)
	}
	fresh, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(clearMarker(path, fresh), clearMarker(path, fresh)); err != nil { // the second finds nothing
		t.Error(err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}
