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

// legend lists the runs right of the loss plot, with the last smoothed loss and the last validation loss of
// each, and returns the width it takes.
func (f *figure) legend(panel box, ceiling float64) float64 {
	name := textStyle{textSize, false, f.theme.text}
	value := textStyle{smallSize, false, f.theme.muted}
	top := panel.Top + headingSpace
	pitch := legendPitch(len(f.runs))
	if pitch*float64(len(f.runs)) > panel.Bottom-axisSpace-top {
		pitch = legendPitchTight
	}
	names, values := make([]string, len(f.runs)), make([]string, len(f.runs))
	width := 0.0
	for i, r := range f.runs {
		names[i] = f.shorten(name, r.Name, legendMaxWidth-14)
		width = max(width, f.measure(name, names[i]))
		if pitch == legendPitchWide {
			values[i] = lastLosses(r, ceiling)
			width = max(width, f.measure(value, values[i]))
		}
	}
	width += 14 // the dot
	left := panel.Right - width
	for i := range f.runs {
		y := top + float64(i)*pitch + 8
		f.circle(left+4, y-3.6, 4, f.theme.run(i))
		f.text(left+14, y, 0, name, names[i])
		f.text(left+14, y+12.5, 0, value, values[i])
	}
	return width + 22
}

// lastLosses says where a run ended: "train 1.921 · valid 2.040".
func lastLosses(r Run, ceiling float64) string {
	text := ""
	if y, ok := last(smoothed(pair(r.Steps, r.Loss), ceiling)); ok {
		text = "train " + formatLoss(y)
	}
	if y, ok := last(r.Validation); ok {
		if text != "" {
			text += " · "
		}
		text += "valid " + formatLoss(y)
	}
	return text
}
