package files

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func write(name, text string) func(string) error {
	return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644) }
}

func TestReplaceDir(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "deep", "adapter")
	for _, text := range []string{"first", "second"} {
		if err := ReplaceDir(dir, write("a.txt", text)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "a.txt"))
		if err != nil || string(got) != text {
			t.Fatalf("a.txt holds %q (%v), want %q", got, err, text)
		}
	}
	if err := ReplaceDir(dir, write("b.txt", "third")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a.txt")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a.txt of the folder before is still there: %v", err)
	}
	onlyDir(t, dir)
}

func TestReplaceDirKeepsTheOldOnError(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "adapter")
	if err := ReplaceDir(dir, write("a.txt", "good")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("disk full")
	err := ReplaceDir(dir, func(dir string) error {
		if err := write("a.txt", "half")(dir); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Fatalf("got %v, want %v", err, broken)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "a.txt")); string(got) != "good" {
		t.Errorf("a.txt holds %q, want the old text", got)
	}
	onlyDir(t, dir)
}

// onlyDir fails when something temporary was left beside dir.
func onlyDir(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside %s: %v (%v), want nothing", dir, entries, err)
	}
}
