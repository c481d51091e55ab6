//go:build !linux

package machine

// OfferToOOMKiller does nothing on a system that gives no such choice.
func OfferToOOMKiller() {}

// OOMKills returns -1: this system does not count the processes that it ends because memory ran out.
func OOMKills() int64 { return -1 }
