package machine

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func TestLinuxConditions(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  Conditions
	}{
		{"swap in use", map[string]string{"proc/meminfo": "MemTotal: 100 kB\nSwapCached: 7 kB\nSwapTotal: 2048 kB\nSwapFree: 1024 kB\n", "proc/loadavg": "1.25 0.50 0.10 2/345 6789\n"},
			Conditions{SwapBytes: 1 << 20, LoadAverage: 1.25}},
		{"no swap", map[string]string{"proc/meminfo": "SwapTotal: 0 kB\nSwapFree: 0 kB\n", "proc/loadavg": "0.00 0.00 0.00 1/2 3\n"}, Conditions{}},
		{"nothing", nil, Conditions{SwapBytes: -1, LoadAverage: math.NaN()}},
		{"nonsense", map[string]string{"proc/meminfo": "SwapTotal: many\nSwapFree: 1 kB\n", "proc/loadavg": "high"}, Conditions{SwapBytes: -1, LoadAverage: math.NaN()}},
	} {
		got := linuxConditions(files(tc.files))
		if got.Thermal != "" || got.SwapBytes != tc.want.SwapBytes || got.LoadAverage != tc.want.LoadAverage && !(math.IsNaN(got.LoadAverage) && math.IsNaN(tc.want.LoadAverage)) {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

// TestMacConditions reads what a Mac has answered.
func TestMacConditions(t *testing.T) {
	for out, want := range map[string]string{
		"com.apple.system.thermalpressurelevel 0\n": "nominal",
		"com.apple.system.thermalpressurelevel 2\n": "heavy",
		"com.apple.system.thermalpressurelevel 4":   "sleeping",
		"com.apple.system.thermalpressurelevel 9\n": "",
		"com.apple.other 0\n":                       "",
		"":                                          "",
	} {
		if got := parseThermal([]byte(out)); got != want {
			t.Errorf("%q: %q, want %q", out, got, want)
		}
	}
	swap := make([]byte, 32) // in all, available, used, size of a page, encrypted
	for i, n := range []uint64{3 << 30, 1 << 30, 2 << 30} {
		binary.NativeEndian.PutUint64(swap[8*i:], n)
	}
	if got := parseSwapUsage(swap); got != 2<<30 || parseSwapUsage(swap[:20]) != -1 {
		t.Errorf("%d bytes of swap, want 2 GiB; -1 of a short answer: %d", got, parseSwapUsage(swap[:20]))
	}
	load := make([]byte, 24)
	for i, n := range []uint32{5120, 4096, 2048} {
		binary.NativeEndian.PutUint32(load[4*i:], n)
	}
	binary.NativeEndian.PutUint64(load[16:], 2048)
	if got := parseLoad(load); got != 2.5 || !math.IsNaN(parseLoad(load[:16])) || !math.IsNaN(parseLoad(make([]byte, 24))) {
		t.Errorf("load %g, want 2.5, and NaN of a short or empty answer", got)
	}
}

func TestMacThermal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("wants a shell script")
	}
	script := filepath.Join(t.TempDir(), "notifyutil")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$2 1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := macThermal([]string{script, "-g", thermalCommand[2]}); got != "moderate" {
		t.Errorf("%q, want moderate", got)
	}
	if got := macThermal([]string{filepath.Join(t.TempDir(), "none")}); got != "" {
		t.Errorf("without notifyutil: %q, want nothing", got)
	}
}

func TestBusyTicks(t *testing.T) {
	for stat, want := range map[string]uint64{
		"cpu  100 20 30 5000 600 7 8 9 10 11\ncpu0 1 2 3\n": 100 + 20 + 30 + 7 + 8 + 9,
		"cpu  100 20 30 5000 600 7 8\n":                     0, // from before Linux 2.6.11
		"intr 1\n":                                          0,
		"cpu  a b c d e f g h i j\n":                        0,
	} {
		if got, ok := busyTicks(files(map[string]string{"proc/stat": stat})); got != want && ok || ok != (want > 0) {
			t.Errorf("%q: %d, %t, want %d", stat, got, ok, want)
		}
	}
}

// TestLoadIsOthers: what this process does itself is no other load.
func TestLoadIsOthers(t *testing.T) {
	if runtime.GOOS != "linux" {
		if got := StartLoad().OtherCores(); !math.IsNaN(got) {
			t.Errorf("%g, want NaN", got)
		}
		t.Skip("only Linux tells")
	}
	l := StartLoad()
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
	}
	_, after, _ := busyTime()
	ours := (after - l.ours).Seconds() / time.Since(l.began).Seconds()
	// The rest of the machine may be at work, but on no more than what we leave of its cores; a tick is 20 ms of this time.
	if got, most := l.OtherCores(), float64(runtime.NumCPU())-ours+0.2; !(got >= 0 && got <= most) || ours == 0 {
		t.Errorf("%g other cores busy and %g by us, of %d", got, ours, runtime.NumCPU())
	}
}

func TestTheseConditions(t *testing.T) {
	c := ReadConditions()
	if runtime.GOOS == "linux" || runtime.GOOS == "darwin" {
		if c.SwapBytes < 0 || !(c.LoadAverage >= 0) {
			t.Errorf("%+v", c)
		}
	}
}
