package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tune/internal/files"
	"tune/internal/runexport"
	"tune/internal/runstore"
)

func exportRunsCommand() *cli.Command {
	return &cli.Command{
		Name:      "export-runs",
		Usage:     "write what was recorded as CSV, Parquet or TensorBoard's event files",
		ArgsUsage: "[RUN ...]",
		Description: "All runs, where none is named. csv and parquet make a file for each table of runs.db, tensorboard a folder for each\n" +
			"run, which tensorboard --logdir shows.\n\n" +
			"   tune export-runs --to parquet --out tables\n" +
			"   tune export-runs bluey bluey-original --to tensorboard --out logs",
		Flags: append(filterFlags(),
			&cli.StringFlag{Name: "to", Usage: "`FORMAT`: csv, parquet or tensorboard", Value: "csv"},
			&cli.StringFlag{Name: "out", Usage: "`FOLDER` to write to"},
			&cli.BoolFlag{Name: "force", Usage: "write over files that are there"},
			databaseFlag()),
		Action: func(c *cli.Context) error {
			if err := oneOf(c, "to", "csv", "parquet", "tensorboard"); err != nil {
				return err
			}
			if c.String("out") == "" {
				return badInput{errors.New("tune export-runs: --out: want a folder to write to"), "tune export-runs --to csv --out tables"}
			}
			filter, err := readFilter(c, time.Now())
			if err != nil {
				return err
			}
			if c.NArg() > 0 && filter.isSet() {
				return badInput{errors.New("tune export-runs: want names of runs, or options that choose them, not both"), ""}
			}
			store, err := openRuns(c)
			if err != nil {
				return err
			}
			return closing(store, exportRuns(c, store, filter))
		},
	}
}

func exportRuns(c *cli.Context, store *runstore.Store, filter *runFilter) error {
	runs, err := runsToExport(c, store, filter)
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		return badInput{errors.New("tune export-runs: there are no such runs"), "tune runs lists them"}
	}
	x := &exporter{ctx: c.Context, out: c.String("out"), store: store, runs: runs, force: c.Bool("force"), w: c.App.Writer}
	if c.String("to") == "tensorboard" {
		return x.tensorboard()
	}
	return x.tables(c.String("to"))
}

// runsToExport finds the runs, oldest first.
func runsToExport(c *cli.Context, store *runstore.Store, filter *runFilter) ([]runstore.RunSummary, error) {
	if c.NArg() > 0 {
		return namedRuns(c, store, c.Args().Slice())
	}
	runs, err := filter.runs(c.Context, store)
	slices.Reverse(runs)
	return runs, err
}

// exporter writes runs to a folder.
type exporter struct {
	ctx   context.Context
	out   string
	store *runstore.Store
	runs  []runstore.RunSummary
	force bool
	w     io.Writer // what is told
}

// tables writes a file a table.
func (x *exporter) tables(format string) error {
	ids := idsOf(x.runs)
	write := map[string]func(context.Context, io.Writer, runexport.Source, string, []runstore.TableColumn, []string) (int, error){
		"csv": runexport.CSV, "parquet": runexport.Parquet}[format]
	var paths []string
	for _, table := range runstore.RunTables {
		paths = append(paths, filepath.Join(x.out, table+"."+format))
	}
	if err := x.refuseExisting(paths); err != nil {
		return err
	}
	for i, table := range runstore.RunTables {
		columns, err := x.store.TableColumns(x.ctx, table)
		if err != nil {
			return err
		}
		rows := 0
		if err := x.file(paths[i], func(w io.Writer) (err error) {
			rows, err = write(x.ctx, w, x.store, table, columns, ids)
			return err
		}); err != nil {
			return err
		}
		fmt.Fprintf(x.w, "wrote %s, %s\n", paths[i], countOf(rows, "row"))
	}
	return nil
}

// tensorboard writes a folder a run.
func (x *exporter) tensorboard() error {
	var paths []string
	for _, r := range x.runs {
		// TensorBoard looks for tfevents in the name, and shows the newest of those with a number.
		paths = append(paths, filepath.Join(x.out, r.ID, fmt.Sprintf("events.out.tfevents.%d.tune", r.CreatedAt.Unix())))
	}
	if err := x.refuseExisting(paths); err != nil {
		return err
	}
	for i, r := range x.runs {
		steps, err1 := x.store.Steps(x.ctx, r.ID)
		evaluations, err2 := x.store.Evaluations(x.ctx, r.ID)
		samples, err3 := x.store.Samples(x.ctx, r.ID)
		if err := errors.Join(err1, err2, err3); err != nil {
			return err
		}
		if err := x.file(paths[i], func(w io.Writer) error {
			return runexport.Events(w, steps, evaluations, samples, r.CreatedAt)
		}); err != nil {
			return err
		}
		fmt.Fprintf(x.w, "wrote %s, %s\n", paths[i], countOf(len(steps), "step"))
	}
	return nil
}

// refuseExisting refuses to write over files, unless it is asked to.
func (x *exporter) refuseExisting(paths []string) error {
	if x.force {
		return nil
	}
	var there []string
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			there = append(there, path)
		}
	}
	if len(there) == 0 {
		return nil
	}
	return badInput{fmt.Errorf("tune export-runs: --out: %s: %w", strings.Join(there, ", "), fs.ErrExist), "--force writes over them"}
}

// file writes one file, which appears whole or not at all.
func (x *exporter) file(path string, fill func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("tune export-runs: --out: %w", err)
	}
	return files.ReplaceFile(path, fill)
}
