package chart

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"strings"
	"testing"
)

func TestKindsGolden(t *testing.T) {
	slow := fullRun("bluey", 140, 2, 0.6)
	several := []Run{fullRun("rank 16", 140, 1, 1), fullRun("rank 32", 140, 2, 1), fullRun("rank 8", 90, 3, 1), fullRun("rank 16, again", 120, 4, 1)}
	several[3].Ending = "diverged"
	for _, tc := range []struct {
		name string
		runs []Run
		opt  Options
	}{
		{"speed.svg.golden", []Run{slow}, Options{View: View{Kinds: []Kind{Speed}}}},
		{"stacked-dark.svg.golden", []Run{slow}, Options{Dark: true, View: View{Kinds: []Kind{Loss, Memory, GradNorm, LearningRate}, Log: true, X: ByEpoch}}},
		{"time-by.svg.golden", several, Options{View: View{Kinds: []Kind{Time}, By: "lora.rank"}}},
		{"compare.svg.golden", several, Options{View: View{Kinds: []Kind{LossTime, LossTokens}, Smooth: 0.9}}},
	} {
		t.Run(tc.name, func(t *testing.T) { golden(t, tc.name, drawn(t, SVG, tc.runs, tc.opt)) })
	}
}

func TestNoTextOfAKindIsCutOrCovered(t *testing.T) {
	for name, runs := range awkwardRuns() {
		for _, k := range Kinds {
			for _, opt := range []Options{{Width: minWidth}, {View: View{By: "lora.rank", Log: true, Smooth: -1, X: ByEpoch}}} {
				opt.Kinds = []Kind{k}
				t.Run(fmt.Sprintf("%s %s", name, k), func(t *testing.T) {
					checkTexts(t, drawn(t, SVG, runs, opt), 2)
				})
			}
		}
	}
}

func TestEveryKindInEveryFormat(t *testing.T) {
	runs := awkwardRuns()
	for _, name := range []string{"nothing", "broken numbers", "all full"} {
		for _, format := range Formats {
			if n := len(drawn(t, format, runs[name], Options{Dark: true, View: View{Kinds: Kinds}})); n < 1000 {
				t.Errorf("%s: %d bytes of %s", name, n, format)
			}
		}
	}
}

func TestKindsStaySmallHoweverLongTheRun(t *testing.T) {
	for _, k := range Kinds {
		if n := len(drawn(t, SVG, awkwardRuns()["ten thousand full"], Options{View: View{Kinds: []Kind{k}}})); n > 150_000 {
			t.Errorf("%s of 10,000 steps makes %d bytes of SVG, want at most 150,000", k, n)
		}
	}
}

func TestSlowdownIsMarked(t *testing.T) {
	run := fullRun("bluey", 140, 2, 0.6)
	words := "slower from here: -26 %"
	if svg := drawn(t, SVG, []Run{run}, Options{View: View{Kinds: []Kind{Speed}}}); !strings.Contains(string(svg), words) {
		t.Errorf("the picture does not say %q", words)
	}
	if text := Terminal([]Run{run}, TerminalOptions{View: View{Kinds: []Kind{Speed}}}); !strings.Contains(text, words) {
		t.Errorf("the terminal does not say %q:\n%s", words, text)
	}
	steady := fullRun("steady", 140, 2, 1)
	two := Terminal([]Run{steady, run}, TerminalOptions{View: View{Kinds: []Kind{Speed}}})
	if !strings.Contains(two, "bluey "+words) {
		t.Errorf("of two runs it is not said which one is slower:\n%s", two)
	}
	if text := Terminal([]Run{steady}, TerminalOptions{View: View{Kinds: []Kind{Speed}}}); strings.Contains(text, "slower") {
		t.Errorf("a steady run is called slower:\n%s", text)
	}
}

// TestPeaksStay: one high value among 10,000 is drawn, whatever else is left out.
func TestPeaksStay(t *testing.T) {
	run := fullRun("long", 10_000, 1, 1)
	run.GradNorm[5003] = 4321
	g := graphOf(GradNorm, []Run{run}, View{Kinds: []Kind{GradNorm}})
	if !g.log || g.yHigh != 4321 {
		t.Errorf("the axis goes to %g, logarithmic %t", g.yHigh, g.log)
	}
	x := g.xAxis(10)
	kept := decimate(g.faint[0], func(v float64) int { return int(x.at(v) * 700) })
	if len(kept) > 4*701 || highest(kept) != 4321 {
		t.Errorf("%d points, the highest is %g", len(kept), highest(kept))
	}
}

func TestCurvesOverEveryQuantity(t *testing.T) {
	run := Run{
		Steps: []float64{1, 2, 3}, Loss: []float64{3, 2, 1}, Validation: []Point{{0, 4}, {2, 2.5}, {3, 2}},
		Elapsed: []float64{10, 20, 35}, Tokens: []float64{100, 200, 50}, Epoch: []float64{0.5, 1, 1.5},
	}
	for q, want := range map[Quantity]struct{ x, validation []float64 }{
		ByStep:   {[]float64{1, 2, 3}, []float64{0, 2, 3}},
		ByTime:   {[]float64{10, 20, 35}, []float64{0, 20, 35}},
		ByTokens: {[]float64{100, 300, 350}, []float64{0, 300, 350}},
		ByEpoch:  {[]float64{0.5, 1, 1.5}, []float64{0, 1, 1.5}},
	} {
		g := graphOf(Loss, []Run{run}, View{Kinds: []Kind{Loss}, X: q})
		for i := range want.x {
			if got := g.faint[0][i].X; got != want.x[i] {
				t.Errorf("%s: loss %d lies at %g, want %g", q, i, got, want.x[i])
			}
			if got := g.marks[0][i].X; got != want.validation[i] {
				t.Errorf("%s: validation %d lies at %g, want %g", q, i, got, want.validation[i])
			}
		}
	}
	run.ValidationElapsed = []float64{5, math.NaN(), 36}
	for i, want := range []float64{5, 20, 36} {
		if got := run.validationOver(ByTime)[i].X; got != want {
			t.Errorf("validation %d, at a time of its own, lies at %g, want %g", i, got, want)
		}
	}
	run.Tokens = nil
	if g := graphOf(LossTokens, []Run{run}, View{}); g.found || g.nothing != "no tokens recorded" {
		t.Errorf("without tokens: found %t, %q", g.found, g.nothing)
	}
}

func TestTimeRows(t *testing.T) {
	run := func(name, group string, wall float64) Run {
		return Run{Name: name, Group: group, Seconds: Times{Wall: wall}}
	}
	written := func(runs []Run, v View) string {
		var parts []string
		for _, r := range timeRows(runs, v) {
			parts = append(parts, r.text)
		}
		return strings.Join(parts, "; ")
	}
	kinds := []Kind{Time}
	numbers := []Run{run("a", "16", 30), run("b", "8", 20), run("c", "16", 10), run("d", "", 5)}
	words := []Run{run("a", "cpu", 30), run("b", "mps", 20), run("c", "cpu", 10)}
	for _, tc := range []struct {
		runs []Run
		view View
		want string
	}{
		{numbers, View{}, "a; b; c; d"},
		{numbers, View{Kinds: kinds}, "d; c; b; a"},
		{numbers[:3], View{Kinds: kinds, By: "rank"}, "rank 8; b; rank 16  ·  2 runs, median 20.0 s; c; a"},
		{words, View{By: "device"}, "device cpu  ·  2 runs, median 20.0 s; c; a; device mps; b"},
		{numbers[:2], View{By: "rank"}, "8; 16"},
		{numbers[2:], View{By: "rank"}, "unknown; 16"},
	} {
		if got := written(tc.runs, tc.view); got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.view, got, tc.want)
		}
	}
}

func TestKindErrors(t *testing.T) {
	var b bytes.Buffer
	err := Figure(&b, SVG, threeRuns(), Options{View: View{Kinds: []Kind{"losses"}}})
	want := `chart: unknown kind "losses" (want loss, memory, speed, grad-norm, lr, time, loss-time or loss-tokens)`
	if err == nil || err.Error() != want || b.Len() > 0 {
		t.Errorf("error %v, want %s", err, want)
	}
	if _, err := ParseQuantity("steps"); err == nil || !strings.Contains(err.Error(), "want step, time, tokens or epoch") {
		t.Errorf("error %v", err)
	}
}

// TestLinesOfManyRunsDiffer: a run past the last colour has dashes.
func TestLinesOfManyRunsDiffer(t *testing.T) {
	f := &figure{theme: light}
	seen := map[string]bool{}
	for i := range maxRuns {
		l := f.runLine(i, 1)
		if key := fmt.Sprint(l.color, l.dash); seen[key] {
			t.Errorf("run %d looks like another", i)
		} else {
			seen[key] = true
		}
	}
	term := &terminal{}
	letters := map[rune]bool{}
	for i := range 52 {
		letters[term.letter(i)] = true
	}
	if len(letters) != 52 {
		t.Errorf("%d letters for 52 runs", len(letters))
	}
}

// TestColoursForEveryEye: the runs whose lines are alike but for their colour are told apart with any colour blindness.
// Source: Machado, Oliveira and Fernandes 2009, "A Physiologically-based Model for Simulation of Color Vision Deficiency",
// table 1, severity 1.0; distances in CIELAB.
func TestColoursForEveryEye(t *testing.T) {
	eyes := map[string][3][3]float64{
		"common":       {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
		"protanopia":   {{0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}},
		"deuteranopia": {{0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}},
		"tritanopia":   {{1.255528, -0.076749, -0.178779}, {-0.078411, 0.930809, 0.147602}, {0.004733, 0.691367, 0.303900}},
	}
	for name, colors := range map[string]theme{"light": light, "dark": dark} {
		for eye, m := range eyes {
			for i, a := range colors.runs {
				for k, b := range colors.runs[:i] {
					alike := (i < undashed) == (k < undashed)
					if d := distance(seen(a, m), seen(b, m)); alike && d < 12 {
						t.Errorf("%s, %s: runs %d and %d are %.1f apart, want at least 12", name, eye, k, i, d)
					}
				}
			}
		}
	}
}

// seen returns a colour in CIELAB as an eye sees it.
func seen(c color.RGBA, eye [3][3]float64) [3]float64 {
	var linear, xyz [3]float64
	for i, v := range [3]uint8{c.R, c.G, c.B} {
		s := float64(v) / 255
		if linear[i] = s / 12.92; s > 0.04045 {
			linear[i] = math.Pow((s+0.055)/1.055, 2.4)
		}
	}
	toXYZ := [3][3]float64{{0.4124, 0.3576, 0.1805}, {0.2126, 0.7152, 0.0722}, {0.0193, 0.1192, 0.9505}}
	white := [3]float64{0.9505, 1, 1.089}
	for i := range xyz {
		for j := range eye {
			v := eye[j][0]*linear[0] + eye[j][1]*linear[1] + eye[j][2]*linear[2]
			xyz[i] += toXYZ[i][j] * min(1, max(0, v)) / white[i]
		}
		if v := xyz[i]; v > 0.008856 {
			xyz[i] = math.Cbrt(v)
		} else {
			xyz[i] = 7.787*v + 16.0/116
		}
	}
	return [3]float64{116*xyz[1] - 16, 500 * (xyz[0] - xyz[1]), 200 * (xyz[1] - xyz[2])}
}

func distance(a, b [3]float64) float64 {
	return math.Sqrt((a[0]-b[0])*(a[0]-b[0]) + (a[1]-b[1])*(a[1]-b[1]) + (a[2]-b[2])*(a[2]-b[2]))
}
