// Package web has what the pages of tune are made of: the plotting library uPlot (MIT licence, in uplot/LICENSE), the plots that
// are drawn with it, and their colours. All of it is in the binary, so that a page needs no network.
package web

import _ "embed" // the files below

// The sources, for an element <script> or <style> of a page each. UPlotJS comes before PlotsJS, ThemeCSS after UPlotCSS.
var (
	//go:embed uplot/uPlot.iife.min.js
	UPlotJS string
	//go:embed uplot/uPlot.min.css
	UPlotCSS string
	//go:embed plots.js
	PlotsJS string
	//go:embed theme.css
	ThemeCSS string
)

// Version is uPlot's.
const Version = "1.6.32"
