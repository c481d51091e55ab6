package report

import (
	"fmt"
	"slices"
)

// histogram is how many rows have which length.
type histogram struct {
	Bars        []bar
	Low, High   string // lengths at the ends
	Most        string // rows of the highest bar
	Description string
}

// bar is one range of lengths, in the coordinates of a box of 100 by 100.
type bar struct {
	X, Y, Width, Height float64
	Title               string
}

const maxBars = 24

// newHistogram counts rows by length; nil for none.
func newHistogram(lengths []int) *histogram {
	if len(lengths) == 0 {
		return nil
	}
	low, high := slices.Min(lengths), slices.Max(lengths)
	each := max(1, (high-low+maxBars)/maxBars) // lengths a bar
	counts := make([]int, (high-low)/each+1)
	for _, n := range lengths {
		counts[(n-low)/each]++
	}
	most := slices.Max(counts)
	h := &histogram{Low: thousands(int64(low)), High: thousands(int64(high)), Most: countOf(int64(most), "row"),
		Description: fmt.Sprintf("%s of %d to %d tokens, %d in the middle", countOf(int64(len(lengths)), "row"), low, high, median(lengths))}
	width := 100 / float64(len(counts))
	for i, n := range counts {
		height := 100 * float64(n) / float64(most)
		from, to := low+i*each, min(high, low+(i+1)*each-1)
		span := fmt.Sprintf("%d to %d tokens", from, to)
		if from == to {
			span = fmt.Sprintf("%d tokens", from)
		}
		h.Bars = append(h.Bars, bar{X: float64(i)*width + width*0.06, Y: 100 - height, Width: width * 0.88, Height: height,
			Title: span + ": " + countOf(int64(n), "row")})
	}
	return h
}

// median is the smallest length that at least half of the rows do not exceed.
func median(lengths []int) int {
	sorted := slices.Sorted(slices.Values(lengths))
	return sorted[(len(sorted)+1)/2-1]
}

// lengths describes the lengths of rows.
func (d *Data) lengths() string {
	if len(d.Lengths) == 0 {
		return ""
	}
	return fmt.Sprintf("%s to %s tokens, median %s", thousands(int64(slices.Min(d.Lengths))), thousands(int64(slices.Max(d.Lengths))),
		thousands(int64(median(d.Lengths))))
}
