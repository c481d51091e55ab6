// Package machine says what a run was made on: the machine, the build of tune and the commit of the working
// directory. It reads, asks for no rights and never fails for a file that a system does not have.
package machine

import (
	"errors"
	"fmt"
	"runtime"
)

// Facts describe the machine. What could not be found out is empty or 0, but for Chip, OS, Arch and Cores, which
// always say something.
type Facts struct {
	Chip             string `json:"chip"`              // "Apple M4 Max", "AMD EPYC 7763 64-Core Processor"
	Model            string `json:"machine_model"`     // "Mac16,5", "Raspberry Pi 5 Model B Rev 1.0"
	OS               string `json:"os"`                // "macOS 15.1", "Debian GNU/Linux 12 (bookworm)"
	Arch             string `json:"arch"`              // as Go calls it: arm64, amd64
	MemoryBytes      uint64 `json:"memory_bytes"`      // installed, as far as the system sees it
	Cores            int    `json:"cores"`             // physical
	PerformanceCores int    `json:"performance_cores"` // the fast ones among them; all where there is one kind
	LogicalCores     int    `json:"logical_cores"`     // hardware threads
}

// ReadFacts returns the facts of this machine. They are usable with an error too: it names what the system
// should have told and did not.
func ReadFacts() (Facts, error) {
	f, err := readFacts()
	f.Arch = runtime.GOARCH
	if f.Chip == "" {
		f.Chip = "unknown " + f.Arch
	}
	if f.OS == "" {
		f.OS = runtime.GOOS
	}
	if f.LogicalCores <= 0 {
		f.LogicalCores = runtime.NumCPU()
	}
	if f.Cores <= 0 {
		f.Cores = f.LogicalCores
	}
	if f.PerformanceCores <= 0 || f.PerformanceCores > f.Cores {
		f.PerformanceCores = f.Cores
	}
	return f, err
}

// Memory returns the bytes that this process may use in all, a container's limit included, and what of them nobody
// uses now. 0 is unknown.
func Memory() (limit, available uint64) { return readMemory() }

// PhysicalCores returns how many physical cores this process may keep busy: those of the machine that it is
// allowed on, and no more than the share of a container (GOMAXPROCS, which knows it). At least 1. This is what
// maths should use as threads: a second one on a core only gets in the way of the first.
func PhysicalCores() int { return usable(allowedCores(), runtime.NumCPU(), runtime.GOMAXPROCS(0)) }

// usable is PhysicalCores in numbers; a system that tells of no cores (0) has as many as threads.
func usable(cores, threads, share int) int {
	if cores <= 0 {
		cores = threads
	}
	return max(1, min(cores, share))
}

// missing joins what a system did not tell into one error, or nil.
func missing(what ...string) error {
	var errs []error
	for _, w := range what {
		errs = append(errs, fmt.Errorf("machine: %s is unknown", w))
	}
	return errors.Join(errs...)
}
