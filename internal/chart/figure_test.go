package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

// golden compares got with testdata/name, or writes it there.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got); if that is meant, rerun with -update and look at it:\n%s", path, diff)
	}
}

func drawn(t *testing.T, format Format, runs []Run, opt Options) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Figure(&b, format, runs, opt); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFigureGolden(t *testing.T) {
	for _, tc := range []struct {
		name string
		runs []Run
		opt  Options
	}{
		{"one.svg.golden", []Run{fakeRun("bluey", 56, 1.4, 1)}, Options{}},
		{"three-dark.svg.golden", threeRuns(), Options{Dark: true, Title: "LoRA rank on the 111 puppy examples"}},
		{"markup.svg.golden", awkwardRuns()["markup"], Options{Width: 700, Height: 500}},
	} {
		t.Run(tc.name, func(t *testing.T) { golden(t, tc.name, drawn(t, SVG, tc.runs, tc.opt)) })
	}
}

func TestFigureIsAFunctionOfItsInput(t *testing.T) {
	for _, format := range []Format{SVG, PNG} {
		if !bytes.Equal(drawn(t, format, threeRuns(), Options{}), drawn(t, format, threeRuns(), Options{})) {
			t.Errorf("two %s drawings of the same runs differ", format)
		}
	}
	runs, again := threeRuns(), threeRuns()
	drawn(t, SVG, runs, Options{})
	Terminal(runs, TerminalOptions{})
	if diff := cmp.Diff(again, runs); diff != "" {
		t.Errorf("drawing changed the runs:\n%s", diff)
	}
}

// svgText is one text of a picture, with the box it takes.
type svgText struct {
	text string
	size float64
	box
}

// texts returns every text of an SVG, and its size. It fails where the XML is not well formed.
func texts(t *testing.T, svg []byte) (found []svgText, width, height float64) {
	t.Helper()
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatalf("%q in the SVG is no number", s)
		}
		return v
	}
	decoder := xml.NewDecoder(bytes.NewReader(svg))
	inside := false
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return found, width, height
		}
		if err != nil {
			t.Fatalf("SVG is not well formed: %v", err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			attr := map[string]string{}
			for _, a := range e.Attr {
				attr[a.Name.Local] = a.Value
			}
			switch e.Name.Local {
			case "svg":
				var left, top float64
				if _, err := fmt.Sscan(attr["viewBox"], &left, &top, &width, &height); err != nil {
					t.Fatal(err)
				}
			case "text":
				inside = true
				_, size, _ := strings.Cut(attr["style"], "font-size:")
				size, _, _ = strings.Cut(size, "px")
				em := number(size)
				left, base := number(attr["x"]), height+number(attr["y"]) // the group around it turns y upside down
				found = append(found, svgText{size: em, box: box{
					left, base - 0.75*em, left + number(attr["textLength"]), base + 0.22*em,
				}})
			}
		case xml.CharData:
			if inside {
				found[len(found)-1].text += string(e)
			}
		case xml.EndElement:
			inside = false
		}
	}
}

func TestNoTextIsCutOrCovered(t *testing.T) {
	cases := awkwardRuns()
	cases["three"] = threeRuns()
	for _, n := range []int{1, 2, 4, 5, 8, 10, 12, 13} {
		cases[fmt.Sprintf("%d runs", n)] = manyRuns(n)
	}
	for name, runs := range cases {
		for _, width := range []int{minWidth, 840, 1400} {
			t.Run(fmt.Sprintf("%s at %d", name, width), func(t *testing.T) {
				checkTexts(t, drawn(t, SVG, runs, Options{Width: width}), 4) // the title and the panels'
			})
		}
	}
}

// checkTexts fails where a text of an SVG is cut by its rim or lies on another, or where there are too few.
func checkTexts(t *testing.T, svg []byte, least int) {
	t.Helper()
	found, w, h := texts(t, svg)
	if len(found) < least {
		t.Fatalf("only %d texts", len(found))
	}
	for i, a := range found {
		if a.Left < margin/2-0.02 || a.Right > w-margin/2+0.02 || a.Top < 0 || a.Bottom > h {
			t.Errorf("%q is cut: it takes %.1f to %.1f, %.1f to %.1f of %g by %g", a.text,
				a.Left, a.Right, a.Top, a.Bottom, w, h)
		}
		for _, b := range found[:i] {
			if a.Left < b.Right && b.Left < a.Right && a.Top < b.Bottom && b.Top < a.Bottom {
				t.Errorf("%q lies on %q", a.text, b.text)
			}
		}
	}
}

func TestFigureSaysWhatItShows(t *testing.T) {
	runs := threeRuns()
	runs[1].Name = `<r16> & "more"`
	runs[2].Seconds.Wall = runs[2].Seconds.stacked() + 60
	found, _, _ := texts(t, drawn(t, SVG, runs, Options{Title: "ranks", Width: minWidth}))
	have := map[string]int{}
	for _, f := range found {
		have[f.text]++
	}
	for _, want := range []string{
		"ranks", "3 runs", "Loss", "nats per target token", "Memory", "GB", "Wall time", "step", "resident", "tensors",
		"each step", "smoothed", "validation", "load", "train", "evaluate", "save", "other",
		"bluey-r8", runs[1].Name, FormatDuration(runs[0].Seconds.Wall), FormatDuration(runs[2].Seconds.Wall),
	} {
		if have[want] == 0 {
			t.Errorf("no text %q", want)
		}
	}
}

func TestFigureMentionsWhatTheAxisLeavesOut(t *testing.T) {
	svg := string(drawn(t, SVG, awkwardRuns()["stray"], Options{}))
	if want := "1 value above the axis (4.1e+06)"; !strings.Contains(svg, want) {
		t.Errorf("no text %q", want)
	}
}

func TestPNG(t *testing.T) {
	for _, tc := range []struct {
		name          string
		opt           Options
		width, height int
	}{
		{"default", Options{}, 1680, 0},
		{"sized", Options{Width: 700, Height: 500}, 1400, 1000},
		{"dark", Options{Dark: true, Width: 680}, 1360, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			picture, err := png.Decode(bytes.NewReader(drawn(t, PNG, threeRuns(), tc.opt)))
			if err != nil {
				t.Fatal(err)
			}
			size := picture.Bounds().Size()
			if size.X != tc.width || tc.height != 0 && size.Y != tc.height {
				t.Errorf("size %v, want %d by %d", size, tc.width, tc.height)
			}
			// Each panel has ink, and nothing touches the rim, where it would have been cut.
			half := size.Y / 2
			for panel, area := range map[string]image.Rectangle{
				"loss":   image.Rect(0, 0, size.X, half),
				"memory": image.Rect(0, size.Y*2/3, size.X/2, size.Y),
				"time":   image.Rect(size.X/2, size.Y*2/3, size.X, size.Y),
			} {
				if share := float64(ink(picture, area)) / float64(area.Dx()*area.Dy()); share < 0.01 || share > 0.5 {
					t.Errorf("%s: %.2f %% of the pixels are painted", panel, 100*share)
				}
			}
			const rim = 8
			for _, area := range []image.Rectangle{
				image.Rect(0, 0, size.X, rim), image.Rect(0, size.Y-rim, size.X, size.Y),
				image.Rect(0, 0, rim, size.Y), image.Rect(size.X-rim, 0, size.X, size.Y),
			} {
				if n := ink(picture, area); n > 0 {
					t.Errorf("%d pixels are painted at the rim %v", n, area)
				}
			}
		})
	}
}

// ink counts the pixels of an area that differ from the corner's.
func ink(picture image.Image, area image.Rectangle) int {
	r0, g0, b0, _ := picture.At(0, 0).RGBA()
	n := 0
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			if r, g, b, _ := picture.At(x, y).RGBA(); r != r0 || g != g0 || b != b0 {
				n++
			}
		}
	}
	return n
}

func TestPDF(t *testing.T) {
	for name, runs := range awkwardRuns() {
		got := drawn(t, PDF, runs, Options{})
		if !bytes.HasPrefix(got, []byte("%PDF-")) || !bytes.HasSuffix(bytes.TrimSpace(got), []byte("%%EOF")) {
			t.Errorf("%s: %d bytes that are no PDF", name, len(got))
		}
	}
}

func TestFileStaysSmallHoweverLongTheRun(t *testing.T) {
	if n := len(drawn(t, SVG, awkwardRuns()["many points"], Options{})); n > 250_000 {
		t.Errorf("100,000 steps make %d bytes of SVG, want at most 250,000", n)
	}
}

func TestFigureErrors(t *testing.T) {
	one := []Run{fakeRun("bluey", 5, 1, 1)}
	for _, tc := range []struct {
		name   string
		format Format
		runs   []Run
		opt    Options
		want   string
	}{
		{"no runs", SVG, nil, Options{}, "chart: no runs to draw"},
		{"too many runs", SVG, make([]Run, 61), Options{}, "chart: 61 runs do not fit one figure (at most 60)"},
		{"narrow", PNG, one, Options{Width: 679}, "chart: width is 679 points, want 680 to 10000"},
		{"negative", PNG, one, Options{Width: -1}, "chart: width is -1 points, want 680 to 10000"},
		{"flat", PNG, one, Options{Height: 100}, "chart: height is 100 points, want 480 to 10000"},
		{"high", PNG, one, Options{Height: 10_001}, "chart: height is 10001 points, want 480 to 10000"},
		{"format", "gif", one, Options{}, `chart: unknown format "gif" (want svg, png or pdf)`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b bytes.Buffer
			err := Figure(&b, tc.format, tc.runs, tc.opt)
			if err == nil || err.Error() != tc.want {
				t.Errorf("error %v, want %s", err, tc.want)
			}
			if b.Len() > 0 {
				t.Errorf("%d bytes written before the error", b.Len())
			}
		})
	}
}

type brokenWriter struct{}

var errBroken = errors.New("disk full")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestFigureReturnsTheWritersError(t *testing.T) {
	for _, format := range Formats {
		if err := Figure(brokenWriter{}, format, threeRuns(), Options{}); !errors.Is(err, errBroken) {
			t.Errorf("%s: error %v, want %v", format, err, errBroken)
		}
	}
}

func TestParseFormat(t *testing.T) {
	for name, want := range map[string]Format{".svg": SVG, "svg": SVG, ".PNG": PNG, "Pdf": PDF} {
		if got, err := ParseFormat(name); got != want || err != nil {
			t.Errorf("ParseFormat(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"", ".", "jpg", "svg.png"} {
		if _, err := ParseFormat(name); err == nil || !strings.Contains(err.Error(), "svg, png or pdf") {
			t.Errorf("ParseFormat(%q): error %v, want one that lists svg, png or pdf", name, err)
		}
	}
}
