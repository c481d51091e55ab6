//go:build !darwin

package machine

// processEnergy is unknown: only macOS counts energy by process.
func processEnergy(int) (joules float64, ok bool) { return 0, false }
