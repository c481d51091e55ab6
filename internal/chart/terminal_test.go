package chart

import (
	"math"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTerminalGolden(t *testing.T) {
	for _, tc := range []struct {
		name string
		runs []Run
		opt  TerminalOptions
	}{
		{"one.txt.golden", []Run{fakeRun("bluey", 56, 1.4, 1)}, TerminalOptions{Unicode: true}},
		{"three-letters.txt.golden", threeRuns(), TerminalOptions{Columns: 100, Unicode: true}},
		{"three-color.txt.golden", threeRuns(), TerminalOptions{Columns: 72, Rows: 10, Color: true, Unicode: true}},
		{"three-ascii.txt.golden", threeRuns(), TerminalOptions{Columns: 60}},
		{"stray.txt.golden", awkwardRuns()["stray"], TerminalOptions{Unicode: true}},
		{"speed.txt.golden", []Run{fullRun("bluey", 140, 2, 0.6)}, TerminalOptions{Unicode: true, View: View{Kinds: []Kind{Speed}}}},
		{"kinds-ascii.txt.golden", awkwardRuns()["all full"], TerminalOptions{Rows: 8, View: View{
			Kinds: []Kind{GradNorm, LearningRate, LossTokens, Time}, By: "lora.rank", Log: true,
		}}},
		{"narrow.txt.golden", threeRuns(), TerminalOptions{Columns: 24, Rows: 6, Unicode: true}},
	} {
		t.Run(tc.name, func(t *testing.T) { golden(t, tc.name, []byte(Terminal(tc.runs, tc.opt))) })
	}
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// checkLines fails where a line of text is not exactly columns wide or holds what a terminal must not see.
func checkLines(t interface{ Fatalf(string, ...any) }, text string, opt TerminalOptions) {
	if !strings.HasSuffix(text, "\n") {
		t.Fatalf("the last line has no end")
	}
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		plain := escapes.ReplaceAllString(line, "")
		if !opt.Color && plain != line {
			t.Fatalf("line %d has colours that nobody asked for: %q", i+1, line)
		}
		if w := width(plain); w != opt.Columns {
			t.Fatalf("line %d is %d columns wide, want %d: %q", i+1, w, opt.Columns, plain)
		}
		for _, r := range plain {
			if r < ' ' || r == 0x7f || !opt.Unicode && r > '~' {
				t.Fatalf("line %d holds %q: %q", i+1, r, plain)
			}
		}
	}
}

func TestTerminalAwkward(t *testing.T) {
	for name, runs := range awkwardRuns() {
		for _, opt := range []TerminalOptions{
			{Columns: 80, Unicode: true, Color: true}, {Columns: 80, Unicode: true}, {Columns: 30}, {Columns: 3, Rows: 1},
		} {
			t.Run(name, func(t *testing.T) {
				checkLines(t, Terminal(runs, opt), opt)
				for _, k := range Kinds {
					opt.View = View{Kinds: []Kind{k}, Log: true, By: "lora.rank"}
					checkLines(t, Terminal(runs, opt), opt)
				}
			})
		}
	}
}

func TestTerminalFitsItsColumns(t *testing.T) {
	special := rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, 5e-324, math.MaxFloat64, -1, 1e30})
	values := rapid.SliceOfN(rapid.OneOf(rapid.Float64Range(0, 10), special), 0, 40)
	seconds := rapid.OneOf(rapid.Float64Range(0, 1e5), special)
	points := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Point {
		return Point{
			rapid.OneOf(rapid.Float64Range(0, 50), special).Draw(t, "x"),
			rapid.OneOf(rapid.Float64Range(0, 9), special).Draw(t, "y"),
		}
	}), 0, 5)
	run := rapid.Custom(func(t *rapid.T) Run {
		r := Run{
			Name:              rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z尝试é́🐶 -]{0,60}`)).Draw(t, "name"),
			Loss:              values.Draw(t, "loss"),
			MemoryBytes:       values.Draw(t, "memory"),
			DeviceMemoryBytes: values.Draw(t, "device"),
			Validation:        points.Draw(t, "validation"),
			Elapsed:           values.Draw(t, "elapsed"), StepSeconds: values.Draw(t, "step seconds"), Tokens: values.Draw(t, "tokens"),
			Epoch: values.Draw(t, "epoch"), GradNorm: values.Draw(t, "grad norm"), LearningRate: values.Draw(t, "rate"),
			MaxGradNorm: seconds.Draw(t, "clip"), Group: rapid.String().Draw(t, "group"), Ending: rapid.String().Draw(t, "ending"),
			Seconds: Times{seconds.Draw(t, "load"), seconds.Draw(t, "train"), seconds.Draw(t, "evaluate"),
				seconds.Draw(t, "save"), seconds.Draw(t, "wall")},
		}
		if rapid.Bool().Draw(t, "ascending") {
			for i := range r.Loss {
				r.Steps = append(r.Steps, float64(i+1))
			}
		} else {
			r.Steps = values.Draw(t, "steps")
		}
		return r
	})
	view := rapid.Custom(func(t *rapid.T) View {
		return View{
			Kinds: rapid.SliceOfN(rapid.SampledFrom(Kinds), 0, 3).Draw(t, "kinds"),
			X:     rapid.SampledFrom(append(Quantities, "")).Draw(t, "x"),
			Log:   rapid.Bool().Draw(t, "log"), Smooth: rapid.SampledFrom([]float64{-1, 0, 0.5, 0.999}).Draw(t, "smooth"),
			By: rapid.SampledFrom([]string{"", "lora.rank"}).Draw(t, "by"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		opt := TerminalOptions{
			View:    view.Draw(t, "view"),
			Columns: rapid.IntRange(1, 160).Draw(t, "columns"), Rows: rapid.IntRange(1, 30).Draw(t, "rows"),
			Color: rapid.Bool().Draw(t, "color"), Unicode: rapid.Bool().Draw(t, "unicode"),
		}
		checkLines(t, Terminal(rapid.SliceOfN(run, 0, 12).Draw(t, "runs"), opt), opt)
	})
}

func TestTerminalDefaults(t *testing.T) {
	runs := []Run{fakeRun("bluey", 56, 1.4, 1)}
	if Terminal(runs, TerminalOptions{}) != Terminal(runs, TerminalOptions{Columns: 80, Rows: 12}) {
		t.Error("the defaults are not 80 columns and 12 rows")
	}
	if got := strings.TrimSpace(Terminal(nil, TerminalOptions{})); got != "nothing recorded" {
		t.Errorf("no runs: %q", got)
	}
	if got := Terminal(runs, TerminalOptions{Columns: 8}); !strings.Contains(got, "too narr") {
		t.Errorf("8 columns: %q, want a line that says so", got)
	}
}

func TestWidth(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "abc": 3, "é": 1, "e\u0301": 1, "尝试": 4, "한": 2, "🐶": 2, "⠿": 1, "█": 1, "ｱ": 1, "ａ": 2, "…": 1,
	} {
		if got := width(text); got != want {
			t.Errorf("width(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestEllipsis(t *testing.T) {
	for _, tc := range []struct {
		text    string
		columns int
		want    string
	}{
		{"bluey", 5, "bluey"}, {"bluey", 4, "blu…"}, {"bluey", 1, "…"}, {"bluey", 0, ""}, {"a b c", 3, "a…"},
		{"尝试", 3, "尝…"},
	} {
		got := ellipsis(tc.text, "…", func(s string) bool { return width(s) <= tc.columns })
		if got != tc.want {
			t.Errorf("%q in %d columns: %q, want %q", tc.text, tc.columns, got, tc.want)
		}
	}
}
