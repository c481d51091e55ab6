package runstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The tests below need other processes: this test binary, called again with a role and the path of a database.
const roleVariable, pathVariable = "RUNSTORE_TEST_ROLE", "RUNSTORE_TEST_PATH"

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	if play := roles[role]; play != nil {
		exit(play(os.Getenv(pathVariable)))
	}
}

// roles are what a child can do with the database at a path.
var roles = map[string]func(path string) error{"write": writeSteps, "read": printRuns}

func exit(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// writeSteps records steps without end after those that are there, and prints the number of each that is written.
func writeSteps(path string) error {
	ctx := context.Background()
	s, err := Open(path)
	if err != nil {
		return err
	}
	if _, err = s.Run(ctx, "a"); errors.Is(err, ErrNotFound) {
		err = s.CreateRun(ctx, Run{ID: "a"})
	}
	if err != nil {
		return err
	}
	r, err := s.Run(ctx, "a")
	if err != nil {
		return err
	}
	if r.Status == Running { // the process before this one was killed
		if err := s.EndDeadRun(ctx, &r); err != nil {
			return err
		}
	}
	if err := s.StartRun(ctx, "a"); err != nil {
		return err
	}
	steps, err := s.Steps(ctx, "a")
	if err != nil {
		return err
	}
	for i := int64(len(steps)) + 1; ; i++ {
		if err := s.RecordStep(ctx, "a", Step{Step: i, Loss: 1, Tokens: 100, Seconds: 1}); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

// printRuns prints the id and the number of steps of each run.
func printRuns(path string) error {
	s, err := OpenReadOnly(path)
	if err != nil {
		return err
	}
	s.now = func() time.Time { return time.Now().Add(2 * time.Minute) }
	s.EndDeadRuns(context.Background()) // where it cannot be written, it can be read all the same
	runs, err := s.Runs(context.Background(), Filter{})
	for _, r := range runs {
		fmt.Println(r.ID, r.StepsDone)
	}
	return errors.Join(err, s.Close())
}

// child prepares this binary in a role, with its standard output as a pipe of lines.
func child(t *testing.T, binary, role, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), roleVariable+"="+role, pathVariable+"="+path)
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	return cmd, bufio.NewScanner(out)
}

// started is child in this binary, running, and killed at the latest with the test.
func started(t *testing.T, role, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	binary, err := os.Executable()
	must(t, err)
	cmd, out := child(t, binary, role, path)
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, out
}

func TestAKilledWriterLosesNothingItHadRecorded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	last := 0
	for round := range 5 {
		cmd, out := started(t, "write", path)
		for range 50 + 37*round {
			if !out.Scan() {
				t.Fatal("the writer ended by itself")
			}
		}
		must(t, cmd.Process.Kill())
		for line := out.Text(); ; line = out.Text() { // what it had printed before the signal came counts too
			n, err := strconv.Atoi(line)
			must(t, err)
			last = n
			if !out.Scan() {
				break
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the writer was not killed")
		}

		s, err := OpenReadOnly(path)
		must(t, err)
		steps, err := s.Steps(t.Context(), "a")
		must(t, err)
		if n := len(steps); n < last || n > last+1 { // one more may be written and not yet printed
			t.Errorf("round %d: %d steps, want %d or one more", round, n, last)
		}
		for i, x := range steps {
			if x.Step != int64(i+1) {
				t.Fatalf("round %d: row %d is step %d", round, i, x.Step)
			}
		}
		r, err := s.Run(t.Context(), "a")
		must(t, err)
		if r.Status != Running || r.PID != cmd.Process.Pid {
			t.Errorf("round %d: %s in process %d, want running in %d", round, r.Status, r.PID, cmd.Process.Pid)
		}
		s.now = func() time.Time { return time.Now().Add(2 * time.Minute) }
		if r, err = s.Run(t.Context(), "a"); err != nil || !r.Stale {
			t.Errorf("round %d: two minutes later: stale %v, %v, want true", round, r.Stale, err)
		}
		must(t, s.Close())

		w, err := Open(path)
		must(t, err)
		var check string
		must(t, w.db.QueryRow("PRAGMA integrity_check").Scan(&check))
		if check != "ok" {
			t.Errorf("round %d: integrity check: %s", round, check)
		}
		must(t, w.Close())
	}
}

func TestReadersSeeEveryStepWhileAnotherProcessWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	_, out := started(t, "write", path)
	if !out.Scan() {
		t.Fatal("the writer ended by itself")
	}
	s, err := OpenReadOnly(path)
	must(t, err)
	defer s.Close()
	done := int64(0)
	for range 100 {
		for range 3 {
			if !out.Scan() {
				t.Fatal("the writer ended by itself")
			}
		}
		printed, err := strconv.ParseInt(out.Text(), 10, 64)
		must(t, err)
		r, err := s.Run(t.Context(), "last")
		must(t, err)
		if r.StepsDone < printed || r.StepsDone < done {
			t.Fatalf("%d steps, want at least the %d that are recorded and the %d seen before", r.StepsDone, printed, done)
		}
		if r.Tokens != 100*r.StepsDone { // of one moment, not of two
			t.Fatalf("%d tokens in %d steps", r.Tokens, r.StepsDone)
		}
		done = r.StepsDone
	}
	var n int
	for n = 0; out.Scan() && n < 10; n++ { // it goes on
	}
	if n < 10 {
		t.Error("the writer ended by itself")
	}
}

func TestReadingInAFolderThatCannotBeWritten(t *testing.T) {
	killed := func(t *testing.T, path string) {
		cmd, out := started(t, "write", path)
		if !out.Scan() {
			t.Fatal("the writer ended by itself")
		}
		must(t, cmd.Process.Kill())
		cmd.Wait()
	}
	for _, tc := range []struct {
		name string
		left string // beside runs.db, in the order of the folder
		prep func(t *testing.T, path string)
	}{
		{"closed", "", func(t *testing.T, path string) {
			s, err := Open(path)
			must(t, err, s.CreateRun(t.Context(), Run{ID: "a"}), s.RecordStep(t.Context(), "a", Step{Step: 1}), s.Close())
		}},
		{"with the log of a killed writer", "runs.db-shm runs.db-wal", killed},
		{"with a log alone", "runs.db-wal", func(t *testing.T, path string) {
			killed(t, path)
			must(t, os.Remove(path+"-shm"))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "runstore-") // t.TempDir is closed to other users
			must(t, err)
			t.Cleanup(func() { os.Chmod(dir, 0o755); os.RemoveAll(dir) })
			path := filepath.Join(dir, "runs.db")
			tc.prep(t, path)
			entries, err := os.ReadDir(dir)
			must(t, err)
			var left []string
			for _, e := range entries {
				must(t, os.Chmod(filepath.Join(dir, e.Name()), 0o444))
				if e.Name() != "runs.db" {
					left = append(left, e.Name())
				}
			}
			if got := strings.Join(left, " "); got != tc.left {
				t.Fatalf("beside the database lies %q, want %q", got, tc.left)
			}
			must(t, os.Chmod(dir, 0o555))

			cmd, out := child(t, unprivilegedBinary(t), "read", path)
			dropPrivileges(cmd)
			if err := cmd.Start(); err != nil && os.Geteuid() == 0 {
				t.Skipf("root in a place that has no other user: %v", err)
			} else if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for out.Scan() {
				lines = append(lines, out.Text())
			}
			if tc.left == "runs.db-wal" { // SQLite cannot, and an answer without the log would be wrong
				if err := cmd.Wait(); err == nil || !strings.Contains(strings.Join(lines, "\n"), "copy both to one") {
					t.Errorf("%v, %q, want an error that says what to do", err, lines)
				}
				return
			}
			if err := cmd.Wait(); err != nil || len(lines) != 1 || !strings.HasPrefix(lines[0], "a ") {
				t.Errorf("%v, %q, want run a with its steps", err, lines)
			}
			if strings.HasSuffix(strings.Join(lines, ""), " 0") {
				t.Errorf("%q: the steps in the log are missing", lines)
			}
		})
	}
}

// unprivilegedBinary copies this binary to where a user without rights may run it: the build folder is ours alone.
func unprivilegedBinary(t *testing.T) string {
	t.Helper()
	binary, err := os.Executable()
	must(t, err)
	in, err := os.Open(binary)
	must(t, err)
	defer in.Close()
	out, err := os.CreateTemp("", "runstore-*.test")
	must(t, err)
	t.Cleanup(func() { os.Remove(out.Name()) })
	_, err = io.Copy(out, in)
	must(t, err, out.Chmod(0o755), out.Close())
	return out.Name()
}
