package chart

import (
	"math"
	"strings"
)

// graph adds a panel of curves and, where legend says so, a list of the runs.
func (t *terminal) graph(g *graph, rows int, legend bool) {
	if !g.found {
		if len(t.opt.Kinds) > 0 {
			t.gap()
			t.heading(strings.ToLower(g.title), "")
			t.remark(g.nothing)
		}
		return
	}
	p := t.newPlot(rows, g)
	if p == nil {
		return
	}
	t.gap()
	steps := t.drawSteps(p, g)
	t.drawLines(p, g)
	t.drawMarks(p, g)
	t.heading(strings.ToLower(g.title), g.unit, t.graphKeys(g, steps)...)
	notes := []string{}
	if g.note != "" && g.kind != Memory {
		notes = append(notes, g.note)
	}
	if len(g.places) == 1 && len(t.runs) > 1 {
		notes = append(notes, t.runs[g.places[0].run].Name+" "+g.places[0].text)
	} else if len(g.places) == 1 {
		notes = append(notes, g.places[0].text)
	}
	if len(notes) > 0 {
		t.remark(strings.Join(notes, t.either(" · ", ", ")))
	}
	t.addPlot(p)
	if legend {
		t.legend(g)
	}
}

// remark adds a line of text in grey.
func (t *terminal) remark(text string) {
	var r row
	r.write(t.shorten(text, t.opt.Columns), sgrMuted)
	t.add(r)
}

// drawSteps draws the single steps and lines across, and reports whether there are single steps.
func (t *terminal) drawSteps(p *plot, g *graph) (any bool) {
	across, _ := p.size()
	for i, raw := range g.faint {
		// Without colour, dots that fill the plane would hide the line.
		if n := len(solid(raw)); t.opt.Color && len(t.runs) <= 3 || len(t.runs) == 1 && n <= across {
			p.curve(raw, rankStep, t.faint(i), '.', dotted)
			any = true
		}
	}
	for _, l := range g.levels {
		p.curve([]Point{{p.x.Low, l.y}, {p.x.High, l.y}}, rankStep, t.levelTone(l), '-', dashed)
	}
	for _, s := range g.places {
		x, _ := p.place(Point{s.x, p.y.Low})
		_, down := p.size()
		p.line(x, 0, x, down-1, rankStep, sgrBold, '|', false)
	}
	return any
}

func (t *terminal) levelTone(l level) string {
	if l.run >= 0 && len(t.runs) > 1 {
		return t.sgr(l.run)
	}
	return sgrMuted
}

func (t *terminal) drawLines(p *plot, g *graph) {
	for i, line := range g.lines {
		if g.dashes != nil {
			p.curve(g.dashes[i], rankStep, t.sgr(i), '-', dashed)
		}
		p.curve(line, rankLine, t.sgr(i), '*', joined)
	}
}

// drawMarks draws what covers lines: letters and validation losses.
func (t *terminal) drawMarks(p *plot, g *graph) {
	for i, line := range g.lines {
		if t.lettered() {
			if line == nil && g.dashes != nil {
				line = g.dashes[i]
			}
			t.letters(p, line, i)
		}
		if g.marks == nil {
			continue
		}
		for _, v := range solid(onAxis(g.marks[i], p.y)) {
			x, y := p.place(v)
			p.put(x, y, t.diamond(), t.sgr(i))
		}
	}
}

func (t *terminal) diamond() rune {
	if t.opt.Unicode {
		return '◆'
	}
	return 'o'
}

// graphKeys explains the marks of a panel.
func (t *terminal) graphKeys(g *graph, steps bool) []row {
	tone := sgrMuted
	if len(t.runs) == 1 {
		tone = t.sgr(0)
	}
	var keys []row
	if g.kind == Memory && g.note != "" {
		var r row
		r.write(g.note, sgrMuted)
		keys = append(keys, r)
	}
	if steps {
		keys = append(keys, sample(t.either("·", "."), tone, g.keys.faint))
	}
	if g.keys.lines != "" {
		keys = append(keys, sample(t.either("━", "*"), tone, g.keys.lines))
	}
	if g.keys.dashes != "" {
		keys = append(keys, sample(t.either("╍", "-"), tone, g.keys.dashes))
	}
	if g.keys.marks != "" {
		keys = append(keys, sample(string(t.diamond()), tone, g.keys.marks))
	}
	for _, l := range g.levels {
		keys = append(keys, sample(t.either("╍", "-"), t.levelTone(l), l.text))
	}
	return keys
}

// legend lists several runs with a value of each.
func (t *terminal) legend(g *graph) {
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
		line.write("  "+strings.ReplaceAll(g.values[i], " · ", "  "), sgrMuted)
		t.add(line)
	}
}

// time adds one stacked bar a run, with its wall time at the end.
func (t *terminal) time() {
	rows := timeRows(t.runs, t.opt.View)
	named := len(t.runs) > 1 || t.opt.By != ""
	longest, names, totals := 0.0, 0, 0
	for i := range rows {
		if rows[i].run < 0 {
			continue
		}
		r := &t.runs[rows[i].run]
		longest = max(longest, r.Seconds.stacked())
		totals = max(totals, width(r.total()))
		rows[i].text = t.clean(rows[i].text)
		if named {
			names = max(names, width(rows[i].text))
		}
	}
	names = min(names, t.opt.Columns/3)
	room := t.opt.Columns - names - totals - 2
	if longest == 0 {
		if len(t.opt.Kinds) > 0 {
			t.gap()
			t.heading("wall time", "")
			t.remark("no times recorded")
		}
		return
	}
	if room < 4 {
		t.narrow = true
		return
	}
	t.gap()
	t.timeHeading()
	for _, line := range rows {
		if line.run < 0 {
			var r row
			r.write(t.shorten(t.clean(strings.ReplaceAll(line.text, "  ·  ", t.either(" · ", ", "))), t.opt.Columns), sgrBold)
			t.add(r)
			continue
		}
		t.bar(line, named, names, room, longest)
	}
}

// timeMarks fill the parts of a bar.
func (t *terminal) timeMarks() [phaseCount]string {
	if !t.opt.Unicode {
		return [phaseCount]string{".", "#", "=", "+", "-"}
	}
	return [phaseCount]string{"░", "█", "▓", "▒", "·"}
}

// timeHeading adds the title with what the parts of the bars mean.
func (t *terminal) timeHeading() {
	var keys []row
	for k, part := range t.allPhases() {
		if part.seconds > 0 {
			text := part.name
			if len(t.runs) == 1 {
				text += " " + FormatDuration(part.seconds)
			}
			keys = append(keys, sample(t.timeMarks()[k], phaseColors[k], text))
		}
	}
	unit := ""
	if t.opt.By != "" {
		unit = "by " + t.clean(label(t.opt.By))
	}
	t.heading("wall time", unit, keys...)
}

// bar adds the times of one run.
func (t *terminal) bar(which timeRow, named bool, names, room int, longest float64) {
	r := &t.runs[which.run]
	var line row
	if named {
		line.write(t.shorten(which.text, names), t.sgr(which.run))
		line.pad(names)
		line.write(" ", "")
	}
	// Ends are rounded, not lengths: the bar is as long as the whole, whatever its parts round to.
	done, end := 0, 0.0
	for k, part := range r.Seconds.phases() {
		end += part.seconds
		upTo := int(math.Round(end / longest * float64(room)))
		line.write(strings.Repeat(t.timeMarks()[k], max(0, upTo-done)), phaseColors[k])
		done = max(done, upTo)
	}
	line.write(" "+t.clean(r.total()), sgrBold)
	t.add(line)
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
