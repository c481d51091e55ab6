package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"tune/configs"
	"tune/datasets"
	"tune/internal/tokenizer"
)

// usualModel is the model that ships with the repository.
const usualModel = "models/pocket"

func dataCommand() *cli.Command {
	return &cli.Command{
		Name:      "data",
		Usage:     "what a data file holds, and which of its tokens are learned",
		ArgsUsage: "FILE",
		Description: "FILE is a JSONL file, or a config whose training and validation files are meant.\n" +
			"Learned tokens are green, or stand in ⟦ ⟧ where there is no colour.\n\n" +
			"   tune data datasets/bluey/train.jsonl --rows 5\n" +
			"   tune data configs/bluey.yaml",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "model",
				Usage: "a model `FOLDER`, or a name on the Hub, for its tokenizer (default: the config's, or " + usualModel + ")"},
			&cli.IntFlag{Name: "max-length", Usage: "cut rows to `N` tokens (default: the config's, or 512)"},
			&cli.StringFlag{Name: "loss-on", Usage: "learn `replies` or all (default: the config's, or replies)"},
			&cli.IntFlag{Name: "rows", Usage: "show `N` rows of each file", Value: 3},
			jsonFlag(),
		},
		Action: describeData,
	}
}

// dataReport is what tune data --json writes.
type dataReport struct {
	Model     string       `json:"model"`
	MaxLength int          `json:"max_length"`
	LossOn    string       `json:"loss_on"`
	Files     []fileReport `json:"files"`
	revision  string       // of a model of the Hub
}

type fileReport struct {
	datasets.Stats
	Preview []datasets.Preview `json:"preview"`
}

func describeData(c *cli.Context) error {
	path, err := argument(c, "a JSONL file or a config", "tune data datasets/bluey/train.jsonl")
	if err != nil {
		return err
	}
	if err := atLeast(c, "rows", 0); err != nil {
		return err
	}
	r, paths, err := dataSettings(c, path)
	if err != nil {
		return err
	}
	ctx, stop := untilInterrupted(c.Context)
	defer stop()
	dir, _, err := resolveTokenizer(ctx, c.App.ErrWriter, r.Model, r.revision)
	if err != nil {
		return err
	}
	what := "model.path: " + r.Model
	if c.IsSet("model") || r.Model == usualModel {
		what = "--model " + r.Model
	}
	if err := checkModelFolder(what, dir); err != nil {
		return err
	}
	tok, err := tokenizer.Open(dir)
	if err != nil {
		return badInput{err, "--model must name a Hugging Face model folder with a tokenizer"}
	}
	var errs []error
	for _, path := range paths {
		f, err := readData(path, tok, datasets.Options{MaxLength: r.MaxLength, LossOn: r.LossOn}, c.Int("rows"))
		errs = append(errs, err)
		r.Files = append(r.Files, f)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if c.Bool("json") {
		return writeJSON(c.App.Writer, r)
	}
	return r.write(c.App.Writer)
}

// dataSettings takes the settings from a config, or the usual ones, and the flags over them.
func dataSettings(c *cli.Context, path string) (dataReport, []string, error) {
	cfg, paths := configs.Default(), []string{path}
	if ext := filepath.Ext(path); ext == ".yaml" || ext == ".yml" {
		read, err := configs.Load(path, nil)
		if err != nil {
			return dataReport{}, nil, err
		}
		cfg, paths = *read, []string{read.Data.Train}
		if cfg.Data.Validation != "" {
			paths = append(paths, cfg.Data.Validation)
		}
	}
	r := dataReport{Model: cfg.Model.Path, MaxLength: cfg.Data.MaxLength, LossOn: cfg.Data.LossOn,
		revision: cfg.Model.Revision}
	if c.IsSet("model") {
		r.Model, r.revision = c.String("model"), ""
	}
	if c.IsSet("max-length") {
		if err := atLeast(c, "max-length", 2); err != nil { // a row of one token predicts nothing
			return r, nil, err
		}
		r.MaxLength = c.Int("max-length")
	}
	if c.IsSet("loss-on") {
		if err := oneOf(c, "loss-on", datasets.LossOnReplies, datasets.LossOnAll); err != nil {
			return r, nil, err
		}
		r.LossOn = c.String("loss-on")
	}
	if r.Model == "" {
		if _, err := os.Stat(usualModel); err != nil {
			return r, nil, badInput{fmt.Errorf("tune data: want --model FOLDER: there is no %s here", usualModel),
				"any Hugging Face model folder with a tokenizer will do"}
		}
		r.Model = usualModel
	}
	return r, paths, nil
}

// readData reads a file and spells out some of its rows, spread over the whole of it.
func readData(path string, tok *tokenizer.Tokenizer, opt datasets.Options, rows int) (fileReport, error) {
	d, err := datasets.Open(path, tok, opt)
	if err != nil {
		return fileReport{}, err
	}
	f := fileReport{Stats: d.Stats(), Preview: []datasets.Preview{}}
	rows = min(rows, len(d.Samples))
	for i := range rows {
		p, err := d.Preview(tok, i*len(d.Samples)/rows)
		if err != nil {
			return fileReport{}, err
		}
		f.Preview = append(f.Preview, p)
	}
	return f, nil
}

// write shows the report to people.
func (r *dataReport) write(w io.Writer) error {
	s := screenOf(w)
	for i, f := range r.Files {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := f.Write(w); err != nil {
			return err
		}
		for _, p := range f.Preview {
			fmt.Fprintln(w)
			if err := p.Write(w, s.color); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintf(w, "\ntokens of %s, rows of at most %d tokens, loss on %s\n", r.Model, r.MaxLength, r.LossOn)
	return err
}
