package chart

// memory draws what each run held, from zero, in GB.
func (f *figure) memory(panel box) {
	right := f.heading(panel, "Memory", "GB")
	resident, device, peak := memoryCurves(f.runs)
	if peak == 0 {
		f.empty(panel, "no memory recorded")
		return
	}
	if len(f.runs) == 1 {
		right = f.note(panel, right, "peak "+FormatBytes(peak*1e9))
	}
	if anyCurve(device) {
		tone := f.theme.muted
		f.keys(panel, right, []key{
			{"resident", keyLine, func(x, y float64) { f.straight(x, y, x+keyLine, y, lineStyle{width: 1.8, color: tone}) }},
			{"tensors", keyLine, func(x, y float64) {
				f.straight(x, y, x+keyLine, y, lineStyle{width: 1.8, color: tone, dashed: true})
			}},
		})
	}
	low, high := stepRange(f.runs)
	x, y := stepAxis(low, high, int(panel.width()/60)), valueAxis(0, peak, 5)
	plot := f.frame(panel, x, y, "step")
	for i := range f.runs {
		f.curve(resident[i], plot, x, y, lineStyle{width: 1.8, color: f.theme.run(i)})
		f.curve(device[i], plot, x, y, lineStyle{width: 1.8, color: f.theme.run(i), dashed: true})
	}
}
