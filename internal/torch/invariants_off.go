//go:build !invariants

package torch

const checkInvariants = false
