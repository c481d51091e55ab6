package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tune/internal/chart"
	"tune/internal/runstore"
)

func runsCommand() *cli.Command {
	flags := append(filterFlags(),
		&cli.StringFlag{Name: "sort", Usage: "by `WHAT`: " + strings.Join(orderNames(), ", "), Value: "created"},
		&cli.BoolFlag{Name: "reverse", Usage: "the other way round"},
		&cli.IntFlag{Name: "limit", Usage: "the first `N`; 0 lists all", Value: 20},
		databaseFlag(), jsonFlag(), csvFlag())
	return &cli.Command{
		Name:   "runs",
		Usage:  "list, show, compare, tag and remove runs",
		Flags:  flags,
		Action: listRuns,
		Subcommands: []*cli.Command{
			{
				Name:  "list",
				Usage: "list runs, the newest first",
				Description: "   tune runs list --status done --since 7d --sort validation\n" +
					"   tune runs list --name 'bluey*' --tag good --csv",
				Flags: flags, Action: listRuns,
			},
			{
				Name:      "show",
				Usage:     "everything about one run",
				ArgsUsage: "RUN",
				Description: "RUN is an id or the start of one, a name (its newest run is meant), or last.\n\n" +
					"   tune runs show last\n" +
					"   tune runs show bluey --json",
				Flags:  []cli.Flag{databaseFlag(), jsonFlag()},
				Action: showRun,
			},
			compareCommand(), tagCommand(), noteCommand(), removeCommand(), checkCommand(),
		},
	}
}

var statuses = []string{string(runstore.Queued), string(runstore.Running), string(runstore.Done),
	string(runstore.Failed), string(runstore.Diverged), string(runstore.Interrupted)}

func listRuns(c *cli.Context) error {
	if word := c.Args().First(); word != "" && c.Command.Name == "runs" {
		return badInput{fmt.Errorf("tune runs: unknown command %q", word), didYouMean("tune runs ", word,
			commandNames(c.Command), "tune runs show "+word+" shows one run")}
	}
	if err := noArguments(c); err != nil {
		return err
	}
	if err := oneOf(c, "sort", orderNames()...); err != nil {
		return err
	}
	if err := errors.Join(atLeast(c, "limit", 0), oneFormat(c, "json", "csv")); err != nil {
		return err
	}
	now := time.Now()
	filter, err := readFilter(c, now)
	if err != nil {
		return err
	}
	runs, err := readRuns(c, filter)
	if err != nil {
		return err
	}
	order, direction := sortOrders[c.String("sort")], 1
	if c.Bool("reverse") {
		direction = -1
	}
	if filter.sweep == "" || c.IsSet("sort") { // trials have an order of their own
		slices.SortStableFunc(runs, func(a, b runstore.RunSummary) int { return direction * order(&a, &b) })
	}
	if n := c.Int("limit"); n > 0 && len(runs) > n {
		runs = runs[:n]
	}
	switch {
	case c.Bool("json"):
		return writeJSON(c.App.Writer, append([]runstore.RunSummary{}, runs...)) // none is [], not null
	case c.Bool("csv"):
		return writeCSV(c.App.Writer, runs)
	case len(runs) == 0:
		fmt.Fprintln(c.App.Writer, noRuns(filter.isSet()))
		return nil
	}
	return writeRuns(c.App.Writer, runs, now)
}

// readRuns lists runs. That the usual database does not exist yet is no error: nothing has been run.
func readRuns(c *cli.Context, filter *runFilter) ([]runstore.RunSummary, error) {
	store, err := openRuns(c)
	if errors.Is(err, runstore.ErrNoDatabase) && !c.IsSet("db") {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	runs, err := filter.runs(c.Context, store)
	return runs, closing(store, err)
}

func noRuns(filtered bool) string {
	if filtered {
		return "no such runs: tune runs lists all"
	}
	return "no runs yet: tune run configs/bluey.yaml makes the first"
}

// writeRuns writes a table of runs.
func writeRuns(w io.Writer, runs []runstore.RunSummary, now time.Time) error {
	s := screenOf(w)
	// What can be had from the id, or from tune runs show, makes room first.
	columns := []tableColumn{
		{title: "run"}, {title: "status"}, {title: "steps", right: true, drop: 1}, {title: "loss", right: true},
		{title: "validation", right: true, drop: 2}, {title: "wall time", right: true, drop: 3},
		{title: "memory", right: true, drop: 4}, {title: "tok/s", right: true, drop: 5},
		{title: "when", right: true, drop: 6}, {title: "method", drop: 7}, {title: "model", drop: 8},
		{title: "tags", drop: 9},
	}
	for i := range runs {
		r := &runs[i]
		for j, cell := range []string{
			r.ID, statusOfRun(r), stepsOf(r), s.change(r.FirstLoss, r.LastLoss),
			s.change(r.FirstValidationLoss, r.LastValidationLoss), chart.FormatDuration(wallSeconds(r, now)),
			bytesOf(r.PeakMemoryBytes), rate(r.TokensPerSecond), ago(r.CreatedAt, now), r.Method,
			printable(filepath.Base(r.ModelPath)), printable(strings.Join(r.Tags, " ")),
		} {
			columns[j].cells = append(columns[j].cells, cell)
		}
		columns[1].sgr = append(columns[1].sgr, statusColor(r))
	}
	if last := len(columns) - 1; !slices.ContainsFunc(columns[last].cells, func(tags string) bool { return tags != "" }) {
		columns = columns[:last]
	}
	return s.writeTable(w, columns)
}

// statusOfRun is the status in the file, or a guess where that cannot be so.
func statusOfRun(r *runstore.RunSummary) string {
	if r.Stale {
		return "interrupted?"
	}
	return string(r.Status)
}

func statusColor(r *runstore.RunSummary) string {
	switch {
	case r.Stale, r.Status == runstore.Interrupted:
		return yellow
	case r.Status == runstore.Done:
		return green
	case r.Status == runstore.Failed, r.Status == runstore.Diverged:
		return red
	}
	return ""
}

func stepsOf(r *runstore.RunSummary) string {
	if r.TotalSteps == 0 {
		return fmt.Sprint(r.StepsDone)
	}
	return fmt.Sprintf("%d/%d", r.StepsDone, r.TotalSteps)
}

// change writes a loss at the start and at the end.
func (s screen) change(first, last runstore.Real) string {
	if !first.Finite() && !last.Finite() {
		return "-"
	}
	return lossText(first) + s.arrow() + lossText(last)
}

// lossText writes a loss with the digits that a table has room for.
func lossText(loss runstore.Real) string {
	switch size := math.Abs(float64(loss)); {
	case !loss.Finite():
		return "-"
	case size >= 1000 || size < 0.001 && size > 0:
		return fmt.Sprintf("%.2g", float64(loss))
	}
	return fmt.Sprintf("%.3f", float64(loss))
}

func rate(perSecond runstore.Real) string {
	if !perSecond.Finite() {
		return "-"
	}
	return fmt.Sprintf("%.0f", float64(perSecond))
}

// bytesOf writes a size that is 0 where it was not measured.
func bytesOf(bytes int64) string {
	if bytes == 0 {
		return "-"
	}
	return chart.FormatBytes(float64(bytes))
}

// wallSeconds is how long a run took, or has taken so far.
func wallSeconds(r *runstore.RunSummary, now time.Time) float64 {
	switch {
	case r.WallSeconds.Finite():
		return float64(r.WallSeconds)
	case r.StartedAt.IsZero():
		return math.NaN()
	case r.Stale, r.Status.Ended(): // nobody measured it
		return max(0, r.LastSeenAt.Sub(r.StartedAt).Seconds())
	}
	return now.Sub(r.StartedAt).Seconds()
}

func ago(at, now time.Time) string {
	if at.IsZero() {
		return "-"
	}
	seconds := now.Sub(at).Seconds()
	if seconds < 1 {
		return "now"
	}
	return chart.FormatDuration(math.Floor(seconds)) + " ago"
}

// storedRun is a run with everything that was recorded about it, as tune runs show --json writes it.
type storedRun struct {
	runstore.RunSummary
	Evaluations []runstore.Evaluation `json:"evaluations"`
	Samples     []runstore.Sample     `json:"samples"`
	Artifacts   []runstore.Artifact   `json:"artifacts"`
	Events      []runstore.Event      `json:"events"`
	Steps       []runstore.Step       `json:"steps"`
}

// readRun reads a run and everything about it.
func readRun(c *cli.Context, ref string) (*storedRun, error) {
	store, err := openRuns(c)
	if err != nil {
		return nil, err
	}
	r := &storedRun{}
	err = func() (err error) {
		ctx := c.Context
		if r.RunSummary, err = store.Run(ctx, ref); err != nil {
			return err
		}
		var errs [5]error
		r.Evaluations, errs[0] = store.Evaluations(ctx, r.ID)
		r.Samples, errs[1] = store.Samples(ctx, r.ID)
		r.Artifacts, errs[2] = store.Artifacts(ctx, r.ID)
		r.Events, errs[3] = store.Events(ctx, r.ID)
		r.Steps, errs[4] = store.Steps(ctx, r.ID)
		return errors.Join(errs[:]...)
	}()
	return r, closing(store, err)
}

func showRun(c *cli.Context) error {
	ref, err := argument(c, "a run: an id or the start of one, a name, or last", "tune runs lists them")
	if err != nil {
		return err
	}
	r, err := readRun(c, ref)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return writeJSON(c.App.Writer, r)
	}
	r.write(c.App.Writer, time.Now())
	return nil
}

// write shows a run to people.
func (r *storedRun) write(w io.Writer, now time.Time) {
	s := screenOf(w)
	fmt.Fprintf(w, "%s  %s\n", s.paint(bold, r.ID), s.paint(statusColor(&r.RunSummary), statusOfRun(&r.RunSummary)))
	s.writeFields(w, "", []field{
		{"name", r.Name},
		{"tags", strings.Join(r.Tags, ", ")},
		{"note", r.Note},
		{"sweep", r.sweepText()},
		{"error", r.Error},
		{"created", when(r.CreatedAt) + ", " + ago(r.CreatedAt, now)},
		{"ended", when(r.EndedAt)},
		{"last seen", r.lastSeen()},
		{"wall time", r.wallTime(now)},
	})
	s.writeFields(w, "results", []field{
		{"steps", stepsOf(&r.RunSummary)},
		{"loss", s.change(r.FirstLoss, r.LastLoss)},
		{"validation", r.validation(s)},
		{"speed", r.speed()},
		{"training", r.trainTime()},
		{"memory", r.memory()},
	})
	s.writeFields(w, "model", []field{
		{"path", r.ModelPath}, {"revision", r.ModelRevision}, {"sha256", r.ModelSHA256}, {"method", r.methodText()},
		{"parameters", fmt.Sprintf("%s of %s trained", count(r.TrainableParameters), count(r.TotalParameters))},
		{"dtype", r.DType},
	})
	s.writeFields(w, "data", []field{
		{"train", dataText(r.DataTrain, r.TrainRows)}, {"sha256", r.DataTrainSHA256},
		{"validation", dataText(r.DataValidation, r.ValidationRows)}, {"sha256", r.DataValidationSHA256},
	})
	s.writeFields(w, "machine", append([]field{
		{"device", spaced(r.Device, bracketed(r.DeviceName))},
		{"chip", r.Chip}, {"model", r.MachineModel}, {"system", spaced(r.OS, r.Arch)},
		{"cores", r.coresText()},
		{"memory", bytesOf(r.MemoryBytes)},
		{"tune", r.TuneVersion}, {"libtorch", r.LibtorchVersion}, {"Go", r.GoVersion}, {"commit", r.commit()},
	}, surroundingsFields(&r.Run)...))
	r.writeEvaluations(w, s)
	r.writeSamples(w, s)
	r.writeArtifacts(w, s)
	r.writeEvents(w, s)
	fmt.Fprintf(w, "\n%s\n", s.paint(bold, "config"))
	for line := range strings.Lines(printable(r.Config)) {
		fmt.Fprintf(w, "  %s\n", strings.TrimSuffix(line, "\n"))
	}
}

// when writes a time as it was where the reader is.
func when(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.Local().Format("2006-01-02 15:04:05")
}

func (r *storedRun) lastSeen() string {
	if r.Status.Ended() {
		return ""
	}
	return when(r.LastSeenAt)
}

func (r *storedRun) wallTime(now time.Time) string {
	text := chart.FormatDuration(wallSeconds(&r.RunSummary, now))
	if !r.WallSeconds.Finite() {
		return text
	}
	var parts []string
	for _, p := range []struct {
		name    string
		seconds runstore.Real
	}{{"load", r.LoadSeconds}, {"train", r.TrainSeconds}, {"evaluate", r.EvaluateSeconds}, {"save", r.SaveSeconds}} {
		parts = append(parts, p.name+" "+chart.FormatDuration(float64(p.seconds)))
	}
	return text + " (" + strings.Join(parts, ", ") + ")"
}

func (r *storedRun) validation(s screen) string {
	if !r.FirstValidationLoss.Finite() {
		return ""
	}
	return s.change(r.FirstValidationLoss, r.LastValidationLoss) + ", best " + lossText(r.BestValidationLoss)
}

func (r *storedRun) speed() string {
	if !r.TokensPerSecond.Finite() {
		return ""
	}
	return fmt.Sprintf("%s tokens/s, %s a step", rate(r.TokensPerSecond),
		chart.FormatDuration(float64(r.StepSeconds)/float64(max(1, r.StepsDone))))
}

// trainTime is how long the steps took, beside what the plan said.
func (r *storedRun) trainTime() string {
	if !r.TrainSeconds.Finite() || !r.PredictedSeconds.Finite() || r.PredictedSeconds == 0 {
		return ""
	}
	return fmt.Sprintf("%s, %s predicted", chart.FormatDuration(float64(r.TrainSeconds)),
		chart.FormatDuration(float64(r.PredictedSeconds)))
}

func (r *storedRun) memory() string {
	if r.PeakMemoryBytes == 0 {
		return ""
	}
	text := bytesOf(r.PeakMemoryBytes) + " peak"
	if r.DevicePeakMemoryBytes > 0 {
		text += ", " + bytesOf(r.DevicePeakMemoryBytes) + " in tensors"
	}
	if r.PredictedPeakMemoryBytes > 0 {
		text += ", " + bytesOf(r.PredictedPeakMemoryBytes) + " predicted"
	}
	return text
}

func (r *storedRun) methodText() string {
	if r.LoRARank == 0 {
		return r.Method
	}
	return fmt.Sprintf("%s, rank %d, alpha %g", r.Method, r.LoRARank, float64(r.LoRAAlpha))
}

func (r *storedRun) commit() string {
	if r.GitDirty {
		return r.GitCommit + " with changes"
	}
	return r.GitCommit
}

func (r *storedRun) sweepText() string {
	if r.SweepID == "" {
		return ""
	}
	return fmt.Sprintf("trial %d of %s: %s", r.SweepTrial, r.SweepID, r.SweepSettings)
}

// coresText tells fast cores from the others where there are two kinds.
func (r *storedRun) coresText() string {
	text := fmt.Sprint(r.Cores)
	if p := r.PerformanceCores; p > 0 && p < r.Cores {
		text += fmt.Sprintf(" (%d performance, %d efficiency)", p, r.Cores-p)
	}
	return text + fmt.Sprintf(", %s used", countOf(r.Threads, "thread"))
}

func dataText(path string, rows int64) string {
	if path == "" {
		return ""
	}
	return fmt.Sprintf("%s, %d rows", path, rows)
}

func bracketed(text string) string {
	if text == "" {
		return ""
	}
	return "(" + text + ")"
}

// spaced joins what is there with a space.
func spaced(parts ...string) string { return strings.TrimSpace(strings.Join(parts, " ")) }

func (r *storedRun) writeEvaluations(w io.Writer, s screen) {
	if len(r.Evaluations) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", s.paint(bold, "evaluations"))
	for _, e := range r.Evaluations {
		fmt.Fprintf(w, "  step %-8d %s loss %s, perplexity %.4g, %d tokens, %s\n", e.Step, e.Split, lossText(e.Loss),
			float64(e.Perplexity), e.TargetTokens, chart.FormatDuration(float64(e.Seconds)))
	}
}

// writeSamples shows what each prompt got over time.
func (r *storedRun) writeSamples(w io.Writer, s screen) {
	if len(r.Samples) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", s.paint(bold, "samples"))
	const label = "step 123456  "
	width := max(20, min(s.columns, 120)-4-len(label))
	shown := map[int]bool{}
	for _, first := range r.Samples {
		if shown[first.PromptIndex] {
			continue
		}
		shown[first.PromptIndex] = true
		fmt.Fprintf(w, "  %s\n", printable(first.Prompt))
		for _, x := range r.Samples {
			if x.PromptIndex == first.PromptIndex {
				fmt.Fprintf(w, "    %-*s%s\n", len(label), fmt.Sprintf("step %d", x.Step),
					wrapped(printable(x.Reply), width, strings.Repeat(" ", 4+len(label))))
			}
		}
	}
}

func (r *storedRun) writeArtifacts(w io.Writer, s screen) {
	if len(r.Artifacts) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", s.paint(bold, "artifacts"))
	for _, a := range r.Artifacts {
		gone := ""
		if _, err := os.Stat(a.Path); errors.Is(err, fs.ErrNotExist) {
			gone = s.paint(yellow, "  not found from here")
		}
		fmt.Fprintf(w, "  %-8s %8s  %s  %s%s\n", a.Kind, bytesOf(a.Bytes), a.SHA256[:min(12, len(a.SHA256))],
			printable(a.Path), gone)
	}
}

func (r *storedRun) writeEvents(w io.Writer, s screen) {
	if len(r.Events) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", s.paint(bold, "events"))
	for _, e := range r.Events {
		at := ""
		if e.Step > 0 {
			at = fmt.Sprintf("step %d  ", e.Step)
		}
		fmt.Fprintf(w, "  %-8s %s%s: %s\n", e.Level, at, printable(e.Kind), printable(e.Message))
	}
}
