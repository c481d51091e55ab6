package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"tune/internal/chart"
	"tune/internal/runstore"
)

// write shows the report to people, as text or as Markdown.
func (r *costReport) write(w io.Writer, limit int, markdown bool) error {
	s := screenOf(w)
	section := func(first bool, title string, columns []tableColumn, below ...string) error {
		if !first {
			fmt.Fprintln(w)
		}
		if markdown {
			fmt.Fprintf(w, "### %s\n\n", title)
			if err := writeMarkdown(w, columns); err != nil {
				return err
			}
		} else {
			fmt.Fprintf(w, "%s\n", s.paint(bold, title))
			if err := s.writeTable(w, columns); err != nil {
				return err
			}
		}
		for _, line := range below {
			_, err := fmt.Fprintf(w, "\n%s\n", s.ascii(line))
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := section(true, "Here, in "+printable(r.Currency), r.runColumns(limit)); err != nil {
		return err
	}
	if len(r.Cloud) > 0 {
		title := "Rented instead, in " + printable(r.Currency) + ": the same work in one rental"
		if err := section(false, title, r.cloudColumns(s), r.cloudKey()...); err != nil {
			return err
		}
	}
	if err := section(false, "What this rests on", r.assumptionColumns()); err != nil {
		return err
	}
	for i, note := range r.Notes {
		if i == 0 {
			fmt.Fprintln(w)
		}
		mark := "note: "
		if markdown {
			mark = "- "
		}
		if _, err := fmt.Fprintln(w, mark+printable(note)); err != nil {
			return err
		}
	}
	return nil
}

// columnsOf makes columns of rows of cells.
func columnsOf(columns []tableColumn, rows [][]string) []tableColumn {
	for _, row := range rows {
		for i := range columns {
			columns[i].cells = append(columns[i].cells, printable(row[i]))
		}
	}
	return columns
}

// runColumns are a line for each run, the newest first, and one for the sum.
func (r *costReport) runColumns(limit int) []tableColumn {
	var rows [][]string
	row := func(id, status, source string, e *expenses) {
		rows = append(rows, []string{id, status, chart.FormatDuration(float64(e.WallSeconds)), amount(e.EnergyKWh), source, amount(e.ElectricityCost),
			amount(e.HardwareCost), amount(e.TotalCost), amount(e.PerMillion)})
	}
	listed := r.Runs
	if limit > 0 && len(listed) > limit {
		listed = listed[:limit]
	}
	for i := range listed {
		row(listed[i].ID, listed[i].Status, energyFrom(listed[i].EnergySource), &listed[i].expenses)
	}
	if older := r.Runs[len(listed):]; len(older) > 0 {
		sum := sumOf(older)
		row(fmt.Sprintf("%d more", len(older)), "", "", &sum)
	}
	if len(r.Runs) > 1 {
		row(fmt.Sprintf("sum of %d", len(r.Runs)), "", "", &r.Sum)
	}
	return columnsOf([]tableColumn{{title: "run"}, {title: "status", drop: 4}, {title: "wall time", right: true, drop: 2}, {title: "kWh", right: true, drop: 3},
		{title: "energy", drop: 5}, {title: "electricity", right: true}, {title: "hardware", right: true}, {title: "total", right: true},
		{title: "per 1M tokens", right: true, drop: 1}}, rows)
}

// energyFrom says how an energy is known.
func energyFrom(source string) string {
	switch source {
	case "":
		return "unknown"
	case "watts":
		return "from watts"
	}
	return source
}

// cloudColumns are a line for each GPU.
func (r *costReport) cloudColumns(s screen) []tableColumn {
	var rows [][]string
	for i := range r.Cloud {
		g := &r.Cloud[i]
		rows = append(rows, []string{g.Name, amount(g.PricePerHour), g.BilledPer, chart.FormatDuration(60 * float64(g.StartupMinutes)), amount(g.CostAtOne),
			timesText(g.Speedup), amount(g.Cost), g.cheaperFrom(), timesText(g.CheaperFromLong), r.buyAfter(g.BuyAfterHours, " h"), r.buyAfter(g.BuyAfterRuns, ""),
			r.buyAfter(g.BuyMonthly, "")})
	}
	columns := columnsOf([]tableColumn{{title: "GPU"}, {title: "an hour", right: true}, {title: "billed per", drop: 6}, {title: "start-up", right: true, drop: 5},
		{title: "at 1x", right: true}, {title: "speed", right: true, drop: 2}, {title: "at that speed", right: true, drop: 3}, {title: "cheaper if at least", right: true},
		{title: "in the long run", right: true, drop: 1}, {title: "buying pays after", right: true, drop: 4}, {title: "or runs", right: true, drop: 7},
		{title: "or a month", right: true, drop: 8}}, rows)
	return slices.DeleteFunc(columns, func(c tableColumn) bool { // what is known of none
		return !slices.ContainsFunc(c.cells, func(cell string) bool { return cell != "-" })
	})
}

// cheaperFrom is the speedup from which on renting is cheaper.
func (g *cloudCost) cheaperFrom() string {
	if g.never {
		return "never"
	}
	return timesText(g.CheaperFrom)
}

// buyAfter writes a break-even; where the costs are known and it is none, renting is always cheaper.
func (r *costReport) buyAfter(v runstore.Real, unit string) string {
	switch {
	case r.machine == nil || !r.Sum.ElectricityCost.Finite():
		return "-"
	case !v.Finite():
		return "never"
	case unit != "" && float64(v) > r.machine.LifeHours():
		return "beyond its life"
	}
	if v >= 10 {
		v = runstore.Real(math.Ceil(float64(v)))
	}
	return strings.TrimSuffix(chart.FormatAmount(float64(v)), ".00") + unit
}

// cloudKey explains the table.
func (r *costReport) cloudKey() []string {
	var lines []string
	unknown := 0
	for i := range r.Cloud {
		g := &r.Cloud[i]
		if g.Speedup.Finite() {
			lines = append(lines, fmt.Sprintf("%s is %s as fast as this machine (%s).", g.Name, timesText(g.Speedup), g.SpeedupSource))
		} else {
			unknown++
		}
	}
	if !r.Sum.TotalCost.Finite() {
		return lines
	}
	text := "cheaper if at least: how many times as fast as this machine a GPU must be for renting to cost less, for this work with\n" +
		"the start-up; in the long run, for training without end."
	if r.machine != nil {
		text += fmt.Sprintf(" buying pays after: hours of training here until the price\n"+
			"of the machine is back; its life has %s of them. or runs: of %s each, each rented by itself; a month: over its life.",
			chart.FormatAmount(r.machine.LifeHours()), chart.FormatDuration(float64(r.Sum.WallSeconds)/float64(len(r.Runs))))
	}
	lines = append(lines, text)
	if unknown > 0 && r.machine != nil {
		lines = append(lines, "Where no speed is shown, buying pays after so long if the GPU is only as fast as this machine, and later if it is faster.\n"+
			"State a speedup in the prices, or measure this model on the GPU and name the database with --benchmarks.")
	}
	return lines
}

// assumptionColumns are a line for each assumption.
func (r *costReport) assumptionColumns() []tableColumn {
	var rows [][]string
	for _, a := range r.Assumptions {
		value := fmt.Sprint(a.Value)
		rows = append(rows, []string{a.Key, strings.TrimSpace(value + " " + a.Unit), a.Place, a.AsOf, a.Source})
	}
	return columnsOf([]tableColumn{{title: "what"}, {title: "value"}, {title: "from"}, {title: "as of", drop: 1}, {title: "source", drop: 2}}, rows)
}

// amount writes money, or an energy.
func amount(v runstore.Real) string { return chart.FormatAmount(float64(v)) }

// timesText writes how many times as fast something is.
func timesText(v runstore.Real) string {
	switch {
	case !v.Finite():
		return "-"
	case v >= 100:
		return fmt.Sprintf("%.0fx", float64(v))
	}
	return fmt.Sprintf("%.3gx", float64(v))
}
