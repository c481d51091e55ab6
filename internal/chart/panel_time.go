package chart

import "math"

const timePitch = 18.0 // height of one bar with the space around it

// time draws one stacked bar a run, with its wall time at the end.
func (f *figure) time(panel box) {
	right := f.heading(panel, "Wall time", "")
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
	names, nameRoom, totalRoom := make([]string, len(f.runs)), 0.0, 0.0
	for i, r := range f.runs {
		if len(f.runs) > 1 { // a single run is named in the title
			names[i] = f.shorten(name, r.Name, 0.3*panel.width())
			nameRoom = max(nameRoom, f.measure(name, names[i])+14+8)
		}
		totalRoom = max(totalRoom, f.measure(total, FormatDuration(r.Seconds.wall()))+6)
	}
	plot := box{panel.Left + nameRoom, panel.Top + headingSpace, panel.Right - totalRoom, panel.Bottom - axisSpace}
	x := secondsAxis(longest, int(plot.width()/45)+1)
	f.timeTicks(plot, x)

	// Few bars keep a bar's height and stand in the middle of their share.
	pitch := plot.height() / float64(len(f.runs))
	thick := min(0.62*pitch, 26)
	for i, r := range f.runs {
		middle := plot.Top + (float64(i)+0.5)*pitch
		if len(f.runs) > 1 {
			f.circle(panel.Left+4, middle, 4, f.theme.run(i))
			f.text(panel.Left+14, middle+0.35*textSize, 0, name, names[i])
		}
		left := plot.Left
		for k, part := range r.Seconds.phases() {
			width := part.seconds / x.High * plot.width()
			f.rectangle(box{left, middle - thick/2, left + width, middle + thick/2}, f.theme.phases[k])
			left += width
		}
		f.text(left+6, middle+0.35*textSize, 0, total, FormatDuration(r.Seconds.wall()))
	}
	f.straight(plot.Left, plot.Top, plot.Left, plot.Bottom, lineStyle{width: 1, color: f.theme.axis})
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
