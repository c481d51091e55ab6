package chart

import (
	"math"
	"strings"
)

// loss adds the loss plot and, for several runs, the legend with their last values.
func (t *terminal) loss() {
	limits, ok := limitLoss(t.runs)
	if !ok {
		return
	}
	p := t.newPlot(t.opt.Rows, valueAxis(limits.Low, limits.High, max(2, t.opt.Rows/2)))
	if p == nil {
		return
	}
	t.gap()
	across, _ := p.size()
	mark := '◆'
	if !t.opt.Unicode {
		mark = 'o'
	}
	steps, anyValidation := false, false
	var overlays []func()
	for i, r := range t.runs {
		raw := pair(r.Steps, r.Loss)
		// Without colour, dots that fill the plane would hide the line.
		if n := len(solid(raw)); t.opt.Color && len(t.runs) <= 3 || len(t.runs) == 1 && n <= across {
			p.curve(raw, rankStep, t.faint(i), '.', dotted)
			steps = true
		}
		line := smoothed(raw, limits.High)
		p.curve(line, rankLine, t.sgr(i), '*', joined)
		if t.lettered() {
			overlays = append(overlays, func() { t.letters(p, line, i) })
		}
		for _, v := range solid(r.Validation) {
			anyValidation = true
			overlays = append(overlays, func() {
				x, y := p.place(v)
				p.put(x, y, mark, t.sgr(i))
			})
		}
	}
	for _, draw := range overlays {
		draw()
	}

	tone := sgrMuted
	if len(t.runs) == 1 {
		tone = t.sgr(0)
	}
	var keys []row
	if steps {
		keys = append(keys, sample(t.either("·", "."), tone, "each step"))
	}
	keys = append(keys, sample(t.either("━", "*"), tone, "smoothed"))
	if anyValidation {
		keys = append(keys, sample(string(mark), tone, "validation"))
	}
	t.heading("loss", "nats per target token", keys...)
	if note := limits.note(); note != "" {
		var r row
		r.write(note, sgrMuted)
		t.add(r)
	}
	t.addPlot(p)
	t.legend(limits.High)
}

// legend lists several runs with the last smoothed loss and the last validation loss of each.
func (t *terminal) legend(ceiling float64) {
	if len(t.runs) < 2 {
		return
	}
	room := 0
	for _, r := range t.runs {
		room = max(room, width(r.Name))
	}
	room = min(room, max(8, t.opt.Columns-40))
	for i, r := range t.runs {
		var line row
		line.write("  ", "")
		if t.lettered() {
			line.write(string(t.letter(i)), t.sgr(i))
		} else {
			line.write(t.either("━━", "**"), t.sgr(i))
		}
		line.write(" "+t.shorten(r.Name, room), "")
		line.pad(2 + 3 + room)
		line.write("  "+strings.ReplaceAll(lastLosses(r, ceiling), " · ", "  "), sgrMuted)
		t.add(line)
	}
}

// memory adds what each run held, from zero, in GB: resident as a line, device memory as dashes.
func (t *terminal) memory() {
	resident, device, peak := memoryCurves(t.runs)
	rows := max(4, t.opt.Rows/2)
	if peak == 0 {
		return
	}
	p := t.newPlot(rows, valueAxis(0, peak, max(2, rows/2)))
	if p == nil {
		return
	}
	t.gap()
	for i := range t.runs {
		p.curve(device[i], rankStep, t.sgr(i), '-', dashed)
		p.curve(resident[i], rankLine, t.sgr(i), '*', joined)
	}
	if t.lettered() {
		for i := range t.runs {
			points := resident[i]
			if points == nil {
				points = device[i]
			}
			t.letters(p, points, i)
		}
	}
	var keys []row
	if len(t.runs) == 1 {
		var r row
		r.write("peak "+FormatBytes(peak*1e9), sgrMuted)
		keys = append(keys, r)
	}
	if anyCurve(device) {
		tone := sgrMuted
		if len(t.runs) == 1 {
			tone = t.sgr(0)
		}
		keys = append(keys, sample(t.either("━", "*"), tone, "resident"), sample(t.either("╍", "-"), tone, "tensors"))
	}
	t.heading("memory", "GB", keys...)
	t.addPlot(p)
}

// time adds one stacked bar a run, with its wall time at the end.
func (t *terminal) time() {
	longest, names, totals := 0.0, 0, 0
	for _, r := range t.runs {
		longest = max(longest, r.Seconds.stacked())
		totals = max(totals, width(FormatDuration(r.Seconds.wall())))
		if len(t.runs) > 1 {
			names = max(names, width(r.Name))
		}
	}
	names = min(names, t.opt.Columns/3)
	room := t.opt.Columns - names - totals - 2
	if longest == 0 {
		return
	}
	if room < 4 {
		t.narrow = true
		return
	}
	t.gap()
	marks := [phaseCount]string{"░", "█", "▓", "▒", "·"}
	if !t.opt.Unicode {
		marks = [phaseCount]string{".", "#", "=", "+", "-"}
	}
	var keys []row
	for k, part := range t.allPhases() {
		if part.seconds > 0 {
			text := part.name
			if len(t.runs) == 1 {
				text += " " + FormatDuration(part.seconds)
			}
			keys = append(keys, sample(marks[k], phaseColors[k], text))
		}
	}
	t.heading("wall time", "", keys...)
	for i, r := range t.runs {
		var line row
		if len(t.runs) > 1 {
			line.write(t.shorten(r.Name, names), t.sgr(i))
			line.pad(names)
			line.write(" ", "")
		}
		// Ends are rounded, not lengths: the bar is as long as the whole, whatever its parts round to.
		done, end := 0, 0.0
		for k, part := range r.Seconds.phases() {
			end += part.seconds
			upTo := int(math.Round(end / longest * float64(room)))
			line.write(strings.Repeat(marks[k], max(0, upTo-done)), phaseColors[k])
			done = max(done, upTo)
		}
		line.write(" "+FormatDuration(r.Seconds.wall()), sgrBold)
		t.add(line)
	}
}

// allPhases returns the sum of every phase over all runs.
func (t *terminal) allPhases() [phaseCount]phase {
	sum := (Times{}).phases()
	for _, r := range t.runs {
		for k, part := range r.Seconds.phases() {
			sum[k].seconds += part.seconds
		}
	}
	return sum
}
