package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/internal/chart"
)

func chartCommand() *cli.Command {
	return &cli.Command{
		Name:      "chart",
		Usage:     "loss, memory, speed and training time of runs, in the terminal or as a picture",
		ArgsUsage: "[RUN ...]",
		Description: "RUN is an id or the start of one, a name, or last, which is also what no RUN means. Without RUN,\n" +
			"--name, --tag, --sweep, --status, --since and --limit choose among all.\n\n" +
			"   tune chart\n" +
			"   tune chart bluey bluey-original --out bluey.svg --out bluey.png\n" +
			"   tune chart --kind loss-time,speed --tag ranks\n" +
			"   tune chart --kind time --by lora.rank --sweep last --out time.pdf\n" +
			"   tune chart last --kind loss,memory,speed --out 'last-{kind}.png'\n\n" +
			"Kinds: " + chartKinds() + ".",
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "kind", Usage: "what to show: one of the `KIND`s above, or several with commas; may be repeated", DefaultText: "loss, memory and time"},
			&cli.StringFlag{Name: "x", Usage: "the `QUANTITY` that curves are drawn over: step, time, tokens or epoch", DefaultText: "suits the kind"},
			&cli.Float64Flag{Name: "smooth", Usage: "`WEIGHT` of the average that smooths a loss, 0 (none) to below 1", DefaultText: "suits the length"},
			&cli.BoolFlag{Name: "log", Usage: "a logarithmic axis for the loss"},
			&cli.StringFlag{Name: "by", Usage: "group training times by model, device, chip, name or a `KEY` of the config, such as lora.rank"},
			&cli.StringSliceFlag{Name: "out", Usage: "write a picture to `FILE`.svg, .png or .pdf instead; {kind} in the name makes one a kind; may be repeated"},
			&cli.BoolFlag{Name: "dark", Usage: "a picture with a dark background"},
			&cli.StringFlag{Name: "title", Usage: "what stands above a picture"},
			&cli.IntFlag{Name: "width", Usage: "width of a picture in points, of a terminal chart in columns; 0 suits the place"},
			&cli.IntFlag{Name: "height", Usage: "height of a picture in points, of a terminal chart in lines; 0 suits the place"},
			&cli.BoolFlag{Name: "ascii", Usage: "draw with plain letters"},
		}, append(chosenRunsFlags(), databaseFlag(), jsonFlag())...),
		Action: chartRuns,
	}
}

func chartRuns(c *cli.Context) error {
	for _, name := range []string{"width", "height", "limit"} {
		if err := atLeast(c, name, 0); err != nil {
			return err
		}
	}
	view, err := viewOf(c)
	if err != nil {
		return err
	}
	pictures, err := picturesOf(c, view)
	if err != nil {
		return err
	}
	runs, err := readCharted(c, view)
	if err != nil {
		return err
	}
	for _, p := range pictures {
		if err := p.write(runs); err != nil {
			return err
		}
		if !c.Bool("json") {
			fmt.Fprintln(c.App.Writer, "wrote", p.path)
		}
	}
	switch {
	case c.Bool("json"):
		for i := range runs {
			runs[i].keep(view.Kinds)
		}
		return writeJSON(c.App.Writer, runs)
	case len(pictures) > 0:
		return nil
	}
	s := screenOf(c.App.Writer)
	columns := c.Int("width")
	if columns == 0 {
		columns = min(s.columns, 160) // wider, the eye loses the line
	}
	text := chart.Terminal(drawnRuns(runs), chart.TerminalOptions{Columns: columns, Rows: c.Int("height"), Color: s.color,
		Unicode: s.unicode && !c.Bool("ascii"), View: view})
	_, err = c.App.Writer.Write([]byte(text))
	return err
}

func chartKinds() string {
	names := make([]string, len(chart.Kinds))
	for i, k := range chart.Kinds {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

// viewOf reads what a chart is to show.
func viewOf(c *cli.Context) (chart.View, error) {
	view := chart.View{Log: c.Bool("log"), By: strings.TrimSpace(c.String("by"))}
	for _, list := range c.StringSlice("kind") {
		for name := range strings.SplitSeq(list, ",") {
			kind, err := chart.ParseKind(strings.TrimSpace(name))
			if err != nil {
				return view, badInput{fmt.Errorf("tune chart: --kind: want %s, got %q", chartKinds(), strings.TrimSpace(name)), ""}
			}
			if !slices.Contains(view.Kinds, kind) {
				view.Kinds = append(view.Kinds, kind)
			}
		}
	}
	if c.IsSet("x") {
		var err error
		if view.X, err = chart.ParseQuantity(c.String("x")); err != nil {
			return view, badInput{fmt.Errorf("tune chart: --x: want step, time, tokens or epoch, got %q", c.String("x")), ""}
		}
	}
	if c.IsSet("smooth") {
		weight := c.Float64("smooth")
		if !(weight >= 0 && weight < 1) {
			return view, badInput{fmt.Errorf("tune chart: --smooth: want 0 (none) to below 1, got %g", weight), ""}
		}
		if view.Smooth = weight; weight == 0 {
			view.Smooth = -1
		}
	}
	return view, unusedView(c, view)
}

// unusedView refuses options that none of the kinds heeds.
func unusedView(c *cli.Context, view chart.View) error {
	if len(view.Kinds) == 0 {
		return nil
	}
	for _, o := range []struct {
		name  string
		kinds []chart.Kind
	}{
		{"by", []chart.Kind{chart.Time}},
		{"log", []chart.Kind{chart.Loss, chart.LossTime, chart.LossTokens}},
		{"smooth", []chart.Kind{chart.Loss, chart.LossTime, chart.LossTokens, chart.GradNorm}},
		{"x", []chart.Kind{chart.Loss, chart.Memory, chart.Speed, chart.GradNorm, chart.LearningRate}},
	} {
		heeds := func(k chart.Kind) bool { return slices.Contains(o.kinds, k) }
		if c.IsSet(o.name) && !slices.ContainsFunc(view.Kinds, heeds) {
			names := make([]string, len(o.kinds))
			for i, k := range o.kinds {
				names[i] = string(k)
			}
			return badInput{fmt.Errorf("tune chart: --%s: is for --kind %s", o.name, strings.Join(names, ", ")), ""}
		}
	}
	return nil
}

// picture is a file to write.
type picture struct {
	path   string
	format chart.Format
	opt    chart.Options
}

// picturesOf returns the files that --out asks for: where {kind} stands in a name, one for every kind.
func picturesOf(c *cli.Context, view chart.View) ([]picture, error) {
	var out []picture
	for _, path := range c.StringSlice("out") {
		format, err := chart.ParseFormat(filepath.Ext(path))
		if err != nil {
			return nil, badInput{fmt.Errorf("tune chart: --out %s: want a name that ends in .svg, .png or .pdf", path), ""}
		}
		opt := chart.Options{Width: c.Int("width"), Height: c.Int("height"), Dark: c.Bool("dark"), Title: c.String("title"), View: view}
		if !strings.Contains(path, "{kind}") {
			out = append(out, picture{path, format, opt})
			continue
		}
		kinds := view.Kinds
		if len(kinds) == 0 {
			kinds = []chart.Kind{chart.Loss, chart.Memory, chart.Time}
		}
		for _, k := range kinds {
			opt.Kinds = []chart.Kind{k}
			out = append(out, picture{strings.ReplaceAll(path, "{kind}", string(k)), format, opt})
		}
	}
	return out, nil
}

// write writes a picture that appears whole or not at all.
func (p picture) write(runs []chartedRun) error {
	var drawn bytes.Buffer
	if err := chart.Figure(&drawn, p.format, drawnRuns(runs), p.opt); err != nil {
		return badInput{fmt.Errorf("tune chart: %w", errors.New(strings.TrimPrefix(err.Error(), "chart: "))), ""}
	}
	if err := replaceFile(p.path, drawn.Bytes()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("there is no folder %s", filepath.Dir(p.path))
		}
		return fmt.Errorf("tune chart: --out %s: %w", p.path, err)
	}
	return nil
}

// replaceFile writes a file beside path, for everyone to read, and renames it.
func replaceFile(path string, content []byte) error { return replaceFileAs(path, content, 0o644) }

// replaceFileAs is replaceFile with other permissions.
func replaceFileAs(path string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return pathless(err)
	}
	defer os.Remove(f.Name()) // gone by then, unless something failed
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
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
