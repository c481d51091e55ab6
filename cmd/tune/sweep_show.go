package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tune/configs"
	"tune/internal/chart"
	"tune/internal/runstore"
	"tune/trainer"
)

func sweepListCommand() *cli.Command {
	return &cli.Command{Name: "list", Usage: "list the sweeps", Flags: []cli.Flag{databaseFlag(), jsonFlag()}, Action: listSweeps}
}

func sweepShowCommand() *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "the ranked trials of a sweep, as a table or a picture",
		ArgsUsage: "SWEEP",
		Description: "SWEEP is an id or the start of one, a name (its newest sweep is meant), or last.\n\n" +
			"   tune sweep show last\n" +
			"   tune sweep show last --csv > sweep.csv\n" +
			"   tune sweep show last --out sweep.svg",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "csv", Usage: "write comma-separated values"},
			&cli.BoolFlag{Name: "markdown", Usage: "write a Markdown table"},
			&cli.StringSliceFlag{Name: "out", Usage: "write a picture to `FILE`.svg, .png or .pdf instead; may be repeated"},
			&cli.BoolFlag{Name: "dark", Usage: "a picture with a dark background"},
			&cli.StringFlag{Name: "title", Usage: "what stands above a picture"},
			&cli.IntFlag{Name: "width", Usage: "width of a picture in points; 0 suits the number of keys"},
			&cli.IntFlag{Name: "height", Usage: "height of a picture in points; 0 suits"},
			databaseFlag(), jsonFlag(),
		},
		Action: showSweep,
	}
}

func listSweeps(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	sweeps := []runstore.Sweep{}
	store, err := openRuns(c)
	switch {
	case errors.Is(err, runstore.ErrNoDatabase) && !c.IsSet("db"): // nothing has been run
	case err != nil:
		return err
	default:
		var all []runstore.Sweep
		all, err = store.Sweeps(c.Context)
		for i := range all {
			all[i].Config = "" // tune sweep show has it
			all[i] = asItIs(store, all[i])
		}
		sweeps = append(sweeps, all...)
		if err := closing(store, err); err != nil {
			return err
		}
	}
	if c.Bool("json") {
		return writeJSON(c.App.Writer, sweeps)
	}
	if len(sweeps) == 0 {
		fmt.Fprintln(c.App.Writer, "no sweeps yet: tune sweep configs/sweep-bluey.yaml makes the first")
		return nil
	}
	columns := []tableColumn{{title: "sweep"}, {title: "status"}, {title: "trials", right: true}, {title: "goal", drop: 1}, {title: "when", right: true, drop: 2}}
	for _, x := range sweeps {
		for j, cell := range []string{x.ID, string(x.Status), fmt.Sprint(x.Trials), goalText(x.Goal), ago(x.CreatedAt, time.Now())} {
			columns[j].cells = append(columns[j].cells, cell)
		}
		columns[1].sgr = append(columns[1].sgr, statusColor(&runstore.RunSummary{Run: runstore.Run{Status: x.Status}}))
	}
	return screenOf(c.App.Writer).writeTable(c.App.Writer, columns)
}

// asItIs is a sweep with the status that it has in fact: one whose process is gone was interrupted.
func asItIs(store *runstore.Store, x runstore.Sweep) runstore.Sweep {
	if x.Status == runstore.Running && sweepGone(store, &x) {
		x.Status, x.Error = runstore.Interrupted, "its process ended without a word"
	}
	return x
}

func showSweep(c *cli.Context) error {
	ref, err := argument(c, "a sweep: an id or the start of one, a name, or last", "tune sweep list lists them")
	if err != nil {
		return err
	}
	forms := 0
	for _, form := range []string{"json", "csv", "markdown"} {
		if c.Bool(form) {
			forms++
		}
	}
	if forms > 1 {
		return badInput{errors.New("tune sweep show: --json, --csv and --markdown: want one of them"), ""}
	}
	for _, name := range []string{"width", "height"} {
		if err := atLeast(c, name, 0); err != nil {
			return err
		}
	}
	formats, err := sweepFormats(c)
	if err != nil {
		return err
	}
	store, err := openRuns(c)
	if err != nil {
		return err
	}
	var r *sweepReport
	err = func() error {
		row, err := findSweep(c.Context, store, ref)
		if err != nil {
			return err
		}
		r, err = readSweep(c.Context, store, row)
		return err
	}()
	if err := closing(store, err); err != nil {
		return err
	}
	for i, path := range c.StringSlice("out") {
		if err := r.draw(path, formats[i], chart.Options{Width: c.Int("width"), Height: c.Int("height"), Dark: c.Bool("dark"), Title: c.String("title")}); err != nil {
			return err
		}
		if forms == 0 {
			fmt.Fprintln(c.App.Writer, "wrote", path)
		}
	}
	switch {
	case len(formats) > 0 && forms == 0:
		return nil
	case c.Bool("json"):
		return writeJSON(c.App.Writer, r)
	case c.Bool("csv"):
		return r.writeCSV(c.App.Writer)
	case c.Bool("markdown"):
		return r.writeMarkdown(c.App.Writer)
	}
	return r.write(c.App.Writer)
}

// sweepReport is a sweep with its ranked trials, as tune sweep show --json writes it.
type sweepReport struct {
	runstore.Sweep
	Best    string        `json:"best"` // run id of the best trial that is done; empty without one
	Ranking []rankedTrial `json:"ranking"`
}

// rankedTrial is a trial with what it is ranked by.
type rankedTrial struct {
	Place     int           `json:"place"` // from 1; 0 where the trial has no place yet
	Trial     int           `json:"sweep_trial"`
	RunID     string        `json:"run_id"`
	Settings  settingsJSON  `json:"sweep_settings"`
	Value     runstore.Real `json:"value"`      // of the goal
	ValueStep int64         `json:"value_step"` // at which step
	Status    string        `json:"status"`
	Stopped   bool          `json:"stopped"` // by halving
	StepsDone int64         `json:"steps_done"`
	Steps     int64         `json:"total_steps"`
	Seconds   runstore.Real `json:"wall_seconds"`
	Memory    int64         `json:"peak_memory_bytes"`
	Error     string        `json:"error"`

	checkpoints string // their folder; empty where there are none
}

// settingsJSON is a JSON object whose keys have an order.
type settingsJSON string

// MarshalJSON returns it as it is, or an empty object.
func (s settingsJSON) MarshalJSON() ([]byte, error) {
	if s == "" {
		return []byte("{}"), nil
	}
	return []byte(s), nil
}

// values returns keys and values in their order, values as people write them.
func (s settingsJSON) values() (keys, values []string) {
	d := json.NewDecoder(strings.NewReader(string(s)))
	if _, err := d.Token(); err != nil {
		return nil, nil
	}
	for d.More() {
		key, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			return keys, values
		}
		text := string(value)
		var plain string
		var number float64
		if json.Unmarshal(value, &plain) == nil {
			text = plain
		} else if json.Unmarshal(value, &number) == nil {
			text = strings.Replace(strconv.FormatFloat(number, 'g', -1, 64), "e-0", "e-", 1)
		}
		var texts []string
		if json.Unmarshal(value, &texts) == nil {
			text = strings.Join(texts, "+")
		}
		keys, values = append(keys, fmt.Sprint(key)), append(values, printable(text))
	}
	return keys, values
}

// readSweep reads a sweep's trials and ranks them.
func readSweep(ctx context.Context, store *runstore.Store, row runstore.Sweep) (*sweepReport, error) {
	runs, err := store.Runs(ctx, runstore.Filter{SweepID: row.ID})
	if err != nil {
		return nil, err
	}
	r := &sweepReport{Sweep: asItIs(store, row), Ranking: []rankedTrial{}}
	for i := range runs {
		ranked, err := rank(ctx, store, row.Goal, &runs[i])
		if err != nil {
			return nil, err
		}
		r.Ranking = append(r.Ranking, ranked)
	}
	slices.SortStableFunc(r.Ranking, compareTrials)
	for i := range r.Ranking {
		if t := &r.Ranking[i]; t.group() != underWay {
			t.Place = i + 1
		}
	}
	if len(r.Ranking) > 0 && r.Ranking[0].group() == finished {
		r.Best = r.Ranking[0].RunID
	}
	return r, nil
}

// rank reads what a trial is ranked by.
func rank(ctx context.Context, store *runstore.Store, goal string, run *runstore.RunSummary) (rankedTrial, error) {
	t := rankedTrial{Trial: run.SweepTrial, RunID: run.ID, Settings: settingsJSON(run.SweepSettings), Status: statusOfRun(run),
		Stopped:   run.Status == runstore.Interrupted && strings.HasPrefix(run.Error, stoppedBySweep),
		StepsDone: run.StepsDone, Steps: run.TotalSteps, Seconds: runstore.Real(wallSeconds(run, time.Now())), Memory: run.PeakMemoryBytes, Error: run.Error,
		Value: runstore.Real(math.NaN())}
	if run.Checkpoint != "" {
		t.checkpoints = filepath.Dir(run.Checkpoint)
	}
	if run.Status == runstore.Failed || run.Status == runstore.Diverged {
		return t, nil // whatever it had reached is of no use
	}
	if goal == configs.ValidationLoss && !t.Stopped {
		t.Value, t.ValueStep = run.Run.BestValidationLoss, run.BestStep
		return t, nil
	}
	var err error
	if run.StepsDone > 0 {
		var step int
		t.Value, step, err = scoreAt(ctx, store, goal, run.ID, int(run.StepsDone))
		t.ValueStep = int64(step)
	}
	return t, err
}

// scoreAt returns what a run is judged by behind a step: the last validation loss until there, and after which step that was,
// or the mean loss of the last tenth of the steps. It is NaN where nothing is recorded.
func scoreAt(ctx context.Context, store *runstore.Store, goal, id string, step int) (score runstore.Real, at int, err error) {
	score = runstore.Real(math.NaN())
	if goal == configs.ValidationLoss {
		evaluations, err := store.Evaluations(ctx, id)
		for _, e := range evaluations { // by step
			if e.Step > 0 && e.Step <= int64(step) && e.Split == runstore.Validation {
				score, at = e.Loss, int(e.Step)
			}
		}
		return score, at, err
	}
	steps, err := store.Steps(ctx, id)
	if err != nil || len(steps) < step || step < 1 {
		return score, 0, err
	}
	last := steps[step-(step+9)/10 : step]
	sum := 0.0
	for _, x := range last {
		sum += float64(x.Loss)
	}
	return runstore.Real(sum / float64(len(last))), step, nil
}

// The order of trials: those that are done, those that halving has stopped, those that are not done, those that failed.
const (
	finished = iota
	stoppedEarly
	underWay
	broken
)

func (t *rankedTrial) group() int {
	switch {
	case t.Status == string(runstore.Done):
		return finished
	case t.Stopped:
		return stoppedEarly
	case t.Status == string(runstore.Failed), t.Status == string(runstore.Diverged):
		return broken
	}
	return underWay
}

// compareTrials ranks: of two that halving has stopped the one that came further is better.
func compareTrials(a, b rankedTrial) int {
	share := func(t rankedTrial) float64 { return float64(t.StepsDone) / float64(max(1, t.Steps)) }
	order := cmp.Compare(a.group(), b.group())
	if order == 0 && a.group() == stoppedEarly {
		order = cmp.Compare(math.Round(20*share(b)), math.Round(20*share(a))) // trials of other lengths have the same rungs, nearly
	}
	if order == 0 && a.group() != underWay {
		order = compareScores(a.Value, b.Value)
	}
	return cmp.Or(order, cmp.Compare(a.Trial, b.Trial))
}

// report writes what the sweep came to.
func (s *sweeper) report(ctx context.Context) error {
	row, err := s.store.Sweep(ctx, s.row.ID)
	if err != nil {
		return err
	}
	r, err := readSweep(ctx, s.store, row)
	if err != nil {
		return err
	}
	s.best = nil
	if r.Best != "" {
		s.best = &r.Ranking[0]
	}
	if s.json {
		return writeJSON(s.out, r)
	}
	fmt.Fprintln(s.err)
	return r.write(s.out)
}

// keysOfTrials lists the keys that trials try.
func keysOfTrials(trials []*sweepTrial) (keys []string) {
	for _, x := range trials[0].Settings {
		keys = append(keys, x.Key)
	}
	return keys
}

// shortKeys cuts dotted keys to their last words where those tell them apart.
func shortKeys(keys []string) []string {
	last := func(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }
	count := map[string]int{}
	for _, key := range keys {
		count[last(key)]++
	}
	out := make([]string, len(keys))
	for i, key := range keys {
		out[i] = key
		if count[last(key)] == 1 {
			out[i] = last(key)
		}
	}
	return out
}

// keys are those that the trials try.
func (r *sweepReport) keys() []string {
	if len(r.Ranking) == 0 {
		return nil
	}
	keys, _ := r.Ranking[0].Settings.values()
	return keys
}

// cells are a trial's row of a table.
func (t *rankedTrial) cells() []string {
	_, values := t.Settings.values()
	place := "-"
	if t.Place > 0 {
		place = fmt.Sprint(t.Place)
	}
	status := t.Status
	if t.Stopped {
		status = "stopped"
	}
	value := "-"
	if t.Value.Finite() {
		value = fmt.Sprintf("%.4f", float64(t.Value))
	}
	out := append([]string{place}, values...)
	return append(out, value, fmt.Sprintf("%d", t.ValueStep), status, fmt.Sprintf("%d/%d", t.StepsDone, t.Steps),
		chart.FormatDuration(float64(t.Seconds)), bytesOf(t.Memory), fmt.Sprint(t.Trial), t.RunID)
}

// titles are those of the columns of cells.
func (r *sweepReport) titles() []string {
	return append(append([]string{"place"}, shortKeys(r.keys())...), goalText(r.Goal), "at step", "status", "steps", "wall time", "memory", "trial", "run")
}

// write shows a sweep to people.
func (r *sweepReport) write(w io.Writer) error {
	s := screenOf(w)
	fmt.Fprintf(w, "%s  %s\n", s.paint(bold, r.ID), s.paint(statusColor(&runstore.RunSummary{Run: runstore.Run{Status: r.Status}}), string(r.Status)))
	if r.Error != "" {
		fmt.Fprintf(w, "%s\n", printable(r.Error))
	}
	if begun := len(r.Ranking); begun < r.Trials {
		fmt.Fprintf(w, "%d of %s have begun\n", begun, countOf(r.Trials, "trial"))
	}
	if len(r.Ranking) == 0 {
		return nil
	}
	titles := r.titles()
	columns := make([]tableColumn, len(titles))
	settings := len(r.keys())
	for i, title := range titles {
		columns[i] = tableColumn{title: title, right: title != "status" && title != "run"}
	}
	for i, drop := range []int{0, 3, 0, 2, 5, 6, 4, 1} { // value and status stay, and what was tried
		columns[1+settings+i].drop = drop
	}
	for i := range r.Ranking {
		t := &r.Ranking[i]
		cells := t.cells()
		if len(cells) != len(columns) { // of another hand than ours
			continue
		}
		for j, cell := range cells {
			columns[j].cells = append(columns[j].cells, cell)
			sgr := ""
			if t.RunID == r.Best {
				sgr = green
			} else if j == settings+3 {
				sgr = trialColor(t)
			}
			columns[j].sgr = append(columns[j].sgr, sgr)
		}
	}
	if r.Best != "" {
		columns[0].cells[0] = "best 1"
	}
	fmt.Fprintln(w)
	if err := s.writeTable(w, columns); err != nil {
		return err
	}
	r.writeProblems(w)
	r.writeNext(w)
	return nil
}

func trialColor(t *rankedTrial) string {
	if t.Stopped {
		return faint
	}
	return statusColor(&runstore.RunSummary{Run: runstore.Run{Status: runstore.Status(t.Status)}})
}

// writeProblems says why trials have failed.
func (r *sweepReport) writeProblems(w io.Writer) {
	first := true
	for i := range r.Ranking {
		if t := &r.Ranking[i]; t.group() == broken {
			if first {
				fmt.Fprintln(w)
			}
			first = false
			fmt.Fprintf(w, "trial %d %s: %s\n", t.Trial, t.Status, printable(firstLine(t.Error)))
		}
	}
}

// writeNext says what to type next.
func (r *sweepReport) writeNext(w io.Writer) {
	if r.Best == "" {
		return
	}
	best := &r.Ranking[0]
	fmt.Fprintf(w, "\nnext\n")
	if step := int(best.ValueStep); step > 0 && best.ValueStep < best.StepsDone && best.checkpoints != "" { // not its last
		path := (&trainer.Checkpoints{Dir: best.checkpoints}).Path(step)
		fmt.Fprintf(w, "  tune generate --adapter %s \"Hello\"\n", path)
	} else {
		fmt.Fprintf(w, "  tune generate --run %s \"Hello\"\n", r.Best)
	}
	fmt.Fprintf(w, "  tune chart %s\n  tune sweep show %s --out sweep.svg\n", r.Best, r.ID)
}

// writeCSV writes the table for spreadsheets: keys in full, numbers as they are.
func (r *sweepReport) writeCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	keys := r.keys()
	rows := [][]string{append(append([]string{"place", "sweep_trial", "run_id"}, keys...), r.Goal, "value_step", "status", "stopped", "steps_done", "total_steps",
		"wall_seconds", "peak_memory_bytes", "error")}
	for i := range r.Ranking {
		t := &r.Ranking[i]
		_, values := t.Settings.values()
		place := ""
		if t.Place > 0 {
			place = fmt.Sprint(t.Place)
		}
		row := append([]string{place, fmt.Sprint(t.Trial), t.RunID}, values...)
		rows = append(rows, append(row, numberText(t.Value), fmt.Sprint(t.ValueStep), t.Status, fmt.Sprint(t.Stopped), fmt.Sprint(t.StepsDone),
			fmt.Sprint(t.Steps), numberText(t.Seconds), fmt.Sprint(t.Memory), t.Error))
	}
	return out.WriteAll(rows)
}

// numberText writes a number with all of its digits, and nothing for none.
func numberText(x runstore.Real) string {
	if !x.Finite() {
		return ""
	}
	return fmt.Sprint(float64(x))
}

// writeMarkdown writes the table for documents.
func (r *sweepReport) writeMarkdown(w io.Writer) error {
	var out bytes.Buffer
	line := func(cells []string) {
		for i, cell := range cells {
			cells[i] = strings.NewReplacer("|", `\|`, "\n", " ").Replace(cell)
		}
		fmt.Fprintf(&out, "| %s |\n", strings.Join(cells, " | "))
	}
	titles := r.titles()
	line(titles)
	rule := make([]string, len(titles))
	for i := range rule {
		rule[i] = "---"
	}
	line(rule)
	for i := range r.Ranking {
		cells := r.Ranking[i].cells()
		if r.Ranking[i].RunID == r.Best {
			for j := range cells {
				cells[j] = "**" + cells[j] + "**"
			}
		}
		line(cells)
	}
	_, err := w.Write(out.Bytes())
	return err
}
