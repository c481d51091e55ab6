package chart

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

var (
	bought = Expense{Name: "Apple M4", Upfront: 1600, PerHour: 0.01}
	rents  = []Expense{{Name: "small GPU", PerHour: 0.51, Assumed: true}, {Name: "large GPU, 20x", PerHour: 0.005}, {Name: "medium GPU", PerHour: 0.21}}
)

func drawnCost(t *testing.T, format Format, opt Options) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := CostFigure(&out, format, bought, rents, 5840, "USD", opt); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestCostFigure: the picture says where the lines meet, 1600/(0.51-0.01) and 1600/(0.21-0.01) hours, and that one never does.
func TestCostFigure(t *testing.T) {
	golden(t, "cost.svg.golden", drawnCost(t, SVG, Options{Title: "Ten runs"}))
	golden(t, "cost-dark.svg.golden", drawnCost(t, SVG, Options{Dark: true}))
	picture := string(drawnCost(t, SVG, Options{}))
	for _, want := range []string{"dearer from 3,200 h", "dearer from 8,000 h", "always cheaper", "speed unknown", "1,600, then 0.01 an hour", ">3,200 h</text>"} {
		if found := strings.Contains(picture, want); found == (want == "dearer from 8,000 h") {
			t.Errorf("%q: found is %t", want, found)
		}
	}
	if !strings.Contains(picture, "cheaper up to the end") { // 8,000 hours are beyond 5,840
		t.Error("nothing says that the medium one is cheaper for all of the machine's life")
	}
	if one := drawnCost(t, PNG, Options{}); len(one) < 1000 || !bytes.Equal(one, drawnCost(t, PNG, Options{})) {
		t.Error("PNG: nothing, or other bytes the second time")
	}
	if len(drawnCost(t, PDF, Options{})) < 1000 {
		t.Error("PDF: nothing")
	}
}

func TestCostFigureRefuses(t *testing.T) {
	for name, call := range map[string]func() error{
		"no hours": func() error { return CostFigure(&bytes.Buffer{}, SVG, bought, rents, 0, "USD", Options{}) },
		"unknown": func() error {
			return CostFigure(&bytes.Buffer{}, SVG, Expense{PerHour: math.NaN()}, rents, 9, "USD", Options{})
		},
		"too many": func() error {
			return CostFigure(&bytes.Buffer{}, SVG, bought, make([]Expense, 31), 9, "USD", Options{})
		},
		"too small": func() error { return CostFigure(&bytes.Buffer{}, SVG, bought, rents, 9, "USD", Options{Height: 50}) },
		"a format":  func() error { return CostFigure(&bytes.Buffer{}, "bmp", bought, rents, 9, "USD", Options{}) },
	} {
		if call() == nil {
			t.Errorf("%s: want an error", name)
		}
	}
	if err := CostFigure(&bytes.Buffer{}, SVG, bought, nil, 9, "USD", Options{}); err != nil {
		t.Errorf("nothing rented: %v", err)
	}
}

func TestFormatAmount(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 1600: "1,600", 12.5: "12.50", 0.526: "0.526", 0.17: "0.17", 0.00042: "0.00042",
		0.000123456: "0.000123", 0.9999: "1.00", 0.9994: "0.999", 999.999: "1,000", -0.5: "-0.5", 1e-12: "0", math.Inf(1): "-"} {
		if got := FormatAmount(v); got != want {
			t.Errorf("%v: got %q, want %q", v, got, want)
		}
	}
}
