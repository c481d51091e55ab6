package runstore

import (
	"context"
	"fmt"
	"os"
	"time"
)

// How long a running run may be silent before it counts as dead.
const (
	silentGone      = time.Minute    // its process is gone: the beats come every ten seconds
	silentUnknown   = time.Hour      // some process has its pid, and the system does not tell whether it is the same
	silentElsewhere = 24 * time.Hour // on another host, whose processes cannot be seen and whose clock may be wrong
)

// withoutAWord begins the error of a run that [Store.EndDeadRuns] has ended.
const withoutAWord = "its process ended without a word"

// dead reports whether a run that is running or queued in the file is so no longer, as far as one can tell.
func (s *Store) dead(r *RunSummary) bool {
	if r.Status != Running && r.Status != Queued {
		return false
	}
	// A clock that was set back leaves signs of life in the future: they say as little as old ones.
	silent := s.now().Sub(r.LastSeenAt).Abs()
	if r.Host != "" && r.Host != s.host {
		return silent > silentElsewhere
	}
	switch mark, alive := s.process(r.PID); {
	case !alive:
		return silent > silentGone
	case mark == "" || r.Process == "":
		return silent > silentUnknown
	case mark != r.Process: // the pid was given to another process, after a restart for one
		return silent > silentGone
	}
	return false // it is there, whatever the clocks say
}

// ownMark tells this process from every other that has its pid at another time.
func (s *Store) ownMark() string {
	mark, _ := s.process(os.Getpid())
	return mark
}

// EndDeadRuns sets the runs to interrupted that are running or queued in the file and whose process has died. Call it before
// reading. A file that cannot be written, or that another program holds, stays as it is: [RunSummary.Stale] shows
// what would have been written, and any error shows itself when the file is read.
func (s *Store) EndDeadRuns(ctx context.Context) {
	running, err := s.summaries(ctx, false, "status IN ('running', 'queued')", -1)
	if err != nil {
		return
	}
	var dead []RunSummary
	for _, r := range running {
		if r.Stale {
			dead = append(dead, r)
		}
	}
	if len(dead) == 0 {
		return
	}
	w := s
	if s.readOnly {
		if w, err = connect(s.path, "mode=rw&_txlock=immediate", silentLock); err != nil {
			return
		}
		defer w.Close()
	}
	for _, r := range dead {
		if w.EndDeadRun(ctx, &r) != nil {
			return
		}
	}
}

// EndDeadRun sets one run to interrupted whose process has died, as the caller can tell. A run that another process has
// taken up since r was read stays as it is.
func (s *Store) EndDeadRun(ctx context.Context, r *RunSummary) error {
	reason := fmt.Sprintf("%s; last sign of life %s", withoutAWord, r.LastSeenAt.UTC().Format("2006-01-02 15:04:05 MST"))
	_, err := s.exec(ctx, "end run "+r.ID, `UPDATE runs SET status='interrupted', error=?, ended_at=?, `+totals+`
		WHERE id=? AND status=? AND pid IS ? AND process=? AND heartbeat_at IS ?`, reason,
		utc{&r.LastSeenAt}, r.ID, string(r.Status), maybe[int]{&r.PID}, r.Process, utc{&r.HeartbeatAt})
	return err
}

// silentLock is how long EndDeadRuns of a reader waits for a writer, which is at work for microseconds.
const silentLock = 100 * time.Millisecond
