// Package chart draws runs: numbers in, SVG, PNG, PDF or terminal text out, and nothing kept between calls.
//
// Figure writes one picture and Terminal returns the same as lines of text. What is shown is a View: kinds of panels, of
// which the usual ones are
//
//   - loss by step: every step faint, the debiased moving average (Smooth) on top, validation as diamonds;
//   - memory by step, from zero: resident, and in tensors where that is known;
//   - wall time, one bar a run: load, train, evaluate, save and whatever none of them covers.
//
// A panel of curves is a graph, numbers and words that both draw. FindSlowdown says where a run became slower.
//
// Growth writes another: training speed and peak memory against one quantity, such as the rows in a batch. Parallel writes
// a third: the settings and the result of every trial of a sweep.
//
// Data may be ragged or broken: a NaN or infinite value is a gap, a negative duration counts as zero, a series
// longer than its Steps is cut. A single first loss far above all others does not flatten the curve: the axis
// ends below it and the panel says how many values lie above and how high.
package chart
