package machine

import (
	"os"
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
