//go:build !linux

package machine

// OfferToOOMKiller does nothing on a system that gives no such choice.
func OfferToOOMKiller() {}
