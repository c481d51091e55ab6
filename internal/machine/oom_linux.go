package machine

import (
	"os"
	"strconv"
	"strings"
)

// OfferToOOMKiller makes this process the one that Linux ends when memory runs out, before the one that started it and can
// say what happened. Where that is not allowed nothing changes.
func OfferToOOMKiller() { _ = os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0o644) }

// OOMKills returns how many processes the system has ended because memory ran out, -1 where it does not tell.
func OOMKills() int64 {
	b, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(b)) {
		if count, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			if n, err := strconv.ParseInt(count, 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}
