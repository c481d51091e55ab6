//go:build !linux && !darwin

package machine

import "time"

// ProcessStart tells nothing on this system.
func ProcessStart() (start time.Time, ok bool) { return time.Time{}, false }

func processMark(int) (mark string, ended bool) { return "", false }
