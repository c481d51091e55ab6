package runstore

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestADeadRunIsToldFromALiveOne(t *testing.T) {
	const minute = time.Minute
	for _, tc := range []struct {
		name          string
		silent        time.Duration // below 0: the last sign of life is in the future
		host, process string        // in the row, instead of those of this process
		mark          string        // what the process with its pid has now
		alive         bool
		want          bool
	}{
		{"just heard of", 59 * time.Second, "", "", "", false, false},
		{"silent and gone", 61 * time.Second, "", "", "", false, true},
		{"gone, and the clock was set back a little", -30 * time.Second, "", "", "", false, false},
		{"gone, and the clock was set back a year", -365 * 24 * time.Hour, "", "", "", false, true},
		{"there, however silent", 1000 * time.Hour, "", "boot 7", "boot 7", true, false},
		{"there, and the clock was set back", -1000 * time.Hour, "", "boot 7", "boot 7", true, false},
		{"its pid is another's by now", 61 * time.Second, "", "boot 7", "boot 8", true, true},
		{"its pid is another's, but just heard of", 59 * time.Second, "", "boot 7", "boot 8", true, false},
		{"a system that does not tell processes apart", 59 * minute, "", "", "", true, false},
		{"the same, silent for long", 61 * minute, "", "", "", true, true},
		{"a row from before version 3, silent for long", 61 * minute, "none", "", "boot 7", true, true},
		{"on another host", 23 * time.Hour, "elsewhere", "boot 7", "", false, false},
		{"on another host, silent for very long", 25 * time.Hour, "elsewhere", "boot 7", "boot 7", true, true},
		{"on another host, its clock a year ahead", -365 * 24 * time.Hour, "elsewhere", "", "", true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, ctx := newStore(t), t.Context()
			must(t, s.CreateRun(ctx, Run{ID: "a"}), s.StartRun(ctx, "a"))
			host := s.host
			switch tc.host {
			case "":
			case "none":
				host = ""
			default:
				host = tc.host
			}
			_, err := s.db.Exec("UPDATE runs SET host=?, process=?", host, tc.process)
			must(t, err)
			s.process = func(pid int) (string, bool) {
				if pid != os.Getpid() {
					t.Errorf("asked for pid %d, want %d", pid, os.Getpid())
				}
				return tc.mark, tc.alive
			}
			// The heartbeat is old in every case; the step is the last sign of life.
			must(t, s.RecordStep(ctx, "a", Step{Step: 1, At: noon.Add(time.Hour)}))
			s.now = func() time.Time { return noon.Add(time.Hour + tc.silent) }
			r, err := s.Run(ctx, "a")
			must(t, err)
			if r.Stale != tc.want {
				t.Errorf("stale %v, want %v", r.Stale, tc.want)
			}

			s.EndDeadRuns(ctx)
			if r, err = s.Run(ctx, "a"); err != nil || r.Stale {
				t.Errorf("after EndDeadRuns: stale %v, %v", r.Stale, err)
			}
			if !tc.want {
				if r.Status != Running {
					t.Errorf("a live run is %s, want running", r.Status)
				}
			} else if want := "its process ended without a word; last sign of life 2026-11-21 13:00:00 UTC"; r.Status != Interrupted ||
				r.Error != want || !r.EndedAt.Equal(noon.Add(time.Hour)) || !r.LastSeenAt.Equal(r.EndedAt) {
				t.Errorf("%s, ended %v, last seen %v, error %q, want interrupted at 13:00, %q", r.Status, r.EndedAt,
					r.LastSeenAt, r.Error, want)
			}
			must(t, s.FinishRun(ctx, "a", Finish{Status: Done}))
			if r, err = s.Run(ctx, "a"); err != nil || r.Stale || r.Status != Done {
				t.Errorf("after the end: %s, stale %v, %v", r.Status, r.Stale, err)
			}
		})
	}
}

func TestAReaderEndsDeadRuns(t *testing.T) {
	for _, tc := range []struct {
		name string
		prep func(t *testing.T, path string)
		want Status
	}{
		{"a file that can be written", func(*testing.T, string) {}, Interrupted},
		{"a locked one", func(t *testing.T, path string) {
			other, err := Open(path)
			must(t, err)
			tx, err := other.db.Begin()
			must(t, err)
			t.Cleanup(func() { tx.Rollback(); other.Close() })
		}, Running},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, ctx := newStore(t), t.Context()
			must(t, s.CreateRun(ctx, Run{ID: "a"}), s.StartRun(ctx, "a"), s.CreateRun(ctx, Run{ID: "b"}))
			tc.prep(t, s.Path())
			r, err := OpenReadOnly(s.Path())
			must(t, err)
			defer r.Close()
			r.now = func() time.Time { return noon.Add(2 * time.Minute) }
			r.process = func(int) (string, bool) { return "", false }
			r.EndDeadRuns(ctx)
			got, err := r.Run(ctx, "a")
			must(t, err)
			if got.Status != tc.want || got.Stale != (tc.want == Running) {
				t.Errorf("%s, stale %v, want %s", got.Status, got.Stale, tc.want)
			}
			queued := tc.want
			if queued == Running {
				queued = Queued
			}
			if b, err := r.Run(ctx, "b"); err != nil || b.Status != queued {
				t.Errorf("the queued run of a dead process is %s, %v, want %s", b.Status, err, queued)
			}
		})
	}
}

func TestARunTakenForDeadIsRunningWithItsNextBeat(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	must(t, s.CreateRun(ctx, Run{ID: "a"}), s.StartRun(ctx, "a"))
	real := s.process
	s.process = func(int) (string, bool) { return "", false }
	s.now = func() time.Time { return noon.Add(2 * time.Minute) }
	s.EndDeadRuns(ctx)
	if r, err := s.Run(ctx, "a"); err != nil || r.Status != Interrupted || !strings.HasPrefix(r.Error, withoutAWord) {
		t.Fatalf("%s, error %q, %v, want interrupted", r.Status, r.Error, err)
	}
	s.process = real
	must(t, s.Heartbeat(ctx, "a"))
	if r, err := s.Run(ctx, "a"); err != nil || r.Status != Running || r.Error != "" || !r.EndedAt.IsZero() {
		t.Errorf("%s, error %q, ended %v, %v, want running", r.Status, r.Error, r.EndedAt, err)
	}
	// An ending of its own stays.
	must(t, s.FinishRun(ctx, "a", Finish{Status: Interrupted, Error: "by the user"}), s.Heartbeat(ctx, "a"))
	if r, err := s.Run(ctx, "a"); err != nil || r.Status != Interrupted || r.Error != "by the user" {
		t.Errorf("%s, error %q, %v, want interrupted by the user", r.Status, r.Error, err)
	}
}

func TestEndDeadRunsLeavesARunThatWasTakenUpSince(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	must(t, s.CreateRun(ctx, Run{ID: "a"}), s.StartRun(ctx, "a"))
	s.now = func() time.Time { return noon.Add(2 * time.Minute) }
	s.process = func(int) (string, bool) {
		// Between the look at the process and the write, another one begins.
		_, err := s.db.Exec("UPDATE runs SET heartbeat_at='2026-11-21T12:01:59.000Z'")
		must(t, err)
		return "", false
	}
	s.EndDeadRuns(ctx)
	if r, err := s.Run(ctx, "a"); err != nil || r.Status != Running {
		t.Errorf("%s, %v, want running", r.Status, err)
	}
}

// TestOneOfTwoTakesARunUp: of processes that go on with one run at the same moment one does, however they look first.
func TestOneOfTwoTakesARunUp(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	must(t, s.CreateRun(ctx, Run{ID: "a"}), s.StartRun(ctx, "a"))
	dead, err := s.Run(ctx, "a")
	must(t, err)
	const processes = 8
	starts := make(chan error, processes)
	for range processes {
		other, err := Open(s.Path())
		must(t, err)
		t.Cleanup(func() { other.Close() })
		other.now = func() time.Time { return noon.Add(time.Minute) }
		go func() {
			seen := dead // all have seen the same
			if err := other.EndDeadRun(ctx, &seen); err != nil {
				starts <- err
				return
			}
			starts <- other.StartRun(ctx, "a")
		}()
	}
	started := 0
	for range processes {
		if err := <-starts; err == nil {
			started++
		} else if !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), "is running, as process ") {
			t.Errorf("%v, want ErrRunning", err)
		}
	}
	if started != 1 {
		t.Errorf("%d of %d took the run up, want 1", started, processes)
	}
}
