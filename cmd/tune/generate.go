package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tune/adapters"
	"tune/internal/chart"
	"tune/internal/machine"
	"tune/internal/model"
	"tune/internal/runstore"
	"tune/internal/tokenizer"
	"tune/internal/torch"
	"tune/trainer"
)

func generateCommand() *cli.Command {
	return &cli.Command{
		Name:      "generate",
		Usage:     "have a model, or what a run has made of it, answer",
		ArgsUsage: "PROMPT",
		Description: "PROMPT is what the user says; - reads it from standard input. The reply comes as it is written.\n" +
			"--run takes the base model and the adapter, or the whole model, that a run has left.\n\n" +
			"   tune generate --run last \"Why is the sky blue?\"\n" +
			"   tune generate --model models/pocket --temperature 0.8 Tell me a story",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "run", Usage: "a `RUN`: an id or the start of one, a name, or last"},
			&cli.StringFlag{Name: "model", Usage: "a model `FOLDER`, or a name on the Hub such as google/gemma-3-1b-it"},
			&cli.StringFlag{Name: "adapter", Usage: "an adapter `FOLDER` in PEFT's format, for --model"},
			&cli.StringFlag{Name: "system", Usage: "a system message with this `TEXT`"},
			&cli.IntFlag{Name: "max-new-tokens", Usage: "end after `N` tokens", Value: 200},
			&cli.Float64Flag{Name: "temperature", Usage: "0 takes the likeliest token each time, 1 draws as the model says"},
			&cli.Int64Flag{Name: "seed", Usage: "fixes what is drawn", Value: 42},
			&cli.StringFlag{Name: "device", Usage: "auto, mps, cuda or cpu", Value: "auto"},
			&cli.StringFlag{Name: "dtype", Usage: "auto, bfloat16 or float32", Value: "auto"},
			databaseFlag(),
		},
		Action: generate,
	}
}

// source is where a model comes from.
type source struct {
	model    string // folder, or the name of a model of the Hub
	hub      bool   // model may be such a name
	revision string // of a model of the Hub; "" for main
	adapter  string // folder, or "" for none
	sha256   string // what the model was when the adapter was trained, or "" where nobody knows
}

func generate(c *cli.Context) error {
	if err := errors.Join(atLeast(c, "max-new-tokens", 1), oneOf(c, "dtype", "auto", "bfloat16", "float32")); err != nil {
		return err
	}
	if t := c.Float64("temperature"); !(t >= 0) {
		return badInput{fmt.Errorf("tune generate: --temperature: must be at least 0, got %g", t), ""}
	}
	prompt, err := promptOf(c)
	if err != nil {
		return err
	}
	from, err := sourceOf(c)
	if err != nil {
		return err
	}
	device, err := torch.ParseDevice(c.String("device"))
	if err != nil {
		return badInput{fmt.Errorf("--device: %w", err), "tune doctor shows what this machine has"}
	}
	torch.SetThreads(machine.PhysicalCores())
	ctx, stop := untilInterrupted(c.Context)
	defer stop()
	if from.hub {
		if from.model, _, err = resolveModel(ctx, c.App.ErrWriter, from.model, from.revision); err != nil {
			return err
		}
	}
	tok, err := tokenizer.Open(from.model)
	if err != nil {
		return badInput{err, "a model is a Hugging Face folder: config.json, tokenizer and safetensors"}
	}
	var messages []tokenizer.Message
	if text := c.String("system"); text != "" {
		messages = append(messages, tokenizer.Message{Role: "system", Content: text})
	}
	messages = append(messages, tokenizer.Message{Role: "user", Content: prompt})
	if _, _, err := tok.Chat(messages, true); err != nil {
		return badInput{fmt.Errorf("%s: %w", from.model, err), ""}
	}

	changed := from.changed()
	return torch.Run(func(s *torch.Scope) error {
		m, err := model.Load(s, from.model, model.Options{Device: device, DType: chooseDType(c.String("dtype"), device)})
		if err != nil {
			return loadError(err)
		}
		if from.adapter != "" {
			if _, err := adapters.Load(s, m, from.adapter); err != nil {
				return loadError(err)
			}
		}
		if changed() {
			fmt.Fprintf(c.App.ErrWriter, "warning: %s has changed since the run: the adapter was trained on another model\n",
				from.model)
		}
		return stream(ctx, c, s, m, tok, messages)
	})
}

// stream writes the reply as it comes. On a terminal it also says how long it took.
func stream(ctx context.Context, c *cli.Context, s *torch.Scope, m *model.Model, tok *tokenizer.Tokenizer,
	messages []tokenizer.Message) error {
	w, began := c.App.Writer, time.Now()
	terminal := screenOf(w).terminal
	_, tokens, stopped, err := trainer.Reply(ctx, s, m, tok, messages, model.GenerateOptions{
		MaxNewTokens: c.Int("max-new-tokens"), Temperature: c.Float64("temperature"), Seed: c.Int64("seed"),
	}, func(text string) {
		if terminal { // a file gets what the model wrote, a terminal nothing that it would obey
			text = printable(text)
		}
		_, _ = io.WriteString(w, text)
	})
	fmt.Fprintln(w)
	if err != nil {
		return err
	}
	if errs := screenOf(c.App.ErrWriter); terminal && errs.terminal {
		seconds := time.Since(began).Seconds()
		how := map[string]string{model.StopLength: ", cut off: --max-new-tokens allows more",
			model.StopCaller: ", interrupted"}[stopped]
		fmt.Fprintln(c.App.ErrWriter, errs.paint(faint, fmt.Sprintf("%d tokens in %s, %.0f tokens/s%s", tokens,
			chart.FormatDuration(seconds), float64(tokens)/seconds, how)))
	}
	return nil
}

// promptOf joins the words of the prompt, or reads it from standard input.
func promptOf(c *cli.Context) (string, error) {
	prompt := strings.TrimSpace(strings.Join(c.Args().Slice(), " "))
	if prompt == "-" {
		var err error
		if prompt, err = readAll(c.App.Reader); err != nil {
			return "", err
		}
	}
	if prompt == "" {
		return "", badInput{errors.New("tune generate: want a prompt"), `tune generate --run last "Why is the sky blue?"`}
	}
	return prompt, nil
}

// sourceOf finds the model that --run or --model names.
func sourceOf(c *cli.Context) (source, error) {
	run, dir, adapter := c.String("run"), c.String("model"), c.String("adapter")
	switch {
	case run != "" && (dir != "" || adapter != ""):
		return source{}, badInput{errors.New("tune generate: --run names a model and its adapter already"),
			"leave --model and --adapter out"}
	case run == "" && dir == "":
		return source{}, badInput{errors.New("tune generate: want --run RUN or --model FOLDER"), "tune generate --run last PROMPT"}
	case run == "":
		return source{model: dir, hub: true, adapter: adapter}, nil
	}
	store, err := openRuns(c)
	if err != nil {
		return source{}, err
	}
	row, err := store.Run(c.Context, run)
	var artifacts []runstore.Artifact
	if err == nil {
		artifacts, err = store.Artifacts(c.Context, row.ID)
	}
	var events []runstore.Event
	if err == nil {
		events, err = store.Events(c.Context, row.ID)
	}
	if err := closing(store, err); err != nil {
		return source{}, err
	}
	from, err := sourceOfRun(&row, artifacts, filepath.Dir(c.String("db")))
	if from.adapter != "" {
		// Only a run on a model of the Hub has a revision; a folder of such a name that is gone is not looked for there.
		from.revision = revisionOf(events)
		from.hub = from.revision != ""
	}
	return from, err
}

// sourceOfRun finds what a run has left. Its paths are those of the folder that it ran in: this one, or else the
// database's.
func sourceOfRun(run *runstore.RunSummary, artifacts []runstore.Artifact, databaseDir string) (source, error) {
	kind := "adapter"
	if run.Method == "full" {
		kind = "model"
	}
	left := ""
	for _, a := range artifacts {
		if a.Kind == kind && strings.HasSuffix(a.Path, ".safetensors") {
			left = filepath.Dir(a.Path)
		}
	}
	if left == "" {
		return source{}, badInput{fmt.Errorf("run %s: has left no %s: it is %s", run.ID, kind, statusOfRun(run)),
			"tune runs show " + run.ID}
	}
	for _, a := range artifacts {
		if a.Kind != kind {
			continue
		}
		if _, err := os.Stat(found(a.Path, databaseDir)); errors.Is(err, fs.ErrNotExist) {
			return source{}, badInput{fmt.Errorf("run %s: its %s is gone: no such file %s", run.ID, kind, a.Path),
				"paths start at the folder that the run was started in"}
		}
	}
	if kind == "model" {
		return source{model: found(left, databaseDir)}, nil
	}
	return source{model: found(run.ModelPath, databaseDir), adapter: found(left, databaseDir), sha256: run.ModelSHA256}, nil
}

// found returns path, or the same path from the database's folder where only that exists.
func found(path, databaseDir string) string {
	if _, err := os.Stat(path); err == nil || filepath.IsAbs(path) {
		return path
	}
	if beside := filepath.Join(databaseDir, path); beside != path {
		if _, err := os.Stat(beside); err == nil {
			return beside
		}
	}
	return path
}

// changed hashes the model while it is being loaded and reports whether it is another one than the adapter knew.
func (f source) changed() func() bool {
	if f.sha256 == "" {
		return func() bool { return false }
	}
	sum := make(chan string, 1)
	go func() {
		now, err := hashModel(f.model)
		if err != nil {
			now = f.sha256 // loading reports what cannot be read
		}
		sum <- now
	}()
	return func() bool { return <-sum != f.sha256 }
}
