package chart

const (
	legendPitchWide  = 29.0 // name and values on two lines
	legendPitchTight = 16.0 // name only
	legendMaxWidth   = 168.0
)

// legendPitch returns the height of one legend entry.
func legendPitch(runs int) float64 {
	if runs <= 12 {
		return legendPitchWide
	}
	return legendPitchTight
}

// legend lists the runs right of a plot with a value of each, which may be empty, and returns the width it takes.
func (f *figure) legend(panel box, values []string) float64 {
	name := textStyle{textSize, false, f.theme.text}
	value := textStyle{smallSize, false, f.theme.muted}
	top := panel.Top + headingSpace
	pitch := legendPitch(len(f.runs))
	if pitch*float64(len(f.runs)) > panel.Bottom-axisSpace-top {
		pitch = legendPitchTight
	}
	names, below := make([]string, len(f.runs)), make([]string, len(f.runs))
	width, mark := 0.0, f.legendMark()
	for i, r := range f.runs {
		names[i] = f.shorten(name, r.Name, legendMaxWidth-mark)
		width = max(width, f.measure(name, names[i]))
		if pitch == legendPitchWide {
			below[i] = f.shorten(value, values[i], legendMaxWidth-mark)
			width = max(width, f.measure(value, below[i]))
		}
	}
	width += mark
	left := panel.Right - width
	for i := range f.runs {
		y := top + float64(i)*pitch + 8
		if mark > legendDot {
			f.straight(left, y-3.6, left+mark-6, y-3.6, f.runLine(i, 2))
		} else {
			f.circle(left+4, y-3.6, 4, f.theme.run(i))
		}
		f.text(left+mark, y, 0, name, names[i])
		f.text(left+mark, y+12.5, 0, value, below[i])
	}
	return width + 22
}

const legendDot = 14.0 // width of a dot with the space behind it

// legendMark returns the width of what stands before a name: a dot, or a line where lines differ in more than colour.
func (f *figure) legendMark() float64 {
	if len(f.runs) > undashed {
		return 34
	}
	return legendDot
}

// undashed is how many runs are told apart by colour alone.
const undashed = 7

// runLine returns the line of a run. After seven colours come five with dashes, and after those all twelve again with other
// dashes each time.
func (f *figure) runLine(run int, width float64) lineStyle {
	again, color := run/len(f.theme.runs), run%len(f.theme.runs)
	if color >= undashed {
		again++
	}
	return lineStyle{width: width, dash: runDashes[again%len(runDashes)], color: f.theme.runs[color]}
}

// lastLosses says where a run ended: "train 1.921 · valid 2.040".
func lastLosses(line, validation []Point) string {
	text := ""
	if y, ok := last(line); ok {
		text = "train " + formatLoss(y)
	}
	if y, ok := last(validation); ok {
		if text != "" {
			text += " · "
		}
		text += "valid " + formatLoss(y)
	}
	return text
}
