package chart

import "image/color"

// loss draws every run's loss: single steps faint, smoothed on top, validation as diamonds above all lines.
func (f *figure) loss(panel box) {
	right := f.heading(panel, "Loss", "nats per target token")
	limits, ok := limitLoss(f.runs)
	if !ok {
		f.empty(panel, "no loss recorded")
		return
	}
	right = f.note(panel, right, limits.note())
	f.lossKeys(panel, right)
	if len(f.runs) > 1 {
		panel.Right -= f.legend(panel, limits.High)
	}
	low, high := stepRange(f.runs)
	x, y := stepAxis(low, high, int(panel.width()/70)), valueAxis(limits.Low, limits.High, 6)
	plot := f.frame(panel, x, y, "step")

	faint := lineStyle{width: 0.9}
	for i, r := range f.runs {
		faint.color = f.faint(i)
		f.curve(pair(r.Steps, r.Loss), plot, x, y, faint)
	}
	for i, r := range f.runs {
		line := lineStyle{width: 2, color: f.theme.run(i)}
		f.curve(smoothed(pair(r.Steps, r.Loss), limits.High), plot, x, y, line)
	}
	size := 4.0
	if len(f.runs) > 5 {
		size = 3.2
	}
	for i, r := range f.runs {
		for _, p := range extremesByColumn(solid(r.Validation), plot, x) {
			if at := place(p, plot, x, y); at.Y >= plot.Top-0.01 {
				f.diamond(at.X, at.Y, size, f.theme.run(i), f.theme.background)
			}
		}
	}
}

// extremesByColumn thins markers that would cover each other.
func extremesByColumn(points []Point, plot box, x axis) []Point {
	return decimate(points, func(v float64) int { return int(x.at(v) * plot.width() / 4) })
}

// lossKeys explains the three marks of the loss panel; validation only where there is some.
func (f *figure) lossKeys(panel box, from float64) {
	tone := f.theme.muted
	if len(f.runs) == 1 {
		tone = f.theme.run(0)
	}
	keys := []key{
		{"each step", keyLine, func(x, y float64) {
			f.straight(x, y, x+keyLine, y, lineStyle{width: 0.9, color: mix(tone, f.theme.background, f.theme.faint)})
		}},
		{"smoothed", keyLine, func(x, y float64) { f.straight(x, y, x+keyLine, y, lineStyle{width: 2, color: tone}) }},
	}
	for _, r := range f.runs {
		if len(solid(r.Validation)) > 0 {
			keys = append(keys, key{"validation", keyBox, func(x, y float64) {
				f.diamond(x+keyBox/2, y, 4, tone, f.theme.background)
			}})
			break
		}
	}
	f.keys(panel, from, keys)
}

// faint returns the colour of a run's single steps, fainter the more of them cover each other.
func (f *figure) faint(run int) color.RGBA {
	share := f.theme.faint
	if len(f.runs) > 3 {
		share /= 2
	}
	return mix(f.theme.run(run), f.theme.background, share)
}
