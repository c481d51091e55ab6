// Package layout holds which package of tune may import which, and checks it.
//
// The table in rules.go is the map that a newcomer reads first: arrows point down it and never back up. A test reads
// `go list` and fails, giving the reason, when an import goes the wrong way. A new package joins by a new row.
package layout
