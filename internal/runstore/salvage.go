package runstore

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"
	"unicode"
	"unicode/utf8"
)

// Check looks at every page and row of the database at path and returns what is wrong with it; none when it is sound.
// A file that SQLite refuses altogether has that as its problem.
//
// Errors: those of [OpenReadOnly], but for [ErrDamaged].
func Check(ctx context.Context, path string) (problems []string, err error) {
	if info, err := os.Stat(path); err == nil && info.Size() == 0 && !hasPendingWAL(path) {
		return []string{"the file is empty"}, nil
	}
	s, _, err := openReader(path, len(migrations), busyTimeout)
	if errors.Is(err, ErrDamaged) {
		return []string{plainly(err)}, nil
	}
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for _, pragma := range []string{"PRAGMA integrity_check",
		`SELECT format('%s: row of a run that is not there', "table") FROM pragma_foreign_key_check`} {
		rows, err := s.db.QueryContext(ctx, pragma)
		type line struct{ text string }
		found, err := collect(rows, err, func(x *line) []column { return []column{{"", &x.text}} })
		for _, x := range found {
			for text := range strings.SplitSeq(x.text, "\n") {
				if text != "" && text != "ok" && !strings.HasPrefix(text, "***") { // a heading
					problems = append(problems, text)
				}
			}
		}
		if err = s.explain("check", err); errors.Is(err, ErrDamaged) {
			return append(problems, plainly(err)), nil
		} else if err != nil {
			return nil, err
		}
	}
	return problems, nil
}

// plainly returns what SQLite says of a file, without the path and what surrounds it.
func plainly(err error) string {
	if e, ok := errors.AsType[sqlite3.Error](err); ok {
		return e.Error()
	}
	return err.Error()
}

// Salvaged is what [Salvage] has saved of a database.
type Salvaged struct {
	Tables []TableRows // in the order of the schema
	Losses []Loss      // by run
}

// TableRows is a table with how many of its rows were saved.
type TableRows struct {
	Table string
	Rows  int
}

// Loss is what is missing of a run, as far as what was saved tells.
type Loss struct {
	RunID   string
	Missing []string
}

// Salvage copies every row that can be read of the database at path, however damaged, to a new one at out. It reads
// the file page by page and writes nothing to it; no run should write to it meanwhile. A run whose own row is lost,
// but not all that it recorded, gets a row that says so.
//
// Errors: [fs.ErrExist] when there is something at out; [ErrDamaged] when no row at all can be read, and then nothing
// is left at out.
func Salvage(ctx context.Context, path, out string) (_ *Salvaged, err error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	wal, err := os.ReadFile(path + "-wal")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, name := range []string{out, out + "-wal", out + "-shm", out + "-journal"} {
		if _, err := os.Lstat(name); err == nil {
			return nil, fmt.Errorf("%s: %w", name, fs.ErrExist)
		}
	}
	s, err := Open(out)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err = errors.Join(err, s.Close()); err != nil {
			os.Remove(out)
		}
	}()
	tables, err := readTables(ctx, s.db)
	if err != nil {
		return nil, err
	}
	rows := bestRows(file, wal, tables)

	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, s.explain("salvage", err)
	}
	defer tx.Rollback() // nothing after Commit
	w := &salvager{tx: tx, runs: map[string]bool{}}
	for _, t := range tables {
		if err := w.save(ctx, t, rows[t.name]); err != nil {
			return nil, s.explain("salvage "+t.name, err)
		}
	}
	if _, err := tx.ExecContext(ctx, "UPDATE runs SET "+totals+" WHERE steps_done IS NOT NULL"); err != nil {
		return nil, s.explain("salvage", err)
	}
	result, err := w.result(ctx, tables)
	if err != nil {
		return nil, s.explain("salvage", err)
	}
	if !slices.ContainsFunc(result.Tables, func(t TableRows) bool { return t.Rows > 0 }) {
		return nil, fmt.Errorf("%s: %w: no row of it can be read", path, ErrDamaged)
	}
	if err := tx.Commit(); err != nil {
		return nil, s.explain("salvage", err)
	}
	return result, s.checkpoint(ctx)
}

// table is what rows of a table look like.
type table struct {
	name    string
	keyed   bool // WITHOUT ROWID
	columns []columnType
	fewest  int // columns that its first version had: ALTER TABLE leaves older rows short
}

type columnType struct {
	name, kind string
	notNull    bool
	primary    bool
}

// readTables reads the tables of a database, runs first.
func readTables(ctx context.Context, db *sql.DB) ([]table, error) {
	rows, err := db.QueryContext(ctx, `SELECT t.name, t.wr, c.name, c.type, c."notnull", c.pk > 0 FROM pragma_table_list t,
		pragma_table_xinfo(t.name) c, sqlite_schema m
		WHERE t.schema='main' AND t.type='table' AND m.name=t.name AND m.name NOT LIKE 'sqlite_%' AND c.hidden=0
		ORDER BY m.rowid, c.cid`) // hidden columns are computed, not stored
	type line struct {
		table  string
		keyed  bool
		column columnType
	}
	lines, err := collect(rows, err, func(x *line) []column {
		return []column{{"", &x.table}, {"", &x.keyed}, {"", &x.column.name}, {"", &x.column.kind}, {"", &x.column.notNull},
			{"", &x.column.primary}}
	})
	var tables []table
	for _, x := range lines {
		if len(tables) == 0 || tables[len(tables)-1].name != x.table {
			tables = append(tables, table{name: x.table, keyed: x.keyed})
		}
		t := &tables[len(tables)-1]
		t.columns = append(t.columns, x.column)
		t.fewest = len(t.columns)
		if last := map[string]string{"runs": "save_seconds", "benchmarks": "memory_bytes"}[t.name]; last != "" {
			t.fewest = slices.IndexFunc(t.columns, func(c columnType) bool { return c.name == last }) + 1
		}
	}
	return tables, err
}

// bestRows reads the rows of each table. The size of the pages is in the header; where that is damaged, the size with
// which most rows appear is the right one.
func bestRows(file, wal []byte, tables []table) map[string][]record {
	sizes := []int{4096, 512, 1024, 2048, 8192, 16384, 32768, 65536} // SQLite's default first
	if bytes.HasPrefix(file, magic) && len(file) >= 100 {
		size := int(binary.BigEndian.Uint16(file[16:]))
		if size == 1 {
			size = 65536
		}
		if slices.Contains(sizes, size) {
			sizes = []int{size}
		}
	}
	best, most := map[string][]record{}, 0
	for _, size := range sizes {
		found, n := map[string][]record{}, 0
		newImage(file, wal, size).records(func(r record) {
			for _, t := range tables {
				if t.fits(r) {
					found[t.name] = append(found[t.name], r)
					n++
					return
				}
			}
		})
		if n > most {
			best, most = found, n
		}
	}
	return best
}

// fits reports whether a row can be one of the table: no two tables and indexes of ours have rows that look alike. Of
// a row of runs, the part from its id to its model is enough.
func (t *table) fits(r record) bool {
	n := len(r.values)
	if r.keyed != t.keyed || n > len(t.columns) {
		return false
	}
	if r.whole && n < t.fewest || !r.whole && (t.name != "runs" || n < 6) {
		return false
	}
	for i, v := range r.values {
		c := t.columns[i]
		switch v := v.(type) {
		case nil:
			if c.notNull && !(c.primary && c.kind == "INTEGER") { // an INTEGER PRIMARY KEY is the rowid, stored as NULL
				return false
			}
		case int64:
			if c.kind == "TEXT" {
				return false
			}
		case float64:
			if c.kind != "REAL" {
				return false
			}
		case string:
			if c.kind != "TEXT" || !utf8.ValidString(v) {
				return false
			}
			if c.name == "at" || strings.HasSuffix(c.name, "_at") {
				if _, err := time.Parse(time.RFC3339, v); err != nil {
					return false
				}
			}
			if (c.name == "run_id" || c.name == "id") && (v == "" || strings.ContainsFunc(v, unicode.IsControl)) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// salvager writes the rows to the new database.
type salvager struct {
	tx    *sql.Tx
	runs  map[string]bool // that have a row
	stubs []string        // runs whose own row is lost, or a part of it
}

// save writes the rows of a table. The first of one key counts: it comes from the soundest page.
func (w *salvager) save(ctx context.Context, t table, rows []record) error {
	// Parts of a row only when the whole is nowhere.
	slices.SortStableFunc(rows, func(a, b record) int { return compareBools(b.whole, a.whole) })
	for _, r := range rows {
		names, values := make([]string, 0, len(t.columns)), make([]any, 0, len(t.columns))
		for i, v := range r.values {
			c := t.columns[i]
			if c.primary && c.kind == "INTEGER" && v == nil {
				v = r.rowid
			}
			if c.name == "run_id" && v != nil {
				switch {
				case w.runs[v.(string)]:
				case t.name == "benchmarks": // it stands for itself
					v = nil
				default:
					if err := w.stub(ctx, v.(string), nil, nil); err != nil {
						return err
					}
				}
			}
			names, values = append(names, c.name), append(values, v)
		}
		if !r.whole {
			if err := w.stub(ctx, r.values[0].(string), names, values); err != nil {
				return err
			}
			continue
		}
		result, err := w.tx.ExecContext(ctx, strings.Replace(insert(t.name, names), "INSERT", "INSERT OR IGNORE", 1), values...)
		if isConstraint(err) {
			continue // what the schema refuses was no row of ours
		}
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err == nil && n > 0 && t.name == "runs" {
			w.runs[r.values[0].(string)] = true
		}
	}
	return nil
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// stub writes the row of a run of which only some columns are known, or none besides its id.
func (w *salvager) stub(ctx context.Context, id string, names []string, values []any) error {
	if w.runs[id] {
		return nil
	}
	partial := names != nil
	if !partial {
		name := id
		if parts := strings.Split(id, "-"); len(parts) > 3 { // see NewID
			name = strings.Join(parts[2:len(parts)-1], "-")
		}
		names = []string{"id", "name", "status", "error", "method", "model_path"}
		values = []any{id, name, string(Interrupted), "", "", ""}
	}
	const lost = "its row in a damaged database could not be read, or not all of it"
	for i, name := range names {
		if name == "error" && values[i] == "" {
			values[i] = lost
		}
	}
	if !slices.Contains(names, "created_at") {
		created := time.Unix(0, 0)
		if parts := strings.Split(id, "-"); len(parts) > 2 {
			if at, err := time.Parse("20060102150405", parts[0]+parts[1]); err == nil {
				created = at
			}
		}
		names, values = append(names, "created_at"), append(values, utc{&created})
	}
	_, err := w.tx.ExecContext(ctx, insert("runs", names), values...)
	switch {
	case err == nil:
		w.runs[id], w.stubs = true, append(w.stubs, id)
	case isConstraint(err) && partial: // its columns are not what they seem
		return w.stub(ctx, id, nil, nil)
	}
	return err
}

// result counts what was saved and finds what is missing.
func (w *salvager) result(ctx context.Context, tables []table) (*Salvaged, error) {
	out := &Salvaged{}
	for _, t := range tables {
		n := 0
		if err := w.tx.QueryRowContext(ctx, "SELECT count(*) FROM "+t.name).Scan(&n); err != nil {
			return nil, err
		}
		out.Tables = append(out.Tables, TableRows{t.name, n})
	}
	// How far a run had come can be seen in what it recorded after its steps, too.
	rows, err := w.tx.QueryContext(ctx, `WITH seen AS (SELECT run_id, step FROM steps UNION SELECT run_id, step FROM evaluations
		UNION SELECT run_id, step FROM samples)
		SELECT r.id, r.status, coalesce(r.total_steps, 0), coalesce((SELECT max(step) FROM seen WHERE run_id=r.id), 0)
		FROM runs r ORDER BY r.created_at, r.id`)
	type extent struct {
		id, status   string
		planned, end int64
	}
	runs, err := collect(rows, err, func(x *extent) []column {
		return []column{{"", &x.id}, {"", &x.status}, {"", &x.planned}, {"", &x.end}}
	})
	if err != nil {
		return nil, err
	}
	for _, r := range runs {
		loss := Loss{RunID: r.id}
		if slices.Contains(w.stubs, r.id) {
			loss.Missing = append(loss.Missing, "its settings and its ending, all or some")
		}
		rows, err := w.tx.QueryContext(ctx, "SELECT step FROM steps WHERE run_id=? ORDER BY step", r.id)
		type number struct{ step int64 }
		steps, err := collect(rows, err, func(x *number) []column { return []column{{"", &x.step}} })
		if err != nil {
			return nil, err
		}
		next := int64(1)
		for _, x := range append(steps, number{r.end + 1}) {
			if x.step > next {
				loss.Missing = append(loss.Missing, span(next, x.step-1))
			}
			next = x.step + 1
		}
		if Status(r.status) == Done && r.end < r.planned {
			loss.Missing = append(loss.Missing, span(r.end+1, r.planned)+" unless it stopped early")
		}
		if len(loss.Missing) > 0 {
			out.Losses = append(out.Losses, loss)
		}
	}
	return out, nil
}

// span names steps from one to another.
func span(from, to int64) string {
	if from == to {
		return fmt.Sprintf("step %d", from)
	}
	return fmt.Sprintf("steps %d to %d", from, to)
}
