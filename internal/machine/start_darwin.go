package machine

import (
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ProcessStart returns when this process began, before the libraries that it is linked with were loaded. ok is false
// where the system does not tell.
func ProcessStart() (start time.Time, ok bool) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", os.Getpid())
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(info.Proc.P_starttime.Unix()), true
}

// processMark returns when a process began, to the microsecond and by the clock of then. ended says that it only waits
// for its parent to notice its end.
func processMark(pid int) (mark string, ended bool) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return "", false
	}
	const zombie = 5 // SZOMB of sys/proc.h
	return strconv.FormatInt(info.Proc.P_starttime.Nano()/1000, 10), info.Proc.P_stat == zombie
}
