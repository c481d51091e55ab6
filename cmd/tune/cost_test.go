package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tune/configs"
	"tune/internal/runstore"
)

const handPrices = `currency: EUR
electricity: {price_per_kwh: 0.2}
hardware: {price: 2920, years: 4, hours_per_day: 4} # 5840 hours at 0.50
chips:
  Chip: {watts: 50}
  Dear chip: {watts: 50, price: 5840}
cloud:
  hourly: {price_per_hour: 2, billed_per: hour, startup_minutes: 30, speedup: 4}
  minutely: {price_per_hour: 0.6, billed_per: minute, startup_minutes: 6, gpu: NVIDIA X}
`

// billOf makes a report of runs with the prices above.
func billOf(t *testing.T, watts float64, known *speeds, runs ...runstore.RunSummary) *costReport {
	t.Helper()
	path := filepath.Join(t.TempDir(), "prices.yaml")
	if err := os.WriteFile(path, []byte(handPrices), 0o644); err != nil {
		t.Fatal(err)
	}
	prices, err := configs.LoadPrices(path)
	if err != nil {
		t.Fatal(err)
	}
	if known == nil {
		known = &speeds{}
	}
	b := &bill{prices: prices, watts: watts, speeds: known, now: time.Now()}
	return b.report(runs)
}

// twoHours is a run of two hours: 3.6 million tokens, an hour of it in steps, so that it makes 1000 a second.
func twoHours(chip string) runstore.RunSummary {
	return runstore.RunSummary{Run: runstore.Run{ID: "a", Chip: chip, Device: "cpu", ModelSHA256: "m", BatchSize: 4, Status: runstore.Done, WallSeconds: 7200,
		EnergyJoules: unmeasured}, Tokens: 3_600_000, StepSeconds: 3600}
}

type wanted struct {
	name      string
	got, want float64
}

func compareWanted(t *testing.T, all []wanted) {
	t.Helper()
	for _, x := range all {
		if math.Abs(x.got-x.want) > 1e-9*max(1, math.Abs(x.want)) || math.IsNaN(x.got) != math.IsNaN(x.want) {
			t.Errorf("%s: got %v, want %v", x.name, x.got, x.want)
		}
	}
}

// TestCostByHand holds a report against numbers worked out on paper.
func TestCostByHand(t *testing.T) {
	r := billOf(t, 0, nil, twoHours("Chip"))
	run, hourly, minutely := r.Runs[0], r.Cloud[0], r.Cloud[1]
	compareWanted(t, []wanted{
		{"50 W for two hours", float64(run.EnergyKWh), 0.1},
		{"electricity", float64(run.ElectricityCost), 0.02},
		{"hardware", float64(run.HardwareCost), 1},
		{"total", float64(run.TotalCost), 1.02},
		{"a million of 3.6 million tokens", float64(run.PerMillion), 1.02 / 3.6},
		{"the sum of one", float64(r.Sum.TotalCost), 1.02},

		{"hourly: 2.5 hours are 3", float64(hourly.CostAtOne), 6},
		{"hourly, 4x: half an hour of work behind half an hour", float64(hourly.Cost), 2},
		{"hourly in the long run: 2 against 0.51", float64(hourly.CheaperFromLong), 2 / 0.51},
		{"hourly: 2920 / (2/4 - 0.01)", float64(hourly.BuyAfterHours), 2920 / 0.49},
		{"minutely: 126 minutes", float64(minutely.CostAtOne), 1.26},
		{"minutely: 1.02 pays 102 minutes, 6 of them start-up", float64(minutely.CheaperFrom), 1.25},
		{"minutely: 2920 / (0.6 - 0.01)", float64(minutely.BuyAfterHours), 2920 / 0.59},
		{"minutely: 2920 / (1.26 - 0.02) runs", float64(minutely.BuyAfterRuns), 2920 / 1.24},
		{"minutely: over 48 months", float64(minutely.BuyMonthly), 2920 / 1.24 / 48},
		{"nobody knows its speed", float64(minutely.Speedup), math.NaN()},
	})
	if !hourly.never || hourly.SpeedupSource == "" || !strings.Contains(hourly.SpeedupSource, "prices.yaml:8") {
		t.Errorf("an hour costs more than 1.02: want never; source %q", hourly.SpeedupSource)
	}
	if run.EnergySource != "watts" || len(r.Notes) != 0 {
		t.Errorf("energy from %q, notes %q", run.EnergySource, r.Notes)
	}
}

// TestCostEnergy: a flag stands above a measurement, that above a chip's watts, and without any there is no total.
func TestCostEnergy(t *testing.T) {
	measured := twoHours("Chip")
	measured.EnergyJoules, measured.EnergySource = 3.6e6, "rapl"
	r := billOf(t, 0, nil, measured)
	compareWanted(t, []wanted{{"measured", float64(r.Runs[0].EnergyKWh), 1}, {"total", float64(r.Runs[0].TotalCost), 1.2}})
	if r.Runs[0].EnergySource != "rapl" || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "not memory") {
		t.Errorf("source %q, want a note of what is left out, got %q", r.Runs[0].EnergySource, r.Notes)
	}
	r = billOf(t, 100, nil, measured)
	compareWanted(t, []wanted{{"--watts", float64(r.Runs[0].EnergyKWh), 0.2}})

	r = billOf(t, 0, nil, twoHours("Other"))
	compareWanted(t, []wanted{{"hardware alone", float64(r.Runs[0].HardwareCost), 1}, {"electricity", float64(r.Runs[0].ElectricityCost), math.NaN()},
		{"total", float64(r.Sum.TotalCost), math.NaN()}, {"cheaper from", float64(r.Cloud[1].CheaperFrom), math.NaN()}, {"rented", float64(r.Cloud[1].CostAtOne), 1.26}})
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], `prices.yaml: chips: {"Other": {watts: N}}`) || r.Cloud[0].never {
		t.Errorf("want the key to add, got %q, never %t", r.Notes, r.Cloud[0].never)
	}
}

// TestCostSoFar: a run that is not over has cost what its time until now costs.
func TestCostSoFar(t *testing.T) {
	run := twoHours("Chip")
	run.Status, run.WallSeconds, run.StartedAt = runstore.Running, unmeasured, time.Now().Add(-time.Hour)
	r := billOf(t, 0, nil, run)
	if h := float64(r.Runs[0].HardwareCost); h < 0.5 || h > 0.501 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "so far") {
		t.Errorf("an hour of hardware costs 0.50, got %v; notes %q", h, r.Notes)
	}
}

// TestCostOfSeveral: sums, a machine with a price of its own, and no break-even where there are two machines.
func TestCostOfSeveral(t *testing.T) {
	second := twoHours("Chip")
	second.ID = "b"
	queued := runstore.RunSummary{Run: runstore.Run{ID: "q", Status: runstore.Queued, WallSeconds: unmeasured}}
	r := billOf(t, 0, nil, twoHours("Chip"), second, queued)
	compareWanted(t, []wanted{{"sum", float64(r.Sum.TotalCost), 2.04}, {"four hours and 6 minutes in one rental", float64(r.Cloud[1].CostAtOne), 2.46},
		{"a run each in its own", float64(r.Cloud[1].BuyAfterRuns), 2920 / 1.24}})
	if len(r.Runs) != 2 || len(r.Notes) != 1 {
		t.Errorf("%d runs, notes %q", len(r.Runs), r.Notes)
	}
	r = billOf(t, 0, nil, twoHours("Dear chip"), second)
	compareWanted(t, []wanted{{"twice the price", float64(r.Runs[0].HardwareCost), 2}, {"sum", float64(r.Sum.TotalCost), 3.04},
		{"no one machine", float64(r.Cloud[1].BuyAfterHours), math.NaN()}})
	var keys []string
	for _, a := range r.Assumptions {
		keys = append(keys, a.Key)
	}
	for _, want := range []string{"electricity.price_per_kwh", "hardware.price", "hardware.years", `chips["Chip"].watts`, `chips["Dear chip"].price`, `cloud["hourly"].speedup`} {
		if !strings.Contains(strings.Join(keys, "\n"), want) {
			t.Errorf("assumption %s is not listed: %q", want, keys)
		}
	}
	if r := billOf(t, 0, nil); len(r.Runs) != 0 {
		t.Errorf("no runs: %+v", r)
	}
}

// TestCostSpeedFromMeasurements: of the same model on that GPU, with the same batch before newer ones.
func TestCostSpeedFromMeasurements(t *testing.T) {
	at := func(n int) time.Time { return time.Date(2026, 1, n, 12, 0, 0, 0, time.UTC) }
	train := func(day int, device, model string, batch int, speed float64) runstore.Benchmark {
		return runstore.Benchmark{CreatedAt: at(day), Kind: runstore.BenchmarkTrain, ModelSHA256: model, Device: "cuda", DeviceName: device, BatchSize: batch,
			TrainTokensPerSecond: runstore.SpreadOf([]float64{speed})}
	}
	known := &speeds{benchmarks: []runstore.Benchmark{train(9, "NVIDIA X", "m", 16, 9000), train(2, "nvidia x", "m", 4, 2000), train(1, "NVIDIA X", "m", 4, 1500),
		train(9, "NVIDIA X", "another", 4, 7000), train(9, "NVIDIA Y", "m", 4, 8000)}}
	r := billOf(t, 0, known, twoHours("Chip"))
	g := r.Cloud[1]
	compareWanted(t, []wanted{{"2000 there, 1000 here", float64(g.Speedup), 2}, {"60 minutes and 6", float64(g.Cost), 0.66},
		{"2920 / (0.6/2 - 0.01)", float64(g.BuyAfterHours), 2920 / 0.29}})
	if !strings.Contains(g.SpeedupSource, "2000 tok/s at batch 4 there on 2026-01-02, 1000 at batch 4 here") {
		t.Errorf("source %q", g.SpeedupSource)
	}
	other := twoHours("Chip")
	other.ID, other.ModelSHA256 = "b", "another"
	if g := billOf(t, 0, known, twoHours("Chip"), other).Cloud[1]; g.Speedup.Finite() {
		t.Errorf("runs of two models have one speedup: %v", g.Speedup)
	}
}
