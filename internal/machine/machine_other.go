//go:build !linux && !darwin

package machine

import "runtime"

// readFacts knows no more here than Go does.
func readFacts() (Facts, error) {
	return Facts{}, missing("chip", "memory")
}

func allowedCores() int { return runtime.NumCPU() }

func readMemory() (limit, available uint64) { return 0, 0 }
