//go:build unix && !linux

package runstore

import "errors"

func mountSmall(string) error { return errors.New("only on Linux") }

func unmount(string) {}
