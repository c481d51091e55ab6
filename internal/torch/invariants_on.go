//go:build invariants

package torch

// checkInvariants has every Run prove that it ends empty: go test -tags invariants.
const checkInvariants = true
