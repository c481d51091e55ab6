package runstore

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// TableColumn is a column of a table of the database, as it is declared.
type TableColumn struct {
	Name string
	Kind string // TEXT, INTEGER or REAL
}

// RunTables are the tables that hold runs: runs itself and those with a run_id.
var RunTables = []string{"runs", "steps", "evaluations", "samples", "artifacts", "events"}

// Dump calls f for each row of one of RunTables that belongs to the runs with these ids, in their order. A cell is nil, int64, float64
// or string, as its column says. Errors: a table that is none of them; those of f.
func (s *Store) Dump(ctx context.Context, table string, ids []string, f func(columns []TableColumn, row []any) error) error {
	doing := "read " + table
	columns, err := s.TableColumns(ctx, table)
	if err != nil {
		return s.explain(doing, err)
	}
	key, order := "run_id", "rowid"
	switch table {
	case "runs":
		key = "id"
	case "steps":
		order = "step"
	case "evaluations":
		order = "step, split"
	case "samples":
		order = "step, prompt_index"
	case "artifacts":
		order = "kind, path"
	case "events":
		order = "id"
	default:
		return s.explain(doing, fmt.Errorf("no table of runs (want %s)", strings.Join(RunTables, ", ")))
	}
	var names []string
	for _, c := range columns {
		names = append(names, c.Name)
	}
	query := fmt.Sprintf("SELECT %s FROM %s WHERE %s=? ORDER BY %s", strings.Join(names, ", "), table, key, order)
	for _, id := range ids {
		if err := s.dumpRun(ctx, query, id, columns, f); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) dumpRun(ctx context.Context, query, id string, columns []TableColumn, f func([]TableColumn, []any) error) error {
	rows, err := s.db.QueryContext(ctx, query, id)
	if err != nil {
		return s.explain("read run "+id, err)
	}
	defer rows.Close()
	for rows.Next() {
		row, pointers := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			pointers[i] = &row[i]
		}
		if err := rows.Scan(pointers...); err != nil {
			return s.explain("read run "+id, err)
		}
		for i, v := range row {
			if n, whole := v.(int64); whole && columns[i].Kind == "REAL" { // of a computed column
				row[i] = float64(n)
			}
		}
		if err := f(columns, row); err != nil {
			return err
		}
	}
	return s.explain("read run "+id, rows.Err())
}

// TableColumns lists the columns of a table, computed ones included; none of a table that is not there.
func (s *Store) TableColumns(ctx context.Context, table string) ([]TableColumn, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT name, type FROM pragma_table_xinfo(?) ORDER BY cid", table)
	return collect(rows, err, func(c *TableColumn) []column {
		return []column{{"name", text[string]{&c.Name}}, {"type", kindOf{&c.Kind}}}
	})
}

// kindOf is the declared type of a column, without what SQLite adds for a computed one.
type kindOf struct{ p *string }

func (k kindOf) Scan(v any) error {
	var s sql.NullString
	err := s.Scan(v)
	*k.p, _, _ = strings.Cut(s.String, " ")
	return err
}
