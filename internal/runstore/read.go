package runstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// RunSummary is a run with what its other tables say about it. A number that no row gives is NaN or 0.
type RunSummary struct {
	Run
	StepsDone             int64 `json:"steps_done"`
	FirstLoss             Real  `json:"first_loss"` // of the first and the last step; NaN when that one broke
	LastLoss              Real  `json:"last_loss"`
	FirstValidationLoss   Real  `json:"first_validation_loss"`
	LastValidationLoss    Real  `json:"last_validation_loss"`
	BestValidationLoss    Real  `json:"best_validation_loss"`
	Tokens                int64 `json:"tokens"`            // of all steps
	StepSeconds           Real  `json:"step_seconds"`      // of all steps
	TokensPerSecond       Real  `json:"tokens_per_second"` // Tokens / StepSeconds
	PeakMemoryBytes       int64 `json:"peak_memory_bytes"` // of the process
	DevicePeakMemoryBytes int64 `json:"device_peak_memory_bytes"`
	// LastSeenAt is the later of the last heartbeat and the last step.
	LastSeenAt time.Time `json:"last_seen_at,omitzero"`
	// Stale says that the run is running in the file but, as far as one can tell, not in fact, and that EndDeadRuns
	// has not been able to write so. Show it as "interrupted?".
	Stale bool `json:"stale"`
}

// columns lists the row of the run, from chosen, and then what its other tables say.
func (r *RunSummary) columns() []column {
	const (
		loss       = "(SELECT loss FROM steps WHERE run_id=chosen.id ORDER BY step %s LIMIT 1)"
		validation = "(SELECT loss FROM evaluations WHERE run_id=chosen.id AND split='" + Validation +
			"' ORDER BY step %s LIMIT 1)"
		// Over the steps only while the run has no sums in its row: while it runs.
		total = "CASE WHEN chosen.steps_done IS NULL THEN (SELECT %[2]s FROM steps WHERE run_id=chosen.id) ELSE chosen.%[1]s END"
		best  = "(SELECT min(loss) FROM evaluations WHERE run_id=chosen.id AND split='" + Validation + "')"
	)
	columns := append(r.description(), r.life()...)
	for i := range columns {
		columns[i].name = "chosen." + columns[i].name
	}
	return append(columns, []column{
		{fmt.Sprintf(total, "steps_done", "count(*)"), &r.StepsDone},
		{fmt.Sprintf(loss, "ASC"), &r.FirstLoss},
		{fmt.Sprintf(loss, "DESC"), &r.LastLoss},
		{fmt.Sprintf(validation, "ASC"), &r.FirstValidationLoss},
		{fmt.Sprintf(validation, "DESC"), &r.LastValidationLoss},
		{best, &r.BestValidationLoss},
		{fmt.Sprintf(total, "tokens", "sum(tokens)"), maybe[int64]{&r.Tokens}},
		{fmt.Sprintf(total, "step_seconds", "sum(seconds)"), &r.StepSeconds},
		{fmt.Sprintf(total, "tokens / chosen.step_seconds", "sum(tokens) / sum(seconds)"), &r.TokensPerSecond},
		{fmt.Sprintf(total, "peak_memory_bytes", "max(peak_memory_bytes)"), maybe[int64]{&r.PeakMemoryBytes}},
		{fmt.Sprintf(total, "device_peak_memory_bytes", "max(device_peak_memory_bytes)"), maybe[int64]{&r.DevicePeakMemoryBytes}},
		{"max(coalesce(chosen.heartbeat_at, ''), coalesce((SELECT at FROM steps WHERE run_id=chosen.id ORDER BY step DESC LIMIT 1), ''))",
			utc{&r.LastSeenAt}},
	}...)
}

// Filter chooses runs; the zero Filter is all of them.
type Filter struct {
	Status    Status    // only these
	Name      string    // exactly this name
	ModelPath string    // exactly this base model
	Since     time.Time // created then or later
	Until     time.Time // created before then
	Tag       string    // with this tag
	SweepID   string    // trials of this sweep, in their order
	Limit     int       // the newest so many
}

// Runs returns the runs that fit, newest first, but those of one sweep in their order. Their Config is left empty; [Store.Run] gives it.
func (s *Store) Runs(ctx context.Context, f Filter) ([]RunSummary, error) {
	where, args := []string{"true"}, []any{}
	also := func(condition string, arg any) {
		where, args = append(where, condition), append(args, arg)
	}
	if f.Status != "" {
		also("status=?", string(f.Status))
	}
	if f.Name != "" {
		also("name=?", f.Name)
	}
	if f.ModelPath != "" {
		also("model_path=?", f.ModelPath)
	}
	if !f.Since.IsZero() {
		also("created_at>=?", utc{&f.Since})
	}
	if !f.Until.IsZero() {
		also("created_at<?", utc{&f.Until})
	}
	if f.Tag != "" {
		also("EXISTS (SELECT 1 FROM json_each(runs.tags) WHERE value=?)", f.Tag)
	}
	if f.SweepID != "" {
		also("sweep_id=?", f.SweepID)
	}
	limit := -1 // SQLite's word for none
	if f.Limit > 0 {
		limit = f.Limit
	}
	runs, err := s.summaries(ctx, false, strings.Join(where, " AND "), limit, args...)
	if f.SweepID != "" {
		slices.SortStableFunc(runs, func(a, b RunSummary) int { return a.SweepTrial - b.SweepTrial })
	}
	return runs, err
}

// summaries reads the newest runs that fit a condition, with or without their configs. The limit comes before
// the join, so that listing ten runs reads the steps of ten.
func (s *Store) summaries(
	ctx context.Context, config bool, where string, limit int, args ...any,
) ([]RunSummary, error) {
	list := strings.Join(names(new(RunSummary).columns()), ", ")
	if !config {
		list = strings.Replace(list, "chosen.config,", "'',", 1)
	}
	rows, err := s.db.QueryContext(ctx, `
		WITH chosen AS (SELECT * FROM runs WHERE `+where+` ORDER BY created_at DESC, id DESC LIMIT ?)
		SELECT `+list+` FROM chosen ORDER BY chosen.created_at DESC, chosen.id DESC`, append(args, limit)...)
	runs, err := collect(rows, err, (*RunSummary).columns)
	if err != nil {
		return nil, s.explain("read runs", err)
	}
	for i := range runs {
		runs[i].Stale = s.dead(&runs[i])
	}
	return runs, nil
}

// Run returns one run. ref is an id, a name (its newest run is meant), the start of an id, or last or latest
// for the newest of all; the first reading that fits counts.
//
// Errors: [ErrNotFound]; [*AmbiguousError] when several ids start with ref.
func (s *Store) Run(ctx context.Context, ref string) (RunSummary, error) {
	id, err := s.resolve(ctx, ref)
	if err != nil {
		return RunSummary{}, err
	}
	runs, err := s.summaries(ctx, true, "id=?", 1, id)
	if err == nil && len(runs) == 0 { // deleted since
		err = s.explain("run "+id, ErrNotFound)
	}
	if err != nil {
		return RunSummary{}, err
	}
	return runs[0], nil
}

// maxCandidates is how many ids an AmbiguousError lists.
const maxCandidates = 8

// resolve finds the id that ref means.
func (s *Store) resolve(ctx context.Context, ref string) (string, error) {
	doing := fmt.Sprintf("run %q", ref)
	if ref == "" {
		return "", s.explain(doing, ErrNotFound) // as a prefix it would be every run
	}
	const newest = " ORDER BY created_at DESC, id DESC LIMIT 1"
	lookups := []string{"SELECT id FROM runs WHERE id=?", "SELECT id FROM runs WHERE name=?" + newest}
	if ref == "last" || ref == "latest" {
		lookups = []string{"SELECT id FROM runs WHERE ? <> ''" + newest}
	}
	for _, query := range lookups {
		var id string
		switch err := s.db.QueryRowContext(ctx, query, ref).Scan(&id); {
		case err == nil:
			return id, nil
		case !errors.Is(err, sql.ErrNoRows):
			return "", s.explain(doing, err)
		}
	}
	// A range instead of LIKE or GLOB: it needs no escaping and uses the index of the key.
	rows, err := s.db.QueryContext(ctx, `SELECT id FROM runs WHERE id >= ?1 AND id < ?1 || char(0x10ffff)
		ORDER BY created_at DESC, id DESC`, ref)
	type found struct{ id string }
	ids, err := collect(rows, err, func(x *found) []column { return []column{{"id", &x.id}} })
	switch {
	case err != nil:
		return "", s.explain(doing, err)
	case len(ids) == 0:
		return "", s.explain(doing, ErrNotFound)
	case len(ids) == 1:
		return ids[0].id, nil
	}
	ambiguous := &AmbiguousError{Ref: ref, More: max(0, len(ids)-maxCandidates)}
	for _, x := range ids[:min(len(ids), maxCandidates)] {
		ambiguous.Candidates = append(ambiguous.Candidates, x.id)
	}
	return "", ambiguous
}

// Steps returns the steps of the run with this id, in order; none when there is no such run.
func (s *Store) Steps(ctx context.Context, runID string) ([]Step, error) {
	return list(ctx, s, "steps", "step", runID, func(x *Step) []column {
		return append(x.columns(), column{"tokens_per_second", &x.TokensPerSecond})
	})
}

// Evaluations returns the evaluations of the run with this id, by step and split.
func (s *Store) Evaluations(ctx context.Context, runID string) ([]Evaluation, error) {
	return list(ctx, s, "evaluations", "step, split", runID, (*Evaluation).columns)
}

// Samples returns the samples of the run with this id, by step and prompt.
func (s *Store) Samples(ctx context.Context, runID string) ([]Sample, error) {
	return list(ctx, s, "samples", "step, prompt_index", runID, (*Sample).columns)
}

// Artifacts returns the artifacts of the run with this id, by kind and path.
func (s *Store) Artifacts(ctx context.Context, runID string) ([]Artifact, error) {
	return list(ctx, s, "artifacts", "kind, path", runID, (*Artifact).columns)
}

// Events returns the events of the run with this id, in the order they were recorded.
func (s *Store) Events(ctx context.Context, runID string) ([]Event, error) {
	return list(ctx, s, "events", "id", runID, (*Event).columns)
}

// list reads the rows of one run from one table.
func list[T any](ctx context.Context, s *Store, table, order, runID string, columns func(*T) []column) ([]T, error) {
	query := "SELECT " + strings.Join(names(columns(new(T))), ", ") + " FROM " + table +
		" WHERE run_id=? ORDER BY " + order
	rows, err := s.db.QueryContext(ctx, query, runID)
	out, err := collect(rows, err, columns)
	return out, s.explain("read "+table+" of run "+runID, err)
}

// collect reads all rows and closes them: the one connection of a writer must not stay taken.
func collect[T any](rows *sql.Rows, err error, columns func(*T) []column) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var (
		out []T
		x   T
	)
	into := values(columns(&x)) // once: a long run has tens of thousands of rows
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, rows.Err()
}
