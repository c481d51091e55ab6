package runstore

import "syscall"

// mountSmall mounts a disk of half a megabyte, which takes root.
func mountSmall(dir string) error { return syscall.Mount("tune-test", dir, "tmpfs", 0, "size=512k") }

func unmount(dir string) { syscall.Unmount(dir, syscall.MNT_DETACH) }
