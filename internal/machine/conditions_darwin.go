package machine

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

func readConditions() Conditions {
	c := Conditions{Thermal: macThermal(thermalCommand), SwapBytes: -1, LoadAverage: math.NaN()}
	if b, err := unix.SysctlRaw("vm.swapusage"); err == nil {
		c.SwapBytes = parseSwapUsage(b)
	}
	if b, err := unix.SysctlRaw("vm.loadavg"); err == nil {
		c.LoadAverage = parseLoad(b)
	}
	return c
}

// busyTime tells nothing: macOS counts the time of its cores for those who call Mach, not for sysctl.
func busyTime() (all, ours time.Duration, ok bool) { return 0, 0, false }
