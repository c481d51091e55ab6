package runstore

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// later is the schema with two migrations that do not exist yet.
var later = append(migrations[:len(migrations):len(migrations)],
	`ALTER TABLE runs ADD COLUMN later TEXT NOT NULL DEFAULT 'none';`,
	`CREATE TABLE extra(x INTEGER) STRICT; INSERT INTO extra SELECT count(*) FROM runs WHERE later = 'none';`)

func TestEveryEarlierSchemaIsBroughtUpToDate(t *testing.T) {
	for from := range len(later) + 1 {
		for _, how := range []string{"open", "openReadOnly"} {
			t.Run(fmt.Sprintf("%s from %d", how, from), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "runs.db")
				must(t, os.WriteFile(path, nil, 0o644))
				runs := 0
				if from > 0 {
					old, err := connect(path, "mode=rw", time.Second)
					must(t, err, migrate(t.Context(), old.db, later[:from]))
					_, err = old.db.Exec(`INSERT INTO runs(id, name, status, method, model_path, created_at)
						VALUES('a', 'bluey', 'done', 'lora', 'models/pocket', '2026-11-21T12:00:00.000Z')`)
					must(t, err, old.Close())
					runs = 1
				}

				opener := open
				if how == "openReadOnly" {
					opener = openReadOnly
				}
				s, err := opener(path, later, time.Second)
				must(t, err)
				defer s.Close()
				version, err := schemaVersion(t.Context(), s.db, len(later))
				if err != nil || version != len(later) {
					t.Fatalf("version %d, %v, want %d", version, err, len(later))
				}
				got, err := s.Runs(t.Context(), Filter{})
				if err != nil || len(got) != runs {
					t.Fatalf("%d runs, %v, want %d", len(got), err, runs)
				}
				var n int
				if err := s.db.QueryRow("SELECT x FROM extra").Scan(&n); err != nil || from < len(later) && n != runs {
					t.Errorf("the last migration saw %d runs, %v, want %d", n, err, runs)
				}
			})
		}
	}
}

func TestAFailedMigrationChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	s, err := Open(path)
	must(t, err)
	must(t, s.CreateRun(t.Context(), Run{ID: "a"}), s.Close())

	broken := append(later[:len(later):len(later)], "CREATE TABLE half(x INTEGER) STRICT; SELECT nonsense;")
	_, err = open(path, broken, time.Second)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("migration to schema version %d: ", len(broken))) {
		t.Fatalf("got %v", err)
	}
	s, err = Open(path) // still the old version: this would be ErrNewer
	must(t, err)
	defer s.Close()
	if _, err := s.Run(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	var n int
	must(t, s.db.QueryRow("SELECT count(*) FROM sqlite_schema WHERE name IN ('half', 'extra')").Scan(&n))
	if n != 0 {
		t.Errorf("%d tables of the broken migration were left", n)
	}
}

func TestAnOldReaderRefusesANewSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	s, err := open(path, later, time.Second)
	must(t, err, s.Close())
	for _, open := range []func(string) (*Store, error){Open, OpenReadOnly} {
		if _, err := open(path); !errors.Is(err, ErrNewer) {
			t.Errorf("%v, want ErrNewer", err)
		}
	}
}

func TestManyMayCreateTheFileAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s, err := Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(s.CreateRun(t.Context(), Run{ID: fmt.Sprint(i)}), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s, err := OpenReadOnly(path)
	must(t, err)
	defer s.Close()
	if runs, err := s.Runs(t.Context(), Filter{}); err != nil || len(runs) != 8 {
		t.Errorf("%d runs, %v, want 8", len(runs), err)
	}
}

// testdata/version1.db.gz is what tune wrote before version 2, with the runs of fill and the commit of last's model
// as an event.
func TestAFileOfVersion1IsTakenOver(t *testing.T) {
	for name, opener := range map[string]func(string) (*Store, error){"Open": Open, "OpenReadOnly": OpenReadOnly} {
		t.Run(name, func(t *testing.T) {
			path := unzip(t, "testdata/version1.db.gz")
			old, version, err := reader(path, readOptions, len(migrations), time.Second)
			must(t, err)
			_, text := rowsOf(t, old, "SELECT id, status, config, wall_seconds FROM runs ORDER BY id")
			_, steps := rowsOf(t, old, "SELECT * FROM steps ORDER BY run_id, step")
			must(t, old.Close())
			if version != 1 {
				t.Fatalf("the file has version %d, want 1", version)
			}

			s, err := opener(path)
			must(t, err)
			defer s.Close()
			if version, err := schemaVersion(t.Context(), s.db, len(migrations)); err != nil || version != len(migrations) {
				t.Errorf("version %d, %v, want %d", version, err, len(migrations))
			}
			_, now := rowsOf(t, s, "SELECT id, status, config, wall_seconds FROM runs ORDER BY id")
			_, stepsNow := rowsOf(t, s, "SELECT * FROM steps ORDER BY run_id, step")
			if now != text || stepsNow != steps {
				t.Errorf("runs or steps changed: %s\nwant %s", now, text)
			}
			if n, _ := rowsOf(t, s, "SELECT 1 FROM steps"); n != 110 {
				t.Errorf("%d steps, want 110", n)
			}

			runs, err := s.Runs(t.Context(), Filter{})
			if err != nil || len(runs) != 7 {
				t.Fatalf("%d runs, %v, want 7", len(runs), err)
			}
			for _, r := range runs {
				want := ""
				if r.ID == "last" {
					want = "0123456789abcdef0123456789abcdef01234567"
				}
				if r.Attempts != 0 || r.ResumedFromStep != 0 || r.Run.BestValidationLoss.Finite() || r.Checkpoint+r.Host != "" {
					t.Errorf("%s: %+v, want nothing known of resumes", r.ID, r.Run)
				}
				if r.ModelRevision != want || r.PredictedPeakMemoryBytes != 0 || r.PredictedSeconds != 0 {
					t.Errorf("%s: revision %q, predicted %d bytes, %v s, want %q and nothing", r.ID, r.ModelRevision,
						r.PredictedPeakMemoryBytes, r.PredictedSeconds, want)
				}
			}
			if benchmarks, err := s.Benchmarks(t.Context(), ""); err != nil || len(benchmarks) != 0 {
				t.Errorf("%d benchmarks, %v, want none", len(benchmarks), err)
			}
			if name == "Open" {
				x := fullBenchmark()
				x.RunID = "last"
				_, err := s.RecordBenchmark(t.Context(), x)
				must(t, err, s.CreateRun(t.Context(), fullRun("new")))
			}
		})
	}
}

// unzip writes a packed database to a folder of the test.
func unzip(t *testing.T, packed string) string {
	t.Helper()
	f, err := os.Open(packed)
	must(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	must(t, err)
	b, err := io.ReadAll(z)
	must(t, err)
	path := filepath.Join(t.TempDir(), "runs.db")
	must(t, os.WriteFile(path, b, 0o644))
	return path
}

// rowsOf returns how many rows a query gives, and all of them as text.
func rowsOf(t *testing.T, s *Store, query string) (n int, all string) {
	t.Helper()
	rows, err := s.db.Query(query)
	must(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	must(t, err)
	for ; rows.Next(); n++ {
		row, pointers := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			pointers[i] = &row[i]
		}
		must(t, rows.Scan(pointers...))
		all += fmt.Sprintln(row...)
	}
	must(t, rows.Err())
	return n, all
}
