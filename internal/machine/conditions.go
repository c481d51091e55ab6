package machine

import (
	"bytes"
	"context"
	"encoding/binary"
	"io/fs"
	"math"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Conditions is the state of the machine at one moment.
type Conditions struct {
	Thermal     string  // nominal, moderate, heavy, trapping or sleeping; empty where the system does not tell, as all of Linux
	SwapBytes   int64   // in use, of the whole machine; -1 where it is unknown
	LoadAverage float64 // threads that want a core, over the last minute; NaN where it is unknown
}

// ReadConditions returns the state of the machine now, as far as the system tells.
func ReadConditions() Conditions { return readConditions() }

// linuxConditions reads what the files under root say. Linux has no state that says how hot is too hot: the trip points are each
// driver's own, and the counters of throttled cores count from the boot.
func linuxConditions(root fs.FS) Conditions {
	c := Conditions{SwapBytes: -1, LoadAverage: math.NaN()}
	swap := map[string]int64{}
	eachField(root, "proc/meminfo", func(key, value string) {
		if n, err := strconv.ParseInt(strings.TrimSuffix(value, " kB"), 10, 64); err == nil && strings.HasPrefix(key, "Swap") {
			swap[key] = n * 1024
		}
	})
	total, hasTotal := swap["SwapTotal"]
	free, hasFree := swap["SwapFree"]
	if hasTotal && hasFree {
		c.SwapBytes = max(0, total-free)
	}
	if fields := strings.Fields(line(root, "proc/loadavg")); len(fields) > 0 {
		if load, err := strconv.ParseFloat(fields[0], 64); err == nil {
			c.LoadAverage = load
		}
	}
	return c
}

// thermalCommand is how macOS tells its thermal pressure without rights and without cgo. The name is not documented, and the same
// since macOS 10.10; where it is gone, the state is unknown.
var thermalCommand = []string{"/usr/bin/notifyutil", "-g", "com.apple.system.thermalpressurelevel"}

// macThermal returns the thermal pressure that macOS tells.
func macThermal(command []string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, command[0], command[1:]...).Output()
	if err != nil {
		return ""
	}
	return parseThermal(out)
}

// parseThermal reads the answer of notifyutil: the name and a level. The levels are those of OSThermalPressureLevel in
// libkern/OSThermalNotification.h for macOS.
func parseThermal(out []byte) string {
	fields := strings.Fields(string(out))
	levels := map[string]string{"0": "nominal", "1": "moderate", "2": "heavy", "3": "trapping", "4": "sleeping"}
	if len(fields) != 2 || fields[0] != thermalCommand[2] {
		return ""
	}
	return levels[fields[1]]
}

// parseSwapUsage returns the used bytes of struct xsw_usage (sys/sysctl.h), which sysctl vm.swapusage gives; -1 where it is none.
func parseSwapUsage(b []byte) int64 {
	const used = 16 // behind two 64-bit numbers: in all, available
	if len(b) < used+8 {
		return -1
	}
	return int64(binary.NativeEndian.Uint64(b[used:]))
}

// parseLoad returns the first average of struct loadavg (sys/resource.h), which sysctl vm.loadavg gives: three fixed-point numbers
// and, aligned to a long, what they are to be divided by.
func parseLoad(b []byte) float64 {
	if len(b) < 24 {
		return math.NaN()
	}
	scale := binary.NativeEndian.Uint64(b[16:])
	if scale == 0 {
		return math.NaN()
	}
	return float64(binary.NativeEndian.Uint32(b)) / float64(scale)
}

// busyTicks returns how long the cores of the machine have been busy since it began, in hundredths of a second, all cores
// together. What a hypervisor gave to others in the meantime counts as busy. In a container it is the host's.
func busyTicks(root fs.FS) (ticks uint64, ok bool) {
	b, err := fs.ReadFile(root, "proc/stat")
	if err != nil {
		return 0, false
	}
	first, _, _ := bytes.Cut(b, []byte("\n"))
	fields := strings.Fields(string(first))
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, false
	}
	// user nice system idle iowait irq softirq steal; the time of guests, which follows, is in user and nice already.
	for i, field := range fields[1:9] {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return 0, false
		}
		if i != 3 && i != 4 {
			ticks += n
		}
	}
	return ticks, true
}

// Load measures what other programs do with the machine.
type Load struct {
	began      time.Time
	busy, ours time.Duration // since the beginning of the machine and of this process
	known      bool
}

// StartLoad begins to measure.
func StartLoad() Load {
	l := Load{began: time.Now()}
	l.busy, l.ours, l.known = busyTime()
	return l
}

// OtherCores returns how many cores programs other than this process, and than its children that have ended, have kept busy
// since the beginning, on average; NaN where the system does not tell.
func (l Load) OtherCores() float64 {
	busy, ours, known := busyTime()
	elapsed := time.Since(l.began)
	if !known || !l.known || elapsed <= 0 {
		return math.NaN()
	}
	return max(0, float64((busy-l.busy)-(ours-l.ours))/float64(elapsed))
}
