package runstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Sweep is the row of a sweep: runs that try values of some config keys against each other. Its runs have its id in SweepID.
type Sweep struct {
	ID           string    `json:"id"` // from NewID
	Trials       int       `json:"trials"`
	Name         string    `json:"name"`
	Status       Status    `json:"status"` // running, done, failed or interrupted
	Error        string    `json:"error"`
	Goal         string    `json:"goal"`             // what trials are compared by
	Config       string    `json:"config,omitempty"` // the sweep's file, YAML
	ConfigSHA256 string    `json:"config_sha256"`
	Host         string    `json:"host"`
	Process      string    `json:"process"`
	PID          int       `json:"pid"`
	CreatedAt    time.Time `json:"created_at,omitzero"` // now when zero
	HeartbeatAt  time.Time `json:"heartbeat_at,omitzero"`
	EndedAt      time.Time `json:"ended_at,omitzero"`
}

func (x *Sweep) columns() []column {
	return []column{
		{"id", text[string]{&x.ID}},
		{"trials", &x.Trials},
		{"name", text[string]{&x.Name}},
		{"status", text[Status]{&x.Status}},
		{"error", text[string]{&x.Error}},
		{"goal", text[string]{&x.Goal}},
		{"config", text[string]{&x.Config}},
		{"config_sha256", text[string]{&x.ConfigSHA256}},
		{"host", text[string]{&x.Host}},
		{"process", text[string]{&x.Process}},
		{"pid", maybe[int]{&x.PID}},
		{"created_at", utc{&x.CreatedAt}},
		{"heartbeat_at", utc{&x.HeartbeatAt}},
		{"ended_at", utc{&x.EndedAt}},
	}
}

// Alive reports whether the sweep is running and its process is there, as far as one can tell.
func (s *Store) Alive(x *Sweep) bool {
	r := RunSummary{Run: Run{Status: x.Status, Host: x.Host, Process: x.Process, PID: x.PID}, LastSeenAt: x.HeartbeatAt}
	return x.Status == Running && !s.dead(&r)
}

// CreateSweep writes the row of a sweep, running in this process. Errors: an id that is empty or taken.
func (s *Store) CreateSweep(ctx context.Context, x Sweep) error {
	doing := "create sweep " + x.ID
	if x.ID == "" {
		return s.explain(doing, errors.New("no id given (NewID makes one)"))
	}
	s.stamp(&x.CreatedAt)
	x.Status, x.PID, x.Host, x.Process, x.HeartbeatAt, x.EndedAt = Running, os.Getpid(), s.host, s.ownMark(), x.CreatedAt, time.Time{}
	_, err := s.exec(ctx, doing, insert("sweeps", names(x.columns())), values(x.columns())...)
	return err
}

// ResumeSweep makes this process the one that runs a sweep, which no process does: was is the row as the caller read it. Of
// processes that do so at the same moment one does. Errors: [ErrNotFound]; [ErrRunning].
func (s *Store) ResumeSweep(ctx context.Context, was *Sweep) error {
	now, doing := s.now(), "resume sweep "+was.ID
	n, err := s.exec(ctx, doing, `UPDATE sweeps SET status='running', error='', ended_at=NULL, pid=?2, host=?3, process=?4,
		heartbeat_at=?5 WHERE id=?1 AND (status<>'running' OR ?9='running' AND pid IS ?6 AND process=?7 AND heartbeat_at IS ?8)`, was.ID, os.Getpid(),
		s.host, s.ownMark(), utc{&now}, maybe[int]{&was.PID}, was.Process, utc{&was.HeartbeatAt}, string(was.Status))
	if err != nil || n > 0 {
		return err
	}
	if x, err := s.Sweep(ctx, was.ID); err == nil && x.ID == was.ID {
		return s.explain(doing, fmt.Errorf("%w, as process %d of %s", ErrRunning, x.PID, x.Host))
	}
	return s.explain(doing, ErrNotFound)
}

// BeatSweep says that the sweep is alive. Errors: [ErrNotFound].
func (s *Store) BeatSweep(ctx context.Context, id string) error {
	now := s.now()
	return s.change(ctx, "heartbeat of sweep "+id, "UPDATE sweeps SET heartbeat_at=?2 WHERE id=?1", id, utc{&now})
}

// FinishSweep writes the ending of a sweep, also when ctx is cancelled. Errors: [ErrNotFound]; a status that is no ending.
func (s *Store) FinishSweep(ctx context.Context, id string, status Status, reason string) error {
	doing := "finish sweep " + id
	if status != Done && status != Failed && status != Interrupted {
		return s.explain(doing, fmt.Errorf("status %q (want done, failed or interrupted)", status))
	}
	now := s.now()
	return s.change(context.WithoutCancel(ctx), doing, "UPDATE sweeps SET status=?2, error=?3, ended_at=?4, heartbeat_at=?4 WHERE id=?1",
		id, string(status), text[string]{&reason}, utc{&now})
}

// StopTrial says why a sweep goes no further with a run that was interrupted for it. One that goes on stays as it is.
func (s *Store) StopTrial(ctx context.Context, id, reason string) error {
	_, err := s.exec(ctx, "stop trial "+id, "UPDATE runs SET error=?2 WHERE id=?1 AND status='interrupted'", id, text[string]{&reason})
	return err
}

// Sweeps returns all sweeps, newest first.
func (s *Store) Sweeps(ctx context.Context) ([]Sweep, error) {
	return s.sweeps(ctx, "read sweeps", "?='' ORDER BY created_at DESC, id DESC", "")
}

// Sweep returns one sweep. ref is an id, a name (its newest sweep is meant), the start of an id, or last. Errors: [ErrNotFound];
// [*AmbiguousError].
func (s *Store) Sweep(ctx context.Context, ref string) (Sweep, error) {
	doing := fmt.Sprintf("sweep %q", ref)
	if ref == "" {
		return Sweep{}, s.explain(doing, ErrNotFound)
	}
	const newest = " ORDER BY created_at DESC, id DESC"
	conditions := []string{"id=?", "name=?" + newest, "id >= ?1 AND id < ?1 || char(0x10ffff)" + newest}
	if ref == "last" || ref == "latest" {
		conditions = []string{"? <> ''" + newest}
	}
	for i, condition := range conditions {
		found, err := s.sweeps(ctx, doing, condition, ref)
		switch {
		case err != nil:
			return Sweep{}, err
		case i == 2 && len(found) > 1:
			ambiguous := &AmbiguousError{Ref: ref, More: max(0, len(found)-maxCandidates)}
			for _, x := range found[:min(len(found), maxCandidates)] {
				ambiguous.Candidates = append(ambiguous.Candidates, x.ID)
			}
			return Sweep{}, ambiguous
		case len(found) > 0:
			return found[0], nil
		}
	}
	return Sweep{}, s.explain(doing, ErrNotFound)
}

func (s *Store) sweeps(ctx context.Context, doing, condition string, args ...any) ([]Sweep, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT "+strings.Join(names(new(Sweep).columns()), ", ")+" FROM sweeps WHERE "+condition, args...)
	out, err := collect(rows, err, (*Sweep).columns)
	return out, s.explain(doing, err)
}
