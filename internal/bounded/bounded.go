// Package bounded holds what reading an input takes against the input's size, for fuzz tests: a few bytes of a file
// must neither ask for gigabytes nor keep a reader busy for ever. Damaged is what a bad disk or a broken download makes
// of a file, for ordinary tests.
package bounded

import (
	"bytes"
	"fmt"
	"iter"
	"runtime"
	"testing"
	"time"
)

const (
	// fixed is what reading may allocate whatever the input: buffers, tables of a library, tests that run beside it.
	fixed = 32 << 20
	// longest is what reading an input of a fuzz test may take. The inputs are of kilobytes and take milliseconds, so
	// even a busy machine under the race detector stays far below.
	longest = 20 * time.Second
)

// Run calls read, and fails where all that it has allocated, freed since or not, is more than multiple times size bytes
// and 32 MiB. Where read has not come back after 20 seconds Run panics: a fuzzer then keeps the input, while one that
// waits for ever leaves none.
func Run(t testing.TB, size, multiple int, read func()) {
	t.Helper()
	late := time.AfterFunc(longest, func() { panic(fmt.Sprintf("%d bytes of input keep the reader for %v", size, longest)) })
	defer late.Stop()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	read()
	runtime.ReadMemStats(&after)
	if got, most := after.TotalAlloc-before.TotalAlloc, uint64(multiple*size+fixed); got > most {
		t.Fatalf("%d bytes of input led to allocations of %d, allowed %d times that and %d", size, got, multiple, fixed)
	}
}

// Damaged returns copies of a file that are cut short or have one bit turned over, each with what was done to it. The
// first head bytes, where a file says what it holds, are gone through byte by byte, with another bit each time; the
// rest at 64 places.
func Damaged(file []byte, head int) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		step := max(1, (len(file)-head)/64)
		for at := 0; at < len(file); at++ {
			if at >= head && (at-head)%step != 0 {
				continue
			}
			flipped := bytes.Clone(file)
			flipped[at] ^= 1 << (at % 8)
			if !yield(fmt.Sprintf("cut at byte %d of %d", at, len(file)), bytes.Clone(file[:at])) ||
				!yield(fmt.Sprintf("bit %d of byte %d turned over", at%8, at), flipped) {
				return
			}
		}
	}
}
