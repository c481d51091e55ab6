package machine

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

func readConditions() Conditions { return linuxConditions(os.DirFS("/")) }

// busyTime returns how long all cores have been busy, and how long for this process and its children that have ended.
func busyTime() (all, ours time.Duration, ok bool) {
	ticks, ok := busyTicks(os.DirFS("/"))
	var self, children unix.Rusage
	if !ok || unix.Getrusage(unix.RUSAGE_SELF, &self) != nil || unix.Getrusage(unix.RUSAGE_CHILDREN, &children) != nil {
		return 0, 0, false
	}
	for _, t := range []unix.Timeval{self.Utime, self.Stime, children.Utime, children.Stime} {
		ours += time.Duration(t.Nano())
	}
	return time.Duration(ticks) * (time.Second / 100), ours, true // USER_HZ is 100 on every architecture that Go has
}
