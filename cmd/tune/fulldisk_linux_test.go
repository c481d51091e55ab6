package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// smallDisk mounts one of a size at disk/ in a folder, and returns what makes it large.
func smallDisk(t *testing.T, dir, size string) (grow func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount a disk as small as this needs")
	}
	disk := filepath.Join(dir, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", disk, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("this container cannot mount a disk: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	return func() {
		if err := syscall.Mount("none", disk, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFullDisk: a checkpoint that finds no room ends the run with one error that says so. What was recorded stays, and with
// room again the run goes on to what it would have been.
func TestFullDisk(t *testing.T) {
	config := strings.Replace(interruptible, "threads: 1", "threads: 1\noutput: {dir: disk/runs}", 1)
	dir := project(t, config)
	grow := smallDisk(t, dir, "128k")
	p := begin(t, dir, nil, "run", "kept.yaml")
	code := p.end()
	got := outcomeOf(t, dir, "last")
	if code != exitFailure || got.Status != "failed" || !matches(`after step \d+: save disk/runs/.*/checkpoints/checkpoint-\d+: .*no space left on device`, got.Error) {
		t.Fatalf("exit code %d, %s: %s\n%s", code, got.Status, got.Error, p.stderr.String())
	}
	if len(got.Steps) == 0 || strings.Count(p.stderr.String(), "tune: error:") != 1 {
		t.Errorf("%d steps recorded; stderr:\n%s", len(got.Steps), p.stderr.String())
	}
	grow()
	if again := begin(t, dir, nil, "resume", "last"); again.end() != 0 {
		t.Fatal(again.stderr.String())
	}
	same(t, "with room again", outcomeOf(t, dir, "last"), neverStopped(t))
}

// TestFullDatabase: so does a step that cannot be recorded; the worker saves where it is, and what it could not tell.
func TestFullDatabase(t *testing.T) {
	dir := project(t, strings.Replace(interruptible, "threads: 1", "threads: 1\noutput: {database: disk/runs.db}", 1))
	grow := smallDisk(t, dir, "200k")
	p := begin(t, dir, nil, "run", "kept.yaml")
	code := p.end()
	if code != exitFailure || !matches(`no room on the disk`, p.stderr.String()) || strings.Count(p.stderr.String(), "tune: error:") != 1 ||
		!matches(`tune: hint: make room on the disk; what was recorded before is safe`, p.stderr.String()) {
		t.Fatalf("exit code %d\n%s", code, p.stderr.String())
	}
	grow()
	show := exec.Command("tune", "runs", "--json", "--db", "disk/runs.db")
	show.Dir = dir
	if out, err := show.Output(); err != nil || !strings.Contains(string(out), `"steps_done"`) {
		t.Fatalf("%v: %s", err, out)
	}
	if again := begin(t, dir, nil, "resume", "last", "--db", "disk/runs.db"); again.end() != 0 {
		t.Fatal(again.stderr.String())
	}
	if err := os.Rename(filepath.Join(dir, "disk", "runs.db"), filepath.Join(dir, "moved.db")); err == nil {
		t.Fatal("the disk is no disk of its own")
	}
	b, err := os.ReadFile(filepath.Join(dir, "disk", "runs.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "runs.db"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "disk", "runs.db")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Unmount(filepath.Join(dir, "disk"), syscall.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "disk")); err != nil {
		t.Fatal(err)
	}
	same(t, "with room again", outcomeOf(t, dir, "last"), neverStopped(t))
}
