package main

import (
	"context"
	"fmt"
	"math"
	"strings"

	"tune/internal/chart"
	"tune/internal/machine"
	"tune/internal/runstore"
)

// surroundings watches what the machine does besides a run, and what the run uses. A fact that cannot be recorded is no reason to
// end a run: what keeps it from the database keeps the steps from it too, and they are.
type surroundings struct {
	load  machine.Load
	usage runstore.Usage
	row   runstore.Run // the columns that are filled here
}

// watchSurroundings begins; a run that goes on keeps the state from before its first process.
func (r *session) watchSurroundings(ctx context.Context, resume bool) *surroundings {
	w := &surroundings{load: machine.StartLoad(), usage: runstore.Usage{EnergyJoules: runstore.Real(math.NaN())}, row: r.row}
	if resume {
		return w
	}
	c := conditions()
	w.row.ThermalBefore, w.row.SwapBeforeBytes, w.row.LoadAverageBefore = c.Thermal, c.SwapBytes, c.LoadAverage
	_ = r.store.NoteConditionsBefore(ctx, r.row.ID, c)
	return w
}

// spent adds the energy that one training process has used.
func (w *surroundings) spent(m *machine.Meter) {
	joules, source := m.Stop()
	if source == "" {
		return
	}
	if !w.usage.EnergyJoules.Finite() {
		w.usage.EnergyJoules = 0
	}
	w.usage.EnergyJoules, w.usage.EnergySource = w.usage.EnergyJoules+runstore.Real(joules), source
}

// record writes what has been seen.
func (w *surroundings) record(ctx context.Context, store *runstore.Store, id string) {
	ctx = context.WithoutCancel(ctx)
	c := conditions()
	w.usage.OtherCoresBusy = runstore.Real(w.load.OtherCores())
	w.row.ThermalAfter, w.row.SwapAfterBytes, w.row.LoadAverageAfter = c.Thermal, c.SwapBytes, c.LoadAverage
	w.row.OtherCoresBusy = w.usage.OtherCoresBusy
	_ = store.NoteConditionsAfter(ctx, id, c)
	_ = store.NoteUsage(ctx, id, w.usage)
}

func conditions() runstore.Conditions {
	c := machine.ReadConditions()
	return runstore.Conditions{Thermal: c.Thermal, SwapBytes: c.SwapBytes, LoadAverage: runstore.Real(c.LoadAverage)}
}

// From when on something is said to have slowed a run down.
const (
	slowingCores = 0.5   // cores that others keep busy
	slowingSwap  = 100e6 // bytes of swap more than before
)

// slowedBy says in plain words what explains that a run was slow; nothing where nothing does.
func slowedBy(r *runstore.Run) []string {
	var reasons []string
	if busy := float64(r.OtherCoresBusy); busy > slowingCores {
		of := "cores"
		if r.Cores > 0 {
			of = fmt.Sprintf("of %s", countOf(r.Cores, "core"))
		}
		reasons = append(reasons, fmt.Sprintf("other programs kept %.1f %s busy", busy, of))
	}
	if grown := r.SwapAfterBytes - r.SwapBeforeBytes; r.SwapBeforeBytes >= 0 && float64(grown) > slowingSwap {
		reasons = append(reasons, fmt.Sprintf("memory ran short: %s more in swap than before", chart.FormatBytes(float64(grown))))
	}
	if state := r.ThermalAfter; state != "" && state != "nominal" {
		reasons = append(reasons, fmt.Sprintf("the machine was hot at the end (thermal pressure %s) and runs slower then", state))
	} else if state := r.ThermalBefore; state != "" && state != "nominal" {
		reasons = append(reasons, fmt.Sprintf("the machine was hot at the beginning (thermal pressure %s)", state))
	}
	return reasons
}

// surroundingsFields describe the recorded state of the machine, a name and a value each; what is unknown has no line.
func surroundingsFields(r *runstore.Run) []field {
	var lines []field
	between := func(name, before, after string) {
		switch {
		case before == "" && after == "":
		case before == "" || before == after:
			lines = append(lines, field{name, after})
		case after == "":
			lines = append(lines, field{name, before + " before"})
		default:
			lines = append(lines, field{name, before + " before, " + after + " after"})
		}
	}
	between("thermal", r.ThermalBefore, r.ThermalAfter)
	between("swap", sizeOrNothing(r.SwapBeforeBytes), sizeOrNothing(r.SwapAfterBytes))
	between("load", loadText(r.LoadAverageBefore), loadText(r.LoadAverageAfter))
	if r.OtherCoresBusy.Finite() {
		lines = append(lines, field{"others", fmt.Sprintf("%.1f cores busy on average", float64(r.OtherCoresBusy))})
	}
	if r.EnergyJoules.Finite() {
		lines = append(lines, field{"energy", fmt.Sprintf("%s (%s)", energyText(float64(r.EnergyJoules)), r.EnergySource)})
	}
	if reasons := slowedBy(r); len(reasons) > 0 {
		lines = append(lines, field{"slowed by", strings.Join(reasons, "; ")})
	}
	return lines
}

// sizeOrNothing writes bytes, of which -1 is unknown.
func sizeOrNothing(bytes int64) string {
	if bytes < 0 {
		return ""
	}
	return chart.FormatBytes(float64(bytes))
}

func loadText(average runstore.Real) string {
	if !average.Finite() {
		return ""
	}
	return fmt.Sprintf("%.2f", float64(average))
}

// energyText writes joules in a unit that people pay for, or joules where that is little.
func energyText(joules float64) string {
	switch {
	case joules < 3600:
		return fmt.Sprintf("%.3g J", joules)
	case joules < 3.6e6:
		return fmt.Sprintf("%.3g Wh", joules/3600)
	}
	return fmt.Sprintf("%.3g kWh", joules/3.6e6)
}
