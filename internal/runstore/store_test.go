package runstore

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// noon is when the tests' clock starts.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// newStore opens a fresh database with a clock that stands at noon until the test sets s.now.
func newStore(t testing.TB) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "runs.db"))
	if err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return noon }
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// must ends the test on an error of its set-up.
func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// fullRun has a value in every column, so that a column that is written to or read from the wrong field shows.
func fullRun(id string) Run {
	return Run{
		ID: id, Name: "bluey", Method: "lora", ModelPath: "models/pocket", ModelSHA256: "aa", ModelRevision: "c0ffee",
		DataTrain: "train.jsonl", DataTrainSHA256: "bb", DataValidation: "valid.jsonl", DataValidationSHA256: "cc",
		Config: "name: bluey\n", ConfigSHA256: "dd", Seed: -42, Device: "cpu", DeviceName: "Test CPU",
		DType: "bfloat16", Threads: 4, LearningRate: 2e-4, BatchSize: 5, GradientAccumulationSteps: 6,
		NumTrainEpochs: 7, MaxLength: 512, LoRARank: 16, LoRAAlpha: 32, TotalSteps: 84, TrainableParameters: 1000,
		TotalParameters: 2000000, TrainRows: 111, ValidationRows: 15, TuneVersion: "v0.1.0",
		LibtorchVersion: "1.13.1", GoVersion: "go1.26.0", GitCommit: "abc", GitDirty: true, Chip: "Test Chip",
		MachineModel: "Box1,1", OS: "Test OS 1", Arch: "arm64", Cores: 8, PerformanceCores: 3,
		MemoryBytes: 16 << 30, PredictedPeakMemoryBytes: 5 << 30, PredictedSeconds: 61.5,
	}
}

func TestARunFromCreationToItsEnd(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	r := fullRun("20261121-120000-bluey-abc")
	must(t, s.CreateRun(ctx, r))

	want := RunSummary{Run: r}
	seconds := func(wall, load, train, evaluate, save Real) {
		want.WallSeconds, want.LoadSeconds, want.TrainSeconds = wall, load, train
		want.EvaluateSeconds, want.SaveSeconds = evaluate, save
	}
	nan := Real(math.NaN())
	want.Status, want.CreatedAt = Queued, noon
	want.PID, want.Host, want.Process, want.HeartbeatAt, want.LastSeenAt = os.Getpid(), s.host, s.ownMark(), noon, noon
	seconds(nan, nan, nan, nan, nan)
	want.FirstLoss, want.LastLoss, want.StepSeconds, want.TokensPerSecond = nan, nan, nan, nan
	want.FirstValidationLoss, want.LastValidationLoss, want.BestValidationLoss = nan, nan, nan
	want.Run.BestValidationLoss = nan
	want.Tags, want.SwapBeforeBytes, want.SwapAfterBytes, want.LoadAverageBefore, want.LoadAverageAfter = []string{}, -1, -1, nan, nan
	want.OtherCoresBusy, want.EnergyJoules = nan, nan
	equal(t, s, want)

	r.TotalSteps, r.ModelSHA256 = 99, "ee"
	must(t, s.UpdateRun(ctx, r))
	want.TotalSteps, want.ModelSHA256 = 99, "ee"
	equal(t, s, want)

	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	s.now = func() time.Time { return at(1) }
	must(t, s.StartRun(ctx, r.ID))
	want.Status, want.PID, want.Host, want.Process, want.Attempts = Running, os.Getpid(), s.host, s.ownMark(), 1
	want.StartedAt, want.HeartbeatAt, want.LastSeenAt = at(1), at(1), at(1)
	equal(t, s, want)

	s.now = func() time.Time { return at(2) }
	must(t, s.Heartbeat(ctx, r.ID))
	must(t,
		s.RecordStep(ctx, r.ID, Step{Step: 1, Loss: 4, Tokens: 100, Seconds: 1, PeakMemoryBytes: 7, At: at(3)}),
		s.RecordStep(ctx, r.ID, Step{Step: 2, Loss: 3, Tokens: 200, Seconds: 1.5, PeakMemoryBytes: 9,
			DevicePeakMemoryBytes: 5, At: at(5)}),
		s.RecordEvaluation(ctx, r.ID, Evaluation{Step: 0, Loss: 5}),
		s.RecordEvaluation(ctx, r.ID, Evaluation{Step: 1, Loss: 3.5}),
		s.RecordEvaluation(ctx, r.ID, Evaluation{Step: 2, Loss: 3.75}),
		s.RecordEvaluation(ctx, r.ID, Evaluation{Step: 2, Split: "other", Loss: 1}), // not of the validation file
	)
	want.HeartbeatAt, want.LastSeenAt, want.StepsDone = at(2), at(5), 2
	want.FirstLoss, want.LastLoss, want.Tokens, want.StepSeconds, want.TokensPerSecond = 4, 3, 300, 2.5, 120
	want.FirstValidationLoss, want.LastValidationLoss, want.BestValidationLoss = 5, 3.75, 3.5
	want.PeakMemoryBytes, want.DevicePeakMemoryBytes = 9, 5
	equal(t, s, want)

	must(t, s.NoteBest(ctx, r.ID, 0, 5), s.NoteBest(ctx, r.ID, 1, 3.5), s.NoteCheckpoint(ctx, r.ID, "runs/a/checkpoint"))
	want.BestStep, want.Run.BestValidationLoss, want.Checkpoint = 1, 3.5, "runs/a/checkpoint"
	equal(t, s, want)

	s.now = func() time.Time { return at(6) }
	cancelled, cancel := context.WithCancel(ctx)
	cancel() // as by Ctrl-C
	must(t, s.FinishRun(cancelled, r.ID, Finish{Status: Interrupted, Error: "by the user", WallSeconds: 6,
		LoadSeconds: 1, TrainSeconds: 2.5, EvaluateSeconds: 0.5, SaveSeconds: 0.25}))
	want.Status, want.Error = Interrupted, "by the user"
	want.EndedAt, want.HeartbeatAt, want.LastSeenAt = at(6), at(6), at(6)
	seconds(6, 1, 2.5, 0.5, 0.25)
	equal(t, s, want)

	// Taken up again, it has no ending, and began when it began.
	s.now = func() time.Time { return at(9) }
	must(t, s.StartRun(ctx, r.ID), s.NoteResume(ctx, r.ID, 1))
	want.Status, want.Error, want.Attempts, want.ResumedFromStep = Running, "", 2, 1
	want.EndedAt, want.HeartbeatAt, want.LastSeenAt = time.Time{}, at(9), at(9)
	seconds(nan, nan, nan, nan, nan)
	equal(t, s, want)
}

// equal compares the run in the store, read alone and in a list, with what it should be; NaN equals NaN.
func equal(t *testing.T, s *Store, want RunSummary) {
	t.Helper()
	got, err := s.Run(t.Context(), want.ID)
	must(t, err)
	if diff := cmp.Diff(want, got, cmpNaN); diff != "" {
		t.Fatalf("run (-want +got):\n%s", diff)
	}
	listed, err := s.Runs(t.Context(), Filter{})
	must(t, err)
	want.Config = ""
	if diff := cmp.Diff([]RunSummary{want}, listed, cmpNaN); diff != "" {
		t.Fatalf("runs (-want +got):\n%s", diff)
	}
}

var cmpNaN = cmp.Comparer(func(a, b Real) bool { return a == b || a != a && b != b })

func TestColumnListsCoverTheTables(t *testing.T) {
	s := newStore(t)
	schema := readSchema(t, s)
	for table, columns := range map[string][]column{
		"runs": append(append(new(Run).description(), new(Run).life()...), column{"steps_done", nil}, column{"tokens", nil},
			column{"step_seconds", nil}, column{"peak_memory_bytes", nil}, column{"device_peak_memory_bytes", nil}),
		"sweeps":      new(Sweep).columns(),
		"steps":       append(new(Step).columns(), column{"run_id", nil}, column{"tokens_per_second", nil}),
		"evaluations": append(new(Evaluation).columns(), column{"run_id", nil}),
		"samples":     append(new(Sample).columns(), column{"run_id", nil}),
		"artifacts":   append(new(Artifact).columns(), column{"run_id", nil}),
		"events":      append(new(Event).columns(), column{"run_id", nil}, column{"id", nil}),
		"benchmarks":  append(new(Benchmark).columns(), column{"id", nil}),
	} {
		got := map[string]bool{}
		for _, c := range columns {
			got[c.name] = true
		}
		want := map[string]bool{}
		for name := range schema[table] {
			want[name] = true
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-schema +code):\n%s", table, diff)
		}
		delete(schema, table)
	}
	for table := range schema {
		t.Errorf("table %s: no code reads it", table)
	}
}

// readSchema returns the type of each column by table, generated ones included.
func readSchema(t *testing.T, s *Store) map[string]map[string]string {
	t.Helper()
	rows, err := s.db.Query(`SELECT m.name, c.name, c.type FROM sqlite_schema m, pragma_table_xinfo(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'`)
	must(t, err)
	defer rows.Close()
	out := map[string]map[string]string{}
	for rows.Next() {
		var table, name, kind string
		must(t, rows.Scan(&table, &name, &kind))
		if out[table] == nil {
			out[table] = map[string]string{}
		}
		out[table][name] = strings.TrimSuffix(kind, " GENERATED ALWAYS")
	}
	must(t, rows.Err())
	return out
}

func TestRecordsReadBackAsWritten(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	must(t, s.CreateRun(ctx, fullRun("a")), s.CreateRun(ctx, fullRun("b")))

	steps := []Step{
		{Step: 1, Epoch: 0.5, Loss: 2.5, LearningRate: 1e-4, GradNorm: 3, TargetTokens: 50, Tokens: 100, Seconds: 0.25,
			MemoryBytes: 1, PeakMemoryBytes: 2, DeviceMemoryBytes: 3, DevicePeakMemoryBytes: 4, At: noon},
		{Step: 2, At: noon.Add(1500 * time.Millisecond)},
	}
	for _, x := range steps {
		must(t, s.RecordStep(ctx, "a", x))
	}
	steps[0].TokensPerSecond, steps[1].TokensPerSecond = 400, Real(math.NaN()) // 100/0.25, and 0/0
	got, err := s.Steps(ctx, "a")
	compare(t, steps, got, err)

	evaluations := []Evaluation{
		{Step: 0, Split: "validation", Loss: 1, TargetTokens: 9, Seconds: 0.5, At: noon},
		{Step: 2, Split: "other", Loss: 0, At: noon},
		{Step: 2, Split: "validation", Loss: 1000, At: noon},
	}
	for _, x := range evaluations {
		must(t, s.RecordEvaluation(ctx, "a", x))
	}
	evaluations[0].Perplexity, evaluations[1].Perplexity = math.E, 1
	evaluations[2].Perplexity = Real(math.NaN()) // e^1000 is no float64
	gotEvaluations, err := s.Evaluations(ctx, "a")
	compare(t, evaluations, gotEvaluations, err)

	samples := []Sample{
		{Step: 0, PromptIndex: 0, Prompt: "Why?", Reply: "Because\x00", Tokens: 3, Seconds: 1,
			StopReason: "length", At: noon},
		{Step: 0, PromptIndex: 1, Prompt: "Sky?", Reply: "Blue 🐶", At: noon},
	}
	for _, x := range samples {
		must(t, s.RecordSample(ctx, "a", x))
	}
	gotSamples, err := s.Samples(ctx, "a")
	compare(t, samples, gotSamples, err)

	artifacts := []Artifact{{Kind: "adapter", Path: "runs/a/adapter", Bytes: 5, SHA256: "ff", At: noon}}
	must(t, s.RecordArtifact(ctx, "a", artifacts[0]))
	gotArtifacts, err := s.Artifacts(ctx, "a")
	compare(t, artifacts, gotArtifacts, err)

	events := []Event{
		{Level: LevelWarning, Kind: "fallback", Message: "aten::x ran on the CPU", At: noon},
		{Step: 2, Level: LevelInfo, Kind: "resume", At: noon},
	}
	must(t, s.RecordEvent(ctx, "a", events[0]), s.RecordEvent(ctx, "a", Event{Step: 2, Kind: "resume"}))
	gotEvents, err := s.Events(ctx, "a")
	compare(t, events, gotEvents, err)

	// The other run has none of these, and deleting the first takes all of its rows along.
	for _, id := range []string{"b", "a"} {
		if id == "a" {
			_, err := s.db.Exec("DELETE FROM runs WHERE id='a'")
			must(t, err)
		}
		var n int
		must(t, s.db.QueryRow(`SELECT (SELECT count(*) FROM steps WHERE run_id=?1)
			+ (SELECT count(*) FROM evaluations WHERE run_id=?1) + (SELECT count(*) FROM samples WHERE run_id=?1)
			+ (SELECT count(*) FROM artifacts WHERE run_id=?1) + (SELECT count(*) FROM events WHERE run_id=?1)`,
			id).Scan(&n))
		if n != 0 {
			t.Errorf("run %s: %d rows, want none", id, n)
		}
	}
}

func compare[T any](t *testing.T, want, got []T, err error) {
	t.Helper()
	must(t, err)
	if diff := cmp.Diff(want, got, cmpNaN); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestARecordOfTheSameKeyIsReplaced(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	must(t, s.CreateRun(ctx, fullRun("a")))
	for _, x := range []int64{1, 2} {
		must(t,
			s.RecordStep(ctx, "a", Step{Step: 7, Loss: Real(x), Tokens: x, MemoryBytes: 2 - x, At: noon}),
			s.RecordEvaluation(ctx, "a", Evaluation{Step: 7, Loss: Real(x)}),
			s.RecordSample(ctx, "a", Sample{Step: 7, PromptIndex: 1, Reply: fmt.Sprint(x)}),
			s.RecordArtifact(ctx, "a", Artifact{Kind: "adapter", Path: "p", Bytes: x}),
		)
	}
	nan := Real(math.NaN())
	steps, err := s.Steps(ctx, "a")
	compare(t, []Step{{Step: 7, Loss: 2, Tokens: 2, TokensPerSecond: nan, At: noon}}, steps, err)
	evaluations, err := s.Evaluations(ctx, "a")
	compare(t, []Evaluation{{Step: 7, Split: Validation, Loss: 2, Perplexity: Real(math.Exp(2)), At: noon}},
		evaluations, err)
	samples, err := s.Samples(ctx, "a")
	compare(t, []Sample{{Step: 7, PromptIndex: 1, Reply: "2", At: noon}}, samples, err)
	artifacts, err := s.Artifacts(ctx, "a")
	compare(t, []Artifact{{Kind: "adapter", Path: "p", Bytes: 2, At: noon}}, artifacts, err)
}

func TestALossThatIsNoNumberIsNullWithAReason(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	must(t, s.CreateRun(ctx, fullRun("a")))
	nan, inf := Real(math.NaN()), Real(math.Inf(1))
	for i, tc := range []struct {
		loss Real
		note string
	}{{nan, "NaN"}, {inf, "+Inf"}, {-inf, "-Inf"}, {2, ""}} {
		step := int64(i + 1)
		must(t,
			s.RecordStep(ctx, "a", Step{Step: step, Loss: tc.loss, GradNorm: inf, LearningRate: nan, Epoch: -inf,
				Seconds: nan}),
			s.RecordEvaluation(ctx, "a", Evaluation{Step: step, Loss: tc.loss, Seconds: inf}))
		for _, table := range []string{"steps", "evaluations"} {
			var isNull bool
			var note string
			must(t, s.db.QueryRow("SELECT loss IS NULL, loss_note FROM "+table+" WHERE step=?", step).Scan(&isNull, &note))
			if isNull != !tc.loss.Finite() || note != tc.note {
				t.Errorf("%s: loss %v: stored as NULL %v, note %q, want note %q", table, tc.loss, isNull, note, tc.note)
			}
		}
	}
	steps, err := s.Steps(ctx, "a")
	must(t, err)
	for i, want := range []Real{nan, inf, -inf, 2} {
		if got := steps[i].Loss; !cmp.Equal(got, want, cmpNaN) {
			t.Errorf("step %d: loss %v, want %v", i+1, got, want)
		}
		if g := steps[i].GradNorm; g.Finite() {
			t.Errorf("step %d: gradient norm %v, want NaN", i+1, g)
		}
	}
	must(t, s.FinishRun(ctx, "a", Finish{Status: Diverged, Error: "loss is NaN", WallSeconds: inf}))
	run, err := s.Run(ctx, "a")
	must(t, err)
	for name, v := range map[string]any{"steps": steps, "run": run} {
		if _, err := json.Marshal(v); err != nil {
			t.Errorf("%s as JSON: %v", name, err)
		}
	}
	if b, _ := json.Marshal(steps[0].Loss); string(b) != "null" {
		t.Errorf("NaN as JSON: %s, want null", b)
	}
}

func TestAnyRealAndTextSurvives(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	must(t, s.CreateRun(ctx, fullRun("a")))
	rapid.Check(t, func(rt *rapid.T) {
		loss, seconds := Real(rapid.Float64().Draw(rt, "loss")), Real(rapid.Float64().Draw(rt, "seconds"))
		if err := s.RecordStep(ctx, "a", Step{Step: 1, Loss: loss, Seconds: seconds, Tokens: 3}); err != nil {
			rt.Fatal(err)
		}
		steps, err := s.Steps(ctx, "a")
		if err != nil {
			rt.Fatal(err)
		}
		if got := steps[0].Loss; !cmp.Equal(got, loss, cmpNaN) {
			rt.Fatalf("loss %v, want %v", got, loss)
		}
		if got := steps[0].Seconds; seconds.Finite() && got != seconds || !seconds.Finite() && got.Finite() {
			rt.Fatalf("seconds %v, want %v or NaN", got, seconds)
		}

		reply := string(rapid.SliceOf(rapid.Byte()).Draw(rt, "reply")) // a reply may be cut inside a character
		if err := s.RecordSample(ctx, "a", Sample{Reply: reply}); err != nil {
			rt.Fatal(err)
		}
		samples, err := s.Samples(ctx, "a")
		if err != nil {
			rt.Fatal(err)
		}
		got := samples[0].Reply
		if !utf8.ValidString(got) || utf8.ValidString(reply) && got != reply {
			rt.Fatalf("reply %q, want %q as valid UTF-8", got, reply)
		}
	})
}

func TestNewID(t *testing.T) {
	berlin := time.FixedZone("CET", 3600)
	at := time.Date(2026, 11, 21, 7, 15, 0, 0, berlin)
	for _, tc := range []struct{ name, want string }{
		{"bluey", `^20261121-061500-bluey-[a-z2-9]{3}$`},
		{"  My Run/№ 3: final!! ", `^20261121-061500-my-run-3-final-[a-z2-9]{3}$`},
		{"", `^20261121-061500-run-[a-z2-9]{3}$`},
		{"数据", `^20261121-061500-run-[a-z2-9]{3}$`},
		{"../../etc", `^20261121-061500-etc-[a-z2-9]{3}$`},
		{strings.Repeat("abc ", 30), `^20261121-061500-(abc-){7}abc-[a-z2-9]{3}$`},
	} {
		if got := NewID(tc.name, at); !regexp.MustCompile(tc.want).MatchString(got) {
			t.Errorf("NewID(%q) = %s, want %s", tc.name, got, tc.want)
		}
	}
	if a, b := NewID("z", at), NewID("a", at.Add(time.Second)); a >= b {
		t.Errorf("%s sorts after %s, want by time", a, b)
	}
}

func TestRunFindsWhatIsMeant(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	for i, r := range []struct{ id, name string }{
		{"20261121-100000-bluey-aaa", "bluey"},
		{"20261121-110000-bluey-bbb", "bluey"},
		{"20261122-100000-pocket-ccc", "pocket"},
		{"20261122-120000-odd-ddd", "2026"}, // a name that is also the start of ids
		{"20261120-100000-old-eee", "100%_*"},
	} {
		at := noon.Add(time.Duration(i) * time.Hour)
		if i == 4 {
			at = noon.Add(-time.Hour) // written last, made first
		}
		must(t, s.CreateRun(ctx, Run{ID: r.id, Name: r.name, CreatedAt: at}))
	}
	for _, tc := range []struct{ ref, want string }{
		{"20261121-100000-bluey-aaa", "20261121-100000-bluey-aaa"},
		{"bluey", "20261121-110000-bluey-bbb"},
		{"last", "20261122-120000-odd-ddd"},
		{"latest", "20261122-120000-odd-ddd"},
		{"20261121-10", "20261121-100000-bluey-aaa"},
		{"20261120", "20261120-100000-old-eee"},
		{"2026", "20261122-120000-odd-ddd"},
		{"100%_*", "20261120-100000-old-eee"},
	} {
		got, err := s.Run(ctx, tc.ref)
		if err != nil || got.ID != tc.want {
			t.Errorf("Run(%q) = %s, %v, want %s", tc.ref, got.ID, err, tc.want)
		}
	}
	for _, ref := range []string{"", "nothing", "blue", "%", "20261121-100000-bluey-aaaa", "' OR 1=1 --"} {
		if _, err := s.Run(ctx, ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("Run(%q): %v, want ErrNotFound", ref, err)
		}
	}
	_, err := s.Run(ctx, "20261121")
	want := `run "20261121": fits more than one run (have 20261121-110000-bluey-bbb, 20261121-100000-bluey-aaa)`
	if ambiguous := new(AmbiguousError); !errors.As(err, &ambiguous) || err.Error() != want {
		t.Errorf("ambiguous prefix: %v, want %s", err, want)
	}

	must(t, s.StartRun(ctx, "20261121-110000-bluey-bbb"))
	for _, tc := range []struct {
		name   string
		filter Filter
		want   string
	}{
		{"all", Filter{}, "ddd ccc bbb aaa eee"},
		{"two", Filter{Limit: 2}, "ddd ccc"},
		{"name", Filter{Name: "bluey"}, "bbb aaa"},
		{"name and limit", Filter{Name: "bluey", Limit: 1}, "bbb"},
		{"status", Filter{Status: Running}, "bbb"},
		{"since", Filter{Since: noon.Add(2 * time.Hour).In(time.FixedZone("", -3600))}, "ddd ccc"},
		{"model", Filter{ModelPath: "none"}, ""},
	} {
		runs, err := s.Runs(ctx, tc.filter)
		must(t, err)
		var got []string
		for _, r := range runs {
			got = append(got, r.ID[len(r.ID)-3:])
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, got, tc.want)
		}
	}
}

func TestAmbiguityListsOnlyAFew(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	for i := range maxCandidates + 3 {
		must(t, s.CreateRun(ctx, Run{ID: fmt.Sprintf("x%02d", i)}))
	}
	_, err := s.Run(ctx, "x")
	if err == nil || !strings.HasSuffix(err.Error(), "x04, x03 and 3 more)") {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	must(t, s.CreateRun(ctx, Run{ID: "a"}))
	mentions := func(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }
	if err := s.CreateRun(ctx, Run{ID: "a"}); !mentions(err, "create run a: a run with this id exists") {
		t.Errorf("same id twice: %v", err)
	}
	if err := s.CreateRun(ctx, Run{}); err == nil {
		t.Error("no id: no error")
	}
	if err := s.FinishRun(ctx, "a", Finish{Status: Running}); !mentions(err, `status "running" (want done,`) {
		t.Errorf("an ending that is none: %v", err)
	}
	for name, err := range map[string]error{
		"UpdateRun":        s.UpdateRun(ctx, Run{ID: "b"}),
		"StartRun":         s.StartRun(ctx, "b"),
		"Heartbeat":        s.Heartbeat(ctx, "b"),
		"FinishRun":        s.FinishRun(ctx, "b", Finish{Status: Done}),
		"NoteCheckpoint":   s.NoteCheckpoint(ctx, "b", "c"),
		"NoteBest":         s.NoteBest(ctx, "b", 1, 2),
		"NoteResume":       s.NoteResume(ctx, "b", 1),
		"RecordStep":       s.RecordStep(ctx, "b", Step{Step: 1}),
		"RecordEvaluation": s.RecordEvaluation(ctx, "b", Evaluation{}),
		"RecordSample":     s.RecordSample(ctx, "b", Sample{}),
		"RecordArtifact":   s.RecordArtifact(ctx, "b", Artifact{}),
		"RecordEvent":      s.RecordEvent(ctx, "b", Event{}),
	} {
		if !errors.Is(err, ErrNotFound) || !strings.HasPrefix(err.Error(), s.Path()) {
			t.Errorf("%s of a run that does not exist: %v, want ErrNotFound with the path", name, err)
		}
	}
	for name, err := range map[string]error{
		"step 0":        s.RecordStep(ctx, "a", Step{Step: 0}),
		"prompt -1":     s.RecordSample(ctx, "a", Sample{PromptIndex: -1}),
		"unknown level": s.RecordEvent(ctx, "a", Event{Level: "loud"}),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAnyPathNamesItsFile(t *testing.T) {
	for _, name := range []string{
		"a b", "what?", "what?mode=memory", "#1", "50%", "%41", "a&b=c", "日本", "semi;colon", "+plus", "'quote'",
		`"`, `back\slash`, ":memory:", "file:x",
	} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), name)
			must(t, os.Mkdir(folder, 0o755))
			path := filepath.Join(folder, name+".db")
			s, err := Open(path)
			must(t, err)
			must(t, s.CreateRun(t.Context(), Run{ID: "a"}))
			r, err := OpenReadOnly(path)
			must(t, err)
			if runs, err := r.Runs(t.Context(), Filter{}); err != nil || len(runs) != 1 {
				t.Errorf("%d runs, %v, want 1", len(runs), err)
			}
			must(t, r.Close(), s.Close())
			entries, err := os.ReadDir(folder)
			must(t, err)
			if len(entries) != 1 || entries[0].Name() != name+".db" {
				t.Errorf("folder holds %v, want %s.db alone", entries, name)
			}
		})
	}
}

func TestARelativePathStaysWhereItWasOpened(t *testing.T) {
	t.Chdir(t.TempDir())
	s, err := Open("runs.db")
	must(t, err)
	defer s.Close()
	must(t, s.CreateRun(t.Context(), Run{ID: "a"}))
	r, err := OpenReadOnly("./runs.db")
	must(t, err)
	defer r.Close()
	t.Chdir(t.TempDir())
	r.db.SetMaxIdleConns(0) // the next query connects anew
	if runs, err := r.Runs(t.Context(), Filter{}); err != nil || len(runs) != 1 {
		t.Errorf("%d runs, %v, want 1", len(runs), err)
	}
	if s.Path() != "runs.db" {
		t.Errorf("path %s, want as given", s.Path())
	}
}

func TestFilesThatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, b, 0o644))
		return path
	}
	foreign := filepath.Join(dir, "foreign.db")
	db, err := sql.Open("sqlite3", foreign)
	must(t, err)
	_, err = db.Exec("CREATE TABLE cats(name TEXT); PRAGMA user_version=1")
	must(t, err, db.Close())
	before, err := os.ReadFile(foreign)
	must(t, err)

	newer := filepath.Join(dir, "newer.db")
	s, err := Open(newer)
	must(t, err)
	_, err = s.db.Exec(fmt.Sprintf("PRAGMA user_version=%d", len(migrations)+1))
	must(t, err, s.Close())

	for _, tc := range []struct {
		name, path string
		want       error  // when there is one to test for
		text       string // in the message of both
	}{
		{"corrupt", write("corrupt.db", bytes.Repeat([]byte("no database "), 500)), ErrDamaged, "file is not a database"},
		{"newer", newer, ErrNewer, fmt.Sprintf("schema version %d, this tune knows up to %d: use a newer tune",
			len(migrations)+1, len(migrations))},
		{"foreign", foreign, ErrForeign, "not one of tune's"},
		{"folder", dir, nil, "is a folder, want a file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for how, open := range map[string]func(string) (*Store, error){"Open": Open, "OpenReadOnly": OpenReadOnly} {
				s, err := open(tc.path)
				if s != nil || tc.want != nil && !errors.Is(err, tc.want) {
					t.Fatalf("%s: %v, %v, want %v", how, s, err, tc.want)
				}
				if text := err.Error(); !strings.HasPrefix(text, tc.path+": ") || !strings.Contains(text, tc.text) ||
					strings.Contains(text, "\n") {
					t.Errorf("%s: %q, want one line with the path and %q", how, text, tc.text)
				}
			}
		})
	}
	if after, _ := os.ReadFile(foreign); !bytes.Equal(before, after) {
		t.Error("the database of another program was changed")
	}

	missing := filepath.Join(dir, "none.db")
	if _, err := OpenReadOnly(missing); !errors.Is(err, ErrNoDatabase) || !strings.HasPrefix(err.Error(), missing) {
		t.Errorf("missing file: %v, want ErrNoDatabase", err)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("reading a missing file made it")
	}
	folder := filepath.Join(dir, "none")
	want := fmt.Sprintf("%s: folder %s does not exist (it is not created)", filepath.Join(folder, "runs.db"), folder)
	if _, err := Open(filepath.Join(folder, "runs.db")); err == nil || err.Error() != want {
		t.Errorf("missing folder: %v, want %s", err, want)
	}
	if _, err := Open(""); err == nil || !strings.Contains(err.Error(), "no path") {
		t.Errorf("no path: %v", err)
	}
}

func TestADamagedPageIsAClearError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	s, err := Open(path)
	must(t, err)
	must(t, s.CreateRun(t.Context(), Run{ID: "a"}))
	for i := range 500 {
		must(t, s.RecordStep(t.Context(), "a", Step{Step: int64(i + 1)}))
	}
	must(t, s.Close())
	b, err := os.ReadFile(path)
	must(t, err)
	for i := 4096; i < len(b); i++ { // all pages but the first, which holds the header and the schema
		b[i] = 0xee
	}
	must(t, os.WriteFile(path, b, 0o644))
	r, err := OpenReadOnly(path)
	if err == nil {
		defer r.Close()
		_, err = r.Runs(t.Context(), Filter{})
	}
	if !errors.Is(err, ErrDamaged) || !strings.HasPrefix(err.Error(), path) {
		t.Errorf("%v, want ErrDamaged", err)
	}
}

func TestALockedDatabaseIsAClearErrorAfterTheWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	const wait = 50 * time.Millisecond
	s, err := open(path, migrations, wait)
	must(t, err)
	defer s.Close()
	must(t, s.CreateRun(t.Context(), Run{ID: "a"}))

	other, err := open(path, migrations, wait)
	must(t, err)
	defer other.Close()
	tx, err := other.db.Begin()
	must(t, err)
	began := time.Now()
	err = s.RecordStep(t.Context(), "a", Step{Step: 1})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "record step 1 of run a: locked by another program") {
		t.Errorf("%v, want ErrLocked", err)
	}
	if waited := time.Since(began); waited < wait {
		t.Errorf("gave up after %v, want %v", waited, wait)
	}
	// Opening and reading need no lock.
	third, err := open(path, migrations, wait)
	if err != nil {
		t.Fatalf("open while locked: %v", err)
	}
	if _, err := third.Runs(t.Context(), Filter{}); err != nil {
		t.Errorf("read while locked: %v", err)
	}
	must(t, third.Close(), tx.Rollback())
	must(t, s.RecordStep(t.Context(), "a", Step{Step: 1}))
}

func TestAReaderDoesNotWrite(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	must(t, s.CreateRun(ctx, Run{ID: "a"}))
	r, err := OpenReadOnly(s.Path())
	must(t, err)
	defer r.Close()
	for name, err := range map[string]error{
		"CreateRun":   r.CreateRun(ctx, Run{ID: "b"}),
		"RecordStep":  r.RecordStep(ctx, "a", Step{Step: 1}),
		"RecordEvent": r.RecordEvent(ctx, "a", Event{}),
		"FinishRun":   r.FinishRun(ctx, "a", Finish{Status: Done}),
	} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v, want ErrReadOnly", name, err)
		}
	}
	if _, err := r.db.Exec("DELETE FROM runs"); err == nil {
		t.Error("the connection itself can write")
	}
}

func TestAReaderLeavesTheFolderAsItWas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	s, err := Open(path)
	must(t, err)
	must(t, s.CreateRun(t.Context(), Run{ID: "a"}), s.Close())
	before, err := os.ReadFile(path)
	must(t, err)

	r, err := OpenReadOnly(path)
	must(t, err)
	if runs, err := r.Runs(t.Context(), Filter{}); err != nil || len(runs) != 1 {
		t.Errorf("%d runs, %v, want 1", len(runs), err)
	}
	must(t, r.Close())
	after, err := os.ReadFile(path)
	must(t, err)
	entries, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	if !bytes.Equal(before, after) || len(entries) != 1 {
		t.Errorf("file changed: %v; folder holds %v, want runs.db alone", !bytes.Equal(before, after), entries)
	}
}

func TestManyGoroutinesShareAStore(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	const writers, each = 8, 25
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			id := fmt.Sprint("run", w)
			if err := s.CreateRun(ctx, Run{ID: id}); err != nil {
				t.Error(err)
			}
			for i := range each {
				if err := s.RecordStep(ctx, id, Step{Step: int64(i + 1)}); err != nil {
					t.Error(err)
				}
				if _, err := s.Run(ctx, id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	runs, err := s.Runs(ctx, Filter{})
	must(t, err)
	total := int64(0)
	for _, r := range runs {
		total += r.StepsDone
	}
	if total != writers*each {
		t.Errorf("%d steps, want %d", total, writers*each)
	}
}
