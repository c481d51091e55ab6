package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"tune/configs"
	"tune/internal/chart"
	"tune/internal/runstore"
)

func compareCommand() *cli.Command {
	return &cli.Command{
		Name:      "compare",
		Usage:     "how runs differ, and what came of it",
		ArgsUsage: "RUN RUN ...",
		Description: "First the settings that differ, then the results, with the best of each marked.\n\n" +
			"   tune runs compare bluey-r4 bluey-r16\n" +
			"   tune runs compare $(tune runs --tag good --csv | tail -n +2 | cut -d, -f1) --markdown",
		Flags: []cli.Flag{
			databaseFlag(), jsonFlag(), csvFlag(),
			&cli.BoolFlag{Name: "markdown", Usage: "write tables in Markdown, for a write-up"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() < 2 {
				return badInput{fmt.Errorf("tune runs compare: want two runs or more, got %d", c.NArg()), "tune runs lists them"}
			}
			if err := oneFormat(c, "json", "csv", "markdown"); err != nil {
				return err
			}
			runs, err := readCompared(c, c.Args().Slice())
			if err != nil {
				return err
			}
			return compareRuns(runs, time.Now()).write(c)
		},
	}
}

// comparedRun is what a comparison needs of a run.
type comparedRun struct {
	runstore.RunSummary
	artifactBytes int64 // of the adapter or the model
}

// readCompared reads the runs that are named, each once.
func readCompared(c *cli.Context, refs []string) ([]comparedRun, error) {
	store, err := openRuns(c)
	if err != nil {
		return nil, err
	}
	var runs []comparedRun
	err = func() error {
		seen := map[string]bool{}
		for _, ref := range refs {
			run, err := store.Run(c.Context, ref)
			if err != nil {
				return err
			}
			if seen[run.ID] {
				return badInput{fmt.Errorf("tune runs compare: %s names run %s, which is there already", ref, run.ID), ""}
			}
			seen[run.ID] = true
			artifacts, err := store.Artifacts(c.Context, run.ID)
			if err != nil {
				return err
			}
			x := comparedRun{RunSummary: run}
			for _, a := range artifacts {
				if a.Kind == "adapter" || a.Kind == "model" {
					x.artifactBytes += a.Bytes
				}
			}
			runs = append(runs, x)
		}
		return nil
	}()
	return runs, closing(store, err)
}

// comparison is a table: a column a run, a row a setting or a result.
type comparison struct {
	Runs     []string        `json:"runs"`
	Names    []string        `json:"names"`
	Warnings []string        `json:"warnings"`
	Settings []comparisonRow `json:"settings"` // that differ
	Results  []comparisonRow `json:"results"`
}

type comparisonRow struct {
	Name   string `json:"name"`
	Values []any  `json:"values"`           // one a run; null where it has none
	Better string `json:"better,omitempty"` // lower or higher, where one of them is
	Best   []int  `json:"best,omitempty"`   // which of the runs; none where all are equal
	text   []string
}

// compareRuns says how runs differ.
func compareRuns(runs []comparedRun, now time.Time) *comparison {
	out := &comparison{Warnings: []string{}, Settings: []comparisonRow{}}
	for _, r := range runs {
		out.Runs, out.Names = append(out.Runs, r.ID), append(out.Names, r.Name)
	}
	out.compareSettings(runs)
	out.compareFacts(runs)
	out.compareResults(runs, now)
	return out
}

// compareSettings lists the keys of the configs that differ. A config of another tune, which this one cannot read, is told of.
func (x *comparison) compareSettings(runs []comparedRun) {
	var own []*configs.Config
	for _, r := range runs {
		cfg, err := configs.Parse(r.ID, []byte(r.Config), nil)
		if err != nil {
			x.Warnings = append(x.Warnings, fmt.Sprintf("the config of run %s cannot be read by this tune, so settings are not compared: %v", r.ID, err))
			return
		}
		own = append(own, cfg)
	}
	differs := map[string]bool{}
	for _, cfg := range own {
		eachDifference(reflect.ValueOf(*own[0]), reflect.ValueOf(*cfg), func(key string, _, _ any) { differs[key] = true })
	}
	eachKey(reflect.ValueOf(*own[0]), "", func(key string, _ any) {
		if !differs[key] || key == "name" { // which is at the top
			return
		}
		row := comparisonRow{Name: key}
		for _, cfg := range own {
			eachKey(reflect.ValueOf(*cfg), "", func(k string, v any) {
				if k == key {
					row.Values, row.text = append(row.Values, v), append(row.text, printable(fmt.Sprint(v)))
				}
			})
		}
		x.Settings = append(x.Settings, row)
	})
}

// compareFacts lists what differs besides the config: files by their hashes, machine and versions.
func (x *comparison) compareFacts(runs []comparedRun) {
	short := func(sum string) string { return sum[:min(12, len(sum))] }
	for _, fact := range []struct {
		name    string
		of      func(*comparedRun) string
		warning string
	}{
		{"model SHA-256", func(r *comparedRun) string { return short(r.ModelSHA256) }, ""},
		{"training rows SHA-256", func(r *comparedRun) string { return short(r.DataTrainSHA256) }, ""},
		{"validation rows SHA-256", func(r *comparedRun) string { return short(r.DataValidationSHA256) },
			"the validation rows are not the same: validation losses do not compare"},
		{"device", func(r *comparedRun) string { return spaced(r.Device, bracketed(r.DeviceName)) }, ""},
		{"dtype", func(r *comparedRun) string { return r.DType }, ""},
		{"chip", func(r *comparedRun) string { return r.Chip }, ""},
		{"tune", func(r *comparedRun) string { return r.TuneVersion }, ""},
		{"libtorch", func(r *comparedRun) string { return r.LibtorchVersion }, ""},
		{"commit", func(r *comparedRun) string { return short(r.GitCommit) }, ""},
	} {
		row, differs := comparisonRow{Name: fact.name}, false
		for i := range runs {
			text := fact.of(&runs[i])
			row.Values, row.text = append(row.Values, text), append(row.text, printable(orDash(text)))
			differs = differs || text != fact.of(&runs[0])
		}
		if !differs {
			continue
		}
		x.Settings = append(x.Settings, row)
		if fact.warning != "" {
			x.Warnings = append(x.Warnings, fact.warning)
		}
	}
}

func orDash(text string) string { return yesOr(text, "-") }

// compareResults lists what came of the runs.
func (x *comparison) compareResults(runs []comparedRun, now time.Time) {
	row := comparisonRow{Name: "status"}
	for i := range runs {
		status := statusOfRun(&runs[i].RunSummary)
		row.Values, row.text = append(row.Values, status), append(row.text, status)
	}
	x.Results = append(x.Results, row)
	for _, r := range []struct {
		name, better string
		of           func(*comparedRun) float64
		text         func(float64) string
	}{
		{"steps", "", func(r *comparedRun) float64 { return float64(r.StepsDone) }, func(v float64) string { return fmt.Sprint(int64(v)) }},
		{"best validation loss", "lower", func(r *comparedRun) float64 { return float64(r.BestValidationLoss) }, losses},
		{"last validation loss", "lower", func(r *comparedRun) float64 { return float64(r.LastValidationLoss) }, losses},
		{"last training loss", "lower", func(r *comparedRun) float64 { return float64(r.LastLoss) }, losses},
		{"trained parameters", "", func(r *comparedRun) float64 { return orNaN(r.TrainableParameters) }, func(v float64) string { return count(int64(v)) }},
		{"wall time", "lower", func(r *comparedRun) float64 { return wallSeconds(&r.RunSummary, now) }, chart.FormatDuration},
		{"  load", "", func(r *comparedRun) float64 { return float64(r.LoadSeconds) }, chart.FormatDuration},
		{"  train", "", func(r *comparedRun) float64 { return float64(r.TrainSeconds) }, chart.FormatDuration},
		{"  evaluate", "", func(r *comparedRun) float64 { return float64(r.EvaluateSeconds) }, chart.FormatDuration},
		{"  save", "", func(r *comparedRun) float64 { return float64(r.SaveSeconds) }, chart.FormatDuration},
		{"tokens/s", "higher", func(r *comparedRun) float64 { return float64(r.TokensPerSecond) }, func(v float64) string { return fmt.Sprintf("%.0f", v) }},
		{"peak memory", "lower", func(r *comparedRun) float64 { return orNaN(r.PeakMemoryBytes) }, chart.FormatBytes},
		{"  in tensors", "", func(r *comparedRun) float64 { return orNaN(r.DevicePeakMemoryBytes) }, chart.FormatBytes},
		{"adapter or model", "", func(r *comparedRun) float64 { return orNaN(r.artifactBytes) }, chart.FormatBytes},
		{"energy", "lower", func(r *comparedRun) float64 { return float64(r.EnergyJoules) }, energyText},
		{"other cores busy", "", func(r *comparedRun) float64 { return float64(r.OtherCoresBusy) }, func(v float64) string { return fmt.Sprintf("%.1f", v) }},
	} {
		row, any := comparisonRow{Name: strings.TrimSpace(r.name), Better: r.better}, false
		numbers := make([]float64, len(runs))
		for i := range runs {
			v := r.of(&runs[i])
			numbers[i] = v
			if math.IsNaN(v) || math.IsInf(v, 0) {
				row.Values, row.text = append(row.Values, nil), append(row.text, "-")
				continue
			}
			any = true
			row.Values, row.text = append(row.Values, v), append(row.text, r.text(v))
		}
		if any {
			row.Best = bestOf(numbers, row.text, r.better)
			x.Results = append(x.Results, row)
		}
	}
}

func losses(v float64) string { return lossText(runstore.Real(v)) }

// bestOf returns which values are the best, as far as they can be told apart in what is shown; none where only one is a number or
// all are alike.
func bestOf(values []float64, shown []string, better string) (best []int) {
	at, numbers, distinct := -1, 0, map[string]bool{}
	for i, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			continue
		}
		numbers++
		distinct[shown[i]] = true
		if at < 0 || better == "lower" && v < values[at] || better == "higher" && v > values[at] {
			at = i
		}
	}
	if better == "" || numbers < 2 || len(distinct) < 2 {
		return nil
	}
	for i := range values {
		if shown[i] == shown[at] {
			best = append(best, i)
		}
	}
	return best
}

// write shows the comparison in the form that is asked for.
func (x *comparison) write(c *cli.Context) error {
	w := c.App.Writer
	switch {
	case c.Bool("json"):
		return writeJSON(w, x)
	case c.Bool("csv"):
		return x.writeCSV(w)
	case c.Bool("markdown"):
		return x.writeMarkdown(w)
	}
	s := screenOf(w)
	for _, warning := range x.Warnings {
		fmt.Fprintf(w, "%s %s\n", s.paint(yellow, "warning:"), printable(warning))
	}
	if len(x.Warnings) > 0 {
		fmt.Fprintln(w)
	}
	if len(x.Settings) == 0 {
		x.Settings = []comparisonRow{{Name: "no setting differs", text: make([]string, len(x.Runs))}}
	}
	return x.writeTables(w, s)
}

// titles are what stands above the columns: the runs' names where they are all different, else their ids.
func (x *comparison) titles() []string {
	seen := map[string]bool{}
	for _, name := range x.Names {
		if seen[name] {
			return x.Runs
		}
		seen[name] = true
	}
	return x.Names
}

// writeTables writes as many runs side by side as fit, and the others below them.
func (x *comparison) writeTables(w io.Writer, s screen) error {
	titles := x.titles()
	const gap = 2
	first := 0
	for _, rows := range [][]comparisonRow{x.Settings, x.Results} {
		for _, r := range rows {
			first = max(first, utf8.RuneCountInString(r.Name))
		}
	}
	width := func(i int) int {
		n := utf8.RuneCountInString(titles[i])
		for _, rows := range [][]comparisonRow{x.Settings, x.Results} {
			for _, r := range rows {
				n = max(n, utf8.RuneCountInString(r.text[i])+len(" *"))
			}
		}
		return n
	}
	for from := 0; from < len(titles); {
		to, total := from, first
		for to < len(titles) && (to == from || !s.terminal || total+gap+width(to) <= s.columns) {
			total += gap + width(to)
			to++
		}
		if from > 0 {
			fmt.Fprintln(w)
		}
		if err := x.writeBlock(w, s, titles, from, to); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// writeBlock writes the runs from one to another.
func (x *comparison) writeBlock(w io.Writer, s screen, titles []string, from, to int) error {
	columns := []tableColumn{{title: ""}}
	for _, title := range titles[from:to] {
		columns = append(columns, tableColumn{title: printable(title), right: true})
	}
	add := func(name, nameColor string, cells, colors []string) {
		columns[0].cells, columns[0].sgr = append(columns[0].cells, name), append(columns[0].sgr, nameColor)
		for i := range cells {
			columns[i+1].cells, columns[i+1].sgr = append(columns[i+1].cells, cells[i]), append(columns[i+1].sgr, colors[i])
		}
	}
	blank := make([]string, to-from)
	for k, rows := range [][]comparisonRow{x.Settings, x.Results} {
		add([]string{"settings that differ", "results"}[k], bold, blank, blank)
		for _, r := range rows {
			cells, colors := make([]string, to-from), make([]string, to-from)
			for i := range cells {
				cells[i], colors[i] = r.text[from+i]+"  ", ""
				if r.isBest(from + i) {
					cells[i], colors[i] = r.text[from+i]+" *", green
				}
			}
			add("  "+r.Name, "", cells, colors)
		}
		if k == 0 {
			add("", "", blank, blank)
		}
	}
	return s.writeTable(w, columns)
}

func (r *comparisonRow) isBest(i int) bool {
	for _, best := range r.Best {
		if best == i {
			return true
		}
	}
	return false
}

// writeCSV writes a row a setting or result, a column a run.
func (x *comparison) writeCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	errs := []error{out.Write(append([]string{"kind", "name", "better"}, x.Runs...))}
	for k, rows := range [][]comparisonRow{x.Settings, x.Results} {
		for _, r := range rows {
			cells := []string{[]string{"setting", "result"}[k], r.Name, r.Better}
			for _, v := range r.Values {
				if v == nil {
					v = ""
				}
				cells = append(cells, fmt.Sprint(v))
			}
			errs = append(errs, out.Write(cells))
		}
	}
	out.Flush()
	return errors.Join(append(errs, out.Error())...)
}

// writeMarkdown writes two tables in which the best is bold.
func (x *comparison) writeMarkdown(w io.Writer) error {
	cell := strings.NewReplacer("|", `\|`, "\n", " ")
	var out strings.Builder
	for _, warning := range x.Warnings {
		out.WriteString("> " + cell.Replace(warning) + "\n\n")
	}
	for k, rows := range [][]comparisonRow{x.Settings, x.Results} {
		if len(rows) == 0 {
			continue
		}
		out.WriteString("| " + []string{"Setting", "Result"}[k])
		for _, title := range x.titles() {
			out.WriteString(" | " + cell.Replace(title))
		}
		out.WriteString(" |\n| ---" + strings.Repeat(" | ---:", len(x.Runs)) + " |\n")
		for _, r := range rows {
			out.WriteString("| " + cell.Replace(r.Name))
			for i, text := range r.text {
				if text = cell.Replace(text); r.isBest(i) {
					text = "**" + text + "**"
				}
				out.WriteString(" | " + text)
			}
			out.WriteString(" |\n")
		}
		out.WriteString("\n")
	}
	_, err := io.WriteString(w, strings.TrimSuffix(out.String(), "\n"))
	return err
}
