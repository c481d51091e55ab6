package machine

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// processEnergy returns the energy that macOS puts down to a process of this user since it began, in joules: ri_energy_nj of
// struct rusage_info_v6 (sys/resource.h), which macOS has since 13. It asks as proc_pid_rusage(3) of libproc does, by the system
// call proc_info.
func processEnergy(pid int) (joules float64, ok bool) {
	const (
		callPIDRusage = 9   // PROC_INFO_CALL_PIDRUSAGE
		flavor        = 6   // RUSAGE_INFO_V6
		size          = 464 // of the struct: a UUID and 56 numbers of 64 bits
		energy        = 16 + 40*8
	)
	var info [size / 8]uint64
	_, _, errno := syscall.Syscall6(unix.SYS_PROC_INFO, callPIDRusage, uintptr(pid), flavor, 0, uintptr(unsafe.Pointer(&info)), 0)
	if errno != 0 {
		return 0, false
	}
	nanojoules := info[energy/8]
	return float64(nanojoules) / 1e9, nanojoules > 0 // 0 on a Mac that does not count
}
