package chart

import (
	"math"
	"strings"
)

const timePitch = 18.0 // height of one bar with the space around it

// stackedPitch is timePitch where the panel is as wide as the figure.
const stackedPitch = 24.0

// time draws one stacked bar a run, with its wall time at the end, in rows that may have headings.
func (f *figure) time(panel box, rows []timeRow, by string) {
	unit := ""
	if by != "" {
		unit = "by " + label(by)
	}
	right := f.heading(panel, "Wall time", unit)
	longest := 0.0
	for _, r := range f.runs {
		longest = max(longest, r.Seconds.stacked())
	}
	if longest == 0 {
		f.empty(panel, "no times recorded")
		return
	}
	f.phaseKeys(panel, right)

	name := textStyle{textSize, false, f.theme.text}
	total := textStyle{textSize, true, f.theme.text}
	// A single run is named in the title.
	named := len(f.runs) > 1 || by != ""
	names, nameRoom, totalRoom := make([]string, len(rows)), 0.0, 0.0
	for i, row := range rows {
		if row.run < 0 {
			continue
		}
		if named {
			names[i] = f.shorten(name, row.text, 0.3*panel.width())
			nameRoom = max(nameRoom, f.measure(name, names[i])+14+8)
		}
		totalRoom = max(totalRoom, f.measure(total, f.runs[row.run].total())+6)
	}
	plot := box{panel.Left + nameRoom, panel.Top + headingSpace, panel.Right - totalRoom, panel.Bottom - axisSpace}
	x := secondsAxis(longest, int(plot.width()/45)+1)
	f.timeTicks(plot, x)

	// Few bars keep a bar's height and stand in the middle of their share.
	pitch := plot.height() / float64(len(rows))
	thick := min(0.62*pitch, 26)
	for i, row := range rows {
		middle := plot.Top + (float64(i)+0.5)*pitch
		if row.run < 0 {
			continue
		}
		r := &f.runs[row.run]
		if named {
			f.circle(panel.Left+4, middle, 4, f.theme.run(row.run))
			f.text(panel.Left+14, middle+0.35*textSize, 0, name, names[i])
		}
		left := plot.Left
		for k, part := range r.Seconds.phases() {
			width := part.seconds / x.High * plot.width()
			f.rectangle(box{left, middle - thick/2, left + width, middle + thick/2}, f.theme.phases[k])
			left += width
		}
		f.text(left+6, middle+0.35*textSize, 0, total, r.total())
	}
	f.straight(plot.Left, plot.Top, plot.Left, plot.Bottom, lineStyle{width: 1, color: f.theme.axis})
	for i, row := range rows {
		if row.run < 0 {
			f.groupName(panel, plot.Top+(float64(i)+0.5)*pitch, row.text)
		}
	}
}

// groupName writes the heading of a group over the grid, its last words in grey.
func (f *figure) groupName(panel box, middle float64, text string) {
	strong, plain := textStyle{textSize, true, f.theme.text}, textStyle{textSize, false, f.theme.muted}
	group, rest, _ := strings.Cut(text, "  ·  ")
	group = f.shorten(strong, group, 0.6*panel.width())
	width, y := f.measure(strong, group), middle+0.35*textSize+2
	f.rectangle(box{panel.Left, middle - 6, panel.Left + width + 10 + f.measure(plain, rest) + 4, middle + 9}, f.theme.background)
	f.text(panel.Left, y, 0, strong, group)
	f.text(panel.Left+width+10, y, 0, plain, rest)
}

// timeTicks draws the durations below the bars and their grid.
func (f *figure) timeTicks(plot box, x axis) {
	style := textStyle{textSize, false, f.theme.muted}
	end := math.Inf(-1)
	for _, t := range x.Ticks {
		at := plot.Left + x.at(t)*plot.width()
		f.straight(at, plot.Top, at, plot.Bottom, lineStyle{width: 0.8, color: f.theme.grid})
		text := formatDurationTick(t)
		width := f.measure(style, text)
		if left := at - width/2; left >= end+8 {
			f.text(left, plot.Bottom+15, 0, style, text)
			end = left + width
		}
	}
}

// phaseKeys explains the colours of the bars.
func (f *figure) phaseKeys(panel box, from float64) {
	used := [phaseCount]bool{}
	for _, r := range f.runs {
		for k, part := range r.Seconds.phases() {
			used[k] = used[k] || part.seconds > 0
		}
	}
	var keys []key
	for k, part := range (Times{}).phases() {
		if !used[k] {
			continue
		}
		fill := f.theme.phases[k]
		keys = append(keys, key{part.name, keyBox, func(x, y float64) {
			f.rectangle(box{x, y - keyBox/2, x + keyBox, y + keyBox/2}, fill)
		}})
	}
	f.keys(panel, from, keys)
}
