//go:build darwin || linux || freebsd

package hub

import "golang.org/x/sys/unix"

// freeSpace returns how many bytes this user can still write to the disk that holds dir.
func freeSpace(dir string) (bytes int64, known bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true
}
