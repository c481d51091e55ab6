package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/urfave/cli/v2"

	"tune/configs"
	"tune/datasets"
	"tune/internal/hub"
	htmlreport "tune/internal/report"
	"tune/internal/runstore"
	"tune/internal/tokenizer"
)

func reportCommand() *cli.Command {
	return &cli.Command{
		Name:      "report",
		Usage:     "one run, or several beside each other, as a web page in one file",
		ArgsUsage: "[RUN ...]",
		Description: "RUN is an id or the start of one, a name, or last, which is also what no RUN means. The page has everything: curves,\n" +
			"samples, config, data, machine, files. It needs no network and can be sent, kept and printed; what it shows of\n" +
			"prompts and replies is then in other hands.\n\n" +
			"   tune report last --open\n" +
			"   tune report bluey-r4 bluey-r16 --out ranks.html --title \"How much rank?\"",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "the `FILE` to write, - for standard output (default: report-RUN.html)"},
			&cli.StringFlag{Name: "title", Usage: "what stands above the page"},
			&cli.StringFlag{Name: "sweep", Usage: "all trials of a `SWEEP`: its id or the start of one, its name, or last"},
			&cli.BoolFlag{Name: "open", Usage: "show it in the browser"},
			databaseFlag(),
		},
		Action: writeReport,
	}
}

// reportMode is that of the database: prompts and replies are nobody else's business until their owner sends them.
const reportMode = 0o600

func writeReport(c *cli.Context) error {
	out := c.String("out")
	if err := checkReportFlags(c, out); err != nil {
		return err
	}
	r, err := readReport(c)
	if err != nil {
		return err
	}
	var page bytes.Buffer
	if err := htmlreport.Write(&page, r); err != nil {
		return fmt.Errorf("tune report: %w", err)
	}
	if out == "-" {
		_, err := c.App.Writer.Write(page.Bytes())
		return err
	}
	if out == "" {
		out = reportName(r)
	}
	if err := replaceFileAs(out, page.Bytes(), reportMode); err != nil {
		return fmt.Errorf("tune report: --out %s: %w", out, err)
	}
	fmt.Fprintf(c.App.Writer, "wrote %s, %s\n", out, bytesOf(int64(page.Len())))
	if c.Bool("open") {
		path, err := filepath.Abs(out)
		if err != nil {
			return err
		}
		openBrowser(path)
	}
	return nil
}

// checkReportFlags refuses what could only fail after the work.
func checkReportFlags(c *cli.Context, out string) error {
	switch info, err := os.Stat(out); {
	case c.NArg() > 0 && c.IsSet("sweep"):
		return badInput{errors.New("tune report: want names of runs, or --sweep, not both"), ""}
	case c.IsSet("out") && out == "":
		return badInput{errors.New("tune report: --out: want a file to write"), ""}
	case out == "-" && c.Bool("open"):
		return badInput{errors.New("tune report: --open: standard output cannot be opened"), "--out names a file"}
	case out == "-":
		return nil
	case err == nil && info.IsDir():
		return badInput{fmt.Errorf("tune report: --out %s: is a folder, want a file", out), ""}
	}
	folder := filepath.Dir(out)
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		return badInput{fmt.Errorf("tune report: --out %s: there is no folder %s", out, folder), ""}
	}
	return nil
}

// reportName is where a report goes that no --out names.
func reportName(r *htmlreport.Report) string {
	switch {
	case r.Sweep != nil:
		return "report-" + r.Sweep.ID + ".html"
	case len(r.Runs) == 1:
		return "report-" + r.Runs[0].ID + ".html"
	}
	return fmt.Sprintf("report-%d-runs.html", len(r.Runs))
}

// readReport reads the runs that are named.
func readReport(c *cli.Context) (*htmlreport.Report, error) {
	store, err := openRuns(c)
	if err != nil {
		return nil, err
	}
	r := &htmlreport.Report{Title: c.String("title"), Made: time.Now()}
	err = func() error {
		runs, err := reportedRuns(c, store, r)
		if err != nil {
			return err
		}
		var compared []comparedRun
		files := rowFiles{}
		for i := range runs {
			run, err := reportedRun(c.Context, store, runs[i].ID, r.Made)
			if err != nil {
				return err
			}
			run.Data = files.of(c.Context, &run.Run)
			r.Runs = append(r.Runs, *run)
			x := comparedRun{RunSummary: run.RunSummary}
			for _, a := range run.Artifacts {
				if a.Kind == "adapter" || a.Kind == "model" {
					x.artifactBytes += a.Bytes
				}
			}
			compared = append(compared, x)
		}
		if len(compared) > 1 {
			r.Comparison = comparisonOf(compareRuns(compared, r.Made))
		}
		return nil
	}()
	return r, closing(store, err)
}

// reportedRuns finds the runs, each once, and the sweep that all of them belong to, if any.
func reportedRuns(c *cli.Context, store *runstore.Store, r *htmlreport.Report) ([]runstore.RunSummary, error) {
	if c.IsSet("sweep") {
		return trialsToReport(c, store, r)
	}
	refs := c.Args().Slice()
	if len(refs) == 0 {
		refs = []string{"last"}
	}
	var runs []runstore.RunSummary
	seen, sweeps := map[string]bool{}, map[string]bool{}
	for _, ref := range refs {
		run, err := store.Run(c.Context, ref)
		if err != nil {
			return nil, err
		}
		if !seen[run.ID] {
			seen[run.ID], sweeps[run.SweepID] = true, true
			runs = append(runs, run)
		}
	}
	if id := runs[0].SweepID; id != "" && len(runs) > 1 && len(sweeps) == 1 {
		sweep, err := store.Sweep(c.Context, id)
		if errors.Is(err, runstore.ErrNotFound) { // the runs were salvaged without it
			return runs, nil
		}
		if err != nil {
			return nil, err
		}
		r.Sweep, err = reportedSweep(c.Context, store, sweep)
		return runs, err
	}
	return runs, nil
}

// trialsToReport finds the sweep that is named, and all its trials.
func trialsToReport(c *cli.Context, store *runstore.Store, r *htmlreport.Report) ([]runstore.RunSummary, error) {
	name := c.String("sweep")
	sweep, err := store.Sweep(c.Context, name)
	if errors.Is(err, runstore.ErrNotFound) {
		return nil, badInput{fmt.Errorf("tune report: --sweep %s: there is no such sweep in %s", name, store.Path()), "tune sweep list lists them"}
	}
	if err != nil {
		return nil, err
	}
	if r.Sweep, err = reportedSweep(c.Context, store, sweep); err != nil {
		return nil, err
	}
	runs, err := store.Runs(c.Context, runstore.Filter{SweepID: sweep.ID})
	if err == nil && len(runs) == 0 {
		err = badInput{fmt.Errorf("tune report: --sweep %s: no trial of it has begun", sweep.ID), ""}
	}
	return runs, err
}

// reportedSweep ranks the trials of a sweep.
func reportedSweep(ctx context.Context, store *runstore.Store, row runstore.Sweep) (*htmlreport.Sweep, error) {
	ranked, err := readSweep(ctx, store, row)
	if err != nil {
		return nil, err
	}
	out := &htmlreport.Sweep{Sweep: ranked.Sweep}
	for _, t := range ranked.Ranking {
		out.Ranking = append(out.Ranking, htmlreport.Trial{RunID: t.RunID, Place: t.Place, Result: t.Value})
	}
	return out, nil
}

// reportedRun reads a run and everything about it.
func reportedRun(ctx context.Context, store *runstore.Store, id string, now time.Time) (*htmlreport.Run, error) {
	run, err := store.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	r := &htmlreport.Run{RunSummary: run, Took: wallSeconds(&run, now), SlowedBy: slowedBy(&run.Run), Missing: map[string]bool{}}
	var errs [5]error
	r.Steps, errs[0] = store.Steps(ctx, id)
	r.Evaluations, errs[1] = store.Evaluations(ctx, id)
	r.Samples, errs[2] = store.Samples(ctx, id)
	r.Artifacts, errs[3] = store.Artifacts(ctx, id)
	r.Events, errs[4] = store.Events(ctx, id)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	for _, a := range r.Artifacts {
		if _, err := os.Stat(a.Path); errors.Is(err, fs.ErrNotExist) {
			r.Missing[a.Path] = true
		}
	}
	// A config of another tune, which this one cannot read, has no marks.
	if cfg, err := configs.Parse(id, []byte(run.Config), nil); err == nil {
		r.Defaults = map[string]string{}
		eachDifference(reflect.ValueOf(configs.Default()), reflect.ValueOf(*cfg), func(key string, usual, _ any) {
			r.Defaults[key] = fmt.Sprint(usual)
		})
	}
	return r, nil
}

// comparisonOf fits a comparison to a report.
func comparisonOf(x *comparison) *htmlreport.Comparison {
	rows := func(of []comparisonRow) (out []htmlreport.Row) {
		for _, row := range of {
			r := htmlreport.Row{Name: row.Name}
			for i := range row.text {
				r.Cells = append(r.Cells, htmlreport.Cell{Text: row.text[i], Best: row.isBest(i)})
			}
			out = append(out, r)
		}
		return out
	}
	return &htmlreport.Comparison{Warnings: x.Warnings, Settings: rows(x.Settings), Results: rows(x.Results)}
}

// rowFiles are files of rows that have been read for a report, each once: the trials of a sweep share them.
type rowFiles map[rowFile]htmlreport.Data

type rowFile struct {
	path, sha256, model, revision, lossOn string
	maxLength                             int
}

// of describes the files of a run's rows.
func (f rowFiles) of(ctx context.Context, run *runstore.Run) []htmlreport.Data {
	var out []htmlreport.Data
	for _, d := range []htmlreport.Data{
		{Use: "train", Path: run.DataTrain, SHA256: run.DataTrainSHA256, Rows: run.TrainRows},
		{Use: runstore.Validation, Path: run.DataValidation, SHA256: run.DataValidationSHA256, Rows: run.ValidationRows},
	} {
		if d.Path == "" {
			continue
		}
		key := rowFile{path: d.Path, sha256: d.SHA256, model: run.ModelPath, revision: run.ModelRevision, maxLength: run.MaxLength}
		if cfg, err := configs.Parse(run.ID, []byte(run.Config), nil); err == nil {
			key.lossOn = cfg.Data.LossOn
		}
		read, ok := f[key]
		if !ok {
			read = key.read(ctx)
			f[key] = read
		}
		d.Tokens, d.TargetTokens, d.Truncated, d.Lengths, d.Problem = read.Tokens, read.TargetTokens, read.Truncated, read.Lengths, read.Problem
		out = append(out, d)
	}
	return out
}

// maxRowFile is up to how many bytes a file is read again for a report, which takes a second for each ten million.
const maxRowFile = 100e6

// read counts the tokens of a file, where it and the tokenizer are still there and the file is what it was.
func (f rowFile) read(ctx context.Context) htmlreport.Data {
	cannot := func(format string, a ...any) htmlreport.Data {
		return htmlreport.Data{Problem: "Lengths of rows are not shown: " + fmt.Sprintf(format, a...) + "."}
	}
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return cannot("the file is not where it was")
	case err != nil:
		return cannot("%v", err)
	case info.Size() > maxRowFile:
		return cannot("the file is too large to be read again (%s)", bytesOf(info.Size()))
	case f.sha256 == "" || f.lossOn == "":
		return cannot("it is not recorded how the file was read")
	}
	dir, err := localTokenizer(ctx, f.model, f.revision)
	if err != nil {
		return cannot("the model's tokenizer is not here")
	}
	tok, err := tokenizer.Open(dir)
	if err != nil {
		return cannot("the model's tokenizer cannot be read")
	}
	d, err := datasets.Open(f.path, tok, datasets.Options{MaxLength: f.maxLength, LossOn: f.lossOn})
	switch {
	case err == nil && d.SHA256 != f.sha256, errors.Is(err, datasets.ErrInvalid):
		return cannot("the file has changed since the run (its SHA-256 is another)")
	case err != nil:
		return cannot("%v", err)
	}
	stats := d.Stats()
	out := htmlreport.Data{Tokens: int64(stats.Tokens), TargetTokens: int64(stats.TargetTokens), Truncated: stats.Truncated}
	for _, row := range d.Samples {
		out.Lengths = append(out.Lengths, len(row.InputIDs))
	}
	return out
}

// localTokenizer finds the folder of a model's tokenizer without the network.
func localTokenizer(ctx context.Context, model, revision string) (string, error) {
	if _, err := os.Stat(model); err == nil || !hub.ValidID(model) {
		return model, err
	}
	client, err := hub.FromEnvironment()
	if err != nil {
		return "", err
	}
	client.Offline = true
	return client.Tokenizer(ctx, model, revision, func(hub.Event) {})
}
