package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

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
			"--run takes the base model and the adapter, or the whole model, that a run has left. Without\n" +
			"--temperature the likeliest token is taken each time, so that the reply is the same each time.\n\n" +
			"   tune generate --run last \"Why is the sky blue?\"\n" +
			"   tune generate --run last --compare \"Why is the sky blue?\"\n" +
			"   tune generate --model models/pocket --temperature 0.8 --top-p 0.95 Tell me a story",
		Flags: flags(voiceFlags(), samplingFlags(200), []cli.Flag{
			&cli.StringFlag{Name: "system", Usage: "a system message with this `TEXT`"},
			&cli.BoolFlag{Name: "compare", Usage: "the base model's reply beside the adapted one's"},
			&cli.BoolFlag{Name: "stats", Usage: "say how long it took, and how much memory, on standard error"},
			jsonFlag(), databaseFlag(),
		}),
		Action: generate,
	}
}

func generate(c *cli.Context) error {
	options, err := readSampling(c)
	if err != nil {
		return err
	}
	prompt, err := promptOf(c)
	if err != nil {
		return err
	}
	ctx, stop := untilInterrupted(c.Context)
	defer stop()
	v, err := findVoice(ctx, c)
	if err != nil {
		return err
	}
	if err := v.drawAsAdvised(c, &options); err != nil {
		return err
	}
	var messages []tokenizer.Message
	if text := c.String("system"); text != "" {
		messages = append(messages, tokenizer.Message{Role: "system", Content: text})
	}
	messages = append(messages, tokenizer.Message{Role: "user", Content: prompt})
	if err := v.check(messages); err != nil {
		return err
	}
	sides := []side{tuned}
	if c.Bool("compare") {
		sides = []side{base, tuned}
	}
	return torch.Run(func(s *torch.Scope) error {
		if err := v.load(s, c.App.ErrWriter); err != nil {
			return err
		}
		if c.Bool("json") {
			return v.generateJSON(ctx, c.App.Writer, messages, options, sides)
		}
		answers, err := v.show(ctx, func(side) ([]tokenizer.Message, *model.Cache) { return messages, nil }, options, sides)
		if errs := v.errs; err == nil && (c.Bool("stats") || v.out.terminal && errs.terminal) {
			for i, a := range answers {
				line := statsLine(a, c.Bool("stats"))
				if len(answers) > 1 {
					line = fmt.Sprintf("%-6s %s", sides[i], line)
				}
				fmt.Fprintln(c.App.ErrWriter, errs.paint(faint, errs.ascii(line)))
			}
		}
		// In JSON the stop_reason says it.
		if err == nil && slices.ContainsFunc(answers, func(a trainer.Answered) bool { return a.Stopped == model.StopCaller }) {
			err = errors.New("generate: interrupted")
		}
		return err
	})
}

// generateJSON writes one object with the reply, or with base and tuned.
func (v *voice) generateJSON(ctx context.Context, w io.Writer, messages []tokenizer.Message, o model.GenerateOptions, sides []side) error {
	replies := map[side]*replyReport{}
	for _, side := range sides {
		a, err := v.answer(ctx, side, messages, o, nil)
		if err != nil {
			return err
		}
		replies[side] = v.report(a)
	}
	facts := voiceReport{Model: v.name, Revision: v.commit, Adapter: v.from.adapter, Device: v.device.String(), DType: v.dtype.String()}
	if len(sides) == 1 {
		return writeJSON(w, struct {
			voiceReport
			*replyReport
		}{facts, replies[tuned]})
	}
	return writeJSON(w, struct {
		voiceReport
		Base  *replyReport `json:"base"`
		Tuned *replyReport `json:"tuned"`
	}{facts, replies[base], replies[tuned]})
}

// conversation returns what was said to a side so far, and its cache or nil.
type conversation func(side side) ([]tokenizer.Message, *model.Cache)

// show writes the reply as it comes, or the replies of both sides: in two columns where the screen is wide enough, one
// after the other elsewhere.
func (v *voice) show(ctx context.Context, said conversation, o model.GenerateOptions, sides []side) ([]trainer.Answered, error) {
	columns := len(sides) > 1 && v.out.terminal && v.out.columns >= twoColumns
	var answers []trainer.Answered
	var texts []string
	for i, side := range sides {
		if len(sides) > 1 && !columns {
			fmt.Fprintf(v.w, "%s%s\n", strings.Repeat("\n", min(i, 1)), v.out.paint(bold, side.title()))
		}
		var each func(string)
		if columns { // they can only be set once both are there
			v.progress("writing: " + side.title())
		} else {
			each = v.stream
		}
		messages, cache := said(side)
		o.Cache = cache
		a, err := v.answer(ctx, side, messages, o, each)
		if columns {
			v.progress("")
		} else {
			fmt.Fprintln(v.w)
		}
		if err := cmp.Or(err, v.unwritten); err != nil {
			return answers, err
		}
		answers, texts = append(answers, a), append(texts, printable(a.Text))
	}
	if columns {
		fmt.Fprint(v.w, v.out.beside([2]string{sides[0].title(), sides[1].title()}, [2]string{texts[0], texts[1]}))
	}
	return answers, nil
}

// stream writes a piece of a reply.
func (v *voice) stream(text string) {
	if v.out.terminal { // a file gets what the model wrote, a terminal nothing that it would obey
		text = printable(text)
	}
	if _, err := io.WriteString(v.w, text); err != nil && v.unwritten == nil {
		v.unwritten = fmt.Errorf("write the reply: %w", err)
	}
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

// source is where a model comes from.
type source struct {
	model    string // folder, or the name of a model of the Hub
	hub      bool   // model may be such a name
	revision string // of a model of the Hub; "" for main
	adapter  string // folder, or "" for none
	sha256   string // what the model was when the adapter was trained, or "" where nobody knows
	run      string // id of the run that left it, or ""
}

// sourceOf finds the model that --run or --model names.
func sourceOf(c *cli.Context) (source, error) {
	run, dir, adapter := c.String("run"), c.String("model"), c.String("adapter")
	switch {
	case run != "" && (dir != "" || adapter != ""):
		return source{}, badInput{fmt.Errorf("%s: --run names a model and its adapter already", commandOf(c)),
			"leave --model and --adapter out"}
	case run == "" && dir == "":
		return source{}, badInput{fmt.Errorf("%s: want --run RUN or --model FOLDER", commandOf(c)), commandOf(c) + " --run last"}
	case run == "":
		return source{model: dir, hub: true, adapter: adapter}, nil
	}
	store, err := openRuns(c)
	if err != nil {
		return source{}, err
	}
	row, artifacts, err := runThatLeft(c.Context, store, run)
	if err := closing(store, err); err != nil {
		return source{}, err
	}
	from, err := sourceOfRun(&row, artifacts, filepath.Dir(c.String("db")))
	from.run = row.ID
	if from.adapter != "" {
		// Only a run on a model of the Hub has a revision; a folder of such a name that is gone is not looked for there.
		from.revision = row.ModelRevision
		from.hub = from.revision != ""
	}
	return from, err
}

// runThatLeft returns a run and what it has left. Here last is the newest run that has left an adapter or a model: one
// that failed since, or is still training, has nothing to answer with.
func runThatLeft(ctx context.Context, store *runstore.Store, ref string) (runstore.RunSummary, []runstore.Artifact, error) {
	newest, err := store.Run(ctx, ref)
	if err != nil {
		return newest, nil, err
	}
	artifacts, err := store.Artifacts(ctx, newest.ID)
	if err != nil || ref != "last" && ref != "latest" || leftIn(&newest, artifacts) != "" {
		return newest, artifacts, err
	}
	runs, err := store.Runs(ctx, runstore.Filter{})
	if err != nil {
		return newest, nil, err
	}
	for _, row := range runs {
		if artifacts, err = store.Artifacts(ctx, row.ID); err != nil || leftIn(&row, artifacts) != "" {
			return row, artifacts, err
		}
	}
	return newest, nil, badInput{fmt.Errorf("run %q: none of the %d runs has left an adapter or a model; the newest is %s", ref, len(runs), statusOfRun(&newest)),
		"tune runs show last says why"}
}

// kindLeft is the kind of artifact that a run makes.
func kindLeft(run *runstore.RunSummary) string {
	if run.Method == "full" {
		return "model"
	}
	return "adapter"
}

// leftIn returns the folder of the adapter or the model that a run has left, "" for none.
func leftIn(run *runstore.RunSummary, artifacts []runstore.Artifact) (dir string) {
	for _, a := range artifacts {
		if a.Kind == kindLeft(run) && strings.HasSuffix(a.Path, ".safetensors") {
			dir = filepath.Dir(a.Path)
		}
	}
	return dir
}

// sourceOfRun finds what a run has left. Its paths are those of the folder that it ran in: this one, or else the
// database's.
func sourceOfRun(run *runstore.RunSummary, artifacts []runstore.Artifact, databaseDir string) (source, error) {
	kind, left := kindLeft(run), leftIn(run, artifacts)
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
