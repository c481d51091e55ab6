package main

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tune/internal/files"
	"tune/internal/machine"
)

// interruptible is a run of a second or two with everything in it that can be interrupted: steps, checkpoints, evaluations
// and samples.
const interruptible = `
name: kept
threads: 1
device: cpu
model: {path: model, dtype: float32}
lora: {rank: 4, alpha: 8, dropout: 0.2}
data: {train: train.jsonl, validation: validation.jsonl}
train: {max_steps: 30, batch_size: 1, gradient_accumulation_steps: 2, learning_rate: 1e-3, eval_steps: 4}
checkpoint: {steps: 3}
sample: {prompts: [Hello], steps: 10, max_new_tokens: 3}
`

// project is a folder with a model, rows and the config kept.yaml.
func project(t *testing.T, config string) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("Windows cannot send a signal to one process")
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "model"), os.DirFS(tinyModel(t))); err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	for i := range 9 {
		fmt.Fprintf(&rows, "{\"prompt\": \"What is %d plus %d?\", \"completion\": \"%s\"}\n", i, i+1, strings.Repeat("It is more. ", 1+i%4))
	}
	for name, content := range map[string]string{"kept.yaml": config, "train.jsonl": rows.String(), "validation.jsonl": rows.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// process is tune in a process of its own.
type process struct {
	*exec.Cmd
	stderr bytes.Buffer
}

// begin starts tune in a folder; each, when given, gets its lines of standard error as they come.
func begin(t *testing.T, dir string, each func(p *process, line string), args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command("tune", args...)} // the test binary itself: see TestMain
	p.Dir = dir
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			p.stderr.WriteString(lines.Text() + "\n")
			if each != nil {
				each(p, lines.Text())
			}
		}
		_, _ = io.Copy(io.Discard, pipe)
	}()
	timeout := time.AfterFunc(2*time.Minute, func() { _ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL) })
	t.Cleanup(func() { timeout.Stop(); _ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL) })
	wait := func() { <-done }
	p.Cancel = func() error { wait(); return nil }
	return p
}

// end waits and returns the exit code, -1 of a process that a signal has ended.
func (p *process) end() int {
	_ = p.Cancel() // all of standard error is read
	err := p.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		return -2
	}
	return 0
}

// worker returns the process that trains for p, 0 while there is none.
func (p *process) worker() int {
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		return p.workerOfProc()
	}
	for line := range strings.Lines(string(out)) {
		var pid, parent int
		if _, err := fmt.Sscan(line, &pid, &parent); err == nil && parent == p.Process.Pid {
			return pid
		}
	}
	return 0
}

// workerOfProc finds it where there is no ps, as in small containers.
func (p *process) workerOfProc() int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, _ := os.ReadFile(path)
		_, rest, _ := strings.Cut(string(b), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(p.Process.Pid) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	return 0
}

// outcome is what a run has come to, without what another try cannot repeat.
type outcome struct {
	ID, Status, Error string
	Steps             []struct {
		Step, Tokens int
		TargetTokens int         `json:"target_tokens"`
		Loss         json.Number `json:"loss"`
		GradNorm     json.Number `json:"grad_norm"`
	}
	Evaluations []struct {
		Step int
		Loss json.Number
	}
	Samples []struct {
		Step  int
		Reply string
	}
	Events []struct{ Kind, Message string }
	sum    string // of the adapter
}

func outcomeOf(t *testing.T, dir, ref string) (o outcome) {
	t.Helper()
	cmd := exec.Command("tune", "runs", "show", ref, "--json")
	cmd.Dir = dir
	b, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, err.(*exec.ExitError).Stderr)
	}
	if err := json.Unmarshal(b, &o); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if o.Status == "done" {
		where := "runs"
		if _, err := os.Stat(filepath.Join(dir, "disk")); err == nil {
			where = "disk/runs"
		}
		if o.sum, _, err = files.SHA256(filepath.Join(dir, where, o.ID, "adapter", "adapter_model.safetensors")); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// neverStopped is what the run of interruptible comes to when nothing stops it.
func neverStopped(t *testing.T) outcome {
	t.Helper()
	dir := project(t, interruptible)
	if p := begin(t, dir, nil, "run", "kept.yaml"); p.end() != 0 {
		t.Fatal(p.stderr.String())
	}
	return outcomeOf(t, dir, "last")
}

// same fails where two runs differ in a number, a word or the adapter.
func same(t *testing.T, what string, got, want outcome) {
	t.Helper()
	if got.Status != "done" {
		t.Fatalf("%s: %s: %s", what, got.Status, got.Error)
	}
	if diff := cmp.Diff(want.Steps, got.Steps); diff != "" {
		t.Errorf("%s: steps (-never stopped +stopped):\n%s", what, diff)
	}
	if diff := cmp.Diff(want.Evaluations, got.Evaluations); diff != "" {
		t.Errorf("%s: evaluations (-never stopped +stopped):\n%s", what, diff)
	}
	if diff := cmp.Diff(want.Samples, got.Samples); diff != "" {
		t.Errorf("%s: samples (-never stopped +stopped):\n%s", what, diff)
	}
	if got.sum != want.sum {
		t.Errorf("%s: the adapter's SHA-256 is %s, want %s", what, got.sum, want.sum)
	}
}

// TestKilledAtAnyMoment: kill -9 at random moments, of the training process, of the one that watches it, or of both; the
// run goes on and is in the end the one that was never stopped, to the last bit. TUNE_KILLS sets how often.
func TestKilledAtAnyMoment(t *testing.T) {
	kills := 4
	if n, err := strconv.Atoi(os.Getenv("TUNE_KILLS")); err == nil {
		kills = n
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	want := neverStopped(t)
	timed := project(t, interruptible)
	began := time.Now()
	if p := begin(t, timed, nil, "run", "kept.yaml"); p.end() != 0 {
		t.Fatal(p.stderr.String())
	}
	whole := time.Since(began)
	same(t, "once more", outcomeOf(t, timed, "last"), want)
	if len(want.Steps) != 30 || len(want.Evaluations) != 9 {
		t.Fatalf("%d steps, %d evaluations", len(want.Steps), len(want.Evaluations))
	}
	for i := range kills {
		dir := project(t, interruptible)
		victim := []string{"worker", "supervisor", "both"}[i%3]
		after := time.Duration(r.Int64N(int64(whole)))
		what := fmt.Sprintf("%s killed after %v", victim, after)
		p := begin(t, dir, nil, "run", "kept.yaml")
		time.Sleep(after)
		worker := p.worker()
		if victim != "worker" {
			_ = syscall.Kill(p.Process.Pid, syscall.SIGKILL)
		}
		if victim != "supervisor" && worker != 0 {
			_ = syscall.Kill(worker, syscall.SIGKILL)
		}
		code := p.end()
		// A worker that is alone may still be saving its checkpoint: what goes on waits for it.
		if _, err := os.Stat(filepath.Join(dir, "runs.db")); err != nil {
			t.Logf("%s: before there was a database", what)
			continue
		}
		runs := exec.Command("tune", "runs", "--json")
		runs.Dir = dir
		if out, err := runs.Output(); err != nil {
			t.Fatalf("%s: %v", what, err)
		} else if strings.TrimSpace(string(out)) == "[]" {
			t.Logf("%s: before there was a run", what)
			continue
		}
		before := outcomeOf(t, dir, "last")
		if before.Status != "done" {
			if code == 0 {
				t.Errorf("%s: the run is %s, and the exit code 0", what, before.Status)
			}
			p := begin(t, dir, nil, "resume", "last")
			if p.end() != 0 {
				t.Fatalf("%s: resume: %s", what, p.stderr.String())
			}
		}
		after2 := outcomeOf(t, dir, "last")
		t.Logf("%s: %d steps were recorded, status %s", what, len(before.Steps), before.Status)
		same(t, what, after2, want)
	}
}

// TestSignals: the first Ctrl-C or SIGTERM ends a run after a step, with a checkpoint and a word on how to go on; a second at
// once. What comes after either is the run that was never stopped.
func TestSignals(t *testing.T) {
	want := neverStopped(t)
	for name, tc := range map[string]struct {
		signals []syscall.Signal
		group   bool // as a terminal does, which sends them to all of its processes
		says    string
	}{
		"Ctrl-C":         {[]syscall.Signal{syscall.SIGINT}, true, "interrupted"},
		"SIGTERM":        {[]syscall.Signal{syscall.SIGTERM}, false, "interrupted"},
		"Ctrl-C, Ctrl-C": {[]syscall.Signal{syscall.SIGINT, syscall.SIGINT}, true, "quit at once"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := project(t, interruptible)
			sent := false
			p := begin(t, dir, func(p *process, line string) {
				if sent || !strings.HasPrefix(line, "step 4  validation") {
					return
				}
				sent = true
				for i, s := range tc.signals {
					if i > 0 {
						time.Sleep(5 * time.Millisecond)
					}
					pid := p.Process.Pid
					if tc.group {
						pid = -pid
					}
					_ = syscall.Kill(pid, s)
				}
			}, "run", "kept.yaml")
			code := p.end()
			got := outcomeOf(t, dir, "last")
			if code != exitFailure || got.Status != "interrupted" || len(got.Steps) < 4 || len(got.Steps) == 30 {
				t.Fatalf("exit code %d, %s after %d steps\n%s", code, got.Status, len(got.Steps), p.stderr.String())
			}
			for _, says := range []string{"interrupted", "tune: hint: tune resume " + got.ID} {
				if !strings.Contains(p.stderr.String(), says) {
					t.Errorf("stderr does not say %q:\n%s", says, p.stderr.String())
				}
			}
			again := begin(t, dir, nil, "run", "kept.yaml") // the same command goes on
			if again.end() != 0 || !strings.Contains(again.stderr.String(), "of this config was interrupted after step") {
				t.Fatal(again.stderr.String())
			}
			same(t, name, outcomeOf(t, dir, got.ID), want)
		})
	}
}

// stoppedRun is a project with a run that was interrupted behind step 4.
func stoppedRun(t *testing.T) (dir string, run outcome) {
	t.Helper()
	dir = project(t, interruptible)
	p := begin(t, dir, func(p *process, line string) {
		if strings.HasPrefix(line, "step 4  validation") {
			_ = p.Process.Signal(os.Interrupt)
		}
	}, "run", "kept.yaml")
	if code := p.end(); code != exitFailure {
		t.Fatalf("exit code %d\n%s", code, p.stderr.String())
	}
	return dir, outcomeOf(t, dir, "last")
}

// TestWhatHasChangedIsRefused: rows, model or config that are not those that a run began with end a resume, with what
// differs, and change nothing.
func TestWhatHasChangedIsRefused(t *testing.T) {
	dir, run := stoppedRun(t)
	for _, tc := range []struct {
		file, says string
		args       []string
	}{
		{"train.jsonl", `data\.train: train\.jsonl has changed since the run began: its SHA-256 is [0-9a-f]{12}\.\.\., was [0-9a-f]{12}`, nil},
		{"validation.jsonl", `data\.validation: validation\.jsonl has changed`, nil},
		{"model/config.json", `model\.path: model has changed`, nil},
		{"kept.yaml", `kept\.yaml: train\.learning_rate: is 0\.002, in the run it was 0\.001`, []string{"kept.yaml"}},
	} {
		path := filepath.Join(dir, tc.file)
		was, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		now := append(bytes.ReplaceAll(was, []byte("1e-3"), []byte("2e-3")), ' ', '\n')
		if err := os.WriteFile(path, now, 0o644); err != nil {
			t.Fatal(err)
		}
		p := begin(t, dir, nil, append([]string{"resume", run.ID}, tc.args...)...)
		if code := p.end(); code != exitBadInput || !matches(tc.says, p.stderr.String()) {
			t.Errorf("%s: exit code %d\n%s", tc.file, code, p.stderr.String())
		}
		if err := os.WriteFile(path, was, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := outcomeOf(t, dir, run.ID); len(got.Steps) != len(run.Steps) {
			t.Errorf("%s: %d steps are recorded, were %d", tc.file, len(got.Steps), len(run.Steps))
		}
	}
	for _, args := range [][]string{{"resume", run.ID, "kept.yaml"}, {"resume", run.ID}} {
		p := begin(t, dir, nil, args...)
		code := p.end()
		if len(args) == 3 && code != 0 {
			t.Fatalf("as it was: exit code %d\n%s", code, p.stderr.String())
		}
		if len(args) == 2 && (code != exitBadInput || !strings.Contains(p.stderr.String(), "is done: there is nothing to go on with")) {
			t.Errorf("a run that is done: exit code %d\n%s", code, p.stderr.String())
		}
	}
}

// TestFreshBeginsAnew, and so does another config.
func TestFreshBeginsAnew(t *testing.T) {
	dir, run := stoppedRun(t)
	for _, args := range [][]string{{"--fresh"}, {"--set", "seed=7"}} {
		p := begin(t, dir, nil, append([]string{"run", "kept.yaml", "--set", "train.max_steps=30"}, args...)...)
		if p.end() != 0 {
			t.Fatal(p.stderr.String())
		}
		if got := outcomeOf(t, dir, "last"); got.ID == run.ID || len(got.Steps) != 30 {
			t.Errorf("%v: run %s with %d steps", args, got.ID, len(got.Steps))
		}
	}
}

// TestDamagedCheckpointIsToldLoudly: the run goes on from the one before, or from the beginning, with a warning.
func TestDamagedCheckpointIsToldLoudly(t *testing.T) {
	dir, run := stoppedRun(t)
	found, err := filepath.Glob(filepath.Join(dir, "runs", run.ID, "checkpoints", "checkpoint-*", "training.safetensors"))
	if err != nil || len(found) == 0 {
		t.Fatal(found, err)
	}
	newest := found[len(found)-1]
	b, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(newest, b, 0o644); err != nil {
		t.Fatal(err)
	}
	p := begin(t, dir, nil, "resume", "last")
	if p.end() != 0 || !matches(`warning: runs/.*/checkpoint-\d+ is damaged and was passed over: training\.safetensors: its SHA-256 is`, p.stderr.String()) {
		t.Fatal(p.stderr.String())
	}
	same(t, "from the checkpoint before", outcomeOf(t, dir, "last"), neverStopped(t))
}

// TestWorkerDeathIsRecorded: how it died, and when there are no retries left the run has failed.
func TestWorkerDeathIsRecorded(t *testing.T) {
	dir := project(t, strings.Replace(interruptible, "threads: 1", "threads: 1\nretries: 1", 1))
	p := begin(t, dir, func(p *process, line string) {
		if matches(`^step (1|\d+  validation)`, line) || strings.HasPrefix(line, "going on behind") {
			if worker := p.worker(); worker != 0 {
				_ = syscall.Kill(worker, syscall.SIGSEGV)
			}
		}
	}, "run", "kept.yaml")
	code := p.end()
	got := outcomeOf(t, dir, "last")
	if code != exitFailure || got.Status != "failed" || !matches(`its training process ended after step \d+: `, got.Error) {
		t.Fatalf("exit code %d, %s: %s\n%s", code, got.Status, got.Error, p.stderr.String())
	}
	var deaths int
	for _, e := range got.Events {
		if e.Kind == "worker_death" && strings.Contains(e.Message, "going on from its last checkpoint (1 of 1 retries)") {
			deaths++
		}
	}
	if deaths != 1 {
		t.Errorf("events %+v", got.Events)
	}
	if again := begin(t, dir, nil, "resume", "last"); again.end() != 0 {
		t.Error(again.stderr.String())
	}
}

func matches(pattern, text string) bool { return regexp.MustCompile(pattern).MatchString(text) }

// TestOutOfMemoryTakesFewerRows: a worker that the system ended for want of memory is followed by one that works on half as
// many rows at a time, in the same optimizer steps.
func TestOutOfMemoryTakesFewerRows(t *testing.T) {
	dir := project(t, strings.Replace(interruptible, "batch_size: 1, gradient_accumulation_steps: 2", "batch_size: 2", 1))
	base := begin(t, dir, nil, "run", "kept.yaml")
	if base.end() != 0 {
		t.Fatal(base.stderr.String())
	}
	want := outcomeOf(t, dir, "last")
	t.Chdir(dir)
	counted := int64(0)
	oomKills = func() int64 { counted++; return counted } // one more each time it is asked
	defer func() { oomKills = machine.OOMKills }()
	self := &process{Cmd: &exec.Cmd{Process: &os.Process{Pid: os.Getpid()}}}
	killed := false
	var errs bytes.Buffer
	code := run(t.Context(), []string{"tune", "run", "kept.yaml", "--fresh"}, io.Discard, writeFunc(func(b []byte) (int, error) {
		if bytes.Contains(b, []byte("step 4  validation")) && !killed {
			killed = true
			_ = syscall.Kill(self.worker(), syscall.SIGKILL)
		}
		return errs.Write(b)
	}))
	got := outcomeOf(t, dir, "last")
	if code != 0 || !killed || !matches(`killed, as the system does when memory runs out; going on from its last checkpoint \(1 of 2 retries\), with 1 row at a time`, errs.String()) {
		t.Fatalf("exit code %d\n%s", code, errs.String())
	}
	if len(got.Steps) != len(want.Steps) {
		t.Fatalf("%d steps, want %d", len(got.Steps), len(want.Steps))
	}
	for i, s := range got.Steps {
		a, _ := s.Loss.Float64()
		b, _ := want.Steps[i].Loss.Float64()
		// Dropout falls on other places when rows are worked on one by one, so the losses are near and no more.
		if math.Abs(a-b) > 0.05*b || s.Tokens != want.Steps[i].Tokens || s.TargetTokens != want.Steps[i].TargetTokens {
			t.Errorf("step %d: loss %g of %d tokens, want about %g of %d", s.Step, a, s.Tokens, b, want.Steps[i].Tokens)
		}
	}
}

func TestHalved(t *testing.T) {
	for _, tc := range [][3]int{{0, 8, 4}, {4, 8, 2}, {0, 1, 0}, {1, 8, 0}, {0, 3, 1}} {
		if got := halved(tc[0], tc[1]); got != tc[2] {
			t.Errorf("halved(%d, %d) = %d, want %d", tc[0], tc[1], got, tc[2])
		}
	}
}

// TestWorkerIsNoCommandForPeople.
func TestWorkerIsNoCommandForPeople(t *testing.T) {
	p := begin(t, t.TempDir(), nil, "worker")
	if code := p.end(); code != exitBadInput || !strings.Contains(p.stderr.String(), "is started by tune run") {
		t.Errorf("exit code %d: %s", code, p.stderr.String())
	}
}

// TestTwoRunsShareADatabase: two at the same time, each with its own rows and folder.
func TestTwoRunsShareADatabase(t *testing.T) {
	dir := project(t, interruptible)
	first := begin(t, dir, nil, "run", "kept.yaml", "--set", "name=one")
	second := begin(t, dir, nil, "run", "kept.yaml", "--set", "name=two")
	if first.end() != 0 || second.end() != 0 {
		t.Fatal(first.stderr.String(), second.stderr.String())
	}
	same(t, "two at the same time", outcomeOf(t, dir, "one"), outcomeOf(t, dir, "two"))
}

// TestWallTimeAddsUp: that of a run is the time of all its processes.
func TestWallTimeAddsUp(t *testing.T) {
	dir, run := stoppedRun(t)
	read := func() (wall, load float64) {
		cmd := exec.Command("tune", "runs", "show", run.ID, "--json")
		cmd.Dir = dir
		b, err := cmd.Output()
		var r struct {
			Wall float64 `json:"wall_seconds"`
			Load float64 `json:"load_seconds"`
		}
		if err = errors.Join(err, json.Unmarshal(b, &r)); err != nil {
			t.Fatal(err)
		}
		return r.Wall, r.Load
	}
	wall, load := read()
	time.Sleep(time.Second) // which is none of the run's
	began := time.Now()
	if p := begin(t, dir, nil, "resume", "last"); p.end() != 0 {
		t.Fatal(p.stderr.String())
	}
	took := time.Since(began).Seconds()
	wall2, load2 := read()
	if wall2 <= wall || wall2 > wall+took || load2 <= load {
		t.Errorf("wall %.3f s and then %.3f s after %.3f s more, load %.3f s and then %.3f s", wall, wall2, took, load, load2)
	}
}

// TestWhatAConfigLeavesOpenIsNoDifference: a run keeps what it has made of auto and of threads: 0, and the file that it was begun with
// is its own all the same.
func TestWhatAConfigLeavesOpenIsNoDifference(t *testing.T) {
	dir := project(t, strings.NewReplacer("threads: 1\n", "", "device: cpu\n", "", ", dtype: float32", "").Replace(interruptible))
	interrupt := func(p *process, line string) {
		if strings.HasPrefix(line, "step 4  validation") || strings.HasPrefix(line, "step 12  validation") {
			_ = p.Process.Signal(os.Interrupt)
		}
	}
	if p := begin(t, dir, interrupt, "run", "kept.yaml"); p.end() != exitFailure {
		t.Fatal(p.stderr.String())
	}
	first := outcomeOf(t, dir, "last").ID
	if p := begin(t, dir, interrupt, "run", "kept.yaml"); p.end() != exitFailure || !strings.Contains(p.stderr.String(), "run "+first+" of this config was interrupted") {
		t.Fatal(p.stderr.String())
	}
	if p := begin(t, dir, nil, "resume", "last", "kept.yaml"); p.end() != 0 {
		t.Fatal(p.stderr.String())
	}
	if last := outcomeOf(t, dir, "last"); last.ID != first || last.Status != "done" {
		t.Errorf("run %s is %s, want %s done", last.ID, last.Status, first)
	}
}

// TestOneOfTwoResumes: of two that go on with a run at the same moment one does, and the other says why not.
func TestOneOfTwoResumes(t *testing.T) {
	dir, run := stoppedRun(t)
	both := []*process{begin(t, dir, nil, "resume", run.ID), begin(t, dir, nil, "resume", run.ID)}
	codes := map[int]int{}
	for _, p := range both {
		code := p.end()
		codes[code]++
		if code != 0 && !matches(`^tune: error: .*run `+run.ID+`:? is (running, as process \d+|done)`, p.stderr.String()) {
			t.Errorf("exit code %d: %s", code, p.stderr.String())
		}
	}
	if codes[0] != 1 || codes[exitBadInput] != 1 {
		t.Errorf("exit codes %v, want one 0 and one %d", codes, exitBadInput)
	}
	same(t, "one of two", outcomeOf(t, dir, run.ID), neverStopped(t))
}

// TestLockedDatabaseEndsTheRun: another program that holds runs.db and does not let go costs a run its going on, and nothing else.
func TestLockedDatabaseEndsTheRun(t *testing.T) {
	dir := project(t, interruptible)
	release, released := make(chan struct{}), make(chan error)
	held := false
	p := begin(t, dir, func(_ *process, line string) {
		if held || !strings.HasPrefix(line, "step 4  validation") {
			return
		}
		held = true
		db, err := sql.Open("sqlite3", filepath.Join(dir, "runs.db")+"?_txlock=immediate")
		if err != nil {
			t.Error(err)
			return
		}
		tx, err := db.Begin()
		if err != nil {
			t.Error(err)
			return
		}
		go func() {
			<-release
			released <- errors.Join(tx.Rollback(), db.Close())
		}()
	}, "run", "kept.yaml")
	code := p.end()
	if !held {
		t.Fatal(p.stderr.String())
	}
	close(release)
	if err := <-released; err != nil {
		t.Fatal(err)
	}
	if says := p.stderr.String(); code != exitFailure || !matches(`tune: error: run .*runs\.db: .*locked by another program`, says) {
		t.Fatalf("exit code %d: %s", code, says)
	}
	got := outcomeOf(t, dir, "last")
	if len(got.Steps) < 4 {
		t.Errorf("%d steps are recorded", len(got.Steps))
	}
	if again := begin(t, dir, nil, "resume", "last"); again.end() != 0 {
		t.Fatal(again.stderr.String())
	}
	same(t, "locked", outcomeOf(t, dir, "last"), neverStopped(t))
}

// TestRunFolderIsForItsOwnerAlone: checkpoints and state say what people have trained on.
func TestRunFolderIsForItsOwnerAlone(t *testing.T) {
	dir, run := stoppedRun(t)
	info, err := os.Stat(filepath.Join(dir, "runs", run.ID))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
