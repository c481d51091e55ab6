// Package bounded holds what reading an input allocates against the input's size, for fuzz tests: a few bytes of a file
// must not ask for gigabytes.
package bounded

import (
	"runtime"
	"testing"
)

// fixed is what reading may allocate whatever the input: buffers, tables of a library, tests that run beside it.
const fixed = 32 << 20

// Run calls read, and fails where all that it has allocated, freed since or not, is more than multiple times size bytes
// and 32 MiB.
func Run(t testing.TB, size, multiple int, read func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	read()
	runtime.ReadMemStats(&after)
	if got, most := after.TotalAlloc-before.TotalAlloc, uint64(multiple*size+fixed); got > most {
		t.Fatalf("%d bytes of input led to allocations of %d, allowed %d times that and %d", size, got, multiple, fixed)
	}
}
