package runstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Position is how far a reader has come with a run: what [Store.RowsSince] has given and what it has not. The zero
// Position is before everything. As JSON it can be kept and taken up later, by another process too.
type Position struct {
	Steps       Mark  `json:"steps"`
	Evaluations Mark  `json:"evaluations"`
	Samples     Mark  `json:"samples"`
	Event       int64 `json:"event,omitzero"` // the id of the last event
}

// A Mark is how far a reader has come in one table. Rows mostly come in the order of their keys, and a row behind Highest
// is new whatever its time. A resumed run makes rows again that have been read: those are behind Newest in order, or
// written after it.
type Mark struct {
	Highest rowKey    `json:"highest,omitzero"` // the last row in the order of keys
	Newest  rowKey    `json:"newest,omitzero"`  // the row written last
	At      time.Time `json:"at,omitzero"`      // when Newest was written
}

// rowKey is the key of a row within its run.
type rowKey struct {
	Step int64  `json:"step"`
	Rest string `json:"rest,omitzero"` // what tells rows of one step apart, as text that sorts as they do
}

func (k rowKey) compare(other rowKey) int {
	return cmp.Or(cmp.Compare(k.Step, other.Step), strings.Compare(k.Rest, other.Rest))
}

// pass moves the mark over a row that has been read.
func (m *Mark) pass(key rowKey, at time.Time) {
	if key.compare(m.Highest) > 0 {
		m.Highest = key
	}
	// A clock that was set back must not make rows new that have been read.
	if c := at.Compare(m.At); c > 0 || c == 0 && key.compare(m.Newest) > 0 {
		m.Newest, m.At = key, at
	}
}

// Rows is what has been recorded of a run since a position.
type Rows struct {
	Run         RunSummary // as it is now, with its config
	Steps       []Step     // new ones and those made again, in order; so with the others
	Evaluations []Evaluation
	Samples     []Sample
	Events      []Event
	Position    Position // the one to ask with next time
}

// RowsSince returns what has been recorded of the run with this id since a position. Of a run that has ended nothing is
// left out. Errors: [ErrNotFound].
func (s *Store) RowsSince(ctx context.Context, runID string, from Position) (Rows, error) {
	// The row first: where it says that the run has ended, all others are there.
	runs, err := s.summaries(ctx, true, "id=?", 1, runID)
	if err == nil && len(runs) == 0 {
		err = s.explain("run "+runID, ErrNotFound)
	}
	if err != nil {
		return Rows{}, err
	}
	rows, errs := Rows{Run: runs[0], Position: from}, [4]error{}
	rows.Steps, errs[0] = since(ctx, s, "steps", "''", runID, &rows.Position.Steps,
		func(x *Step) []column { return append(x.columns(), column{"tokens_per_second", &x.TokensPerSecond}) },
		func(x *Step) (rowKey, time.Time) { return rowKey{x.Step, ""}, x.At })
	rows.Evaluations, errs[1] = since(ctx, s, "evaluations", "split", runID, &rows.Position.Evaluations,
		(*Evaluation).columns,
		func(x *Evaluation) (rowKey, time.Time) { return rowKey{x.Step, x.Split}, x.At })
	rows.Samples, errs[2] = since(ctx, s, "samples", "printf('%08d', prompt_index)", runID, &rows.Position.Samples,
		(*Sample).columns,
		func(x *Sample) (rowKey, time.Time) { return rowKey{x.Step, fmt.Sprintf("%08d", x.PromptIndex)}, x.At })
	rows.Events, errs[3] = s.eventsSince(ctx, runID, &rows.Position.Event)
	return rows, errors.Join(errs[:]...)
}

// since reads the rows of one run from one table that are behind a mark, and moves the mark. rest is SQL for the rest of
// the key.
func since[T any](ctx context.Context, s *Store, table, rest, runID string, m *Mark, columns func(*T) []column,
	key func(*T) (rowKey, time.Time)) ([]T, error) {
	order := "(step, " + rest + ")"
	query := "SELECT " + strings.Join(names(columns(new(T))), ", ") + " FROM " + table + " WHERE run_id=?"
	args := []any{runID}
	if *m != (Mark{}) {
		query += " AND (" + order + " > (?, ?) OR " + order + " > (?, ?) AND at >= ? OR at > ?)"
		args = append(args, m.Highest.Step, m.Highest.Rest, m.Newest.Step, m.Newest.Rest, utc{&m.At}, utc{&m.At})
	}
	rows, err := s.db.QueryContext(ctx, query+" ORDER BY step, "+rest, args...)
	out, err := collect(rows, err, columns)
	for i := range out {
		m.pass(key(&out[i]))
	}
	return out, s.explain("read "+table+" of run "+runID, err)
}

func (s *Store) eventsSince(ctx context.Context, runID string, last *int64) ([]Event, error) {
	type numberedEvent struct {
		Event
		id int64
	}
	columns := func(x *numberedEvent) []column { return append(x.columns(), column{"id", &x.id}) }
	rows, err := s.db.QueryContext(ctx, "SELECT "+strings.Join(names(columns(new(numberedEvent))), ", ")+
		" FROM events WHERE run_id=? AND id>? ORDER BY id", runID, *last)
	numbered, err := collect(rows, err, columns)
	var out []Event
	for _, x := range numbered {
		out, *last = append(out, x.Event), x.id
	}
	return out, s.explain("read events of run "+runID, err)
}

// Watcher tells whether the database has changed. It costs a fraction of a query.
type Watcher struct {
	store   *Store
	conn    *sql.Conn
	version int64
}

// Watch returns a Watcher, which holds a connection until it is closed.
func (s *Store) Watch(ctx context.Context) (*Watcher, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, s.explain("watch", err)
	}
	return &Watcher{store: s, conn: conn, version: -1}, nil
}

// Changed reports whether anyone has written since it was called last; the first time it reports true.
func (w *Watcher) Changed(ctx context.Context) (bool, error) {
	before := w.version
	// It counts what other connections write, and only holds good on one connection: sqlite.org/pragma.html#pragma_data_version.
	err := w.conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&w.version)
	return err == nil && w.version != before, w.store.explain("watch", err)
}

// Close gives the connection back.
func (w *Watcher) Close() error { return w.store.explain("watch", w.conn.Close()) }
