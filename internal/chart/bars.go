package chart

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// timeRow is a row of the wall times: the bar of a run, or the heading of a group.
type timeRow struct {
	run  int // -1 for a heading
	text string
}

// timeRows returns the bars of runs with what stands beside them: in the order of the runs, or, where Time is among the kinds
// that v asks for, the shortest first. With By they are grouped by what they have in Group, and the groups are in the order
// of their numbers, or of their median times where they are words. Groups of one run each need no headings.
func timeRows(runs []Run, v View) []timeRow {
	by := v.By
	var rows []timeRow
	if by == "" {
		for i := range runs {
			rows = append(rows, timeRow{i, label(runs[i].Name)})
		}
		if len(v.Kinds) > 0 {
			slices.SortStableFunc(rows, func(a, b timeRow) int {
				return compare(runs[a.run].Seconds.wall(), runs[b.run].Seconds.wall())
			})
		}
		return rows
	}
	groups := timeGroups(runs)
	single := len(groups) == len(runs)
	for _, g := range groups {
		if single {
			rows = append(rows, timeRow{g.runs[0], g.name})
			continue
		}
		text := by + " " + g.name
		if len(g.runs) > 1 {
			text += fmt.Sprintf("  ·  %d runs, median %s", len(g.runs), FormatDuration(g.median))
		}
		rows = append(rows, timeRow{-1, text})
		for _, i := range g.runs {
			rows = append(rows, timeRow{i, label(runs[i].Name)})
		}
	}
	return rows
}

type timeGroup struct {
	name   string
	runs   []int // the shortest first
	median float64
}

func timeGroups(runs []Run) []timeGroup {
	var groups []timeGroup
	for i := range runs {
		name := label(runs[i].Group)
		if runs[i].Group == "" {
			name = "unknown"
		}
		k := slices.IndexFunc(groups, func(g timeGroup) bool { return g.name == name })
		if k < 0 {
			k, groups = len(groups), append(groups, timeGroup{name: name})
		}
		groups[k].runs = append(groups[k].runs, i)
	}
	wall := func(i int) float64 { return runs[i].Seconds.wall() }
	for k := range groups {
		slices.SortStableFunc(groups[k].runs, func(a, b int) int { return compare(wall(a), wall(b)) })
		var times []float64
		for _, i := range groups[k].runs {
			times = append(times, wall(i))
		}
		groups[k].median = median(times)
	}
	numbers := map[string]float64{}
	for _, g := range groups {
		if v, err := strconv.ParseFloat(strings.ReplaceAll(g.name, ",", ""), 64); err == nil {
			numbers[g.name] = v
		}
	}
	slices.SortStableFunc(groups, func(a, b timeGroup) int {
		if len(numbers) == len(groups) {
			return compare(numbers[a.name], numbers[b.name])
		}
		return compare(a.median, b.median)
	})
	return groups
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// total is what stands behind a run's bar.
func (r *Run) total() string {
	text := FormatDuration(r.Seconds.wall())
	if r.Ending != "" {
		text += ", " + label(r.Ending)
	}
	return text
}
