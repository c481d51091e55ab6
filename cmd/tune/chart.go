package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tune/internal/chart"
	"tune/internal/runstore"
)

func chartCommand() *cli.Command {
	return &cli.Command{
		Name:      "chart",
		Usage:     "loss, memory and training time of runs, in the terminal or as a picture",
		ArgsUsage: "[RUN ...]",
		Description: "RUN is an id or the start of one, a name, or last, which is also what no RUN means.\n\n" +
			"   tune chart\n" +
			"   tune chart bluey bluey-original --out bluey.svg --out bluey.png",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "out", Usage: "write a picture to `FILE`.svg, .png or .pdf instead; may be repeated"},
			&cli.BoolFlag{Name: "dark", Usage: "a picture with a dark background"},
			&cli.StringFlag{Name: "title", Usage: "what stands above a picture"},
			&cli.IntFlag{Name: "width", Usage: "width of a picture in points, of a terminal chart in columns; 0 suits the place"},
			&cli.IntFlag{Name: "height", Usage: "height of a picture in points, of a terminal chart in lines; 0 suits the place"},
			&cli.BoolFlag{Name: "ascii", Usage: "draw with plain letters"},
			databaseFlag(), jsonFlag(),
		},
		Action: chartRuns,
	}
}

func chartRuns(c *cli.Context) error {
	for _, name := range []string{"width", "height"} {
		if err := atLeast(c, name, 0); err != nil {
			return err
		}
	}
	var formats []chart.Format
	for _, path := range c.StringSlice("out") {
		format, err := chart.ParseFormat(filepath.Ext(path))
		if err != nil {
			return badInput{fmt.Errorf("tune chart: --out %s: want a name that ends in .svg, .png or .pdf", path), ""}
		}
		formats = append(formats, format)
	}
	refs := c.Args().Slice()
	if len(refs) == 0 {
		refs = []string{"last"}
	}
	runs, err := readCharted(c, refs)
	if err != nil {
		return err
	}
	for i, path := range c.StringSlice("out") {
		if err := writeFigure(path, formats[i], runs, chart.Options{Width: c.Int("width"), Height: c.Int("height"),
			Dark: c.Bool("dark"), Title: c.String("title")}); err != nil {
			return err
		}
		if !c.Bool("json") {
			fmt.Fprintln(c.App.Writer, "wrote", path)
		}
	}
	switch {
	case c.Bool("json"):
		return writeJSON(c.App.Writer, runs)
	case len(formats) > 0:
		return nil
	}
	s := screenOf(c.App.Writer)
	columns := c.Int("width")
	if columns == 0 {
		columns = min(s.columns, 160) // wider, the eye loses the line
	}
	text := chart.Terminal(drawnRuns(runs), chart.TerminalOptions{Columns: columns, Rows: c.Int("height"), Color: s.color,
		Unicode: s.unicode && !c.Bool("ascii")})
	_, err = c.App.Writer.Write([]byte(text))
	return err
}

// chartedRun is what a chart shows of a run, as tune chart --json writes it.
type chartedRun struct {
	ID                string          `json:"id"`
	Name              string          `json:"name"`
	Status            string          `json:"status"`
	Steps             []int64         `json:"steps"`
	Loss              []runstore.Real `json:"loss"`
	Validation        []chartedPoint  `json:"validation"`
	MemoryBytes       []int64         `json:"memory_bytes"`
	DeviceMemoryBytes []int64         `json:"device_memory_bytes"`
	LoadSeconds       runstore.Real   `json:"load_seconds"`
	TrainSeconds      runstore.Real   `json:"train_seconds"`
	EvaluateSeconds   runstore.Real   `json:"evaluate_seconds"`
	SaveSeconds       runstore.Real   `json:"save_seconds"`
	WallSeconds       runstore.Real   `json:"wall_seconds"`
}

type chartedPoint struct {
	Step int64         `json:"step"`
	Loss runstore.Real `json:"loss"`
}

// readCharted reads the runs that are named, each once.
func readCharted(c *cli.Context, refs []string) ([]chartedRun, error) {
	store, err := openRuns(c)
	if err != nil {
		return nil, err
	}
	var runs []chartedRun
	err = func() error {
		seen := map[string]bool{}
		for _, ref := range refs {
			run, err := store.Run(c.Context, ref)
			if err != nil {
				return err
			}
			if seen[run.ID] {
				continue
			}
			seen[run.ID] = true
			steps, err := store.Steps(c.Context, run.ID)
			if err != nil {
				return err
			}
			evaluations, err := store.Evaluations(c.Context, run.ID)
			if err != nil {
				return err
			}
			runs = append(runs, charted(&run, steps, evaluations, time.Now()))
		}
		return nil
	}()
	return runs, closing(store, err)
}

func charted(run *runstore.RunSummary, steps []runstore.Step, evaluations []runstore.Evaluation, now time.Time) chartedRun {
	out := chartedRun{ID: run.ID, Name: run.Name, Status: statusOfRun(run), LoadSeconds: run.LoadSeconds,
		TrainSeconds: run.TrainSeconds, EvaluateSeconds: run.EvaluateSeconds, SaveSeconds: run.SaveSeconds,
		WallSeconds: runstore.Real(wallSeconds(run, now))}
	if !run.WallSeconds.Finite() {
		out.TrainSeconds = run.StepSeconds // of a run that has not ended: the rest is not known yet
	}
	for _, x := range steps {
		out.Steps = append(out.Steps, x.Step)
		out.Loss = append(out.Loss, x.Loss)
		out.MemoryBytes = append(out.MemoryBytes, x.MemoryBytes)
		out.DeviceMemoryBytes = append(out.DeviceMemoryBytes, x.DeviceMemoryBytes)
	}
	for _, e := range evaluations {
		if e.Split == runstore.Validation {
			out.Validation = append(out.Validation, chartedPoint{e.Step, e.Loss})
		}
	}
	return out
}

// drawnRuns fits runs to the chart package. Runs of one name are told apart by their ids.
func drawnRuns(runs []chartedRun) []chart.Run {
	named := map[string]int{}
	for i := range runs {
		named[runs[i].Name]++
	}
	out := make([]chart.Run, len(runs))
	for i := range runs {
		out[i] = runs[i].drawn()
		if named[runs[i].Name] > 1 {
			out[i].Name = runs[i].ID
		}
	}
	return out
}

func (r *chartedRun) drawn() chart.Run {
	out := chart.Run{Name: r.Name, Seconds: chart.Times{Load: float64(r.LoadSeconds), Train: float64(r.TrainSeconds),
		Evaluate: float64(r.EvaluateSeconds), Save: float64(r.SaveSeconds), Wall: float64(r.WallSeconds)}}
	for i := range r.Steps {
		out.Steps = append(out.Steps, float64(r.Steps[i]))
		out.Loss = append(out.Loss, float64(r.Loss[i]))
		out.MemoryBytes = append(out.MemoryBytes, float64(r.MemoryBytes[i]))
		out.DeviceMemoryBytes = append(out.DeviceMemoryBytes, float64(r.DeviceMemoryBytes[i]))
	}
	for _, p := range r.Validation {
		out.Validation = append(out.Validation, chart.Point{X: float64(p.Step), Y: float64(p.Loss)})
	}
	return out
}

// writeFigure writes a picture that appears whole or not at all.
func writeFigure(path string, format chart.Format, runs []chartedRun, opt chart.Options) error {
	var picture bytes.Buffer
	if err := chart.Figure(&picture, format, drawnRuns(runs), opt); err != nil {
		return badInput{fmt.Errorf("tune chart: %w", errors.New(strings.TrimPrefix(err.Error(), "chart: "))), ""}
	}
	if err := replaceFile(path, picture.Bytes()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("there is no folder %s", filepath.Dir(path))
		}
		return fmt.Errorf("tune chart: --out %s: %w", path, err)
	}
	return nil
}

// replaceFile writes a file beside path and renames it.
func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return pathless(err)
	}
	defer os.Remove(f.Name()) // gone by then, unless something failed
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return pathless(err)
	}
	return pathless(os.Rename(f.Name(), path))
}

// pathless takes the path of a temporary file, which nobody knows, out of an error.
func pathless(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return l.Err
	}
	return err
}
