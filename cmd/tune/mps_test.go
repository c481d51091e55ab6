package main

import (
	"os"
	"strings"
	"testing"
)

// TestWatermarks: libtorch keeps to the memory that macOS recommends, and what its user has set counts.
func TestWatermarks(t *testing.T) {
	for _, tc := range []struct {
		name, high, low   string
		wantHigh, wantLow string
		refused           string
	}{
		{"none", "", "", "1", "0.9", ""},
		{"both", "1.3", "1.2", "1.3", "1.2", ""},
		{"high alone", "0.5", "", "0.5", "0.45", ""},
		{"no limit", "0.0", "", "0.0", "0", ""},
		{"low alone", "", "0.8", "1", "0.8", ""},
		{"a large low alone", "", "1.4", "1.4", "1.4", ""},
		{"a word", "much", "", "much", "", `PYTORCH_MPS_HIGH_WATERMARK_RATIO: want a number, 0 or more, got "much"`},
		{"below 0", "", "-1", "", "-1", `PYTORCH_MPS_LOW_WATERMARK_RATIO: want a number, 0 or more, got "-1"`},
	} {
		env := map[string]string{highWatermark: tc.high, lowWatermark: tc.low}
		err := keepToBudget(func(name string) string { return env[name] }, func(name, value string) error { env[name] = value; return nil })
		if tc.refused != "" {
			if err == nil || !isBadInput(err) || !strings.Contains(err.Error(), tc.refused) {
				t.Errorf("%s: %v, want %s", tc.name, err, tc.refused)
			}
		} else if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if env[highWatermark] != tc.wantHigh || env[lowWatermark] != tc.wantLow {
			t.Errorf("%s: high %q, low %q, want %q, %q", tc.name, env[highWatermark], env[lowWatermark], tc.wantHigh, tc.wantLow)
		}
	}
}

// TestWatermarksAreSet: before a command does anything, also those that train nothing.
func TestWatermarksAreSet(t *testing.T) {
	t.Setenv(highWatermark, "")
	t.Setenv(lowWatermark, "")
	if code, _, stderr := tune(t, "version"); code != 0 {
		t.Fatal(stderr)
	}
	if err := keepToBudget(os.Getenv, func(name, _ string) error { t.Errorf("%s was not set", name); return nil }); err != nil {
		t.Error(err)
	}
}
