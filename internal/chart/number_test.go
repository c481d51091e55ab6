package chart

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestFormatBytes(t *testing.T) {
	for _, tc := range []struct {
		bytes float64
		want  string
	}{
		{0, "0 B"}, {640, "640 B"}, {999, "999 B"}, {999.6, "1.00 kB"}, {1000, "1.00 kB"}, {81_920_000, "81.9 MB"},
		{9_994_000, "9.99 MB"}, {9_996_000, "10.0 MB"}, {99_960_000, "100 MB"}, {1_234_567_890, "1.23 GB"},
		{3e12, "3.00 TB"}, {2e18, "2000 PB"}, {-1500, "-1.50 kB"}, {math.NaN(), "-"}, {math.Inf(1), "-"},
	} {
		if got := FormatBytes(tc.bytes); got != tc.want {
			t.Errorf("FormatBytes(%g) = %q, want %q", tc.bytes, got, tc.want)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for _, tc := range []struct {
		seconds float64
		want    string
	}{
		{0, "0 s"}, {0.0004, "0 s"}, {0.0031, "3 ms"}, {0.9994, "999 ms"}, {0.9996, "1.0 s"}, {38.2, "38.2 s"},
		{59.94, "59.9 s"}, {59.96, "1m 00s"}, {294, "4m 54s"}, {3599.4, "59m 59s"}, {3599.6, "1h 00m"},
		{7500, "2h 05m"}, {86399, "1d 00h"}, {273600, "3d 04h"}, {-61, "-1m 01s"}, {8.64e12, "1e+08d"},
		{math.NaN(), "-"}, {math.Inf(-1), "-"},
	} {
		if got := FormatDuration(tc.seconds); got != tc.want {
			t.Errorf("FormatDuration(%g) = %q, want %q", tc.seconds, got, tc.want)
		}
	}
}

func TestFormatTick(t *testing.T) {
	for _, tc := range []struct {
		v, apart float64
		want     string
	}{
		{1, 10, "1"}, {1e-17, 0.1, "0"}, {0.30000000000000004, 0.1, "0.3"}, {2, 0.5, "2.0"}, {1500, 500, "1,500"},
		{-1234567, 1, "-1,234,567"}, {0.05, 0.05, "0.05"}, {2e9, 1e9, "2e+09"}, {3e-7, 1e-7, "3e-07"},
	} {
		if got := formatTick(tc.v, tc.apart); got != tc.want {
			t.Errorf("formatTick(%g, %g) = %q, want %q", tc.v, tc.apart, got, tc.want)
		}
	}
}

func TestFormatDurationTick(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "0", 0.25: "250 ms", 30: "30 s", 60: "1m", 90: "1m 30s", 3600: "1h", 5400: "1h 30m", 86400: "1d", 90000: "1d 1h",
	} {
		if got := formatDurationTick(seconds); got != want {
			t.Errorf("formatDurationTick(%g) = %q, want %q", seconds, got, want)
		}
	}
}

func TestSmooth(t *testing.T) {
	nan := math.NaN()
	for _, tc := range []struct {
		name   string
		values []float64
		weight float64
		want   []float64
	}{
		{"the first value stands", []float64{8, 2}, 0.9, []float64{8, (0.09*8 + 0.1*2) / 0.19}},
		{"weight 0 changes nothing", []float64{3, 1, 2}, 0, []float64{3, 1, 2}},
		{
			"a gap stays a gap and is not counted",
			[]float64{4, nan, math.Inf(1), 2}, 0.5, []float64{4, nan, nan, (0.25*4 + 0.5*2) / 0.75},
		},
		{"a gap at the start", []float64{nan, 4}, 0.5, []float64{nan, 4}},
		{"weight below 0 is 0", []float64{3, 1}, -1, []float64{3, 1}},
		{"weight NaN is 0", []float64{3, 1}, nan, []float64{3, 1}},
		{"empty", nil, 0.9, []float64{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Smooth(tc.values, tc.weight)
			close := cmp.Comparer(func(a, b float64) bool {
				return a == b || math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) < 1e-12 // float64, few operations
			})
			if diff := cmp.Diff(tc.want, got, close); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSmoothStaysWithinItsValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(-1e6, 1e6), 1, 200).Draw(t, "values")
		weight := rapid.Float64Range(0, 2).Draw(t, "weight")
		low, high := slices.Min(values), slices.Max(values)
		for i, v := range Smooth(values, weight) {
			if v < low-1e-6 || v > high+1e-6 { // float64 sums of 200 values up to 1e6
				t.Fatalf("value %d is %g, outside %g to %g", i, v, low, high)
			}
		}
	})
}

func TestSmoothingWeightGrowsWithTheRun(t *testing.T) {
	if w := SmoothingWeight(1); w != 0 {
		t.Errorf("one step: %g, want 0", w)
	}
	if w := SmoothingWeight(1 << 40); w != 0.99 {
		t.Errorf("endless run: %g, want 0.99", w)
	}
	if !(SmoothingWeight(56) < SmoothingWeight(600)) {
		t.Error("a longer run must be smoothed over more steps")
	}
}

func TestAxes(t *testing.T) {
	wide := rapid.Float64Range(-drawable, drawable)
	near := rapid.Float64Range(-10, 10)
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.OneOf(wide, near).Draw(t, "a"), rapid.OneOf(wide, near).Draw(t, "b")
		count := rapid.IntRange(0, 30).Draw(t, "count")
		low, high := min(a, b), max(a, b)
		for name, x := range map[string]axis{
			"value": valueAxis(low, high, count),
			"step":  stepAxis(low, high, count),
		} {
			if !(x.Low <= low && x.High >= high && x.Low < x.High) {
				t.Fatalf("%s axis of %g to %g goes from %g to %g", name, low, high, x.Low, x.High)
			}
			if len(x.Ticks) > 4*count+12 || !slices.IsSorted(x.Ticks) {
				t.Fatalf("%s axis of %g to %g with about %d ticks has %v", name, low, high, count, x.Ticks)
			}
			for _, tick := range x.Ticks {
				if at := x.at(tick); !(at >= -1e-6 && at <= 1+1e-6) { // a thousandth of a pixel
					t.Fatalf("%s axis of %g to %g has a tick at %g, outside", name, low, high, tick)
				}
			}
		}
		if x := secondsAxis(math.Abs(a), count); x.Low != 0 || x.High < math.Abs(a) || len(x.Ticks) > 4*count+12 {
			t.Fatalf("time axis to %g with about %d ticks: %+v", math.Abs(a), count, x)
		}
	})
}

func TestStepAxisTicksAreWholeSteps(t *testing.T) {
	for _, tc := range []struct {
		low, high float64
		want      string
	}{
		{1, 56, "1 10 20 30 40 50 56"}, {1, 3, "1 2 3"}, {7, 7, "7"},
		{1, 1200, "1 200 400 600 800 1,000 1,200"},
		{0, 12, "0 2 4 6 8 10 12"},
	} {
		if got := strings.Join(stepAxis(tc.low, tc.high, 7).labels(), " "); got != tc.want {
			t.Errorf("%g to %g: ticks %s, want %s", tc.low, tc.high, got, tc.want)
		}
	}
}

func TestLossAxisIgnoresAStray(t *testing.T) {
	run := func(losses ...float64) Run {
		r := Run{Loss: losses}
		for i := range losses {
			r.Steps = append(r.Steps, float64(i+1))
		}
		return r
	}
	for _, tc := range []struct {
		name string
		run  Run
		want lossLimits
	}{
		{"first far above", run(900, 3, 2.5, 2.2, 2, 1.9), lossLimits{Low: 1.9, High: 3, Above: 1, Highest: 900}},
		{"a steep start is no stray", run(6, 3, 2.5, 2.2, 2, 1.9), lossLimits{Low: 1.9, High: 6}},
		{"among equals", run(50, 2, 2, 2, 2, 2), lossLimits{Low: 2, High: 2, Above: 1, Highest: 50}},
		{"two of six is a trend", run(900, 800, 2.5, 2.2, 2, 1.9), lossLimits{Low: 1.9, High: 900}},
		{"too short to tell", run(900, 3, 2), lossLimits{Low: 2, High: 900}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := limitLoss([]Run{tc.run})
			if diff := cmp.Diff(tc.want, got); diff != "" || !ok {
				t.Errorf("ok %t, limits (-want +got):\n%s", ok, diff)
			}
		})
	}
	if _, ok := limitLoss([]Run{run(math.NaN()), {}}); ok {
		t.Error("runs without a loss have no limits")
	}
}

func TestDecimateKeepsTheOutline(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(-5, 5), 1, 300).Draw(t, "values")
		columns := rapid.IntRange(1, 40).Draw(t, "columns")
		var points []Point
		for i, v := range values {
			points = append(points, Point{float64(i), v})
		}
		column := func(x float64) int { return int(x) * columns / len(values) }
		kept := decimate(points, column)
		if len(kept) > 4*columns {
			t.Fatalf("%d points kept for %d columns, want at most 4 each", len(kept), columns)
		}
		if kept[0] != points[0] || kept[len(kept)-1] != points[len(points)-1] {
			t.Fatal("the ends are not kept")
		}
		for c := range columns {
			all, some := extent(points, column, c), extent(kept, column, c)
			if all != some {
				t.Fatalf("column %d: kept %v, of %v", c, some, all)
			}
		}
	})
}

// extent returns the lowest and highest Y in one column.
func extent(points []Point, column func(float64) int, c int) [2]float64 {
	out := [2]float64{math.Inf(1), math.Inf(-1)}
	for _, p := range points {
		if column(p.X) == c {
			out[0], out[1] = min(out[0], p.Y), max(out[1], p.Y)
		}
	}
	return out
}

func TestPhases(t *testing.T) {
	for _, tc := range []struct {
		name          string
		times         Times
		stacked, wall float64
		other         float64
	}{
		{"parts fill the wall", Times{1, 90, 8, 1, 100}, 100, 100, 0},
		{"a sliver is not worth a colour", Times{1, 90, 8, 1, 100.5}, 100, 100.5, 0},
		{"the rest is other", Times{1, 50, 8, 1, 100}, 100, 100, 40},
		{"no wall: the sum", Times{1, 50, 8, 1, 0}, 60, 60, 0},
		{"a negative wall is no wall", Times{Save: 0.001, Wall: -1}, 0.001, 0.001, 0},
		{"broken numbers count as zero", Times{math.NaN(), 50, -8, math.Inf(1), math.NaN()}, 50, 50, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := [3]float64{tc.times.stacked(), tc.times.wall(), tc.times.phases()[phaseOther].seconds}
			if want := [3]float64{tc.stacked, tc.wall, tc.other}; got != want {
				t.Errorf("stacked, wall, other = %v, want %v", got, want)
			}
		})
	}
}

func TestLabel(t *testing.T) {
	for name, want := range map[string]string{
		"bluey": "bluey", " a\tb\n": "a b", "": "(no name)", "\x1b[31mred": "?[31mred", "a\xffb": "a?b",
		"x\u202ey": "xy", "尝试": "尝试", "<&>": "<&>",
	} {
		if got := label(name); got != want {
			t.Errorf("label(%q) = %q, want %q", name, got, want)
		}
	}
}
