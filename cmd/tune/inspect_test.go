package main

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tune/internal/runstore"
)

func TestParseWhen(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.Local)
	for text, want := range map[string]time.Time{
		"7d": now.AddDate(0, 0, -7), "12h": now.Add(-12 * time.Hour), "30m": now.Add(-30 * time.Minute), "2w": now.AddDate(0, 0, -14),
		"2026-11-21":           time.Date(2026, 11, 21, 0, 0, 0, 0, time.Local),
		"2026-11-21T10:30":     time.Date(2026, 11, 21, 10, 30, 0, 0, time.Local),
		"2026-11-21 10:30:05":  time.Date(2026, 11, 21, 10, 30, 5, 0, time.Local),
		"2026-11-21T10:30:05Z": time.Date(2026, 11, 21, 10, 30, 5, 0, time.UTC),
	} {
		if got, ok := parseWhen(text, now); !ok || !got.Equal(want) {
			t.Errorf("%s: %v, %t, want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "d", "7", "7y", "-7d", "2026-13-01", "tomorrow", "99999999d"} {
		if got, ok := parseWhen(text, now); ok {
			t.Errorf("%q: %v, want none", text, got)
		}
	}
}

func TestBestOf(t *testing.T) {
	nan := math.NaN()
	for name, tc := range map[string]struct {
		values []float64
		shown  []string
		better string
		want   []int
	}{
		"lower":          {[]float64{3, 1, 2}, []string{"3", "1", "2"}, "lower", []int{1}},
		"higher":         {[]float64{3, 1, 2}, []string{"3", "1", "2"}, "higher", []int{0}},
		"not a number":   {[]float64{nan, 2, 1}, []string{"-", "2", "1"}, "lower", []int{2}},
		"only one":       {[]float64{nan, 2}, []string{"-", "2"}, "lower", nil},
		"all alike":      {[]float64{2.0001, 2.0002}, []string{"2.000", "2.000"}, "lower", nil},
		"two alike":      {[]float64{2.0001, 2.0002, 3}, []string{"2.000", "2.000", "3.000"}, "lower", []int{0, 1}},
		"neither":        {[]float64{1, 2}, []string{"1", "2"}, "", nil},
		"infinite":       {[]float64{math.Inf(-1), 2, 3}, []string{"-", "2", "3"}, "lower", []int{1}},
		"without values": {nil, nil, "lower", nil},
	} {
		if diff := cmp.Diff(tc.want, bestOf(tc.values, tc.shown, tc.better)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// ended is a store with a run that has ended, and its folder.
func ended(t *testing.T, id string) (store *runstore.Store, dir string) {
	t.Helper()
	t.Chdir(t.TempDir())
	store, err := runstore.Open("runs.db")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	dir = filepath.Join("runs", id)
	if err := errors.Join(store.CreateRun(t.Context(), runstore.Run{ID: id}), store.FinishRun(t.Context(), id, runstore.Finish{Status: runstore.Done}),
		os.MkdirAll(filepath.Join(dir, "adapter"), 0o755), os.WriteFile(filepath.Join(dir, "adapter", "x"), []byte("12345"), 0o644)); err != nil {
		t.Fatal(err)
	}
	return store, dir
}

// TestRemovalLosesNothingSilently: what fails half way leaves row and folder, or a word on what is left.
func TestRemovalLosesNothingSilently(t *testing.T) {
	there := func(path string) bool { _, err := os.Lstat(path); return err == nil }
	t.Run("the row cannot be deleted", func(t *testing.T) {
		store, dir := ended(t, "a")
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if err := remove(cancelled, store, "a", dir, os.RemoveAll); err == nil {
			t.Error("no error")
		}
		if _, err := store.Run(t.Context(), "a"); err != nil || !there(filepath.Join(dir, "adapter", "x")) || there(aside(dir)) {
			t.Errorf("row %v, folder %t", err, there(dir))
		}
	})
	t.Run("the process died before the row was deleted", func(t *testing.T) {
		store, dir := ended(t, "a")
		if err := os.Rename(dir, aside(dir)); err != nil {
			t.Fatal(err)
		}
		found, bytes, err := measure(dir)
		if err != nil || found != aside(dir) || bytes != 5 {
			t.Fatalf("%s, %d bytes, %v", found, bytes, err)
		}
		if err := remove(t.Context(), store, "a", found, os.RemoveAll); err != nil || there(found) {
			t.Errorf("%v, folder %t", err, there(found))
		}
	})
	t.Run("the process died after it", func(t *testing.T) {
		store, dir := ended(t, "a")
		if err := remove(t.Context(), store, "a", dir, func(string) error { return errors.New("no") }); err == nil || hintOf(err) != "remove "+aside(dir)+" by hand" {
			t.Errorf("%v, hint %q", err, hintOf(err))
		}
		if _, err := store.Run(t.Context(), "a"); !errors.Is(err, runstore.ErrNotFound) || !there(aside(dir)) {
			t.Errorf("row %v, folder aside %t", err, there(aside(dir)))
		}
		clearLeftovers(t.Context(), store, "runs")
		if there(aside(dir)) {
			t.Error("the next removal has left it")
		}
	})
	t.Run("a link", func(t *testing.T) {
		store, dir := ended(t, "a")
		if err := errors.Join(os.Rename(dir, "elsewhere"), os.Symlink("../elsewhere", dir)); err != nil {
			t.Skip(err)
		}
		found, _, err := measure(dir)
		if err = errors.Join(err, remove(t.Context(), store, "a", found, os.RemoveAll)); err != nil || there(dir) || !there("elsewhere/adapter/x") {
			t.Errorf("%v, link %t, what it led to %t", err, there(dir), there("elsewhere/adapter/x"))
		}
	})
}

func TestFolderOfHostileIDs(t *testing.T) {
	for _, id := range []string{"..", ".", "", "../x", "a/b", "/etc", `a\b`} {
		r := runstore.RunSummary{Run: runstore.Run{ID: id}}
		if dir, err := folderOf(&r); err == nil || !isBadInput(err) {
			t.Errorf("%q: %s, %v, want it refused", id, dir, err)
		}
	}
}
