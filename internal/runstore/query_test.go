package runstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestQueryReads(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	fill(t, s, time.Now())
	for query, want := range map[string]string{
		"SELECT count(*) AS n FROM runs": "[n] [7]",
		"SELECT 1 AS a, 2.5 AS b, 'c' AS c, NULL AS d UNION ALL SELECT 3, 4.5, 'e', x'00ff'": "[a b c d] [1 2.5 c <nil>] [3 4.5 e [0 255]]",
		"SELECT id FROM runs WHERE 0": "[id] []",
		"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n<3) SELECT sum(n) AS s FROM c": "[s] [6]",
		"SELECT json_extract('{\"a\": 5}', '$.a') AS v":                                                     "[v] [5]",
		"PRAGMA user_version": fmt.Sprintf("[user_version] [%d]", len(migrations)),
	} {
		got := ""
		err := s.Query(ctx, query, func(columns []string, row []any) error {
			if got == "" {
				got = fmt.Sprint(columns)
			}
			got += fmt.Sprint(" ", row)
			return nil
		})
		if err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", query, got, err, want)
		}
	}
}

// TestQueryChangesNothing: also of a store that could, and afterwards the store can again.
func TestQueryChangesNothing(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	must(t, s.CreateRun(ctx, Run{ID: "a"}))
	other := filepath.Join(t.TempDir(), "other.db")
	for _, query := range []string{
		"DELETE FROM runs", "UPDATE runs SET name='x'", "INSERT INTO runs(id) VALUES('b')", "DROP TABLE runs", "CREATE TABLE x(a)",
		"CREATE TEMP TABLE x(a)", "ATTACH '" + other + "' AS o", "VACUUM INTO '" + other + "'", "VACUUM", "REINDEX", "BEGIN", "PRAGMA user_version=9",
		"PRAGMA journal_mode=DELETE", "PRAGMA writable_schema=1", "SELECT load_extension('x')", "SELECT 1; DELETE FROM runs", "EXPLAIN DELETE FROM runs",
		"SELEC 1", "SELECT absent FROM runs", "", " \n", "SELECT 1 FROM",
	} {
		err := s.Query(ctx, query, func([]string, []any) error { return nil })
		if !errors.Is(err, ErrQuery) && query != "VACUUM INTO '"+other+"'" || err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want ErrQuery in one line", query, err)
		}
	}
	if _, err := os.Stat(other); err == nil {
		t.Error("a file was made")
	}
	if r, err := s.Run(ctx, "a"); err != nil || r.Name != "" {
		t.Errorf("%+v, %v", r.Run, err)
	}
	must(t, s.SetNote(ctx, "a", "as before"))
}

func TestQueryEndsWithItsContext(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := s.Query(ctx, "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c) SELECT count(*) FROM c", func([]string, []any) error { return nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the end of the context", err)
	}
}
