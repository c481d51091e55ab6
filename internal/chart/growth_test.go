package chart

import (
	"bytes"
	"math"
	"testing"
)

// TestFitLine: a line is found again, and the distance of what lies beside it told.
func TestFitLine(t *testing.T) {
	xs := []float64{1, 2, 4, 8}
	got := FitLine(xs, []float64{105, 110, 120, 140})
	if math.Abs(got.Slope-5) > 1e-12 || math.Abs(got.Intercept-100) > 1e-12 || got.Off > 1e-12 {
		t.Errorf("%+v", got)
	}
	if got := FitLine(xs, []float64{105, 110, 120, 180}); got.Off < 0.02 {
		t.Errorf("a bend of a quarter: %+v", got)
	}
	if got := FitLine([]float64{3}, []float64{7}); got != (Fit{Intercept: 7}) {
		t.Errorf("one point: %+v", got)
	}
}

// TestGrowth: the same bytes twice, both formats, and an error where there is nothing to draw.
func TestGrowth(t *testing.T) {
	measured := []Measured{
		{"float32", []float64{1, 2, 4, 8, 16}, []float64{2000, 3000, 4100, 4800, 5000}, []float64{2.8e8, 3e8, 3.4e8, 4.2e8, 5.8e8}},
		{"bfloat16", []float64{1, 2, 4, 8, 16}, []float64{2500, 3900, 5100, 6800, 7200}, []float64{2.4e8, 2.5e8, 2.7e8, 3.1e8, 3.9e8}},
	}
	draw := func(format Format) []byte {
		var out bytes.Buffer
		if err := Growth(&out, format, "small: batch", "rows of 128 tokens, rank 16", "rows in a batch", measured); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	for _, format := range []Format{SVG, PNG} {
		if one := draw(format); len(one) < 1000 || !bytes.Equal(one, draw(format)) {
			t.Errorf("%s: %d bytes, or others the second time", format, len(one))
		}
	}
	for _, x := range []string{">1</text>", ">16</text>"} {
		if n := bytes.Count(draw(SVG), []byte(x)); n != 2 {
			t.Errorf("%d labels %q, want one in each panel", n, x)
		}
	}
	if err := Growth(&bytes.Buffer{}, SVG, "none", "", "x", []Measured{{Name: "a"}}); err == nil {
		t.Error("nothing measured: want an error")
	}
}
