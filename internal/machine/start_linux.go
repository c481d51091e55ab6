package machine

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"
)

// ProcessStart returns when this process began, before the libraries that it is linked with were loaded; to a
// hundredth of a second. ok is false where the system does not tell.
func ProcessStart() (start time.Time, ok bool) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return time.Time{}, false
	}
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return time.Time{}, false
	}
	age, ok := processAge(stat, uptime)
	return time.Now().Add(-age), ok
}

// processAge returns how long a process with such a stat has lived on a machine with such an uptime; see proc(5).
func processAge(stat, uptime []byte) (age time.Duration, ok bool) {
	// The second field is the program's name in parentheses, which may hold anything; the 22nd, the 20th behind it, is
	// the start in ticks since boot.
	fields, up := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])), strings.Fields(string(uptime))
	if len(fields) < 20 || len(up) == 0 {
		return 0, false
	}
	const ticks = 100 // a second: USER_HZ, the same on every architecture that Go has
	started, err := strconv.ParseUint(fields[19], 10, 64)
	now, uerr := strconv.ParseFloat(up[0], 64)
	if err != nil || uerr != nil {
		return 0, false
	}
	age = time.Duration((now - float64(started)/ticks) * float64(time.Second))
	return max(0, age), age > -time.Second // a container may tell the uptime of its own
}

// processMark returns the boot of the system and the tick in it at which a process began. ended says that it only waits
// for its parent to notice its end, which in a container without an init may be for ever.
func processMark(pid int) (mark string, ended bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", false
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", false
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return "", false
	}
	return strings.TrimSpace(string(boot)) + " " + fields[19], fields[0] == "Z" || fields[0] == "X"
}
