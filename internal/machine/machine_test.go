package machine

import (
	"runtime"
	"testing"
)

func TestThisMachineHasFacts(t *testing.T) {
	f, err := ReadFacts()
	if (runtime.GOOS == "darwin" || runtime.GOOS == "linux" && runtime.GOARCH == "amd64") && err != nil {
		t.Error(err)
	}
	if f.Chip == "" || f.OS == "" || f.Arch != runtime.GOARCH {
		t.Errorf("%+v: want a chip, a system and %s", f, runtime.GOARCH)
	}
	if f.PerformanceCores < 1 || f.Cores < f.PerformanceCores || f.LogicalCores < f.Cores {
		t.Errorf("%+v: want 1 <= performance cores <= cores <= logical cores", f)
	}
	if err == nil && (f.MemoryBytes < 64<<20 || f.MemoryBytes > 1<<50) {
		t.Errorf("memory is %d bytes", f.MemoryBytes)
	}
	if n := PhysicalCores(); n < 1 || n > f.Cores || n > runtime.GOMAXPROCS(0) {
		t.Errorf("%d cores to use of %d", n, f.Cores)
	}
}

func TestUsableCores(t *testing.T) {
	for _, tc := range []struct {
		name                          string
		cores, threads, share, usable int
	}{
		{"two threads a core", 8, 16, 16, 8},
		{"a container's share", 8, 16, 2, 2},
		{"the system does not tell", 0, 4, 4, 4},
		{"nothing at all", 0, 0, 0, 1},
	} {
		if n := usable(tc.cores, tc.threads, tc.share); n != tc.usable {
			t.Errorf("%s: %d, want %d", tc.name, n, tc.usable)
		}
	}
}
