package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tune/configs"
	"tune/internal/runstore"
)

// halvingSweep is four trials of interruptible, of which two go on behind step 9, which is not evaluated otherwise, and one
// behind step 15.
const halvingSweep = `
name: halved
base: kept.yaml
set: {train.max_steps: 18}
keys:
  lora.rank: [2, 4]
  train.learning_rate: [1e-3, 4e-3]
halving: {rungs: [0.5, 0.83]}
`

// sweepProject is a project with the sweep s.yaml.
func sweepProject(t *testing.T, sweep string) string {
	t.Helper()
	dir := project(t, interruptible)
	if err := os.WriteFile(filepath.Join(dir, "s.yaml"), []byte(sweep), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// sweepOutcome is what a sweep has come to, without what another try cannot repeat.
type sweepOutcome struct {
	ID, Status, Best string
	Ranking          []struct {
		Place     int
		Trial     int             `json:"sweep_trial"`
		Settings  json.RawMessage `json:"sweep_settings"`
		Value     json.Number
		ValueStep int    `json:"value_step"`
		RunID     string `json:"run_id"`
		Status    string
		Stopped   bool
		StepsDone int `json:"steps_done"`
		Error     string
	}
}

func sweepOf(t *testing.T, dir string) (o sweepOutcome) {
	t.Helper()
	cmd := exec.Command("tune", "sweep", "show", "last", "--json")
	cmd.Dir = dir
	b, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, err.(*exec.ExitError).Stderr)
	}
	if err := json.Unmarshal(b, &o); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	return o
}

// table is the outcome without ids.
func (o sweepOutcome) table() sweepOutcome {
	o.ID, o.Best = "", ""
	o.Ranking = append(o.Ranking[:0:0], o.Ranking...)
	for i := range o.Ranking {
		o.Ranking[i].RunID = ""
	}
	return o
}

// TestSweepKilledAtAnyMoment: kill -9 at random moments, of the process that watches or of all; the same command goes on and
// comes to the table of a sweep that nobody killed.
func TestSweepKilledAtAnyMoment(t *testing.T) {
	kills := 2
	if n, err := strconv.Atoi(os.Getenv("TUNE_KILLS")); err == nil {
		kills = n
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	whole := sweepProject(t, halvingSweep)
	began := time.Now()
	if p := begin(t, whole, nil, "sweep", "s.yaml"); p.end() != 0 {
		t.Fatal(p.stderr.String())
	}
	took := time.Since(began)
	want := sweepOf(t, whole)
	if len(want.Ranking) != 4 || want.Status != "done" || want.Ranking[0].StepsDone != 18 || want.Ranking[1].StepsDone != 15 || want.Ranking[3].StepsDone != 9 {
		t.Fatalf("nobody killed it, and it came to %+v", want)
	}
	for i := range kills {
		dir := sweepProject(t, halvingSweep)
		after := time.Duration(r.Int64N(int64(took)))
		what := fmt.Sprintf("killed after %v of %v", after, took)
		p := begin(t, dir, nil, "sweep", "s.yaml")
		time.Sleep(after)
		pid := p.Process.Pid
		if i%2 == 1 {
			pid = -pid // the training processes as well
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
		p.end()
		again := begin(t, dir, nil, "sweep", "s.yaml")
		if again.end() != 0 {
			t.Fatalf("%s: %s", what, again.stderr.String())
		}
		t.Logf("%s: %s", what, firstLine(again.stderr.String()))
		got := sweepOf(t, dir)
		if diff := cmp.Diff(want.table(), got.table()); diff != "" {
			t.Errorf("%s (-never killed +killed):\n%s", what, diff)
		}
		if a, b := outcomeOf(t, dir, got.Best), outcomeOf(t, whole, want.Best); a.sum != b.sum {
			t.Errorf("%s: the best adapter is another", what)
		}
	}
}

// TestHalvedTrialGoesOnByHand: one that its sweep has stopped says why, and is in the end the run that went through.
func TestHalvedTrialGoesOnByHand(t *testing.T) {
	dir := sweepProject(t, halvingSweep)
	if p := begin(t, dir, nil, "sweep", "s.yaml"); p.end() != 0 {
		t.Fatal(p.stderr.String())
	}
	o := sweepOf(t, dir)
	last := o.Ranking[3]
	if last.Place != 4 || last.Status != "interrupted" || !last.Stopped || !strings.HasPrefix(last.Error, "stopped by its sweep: place 4 of 4 at step 9, by validation loss ") {
		t.Fatalf("the last is %+v", last)
	}
	var settings struct {
		Rank int     `json:"lora.rank"`
		Rate float64 `json:"train.learning_rate"`
	}
	if err := json.Unmarshal(last.Settings, &settings); err != nil {
		t.Fatal(err)
	}
	if p := begin(t, dir, nil, "resume", last.RunID); p.end() != 0 {
		t.Fatal(p.stderr.String())
	}
	if p := begin(t, dir, nil, "run", "kept.yaml", "--set", "name=through", "--set", "train.max_steps=18",
		"--set", fmt.Sprintf("lora.rank=%d", settings.Rank), "--set", fmt.Sprintf("train.learning_rate=%g", settings.Rate)); p.end() != 0 {
		t.Fatal(p.stderr.String())
	}
	byHand, through := outcomeOf(t, dir, last.RunID), outcomeOf(t, dir, "through")
	at := func(o outcome) (steps []int) {
		for _, e := range o.Evaluations {
			steps = append(steps, e.Step)
		}
		return steps
	}
	if diff := cmp.Diff([]int{0, 4, 8, 9, 12, 16, 18}, at(byHand)); diff != "" {
		t.Errorf("evaluated after (-want +got):\n%s", diff)
	}
	byHand.Evaluations = append(byHand.Evaluations[:3], byHand.Evaluations[4:]...) // the one of the rung
	same(t, "by hand", byHand, through)
	if again := sweepOf(t, dir); again.Ranking[0].Status != "done" || again.Ranking[1].Status != "done" {
		t.Errorf("the table has not noticed: %+v", again.Ranking)
	}
}

// TestSweepIsInterrupted: Ctrl-C ends it after a step with a word on how to go on; meanwhile a second process was refused, and
// two trials at once are told both.
func TestSweepIsInterrupted(t *testing.T) {
	dir := sweepProject(t, strings.Replace(halvingSweep, "train.max_steps: 18", "train.max_steps: 1000000", 1)+"jobs: 2\n")
	p := begin(t, dir, nil, "sweep", "s.yaml")
	var second *process
	for range 600 { // until both have made steps
		time.Sleep(100 * time.Millisecond)
		if _, err := os.Stat(filepath.Join(dir, "runs.db")); err == nil {
			if o := sweepOf(t, dir); len(o.Ranking) == 2 && o.Ranking[0].StepsDone > 0 && o.Ranking[1].StepsDone > 0 {
				break
			}
		}
	}
	second = begin(t, dir, nil, "sweep", "s.yaml")
	if code := second.end(); code != exitBadInput || !strings.Contains(second.stderr.String(), "is running, as process ") {
		t.Errorf("the second: exit code %d, %s", code, second.stderr.String())
	}
	_ = syscall.Kill(-p.Process.Pid, syscall.SIGINT)
	if code := p.end(); code != exitFailure {
		t.Errorf("exit code %d\n%s", code, p.stderr.String())
	}
	for _, says := range []string{"ending after this step", ": interrupted: 0 of 4 trials done", "tune: hint: tune sweep s.yaml goes on"} {
		if strings.Count(p.stderr.String(), says) != 1 {
			t.Errorf("stderr does not say %q once:\n%s", says, p.stderr.String())
		}
	}
	o := sweepOf(t, dir)
	if o.Status != "interrupted" || len(o.Ranking) != 2 || o.Ranking[0].Status != "interrupted" || o.Ranking[1].Status != "interrupted" {
		t.Errorf("it is %+v", o)
	}

	// With another file, or another base, it does not go on.
	for _, change := range []struct{ file, was, is, says string }{
		{"s.yaml", "lora.rank: [2, 4]", "lora.rank: [2, 8]", "sweep " + o.ID + ": keys.lora.rank: is [2, 8], was [2, 4]\n"},
		{"kept.yaml", "alpha: 8", "alpha: 9", "kept.yaml: lora.alpha: is 9, when the sweep began it was 8\n"},
	} {
		path := filepath.Join(dir, change.file)
		own, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(string(own), change.was, change.is, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"sweep", "s.yaml"}, {"sweep", "--resume", o.ID}} {
			if args[1] == "--resume" && change.file == "s.yaml" { // which it does not read
				continue
			}
			p := begin(t, dir, nil, args...)
			if code := p.end(); code != exitBadInput || !strings.HasPrefix(p.stderr.String(), "tune: error: "+change.says+"tune: hint: ") || !strings.HasSuffix(p.stderr.String(), "--fresh begins a new sweep\n") {
				t.Errorf("%v with another %s: exit code %d, %s", args, change.file, code, p.stderr.String())
			}
		}
		if err := os.WriteFile(path, own, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSweepSeveralAtOnce comes to the table of one after the other.
func TestSweepSeveralAtOnce(t *testing.T) {
	var tables []sweepOutcome
	for _, jobs := range []string{"1", "2"} {
		dir := sweepProject(t, halvingSweep+"jobs: "+jobs+"\n")
		if p := begin(t, dir, nil, "sweep", "s.yaml"); p.end() != 0 {
			t.Fatal(p.stderr.String())
		}
		tables = append(tables, sweepOf(t, dir).table())
	}
	if diff := cmp.Diff(tables[0], tables[1]); diff != "" {
		t.Errorf("(-one at a time +two):\n%s", diff)
	}
}

func TestJobs(t *testing.T) {
	trials := func(peaks ...int64) (out []*sweepTrial) {
		for _, peak := range peaks {
			out = append(out, &sweepTrial{Trial: configs.Trial{Config: &configs.Config{}}, peakBytes: peak})
		}
		return out
	}
	for _, tc := range []struct {
		name  string
		limit int64
		want  int
	}{{"memory for all", 1 << 40, 2}, {"for one", 150, 1}, {"for less than one", 50, 1}, {"unknown", 0, 1}} {
		s := &sweeper{spec: &configs.Sweep{}, trials: trials(100, 90), limit: tc.limit}
		if got := s.fitting(); min(got, 2) != tc.want {
			t.Errorf("%s: %d at once, want %d", tc.name, got, tc.want)
		}
	}
	s := &sweeper{spec: &configs.Sweep{Jobs: 64}, trials: trials(1, 1)}
	if s.settleJobs(); s.trials[0].Config.Threads != 1 {
		t.Errorf("64 jobs leave each %d threads", s.trials[0].Config.Threads)
	}
	s = &sweeper{spec: &configs.Sweep{Jobs: 64}, trials: trials(1, 1), threads: 7}
	if s.settleJobs(); s.trials[1].Config.Threads != 7 {
		t.Errorf("a trial beside others with 7 threads has %d", s.trials[1].Config.Threads)
	}
}

func TestOrderOfTrials(t *testing.T) {
	trial := func(n int, status string, stopped bool, done int64, value float64) rankedTrial {
		return rankedTrial{Trial: n, Status: status, Stopped: stopped, StepsDone: done, Steps: 100, Value: runstore.Real(value)}
	}
	order := []rankedTrial{ // as they rank
		trial(5, "done", false, 100, 1), trial(2, "done", false, 100, 1), trial(9, "done", false, 60, 3),
		trial(3, "interrupted", true, 50, 4), trial(1, "interrupted", true, 25, 2), trial(8, "interrupted", true, 25, 3),
		trial(4, "interrupted", false, 99, 0.1), trial(6, "running", false, 1, 0.1), trial(7, "diverged", false, 99, 0.1),
	}
	for i := 1; i < len(order); i++ {
		if i == 1 { // equal values: the number decides
			if compareTrials(order[1], order[0]) >= 0 {
				t.Error("of two equal ones the earlier is not first")
			}
			continue
		}
		if compareTrials(order[i-1], order[i]) >= 0 || compareTrials(order[i], order[i-1]) <= 0 {
			t.Errorf("trial %d is not before trial %d", order[i-1].Trial, order[i].Trial)
		}
	}
}

func TestShortKeys(t *testing.T) {
	got := shortKeys([]string{"lora.rank", "sample.steps", "checkpoint.steps", "seed"})
	if diff := cmp.Diff([]string{"rank", "sample.steps", "checkpoint.steps", "seed"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, values := settingsJSON(`{"a":0.00002,"b":16,"c":["q_proj","v_proj"],"d":"cosine","e":true,"f":[1,2],"g":0.5,"h":1e+30}`).values()
	if diff := cmp.Diff([]string{"2e-5", "16", "q_proj+v_proj", "cosine", "true", "[1,2]", "0.5", "1e+30"}, values); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
