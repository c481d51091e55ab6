package runstore

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestAFullDiskIsAClearErrorAndLosesNothing: what was recorded before the disk was full is there, and with room again more
// can be recorded.
func TestAFullDiskIsAClearErrorAndLosesNothing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount a disk as small as this needs")
	}
	disk := t.TempDir()
	if err := mountSmall(disk); err != nil {
		t.Skipf("this container cannot mount a disk: %v", err)
	}
	t.Cleanup(func() { unmount(disk) })
	path := filepath.Join(disk, "runs.db")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	run := Run{ID: "20261121-060000-full-abc", Name: "full", Method: "lora", ModelPath: "m"}
	if err := errors.Join(s.CreateRun(t.Context(), run), s.StartRun(t.Context(), run.ID)); err != nil {
		t.Fatal(err)
	}
	recorded := int64(0)
	text := strings.Repeat("a puppy's reply ", 256)
	for {
		err = s.RecordStep(t.Context(), run.ID, Step{Step: recorded + 1, Loss: 2, TargetTokens: 1, Tokens: 1})
		if err == nil {
			recorded++
			err = s.RecordSample(t.Context(), run.ID, Sample{Step: recorded, Prompt: text, Reply: text})
		}
		if err != nil {
			break
		}
		if recorded > 10000 {
			t.Fatal("the disk never filled")
		}
	}
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), path) {
		t.Fatalf("after %d steps: %v, want ErrFull with the file's name", recorded, err)
	}
	if err := syscall.Mount("none", disk, "tmpfs", syscall.MS_REMOUNT, "size=8m"); err != nil {
		t.Fatal(err)
	}
	reader, err := OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if steps, err := reader.Steps(t.Context(), run.ID); err != nil || int64(len(steps)) != recorded {
		t.Errorf("%d steps are there (%v), %d were recorded", len(steps), err, recorded)
	}
	if err := s.RecordStep(t.Context(), run.ID, Step{Step: recorded + 1, Loss: 2, TargetTokens: 1, Tokens: 1}); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if problems, err := Check(t.Context(), path); err != nil || len(problems) > 0 {
		t.Errorf("the file is damaged: %v %v", problems, err)
	}
}
