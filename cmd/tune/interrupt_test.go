package main

import (
	"bufio"
	"bytes"
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
