package machine

import (
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/fstest"
	"time"
)

func TestRAPL(t *testing.T) {
	const dir = "sys/class/powercap/"
	root := files(map[string]string{
		dir + "intel-rapl:0/name": "package-0\n", dir + "intel-rapl:0/energy_uj": "9000000\n", dir + "intel-rapl:0/max_energy_range_uj": "10000000\n",
		dir + "intel-rapl:1/name": "package-1\n", dir + "intel-rapl:1/energy_uj": "1000000\n", dir + "intel-rapl:1/max_energy_range_uj": "10000000\n",
		dir + "intel-rapl:0:0/name": "core\n", dir + "intel-rapl:0:0/energy_uj": "5\n", dir + "intel-rapl:0:0/max_energy_range_uj": "10\n",
	})
	r := newRAPL(root)
	if len(r.domains) != 2 {
		t.Fatalf("%d domains, want the two packages", len(r.domains))
	}
	if _, ok := r.read(); ok {
		t.Error("something is said to be used after one look")
	}
	root[dir+"intel-rapl:0/energy_uj"] = &fstest.MapFile{Data: []byte("500000\n")} // it began again
	root[dir+"intel-rapl:1/energy_uj"] = &fstest.MapFile{Data: []byte("3000000\n")}
	if joules, ok := r.read(); !ok || joules != 1.5+2 {
		t.Errorf("%g J, %t, want 3.5", joules, ok)
	}
	delete(root, dir+"intel-rapl:0/energy_uj") // for root alone
	delete(root, dir+"intel-rapl:1/energy_uj")
	if _, ok := r.read(); ok {
		t.Error("counters that cannot be read say something")
	}
	if none := newRAPL(fs.FS(files(nil))); len(none.domains) != 0 {
		t.Error("domains of nothing")
	}
}

func TestGPUEnergy(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("wants a shell script")
	}
	script := filepath.Join(t.TempDir(), "nvidia-smi")
	text := "#!/bin/sh\nfor w in 100.00 '[N/A]' 100.00 100.00 100.00 100.00; do echo \"$w\"; sleep 0.1; done\nexec sleep 60\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	m := startMeter([]gauge{newGPU([]string{script}), newGPU([]string{filepath.Join(t.TempDir(), "none")})}, 10*time.Millisecond)
	time.Sleep(time.Second)
	joules, source := m.Stop()
	// 100 W over the half second from the first answer to the last, and no longer than the test took.
	if most := 100 * time.Since(began).Seconds(); source != "nvidia-smi" || joules < 40 || joules > most {
		t.Errorf("%g J by %q, want about 50 and at most %g", joules, source, most)
	}
	if again, _ := m.Stop(); again != joules {
		t.Errorf("stopped twice: %g J, then %g", joules, again)
	}
}

// steps is a gauge that gives what it is told to.
type steps struct {
	title string
	give  []float64
}

func (s *steps) name() string { return s.title }
func (s *steps) close()       {}
func (s *steps) read() (float64, bool) {
	if len(s.give) == 0 {
		return 0, false
	}
	first := s.give[0]
	s.give = s.give[1:]
	return first, true
}

func TestMeterAddsUp(t *testing.T) {
	m := startMeter([]gauge{&steps{"rapl", []float64{1, 2}}, &steps{"nvidia-smi", []float64{10, 20}}, &steps{"other", nil}}, time.Hour)
	if joules, source := m.Stop(); joules != 33 || source != "nvidia-smi+rapl" {
		t.Errorf("%g J by %q, want 33 by nvidia-smi+rapl", joules, source)
	}
	if joules, source := startMeter([]gauge{&steps{"rapl", nil}}, time.Hour).Stop(); !math.IsNaN(joules) || source != "" {
		t.Errorf("%g J by %q, want NaN by nothing", joules, source)
	}
}

// TestCounterGauge: what a process had used before the first look does not count, and one that is gone gives no more.
func TestCounterGauge(t *testing.T) {
	value, there := 5.0, true
	g := &counterGauge{title: "x", count: func() (float64, bool) { return value, there }}
	if _, ok := g.read(); ok {
		t.Error("something is said to be used after one look")
	}
	value = 7
	if joules, ok := g.read(); joules != 2 || !ok {
		t.Errorf("%g, %t, want 2", joules, ok)
	}
	there = false
	if _, ok := g.read(); ok {
		t.Error("a process that is gone has used something")
	}
}
