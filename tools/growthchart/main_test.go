package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNewestRunIsDrawn: earlier runs in the file are left alone, and sweeps that were not measured have no chart.
func TestNewestRunIsDrawn(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "growth.jsonl")
	lines := `{"run":"a","sweep":"rank","batch":4,"length":128,"rank":4,"dtype":"float32","step_s_median":1,"peak_rss_gb":0.3}
{"run":"b","sweep":"batch","shape":"small","batch":1,"length":128,"rank":16,"dtype":"float32","step_s_median":0.1,"peak_rss_gb":0.3}
{"run":"b","sweep":"batch","shape":"small","batch":2,"length":128,"rank":16,"dtype":"float32","step_s_median":0.1,"peak_rss_gb":0.4}
`
	if err := os.WriteFile(path, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(path, dir, "svg"); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(filepath.Join(dir, "growth-batch.svg"))
	if err != nil || !strings.Contains(string(svg), "Training small: rows in a batch") {
		t.Errorf("%v\n%s", err, svg)
	}
	if _, err := os.Stat(filepath.Join(dir, "growth-rank.svg")); err == nil {
		t.Error("drew the rank of an earlier run")
	}
	if err := os.WriteFile(path, []byte("{}\nno json\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(path, dir, "svg"); err == nil || !strings.Contains(err.Error(), "growth.jsonl: line 2: ") {
		t.Errorf("a broken line: %v", err)
	}
}
