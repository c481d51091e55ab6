package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk: a checkpoint that finds no room ends the run with one error that says so. What was recorded stays, and with
// room again the run goes on to what it would have been.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount a disk as small as this needs")
	}
	config := strings.Replace(interruptible, "threads: 1", "threads: 1\noutput: {dir: disk/runs}", 1)
	dir := project(t, config)
	disk := filepath.Join(dir, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", disk, "tmpfs", 0, "size=128k"); err != nil {
		t.Skipf("this container cannot mount a disk: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	p := begin(t, dir, nil, "run", "kept.yaml")
	code := p.end()
	got := outcomeOf(t, dir, "last")
	if code != exitFailure || got.Status != "failed" || !matches(`after step \d+: save disk/runs/.*/checkpoints/checkpoint-\d+: .*no space left on device`, got.Error) {
		t.Fatalf("exit code %d, %s: %s\n%s", code, got.Status, got.Error, p.stderr.String())
	}
	if len(got.Steps) == 0 || strings.Count(p.stderr.String(), "tune: error:") != 1 {
		t.Errorf("%d steps recorded; stderr:\n%s", len(got.Steps), p.stderr.String())
	}
	if err := syscall.Mount("none", disk, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	if again := begin(t, dir, nil, "resume", "last"); again.end() != 0 {
		t.Fatal(again.stderr.String())
	}
	base := project(t, interruptible)
	if p := begin(t, base, nil, "run", "kept.yaml"); p.end() != 0 {
		t.Fatal(p.stderr.String())
	}
	same(t, "with room again", outcomeOf(t, dir, "last"), outcomeOf(t, base, "last"))
}
