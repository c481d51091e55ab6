//go:build unix

package safetensors

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapFile maps the first size bytes of f read-only; size must not be 0.
func mapFile(f *os.File, size int) ([]byte, error) {
	return syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ, syscall.MAP_SHARED)
}

// unmapFile undoes mapFile.
func unmapFile(mapped []byte) error { return syscall.Munmap(mapped) }

// Release tells the system that a part of a mapped file, such as what Bytes returned, will not be read again soon: its
// pages need no longer count as this process's memory. The bytes stay valid; reading them fetches the pages anew.
// It is advice, so there is nothing to fail.
func Release(b []byte) {
	page := uintptr(os.Getpagesize())
	start := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	// Only whole pages: the ends may belong to neighbours that are still wanted.
	skip := (page - start%page) % page
	if uintptr(len(b)) < skip+page {
		return
	}
	b = b[skip:]
	_ = unix.Madvise(b[:uintptr(len(b))/page*page], unix.MADV_DONTNEED)
}
