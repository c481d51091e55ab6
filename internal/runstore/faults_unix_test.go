//go:build unix

package runstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func init() {
	roles["write little"] = func(path string) error {
		signal.Ignore(syscall.SIGXFSZ) // the write fails instead
		limit := syscall.Rlimit{Cur: 300 << 10, Max: 300 << 10}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			return err
		}
		return writeSteps(path)
	}
	roles["hold"] = func(path string) error {
		s, err := Open(path)
		if err != nil {
			return err
		}
		if _, err := s.db.Exec("PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE"); err != nil {
			return err
		}
		fmt.Println("held")
		time.Sleep(time.Minute)
		return nil
	}
	roles["create"] = func(path string) error {
		syscall.Umask(0)
		s, err := Open(path)
		if err != nil {
			return err
		}
		if err := s.CreateRun(context.Background(), Run{ID: "a"}); err != nil {
			return err
		}
		for _, name := range []string{path, path + "-wal", path + "-shm"} {
			info, err := os.Stat(name)
			if err != nil {
				return err
			}
			fmt.Printf("%o\n", info.Mode().Perm())
		}
		return s.Close()
	}
}

// readAll returns the lines of a child until it ends.
func readAll(t *testing.T, role, path string) (lines []string) {
	t.Helper()
	cmd, out := started(t, role, path)
	for out.Scan() {
		lines = append(lines, out.Text())
	}
	cmd.Wait()
	return lines
}

func TestANewFileIsForItsOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	if lines := readAll(t, "create", path); strings.Join(lines, " ") != "600 600 600" {
		t.Errorf("modes of the file, its log and its index with umask 0: %q, want 600 each", lines)
	}
	must(t, os.Chmod(path, 0o644))
	s, err := Open(path)
	must(t, err, s.Close())
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("a file that was there: %v, %v, want its mode kept", info.Mode(), err)
	}
}

func TestAFileThatMayNotGrowKeepsWhatItHas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	lines := readAll(t, "write little", path)
	if n := len(lines); n < 10 || !strings.HasPrefix(lines[n-1], "error: "+path+": record step ") {
		t.Fatalf("%d lines, the last ones %q, want steps and then an error", n, lines[max(0, n-2):])
	}
	keeps(t, path, len(lines)-1)
}

// keeps fails when a database is not sound or has lost steps.
func keeps(t *testing.T, path string, steps int) {
	t.Helper()
	r, err := OpenReadOnly(path)
	must(t, err)
	defer r.Close()
	if got, err := r.Steps(t.Context(), "a"); err != nil || len(got) < steps {
		t.Errorf("%d steps, %v, want %d", len(got), err, steps)
	}
	if problems, err := Check(t.Context(), path); err != nil || problems != nil {
		t.Errorf("not sound: %q, %v", problems, err)
	}
}

func TestADatabaseThatAnotherProcessHolds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	s, err := Open(path)
	must(t, err, s.CreateRun(t.Context(), Run{ID: "a"}), s.Close())
	_, out := started(t, "hold", path)
	if !out.Scan() || out.Text() != "held" {
		t.Fatalf("%q, want the lock held", out.Text())
	}
	const wait = 100 * time.Millisecond
	for how, opener := range map[string]func(string, []string, time.Duration) (*Store, error){"open": open, "openReadOnly": openReadOnly} {
		began := time.Now()
		s, err := opener(path, migrations, wait)
		if err == nil {
			err = errors.Join(s.CreateRun(t.Context(), Run{ID: "b"}), s.Close())
		}
		if !errors.Is(err, ErrLocked) && !(how == "openReadOnly" && errors.Is(err, ErrReadOnly)) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want ErrLocked in one line", how, err)
		}
		if waited := time.Since(began); errors.Is(err, ErrLocked) && (waited < wait || waited > 20*wait) {
			t.Errorf("%s gave up after %v, want %v", how, waited, wait)
		}
	}
}

func TestTwoProcessesWriteOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	s, err := Open(path)
	must(t, err)
	defer s.Close()
	_, out := started(t, "write", path) // run a, without end
	must(t, s.CreateRun(t.Context(), Run{ID: "b"}))
	for step := range int64(200) {
		must(t, s.RecordStep(t.Context(), "b", Step{Step: step + 1}))
		if !out.Scan() || strings.HasPrefix(out.Text(), "error") {
			t.Fatalf("the other writer ended: %s", out.Text())
		}
	}
	for id, want := range map[string]int64{"a": 200, "b": 200} {
		if r, err := s.Run(t.Context(), id); err != nil || r.StepsDone < want {
			t.Errorf("run %s: %d steps, %v, want at least %d", id, r.StepsDone, err, want)
		}
	}
}
