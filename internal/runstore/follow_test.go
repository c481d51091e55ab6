package runstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// follower reads a run in pieces, as a page does, and keeps what it has by key.
type follower struct {
	at          Position
	steps       map[int64]Step
	evaluations map[int64]Evaluation
	samples     map[[2]int64]Sample
	events      []Event
}

// read takes what is new and returns how many steps that was. The position goes through JSON, as it does to a browser.
func (f *follower) read(t rapid.TB, s *Store, id string) int {
	t.Helper()
	if f.steps == nil {
		f.steps, f.evaluations, f.samples = map[int64]Step{}, map[int64]Evaluation{}, map[[2]int64]Sample{}
	}
	rows, err := s.RowsSince(context.Background(), id, f.at)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(rows.Position)
	if err != nil {
		t.Fatal(err)
	}
	f.at = Position{}
	if err := json.Unmarshal(text, &f.at); err != nil {
		t.Fatal(err)
	}
	for _, x := range rows.Steps {
		f.steps[x.Step] = x
	}
	for _, x := range rows.Evaluations {
		f.evaluations[x.Step] = x
	}
	for _, x := range rows.Samples {
		f.samples[[2]int64{x.Step, int64(x.PromptIndex)}] = x
	}
	f.events = append(f.events, rows.Events...)
	return len(rows.Steps)
}

func TestRowsSinceGivesEachRowOnce(t *testing.T) {
	s, ctx, f := newStore(t), t.Context(), follower{}
	must(t, s.CreateRun(ctx, Run{ID: "a"}))
	for i := range int64(5) {
		if i > 0 {
			must(t, s.RecordStep(ctx, "a", Step{Step: i, Loss: Real(i)})) // all at the same moment
		}
		must(t, s.RecordEvaluation(ctx, "a", Evaluation{Step: i, Loss: 1}))
		must(t, s.RecordSample(ctx, "a", Sample{Step: i, PromptIndex: 0}))
		want := 0
		if i > 0 {
			want = 1
		}
		if n := f.read(t, s, "a"); n != want {
			t.Fatalf("after step %d: %d new steps, want %d", i, n, want)
		}
		// Of one step, at the same moment, after the reader has passed.
		must(t, s.RecordSample(ctx, "a", Sample{Step: i, PromptIndex: 1}))
		must(t, s.RecordEvent(ctx, "a", Event{Kind: "k"}))
	}
	f.read(t, s, "a")
	if n := f.read(t, s, "a"); n != 0 || len(f.steps) != 4 || len(f.evaluations) != 5 || len(f.samples) != 10 || len(f.events) != 5 {
		t.Errorf("read %d steps, %d evaluations, %d samples and %d events, and then %d steps more",
			len(f.steps), len(f.evaluations), len(f.samples), len(f.events), n)
	}
}

func TestRowsSinceOfNoRun(t *testing.T) {
	if _, err := newStore(t).RowsSince(t.Context(), "none", Position{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

// TestFollowersSeeWhatIsThere holds readers who read in pieces, at any moments, against one who reads it all at the end,
// of a run that is resumed from any earlier step any number of times.
func TestFollowersSeeWhatIsThere(t *testing.T) {
	s, ctx, runs := newStore(t), t.Context(), 0
	rapid.Check(t, func(t *rapid.T) {
		clock := noon
		s.now = func() time.Time { return clock }
		runs++
		id := fmt.Sprint("run-", runs)
		if err := s.CreateRun(ctx, Run{ID: id}); err != nil {
			t.Fatal(err)
		}
		followers, step := make([]follower, 3), int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "acts") {
			switch rapid.IntRange(0, 9).Draw(t, "act") {
			case 0: // another process goes on from an earlier step; to load the model takes it a while
				step = rapid.Int64Range(0, step).Draw(t, "from")
				clock = clock.Add(time.Second)
			case 1, 2, 3:
				followers[rapid.IntRange(0, 2).Draw(t, "follower")].read(t, s, id)
			default:
				step++
				clock = clock.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "ms")) * time.Millisecond)
				loss := Real(rapid.Float64Range(0, 9).Draw(t, "loss"))
				err := errors.Join(s.RecordStep(ctx, id, Step{Step: step, Loss: loss}),
					s.RecordEvaluation(ctx, id, Evaluation{Step: step, Loss: loss}))
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		want, err := s.Steps(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		for i := range followers {
			f := &followers[i]
			f.read(t, s, id)
			if len(f.steps) != len(want) {
				t.Fatalf("follower %d has %d steps, want %d", i, len(f.steps), len(want))
			}
			for _, x := range want {
				if got := f.steps[x.Step]; got.Loss != x.Loss || f.evaluations[x.Step].Loss != x.Loss {
					t.Fatalf("follower %d: step %d has loss %v, evaluation %v, want %v", i, x.Step, got.Loss,
						f.evaluations[x.Step].Loss, x.Loss)
				}
			}
			if n := f.read(t, s, id); n != 0 {
				t.Fatalf("follower %d was given %d steps again", i, n)
			}
		}
	})
}

func TestFollowingSurvivesAClockThatIsSetBack(t *testing.T) {
	s, ctx, f := newStore(t), t.Context(), follower{}
	clock := noon
	s.now = func() time.Time { return clock }
	must(t, s.CreateRun(ctx, Run{ID: "a"}))
	for step := range int64(6) {
		if step == 3 {
			clock = clock.Add(-time.Hour)
		}
		must(t, s.RecordStep(ctx, "a", Step{Step: step + 1, Loss: 1}))
		if n := f.read(t, s, "a"); n != 1 {
			t.Errorf("after step %d: %d new steps, want 1", step+1, n)
		}
	}
}

func TestWatcher(t *testing.T) {
	w := newStore(t)
	must(t, w.CreateRun(t.Context(), Run{ID: "a"}))
	r, err := OpenReadOnly(w.Path())
	must(t, err)
	defer r.Close()
	watcher, err := r.Watch(t.Context())
	must(t, err)
	defer watcher.Close()
	var got []bool
	look := func() {
		changed, err := watcher.Changed(t.Context())
		must(t, err)
		got = append(got, changed)
	}
	look()
	look()
	must(t, w.RecordStep(t.Context(), "a", Step{Step: 1, Loss: 1}))
	look()
	look()
	if want := []bool{true, false, true, false}; !slices.Equal(got, want) {
		t.Errorf("changed %v, want %v", got, want)
	}
}
