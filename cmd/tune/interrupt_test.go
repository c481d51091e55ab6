package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// longConfig trains for minutes unless it is stopped.
const longConfig = `
name: long
threads: 1
device: cpu
model: {path: model}
data: {train: train.jsonl}
train: {max_steps: 1000000, learning_rate: 1e-3}
`

// TestInterruptedRunKeepsWhatItLearned: Ctrl-C ends a run after a whole step, with its row and its adapter.
func TestInterruptedRunKeepsWhatItLearned(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows cannot send an interrupt to one process")
	}
	tiny := tinyModel(t)
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "model"), os.DirFS(tiny)); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"long.yaml": longConfig,
		"train.jsonl": `{"prompt": "What is two plus three?", "completion": "Five."}` + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	cmd := exec.Command("tune", "run", "long.yaml") // the test binary itself: see TestMain
	cmd.Dir = dir
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	giveUp := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer giveUp.Stop()
	var told bytes.Buffer
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		told.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), "step 1/") {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailure {
		t.Fatalf("ended with %v, want exit code %d\n%s", err, exitFailure, told.String())
	}
	if !strings.Contains(told.String(), "interrupted") {
		t.Errorf("stderr does not say so:\n%s", told.String())
	}

	t.Chdir(dir)
	_, out, _ := tune(t, "runs", "show", "last", "--json")
	var row struct {
		Status    string
		Steps     []struct{ Step int }
		Artifacts []struct{ Path string }
		Wall      float64 `json:"wall_seconds"`
	}
	if err := json.Unmarshal([]byte(out), &row); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if row.Status != "interrupted" || len(row.Steps) == 0 || row.Wall <= 0 {
		t.Errorf("status %q, %d steps, %g seconds", row.Status, len(row.Steps), row.Wall)
	}
	if len(row.Artifacts) != 3 {
		t.Errorf("artifacts %v, want the adapter's two files and its model card", row.Artifacts)
	}
	if code, out, errs := tune(t, "generate", "--run", "long", "--max-new-tokens", "2", "Hello"); code != 0 || out == "" {
		t.Errorf("the adapter does not generate: code %d, %s", code, errs)
	}
}

// TestInterruptedReplyIsNoSuccess: what Ctrl-C has cut off is not taken for a whole reply.
func TestInterruptedReplyIsNoSuccess(t *testing.T) {
	tiny := tinyModel(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var errs bytes.Buffer
	pieces := 0
	out := writeFunc(func(b []byte) (int, error) {
		if pieces++; pieces == 3 {
			cancel() // as the first Ctrl-C does
		}
		return len(b), nil
	})
	code := run(ctx, []string{"tune", "generate", "--model", tiny, "--dtype", "float32", "--threads", "1", "--max-new-tokens", "400", "Hello"}, out, &errs)
	if code != exitFailure || errs.String() != "tune: error: generate: interrupted\n" {
		t.Errorf("exit code %d, %s", code, errs.String())
	}
}

// TestInterruptedExportWritesNothing, from the first moment on: not only while files are written.
func TestInterruptedExportWritesNothing(t *testing.T) {
	tiny := tinyModel(t)
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, to := range []string{"merged", "gguf"} {
		var errs bytes.Buffer
		code := run(ctx, []string{"tune", "export", tiny, "--to", to, "--out", "there"}, &bytes.Buffer{}, &errs)
		if code != exitFailure || errs.String() != "tune: error: interrupted: there was not written\n" {
			t.Errorf("--to %s: exit code %d, %s", to, code, errs.String())
		}
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}
