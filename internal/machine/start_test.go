//go:build linux

package machine

import (
	"testing"
	"time"
)

func TestProcessStart(t *testing.T) {
	start, ok := ProcessStart()
	if age := time.Since(start); !ok || age < 0 || age > 2*time.Hour {
		t.Errorf("this process began at %v (%v), %v ago", start, ok, age)
	}
	rest := ") S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 12345 20 21"
	for _, tc := range []struct {
		name, stat, uptime string
		age                time.Duration
		ok                 bool
	}{
		{"plain", "17 (tune" + rest, "125.45 200.00\n", 2 * time.Second, true},
		{"a name with parentheses", "17 (a) b (c)" + rest, "125.45 200.00\n", 2 * time.Second, true},
		{"an uptime of its own", "17 (tune" + rest, "3.00 4.00\n", 0, false},
		{"short", "17 (tune) S 1 2", "125.45 200.00\n", 0, false},
		{"no number", "17 (tune" + rest, "x\n", 0, false},
	} {
		age, ok := processAge([]byte(tc.stat), []byte(tc.uptime))
		if ok != tc.ok || age.Round(time.Millisecond) != tc.age {
			t.Errorf("%s: %v, %v; want %v, %v", tc.name, age, ok, tc.age, tc.ok)
		}
	}
}
