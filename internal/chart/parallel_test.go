package chart

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// gridSweep is a sweep over three settings, one of words, with a trial that has no result.
func gridSweep() ([]Axis, []Line) {
	axes := []Axis{{Name: "lora.rank"}, {Name: "train.learning_rate"}, {Name: "lora.target_modules"}, {Name: "validation loss"}}
	var lines []Line
	for i, rank := range []float64{4, 8, 16, 32} {
		for k, rate := range []float64{1e-4, 3e-4, 1e-3} {
			for m, modules := range []string{"attention", "all"} {
				loss := 1.9 - 0.08*float64(i) - 0.2*float64(k) - 0.1*float64(m) + 0.15*float64(k*i*m)/3
				if i == 3 && k == 2 && m == 1 {
					loss = math.NaN()
				}
				lines = append(lines, Line{
					Name:   fmt.Sprintf("trial-%02d", len(lines)+1),
					Values: []Value{Number(rank), Number(rate), Word(modules), Number(loss)},
				})
			}
		}
	}
	return axes, lines
}

// randomSweep is a sweep that draws its settings, one result of which lies far from all others.
func randomSweep(n int) ([]Axis, []Line) {
	random := rand.New(rand.NewPCG(7, 1))
	axes := []Axis{
		{Name: "train.learning_rate"}, {Name: "lora.rank"}, {Name: "lora.dropout"}, {Name: "train.weight_decay"},
		{Name: "lora.use_dora"}, {Name: "train.gradient_accumulation_steps"}, {Name: "accuracy", HigherIsBetter: true},
	}
	var lines []Line
	for i := range n {
		rate := math.Exp(random.Float64()*math.Log(1000)) * 1e-5
		rank := math.Pow(2, float64(2+random.IntN(5)))
		accuracy := 0.9 - 0.06*math.Abs(math.Log(rate/4e-4)) + 0.01*math.Log(rank) + 0.02*random.NormFloat64()
		if i == n/2 {
			accuracy = -12
		}
		lines = append(lines, Line{
			Name: fmt.Sprintf("trial-%02d", i+1),
			Values: []Value{
				Number(rate), Number(rank), Number(0.2 * random.Float64()), Number(0.1 * float64(random.IntN(2))),
				Word(fmt.Sprint(random.IntN(2) == 0)), Number(float64(1 + random.IntN(8))), Number(accuracy),
			},
		})
	}
	return axes, lines
}

func parallelDrawn(t *testing.T, format Format, axes []Axis, lines []Line, opt Options) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Parallel(&b, format, axes, lines, opt); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestParallelGolden(t *testing.T) {
	axes, lines := gridSweep()
	golden(t, "parallel.svg.golden", parallelDrawn(t, SVG, axes, lines, Options{Title: "sweep-bluey"}))
	axes, lines = randomSweep(40)
	golden(t, "parallel-dark.svg.golden", parallelDrawn(t, SVG, axes, lines, Options{Dark: true, Width: 1000}))
}

// awkwardSweeps holds a sweep for each thing that could break the figure.
func awkwardSweeps() map[string]func() ([]Axis, []Line) {
	nan, inf := math.NaN(), math.Inf(1)
	two := []Axis{{Name: "a"}, {Name: "b"}}
	many := make([]Axis, maxAxes)
	for i := range many {
		many[i].Name = fmt.Sprintf("some.rather.long_setting_number_%d", i)
	}
	of := func(axes []Axis, lines ...Line) func() ([]Axis, []Line) {
		return func() ([]Axis, []Line) { return axes, lines }
	}
	return map[string]func() ([]Axis, []Line){
		"grid":      gridSweep,
		"random":    func() ([]Axis, []Line) { return randomSweep(60) },
		"large":     func() ([]Axis, []Line) { return randomSweep(250) },
		"one":       of(two, Line{"only", []Value{Number(3), Number(2)}}),
		"equal":     of(two, Line{"x", []Value{Number(3), Number(2)}}, Line{"y", []Value{Number(3), Number(2)}}),
		"no values": of(two, Line{Name: "none"}, Line{"short", []Value{Number(1)}}),
		"not finite": of(two, Line{"x", []Value{Number(nan), Number(inf)}}, Line{"y", []Value{Number(-inf), Number(1)}},
			Line{"z", []Value{Number(1), Number(nan)}}),
		"extreme": of([]Axis{{Name: "a", Log: true}, {Name: "b"}}, Line{"x", []Value{Number(5e-324), Number(1e30)}},
			Line{"y", []Value{Number(1e30), Number(-1e30)}}, Line{"z", []Value{Number(0), Number(0)}}),
		"tiny": of([]Axis{{Name: "a", Log: true}, {Name: "b", Log: true}}, Line{"x", []Value{Number(5e-324), Number(5e-324)}},
			Line{"y", []Value{Number(1e30), Number(1e-300)}}),
		"mixed": of(two, Line{"x", []Value{Word("auto"), Number(1)}}, Line{"y", []Value{Number(16), Number(2)}},
			Line{"z", []Value{Word("<b> & 尝试 a word that is far too long to stand beside an axis"), Word("best")}}),
		"long names": of(many, Line{"x", make([]Value, maxAxes)}, Line{"y", []Value{Number(1), Word("no")}}),
	}
}

func TestParallelTextIsNeitherCutNorCovered(t *testing.T) {
	for name, sweep := range awkwardSweeps() {
		for _, width := range []int{0, minWidth, 1400} {
			t.Run(fmt.Sprintf("%s at %d", name, width), func(t *testing.T) {
				axes, lines := sweep()
				checkTexts(t, parallelDrawn(t, SVG, axes, lines, Options{Width: width}), 2+len(axes))
			})
		}
	}
}

func TestParallelInEveryFormat(t *testing.T) {
	for name, sweep := range awkwardSweeps() {
		for _, format := range Formats {
			axes, lines := sweep()
			if n := len(parallelDrawn(t, format, axes, lines, Options{Dark: true})); n < 1000 {
				t.Errorf("%s: %d bytes of %s", name, n, format)
			}
		}
	}
	axes, lines := gridSweep()
	if !bytes.Equal(parallelDrawn(t, PNG, axes, lines, Options{}), parallelDrawn(t, PNG, axes, lines, Options{})) {
		t.Error("two drawings of the same sweep differ")
	}
	if n := len(parallelDrawn(t, SVG, axes, lines, Options{})); n > 60_000 {
		t.Errorf("24 trials make %d bytes of SVG, want at most 60,000", n)
	}
}

func TestParallelFindsTheBest(t *testing.T) {
	results := func(higher bool, values ...float64) *parallel {
		var lines []Line
		for i, v := range values {
			lines = append(lines, Line{fmt.Sprint(i), []Value{Number(float64(i)), Number(v)}})
		}
		return newParallel([]Axis{{Name: "a"}, {Name: "b", HigherIsBetter: higher}}, lines)
	}
	nan := math.NaN()
	for _, tc := range []struct {
		name   string
		higher bool
		values []float64
		best   int
	}{
		{"low", false, []float64{3, 1, 2}, 1},
		{"high", true, []float64{3, 1, 2}, 0},
		{"without a result", false, []float64{nan, 5, nan, 4}, 3},
		{"nobody has one", false, []float64{nan, nan}, -1},
		{"the first of equals", false, []float64{2, 1, 1}, 1},
		{"one", true, []float64{7}, 0},
	} {
		if got := results(tc.higher, tc.values...).best; got != tc.best {
			t.Errorf("%s: best is %d, want %d", tc.name, got, tc.best)
		}
	}
	p := results(false, 1, 1.1, 1.2, 1.15, 900)
	if got := p.axes[1].at[3]; got < 0.5 || p.good[4] != 0 || p.above != "1 result beyond the axis (up to 900.000)" {
		t.Errorf("one result far off: another lies at %.3f, that one is %.3f good, the note is %q", got, p.good[4], p.above)
	}
}

func TestLogSuits(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		want   bool
	}{
		{[]float64{4, 8, 16, 32}, true}, {[]float64{1, 2, 3, 4}, false}, {[]float64{1e-4, 3e-4, 1e-3}, true},
		{[]float64{0.1, 0.2}, false}, {[]float64{5}, false},
		{[]float64{1e-5, 2e-5, 4e-5, 8e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3}, true},
		{[]float64{0.001, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8}, false},
	} {
		if got := logSuits(tc.values); got != tc.want {
			t.Errorf("%v: logarithmic %t, want %t", tc.values, got, tc.want)
		}
	}
}

func TestFormatSetting(t *testing.T) {
	for v, want := range map[float64]string{
		16: "16", 0: "0", 0.05: "0.05", 1e-4: "1e-4", 3.25e-5: "3.25e-5", 25000: "25,000", 1e9: "1e9", -2e-12: "-2e-12",
		0.1234567: "0.1235", 1234.5: "1,234", 0.001: "0.001", 5e-324: "4.941e-324",
	} {
		if got := formatSetting(v); got != want {
			t.Errorf("formatSetting(%g) = %q, want %q", v, got, want)
		}
	}
}

func TestParallelErrors(t *testing.T) {
	axes, lines := gridSweep()
	for _, tc := range []struct {
		name   string
		format Format
		axes   []Axis
		lines  []Line
		opt    Options
		want   string
	}{
		{"one axis", SVG, axes[:1], lines, Options{}, "chart: 1 axes, want 2 to 20: the settings and, last, the result"},
		{"many axes", SVG, make([]Axis, 21), lines, Options{}, "chart: 21 axes, want 2 to 20: the settings and, last, the result"},
		{"no lines", SVG, axes, nil, Options{}, "chart: 0 lines, want 1 to 2000"},
		{"many lines", SVG, axes, make([]Line, 2001), Options{}, "chart: 2001 lines, want 1 to 2000"},
		{"narrow", SVG, axes, lines, Options{Width: 100}, "chart: width is 100 points, want 680 to 10000"},
		{"flat", SVG, axes, lines, Options{Height: 100}, "chart: height is 100 points, want 240 to 10000"},
		{"format", "gif", axes, lines, Options{}, `chart: unknown format "gif" (want svg, png or pdf)`},
	} {
		var b bytes.Buffer
		if err := Parallel(&b, tc.format, tc.axes, tc.lines, tc.opt); err == nil || err.Error() != tc.want || b.Len() > 0 {
			t.Errorf("%s: error %v and %d bytes, want %s", tc.name, err, b.Len(), tc.want)
		}
	}
	if err := Parallel(brokenWriter{}, PNG, axes, lines, Options{}); !errors.Is(err, errBroken) {
		t.Errorf("a full disk: error %v, want %v", err, errBroken)
	}
}
