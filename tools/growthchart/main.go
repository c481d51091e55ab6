// Growthchart draws what bench/growth.sh has measured:
//
//	go run ./tools/growthchart [-format svg] bench/growth.jsonl docs
//
// It takes the newest run in the file, writes docs/growth-batch.svg, growth-length.svg and growth-rank.svg, and prints how
// memory grows with each.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"tune/internal/chart"
	"tune/internal/files"
)

// measurement is a line of growth.jsonl, as far as it is drawn.
type measurement struct {
	Run    string  `json:"run"`
	Sweep  string  `json:"sweep"` // what differs: batch, length or rank
	Shape  string  `json:"shape"`
	DType  string  `json:"dtype"`
	Batch  int     `json:"batch"`
	Length int     `json:"length"`
	Rank   int     `json:"rank"`
	Step   float64 `json:"step_s_median"`
	Peak   float64 `json:"peak_rss_gb"` // 10⁶ KiB
	Chip   string  `json:"chip"`
	Thread int     `json:"threads"`
}

func main() {
	format := flag.String("format", "svg", "svg, png or pdf")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: growthchart [-format svg] FILE.jsonl FOLDER")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), flag.Arg(1), chart.Format(*format)); err != nil {
		fmt.Fprintln(os.Stderr, "growthchart: error:", err)
		os.Exit(1)
	}
}

func run(path, dir string, format chart.Format) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	all, err := newest(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, sweep := range []string{"batch", "length", "rank"} {
		found := slices.DeleteFunc(slices.Clone(all), func(m measurement) bool { return m.Sweep != sweep })
		if len(found) == 0 {
			continue
		}
		out := filepath.Join(dir, "growth-"+sweep+"."+string(format))
		err := files.ReplaceFile(out, func(w io.Writer) error { return draw(w, format, sweep, found) })
		if err != nil {
			return err
		}
		fmt.Println("wrote", out)
	}
	return nil
}

// newest returns the lines of the last run.
func newest(r io.Reader) ([]measurement, error) {
	var all []measurement
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		var m measurement
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if len(all) > 0 && all[0].Run != m.Run {
			all = nil
		}
		all = append(all, m)
	}
	return all, lines.Err()
}

// draw writes the chart of one sweep and prints the slopes of its memory.
func draw(w io.Writer, format chart.Format, sweep string, found []measurement) error {
	first := found[0]
	title, label, fixed := "Training "+first.Shape+": rows in a batch", "rows in a batch", fmt.Sprintf("rows of %d tokens, rank %d", first.Length, first.Rank)
	at := func(m measurement) float64 { return float64(m.Batch) }
	switch sweep {
	case "length":
		title, label = "Training "+first.Shape+": length of the rows", "tokens in a row"
		fixed, at = fmt.Sprintf("batches of %d, rank %d", first.Batch, first.Rank), func(m measurement) float64 { return float64(m.Length) }
	case "rank":
		title, label = "Training "+first.Shape+": rank of the adapter", "rank"
		fixed, at = fmt.Sprintf("batches of %d rows of %d tokens", first.Batch, first.Length), func(m measurement) float64 { return float64(m.Rank) }
	}
	slices.SortStableFunc(found, func(a, b measurement) int { return cmp.Compare(at(a), at(b)) })
	var measured []chart.Measured
	for _, m := range found {
		i := slices.IndexFunc(measured, func(s chart.Measured) bool { return s.Name == m.DType })
		if i < 0 {
			i, measured = len(measured), append(measured, chart.Measured{Name: m.DType})
		}
		s := &measured[i]
		s.X = append(s.X, at(m))
		s.TokensPerSecond = append(s.TokensPerSecond, float64(m.Batch*m.Length)/m.Step)
		s.MemoryBytes = append(s.MemoryBytes, m.Peak*1024e6)
	}
	slices.SortFunc(measured, func(a, b chart.Measured) int { return cmp.Compare(b.Name, a.Name) }) // each dtype its colour
	for _, s := range measured {
		fit := chart.FitLine(s.X, s.MemoryBytes)
		slope, unit := fit.Slope, "rank"
		switch sweep {
		case "batch":
			slope, unit = slope/float64(first.Length), "token"
		case "length":
			slope, unit = slope/float64(first.Batch), "token"
		}
		fmt.Printf("%s, %s: %.0f bytes a %s on top of %s; at most %.1f%% off the straight line\n", sweep, s.Name, slope, unit,
			chart.FormatBytes(fit.Intercept), 100*fit.Off)
	}
	subtitle := fmt.Sprintf("%s; %s, %d threads", fixed, first.Chip, first.Thread)
	return chart.Growth(w, format, title, subtitle, label, measured)
}
