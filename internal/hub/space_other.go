//go:build !darwin && !linux && !freebsd

package hub

// freeSpace cannot tell here; a full disk shows when writing fails.
func freeSpace(string) (bytes int64, known bool) { return 0, false }
