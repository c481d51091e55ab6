package chart

import "math"

// Smooth returns the debiased exponential moving average of values: with e ← weight·e + (1-weight)·x and
// w ← weight·w + (1-weight), both from zero, each result is e/w. Dividing by w makes the first result the first
// value; the plain average starts at zero or wherever the first value was and lies for 1/(1-weight) steps.
//
// A NaN or infinite value leaves the average as it was and gives NaN, a gap, in its place. The weight is kept
// within 0 (no smoothing) and 0.9999.
// Source: Kingma and Ba 2014, arXiv:1412.6980, section 3 (initialization bias correction).
func Smooth(values []float64, weight float64) []float64 {
	if !(weight >= 0) {
		weight = 0
	}
	weight = min(weight, 0.9999)
	out := make([]float64, len(values))
	ema, w := 0.0, 0.0
	for i, x := range values {
		if !finite(x) {
			out[i] = math.NaN()
			continue
		}
		ema = weight*ema + (1-weight)*x
		w = weight*w + (1 - weight)
		out[i] = ema / w
	}
	return out
}

// SmoothingWeight returns the weight that suits n steps: the average reaches over about a fifteenth of the run,
// so that its shape is the same however long the run is. Between 0 and 0.99.
func SmoothingWeight(n int) float64 {
	reach := max(1, float64(n)/15)
	return min(1-1/reach, 0.99)
}

// smoothed returns the moving average of a loss curve, with a weight of 0 one that suits its length and with one below
// none. Values above ceiling count as ceiling, so that one that lies outside the axis does not pull the line up for many
// steps after it.
func smoothed(raw []Point, ceiling, weight float64) []Point {
	values, n := make([]float64, len(raw)), 0
	for i, p := range raw {
		values[i] = p.Y
		if finite(p.Y) {
			values[i], n = min(p.Y, ceiling), n+1
		}
	}
	if weight == 0 {
		weight = SmoothingWeight(n)
	}
	out := make([]Point, len(raw))
	for i, y := range Smooth(values, weight) {
		out[i] = Point{raw[i].X, y}
	}
	return out
}

// decimate keeps, for each column of the picture, the first, lowest, highest and last of the points that fall in
// it, in their order: the drawn line looks the same, and its size depends on the picture, not on the run. A
// column is kept as a gap only where all its points are gaps.
func decimate(points []Point, column func(x float64) int) []Point {
	var out []Point
	for i := 0; i < len(points); {
		j, c := i, column(points[i].X)
		for j < len(points) && column(points[j].X) == c {
			j++
		}
		out = append(out, extremes(points[i:j])...)
		i = j
	}
	return out
}

// extremes returns the first, lowest, highest and last point of a non-empty group, without repeats.
func extremes(group []Point) []Point {
	first, low, high, end := -1, -1, -1, -1
	for i, p := range group {
		if !finite(p.Y) {
			continue
		}
		if first < 0 {
			first, low, high = i, i, i
		}
		if p.Y < group[low].Y {
			low = i
		}
		if p.Y > group[high].Y {
			high = i
		}
		end = i
	}
	if first < 0 {
		return group[:1]
	}
	var out []Point
	taken := -1
	for _, i := range [4]int{first, min(low, high), max(low, high), end} {
		if i > taken {
			out, taken = append(out, group[i]), i
		}
	}
	return out
}

// strokes splits points at their gaps. A stroke of one point is a dot.
func strokes(points []Point) [][]Point {
	var out [][]Point
	begin := 0
	for i := 0; i <= len(points); i++ {
		if i < len(points) && finite(points[i].Y) {
			continue
		}
		if i > begin {
			out = append(out, points[begin:i])
		}
		begin = i + 1
	}
	return out
}
