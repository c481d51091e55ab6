package main

import (
	"encoding/json"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tune/internal/runstore"
)

func TestSlowedBy(t *testing.T) {
	nan := runstore.Real(math.NaN())
	for name, tc := range map[string]struct {
		run  runstore.Run
		want []string
	}{
		"nothing":      {runstore.Run{SwapBeforeBytes: 5, SwapAfterBytes: 5, OtherCoresBusy: 0.2, ThermalBefore: "nominal", ThermalAfter: "nominal"}, nil},
		"unknown":      {runstore.Run{SwapBeforeBytes: -1, SwapAfterBytes: -1, OtherCoresBusy: nan}, nil},
		"others":       {runstore.Run{OtherCoresBusy: 1.34, Cores: 8}, []string{"other programs kept 1.3 of 8 cores busy"}},
		"swap":         {runstore.Run{SwapBeforeBytes: 0, SwapAfterBytes: 2e9}, []string{"memory ran short: 2.00 GB more in swap than before"}},
		"swap unknown": {runstore.Run{SwapBeforeBytes: -1, SwapAfterBytes: 2e9}, nil},
		"less swap":    {runstore.Run{SwapBeforeBytes: 2e9, SwapAfterBytes: 0}, nil},
		"hot":          {runstore.Run{ThermalBefore: "nominal", ThermalAfter: "heavy"}, []string{"the machine was hot at the end (thermal pressure heavy) and runs slower then"}},
		"hot before":   {runstore.Run{ThermalBefore: "moderate", ThermalAfter: "nominal"}, []string{"the machine was hot at the beginning (thermal pressure moderate)"}},
	} {
		if diff := cmp.Diff(tc.want, slowedBy(&tc.run)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestSurroundingsAreRecorded: what this system tells of itself is in the row of a run.
func TestSurroundingsAreRecorded(t *testing.T) {
	dir := project(t, interruptible)
	t.Chdir(dir)
	if code, _, stderr := tune(t, "run", "kept.yaml", "--set", "train.max_steps=2", "--set", "sample.steps=0"); code != 0 {
		t.Fatal(stderr)
	}
	_, shown, _ := tune(t, "runs", "show", "last", "--json")
	var r struct {
		LoadBefore *float64 `json:"load_average_before"`
		LoadAfter  *float64 `json:"load_average_after"`
		Others     *float64 `json:"other_cores_busy"`
		Before     int64    `json:"swap_before_bytes"`
		After      int64    `json:"swap_after_bytes"`
		Energy     *float64 `json:"energy_joules"`
		Source     string   `json:"energy_source"`
	}
	if err := json.Unmarshal([]byte(shown), &r); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "linux" && (r.LoadBefore == nil || r.LoadAfter == nil || r.Others == nil || r.Before < 0 || r.After < 0) {
		t.Errorf("not all is recorded: %s", shown)
	}
	if (r.Energy == nil) != (r.Source == "") {
		t.Errorf("energy %v by %q", r.Energy, r.Source)
	}
	_, text, _ := tune(t, "runs", "show", "last")
	if runtime.GOOS == "linux" && (!strings.Contains(text, "  load ") || !strings.Contains(text, "  swap ")) {
		t.Errorf("tune runs show says nothing of it:\n%s", text)
	}
}
