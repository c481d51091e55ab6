//go:build !linux && !darwin

package machine

import (
	"math"
	"time"
)

func readConditions() Conditions { return Conditions{SwapBytes: -1, LoadAverage: math.NaN()} }

func busyTime() (all, ours time.Duration, ok bool) { return 0, 0, false }
