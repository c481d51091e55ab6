package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/urfave/cli/v2"

	"tune/adapters"
	"tune/configs"
	"tune/internal/adapterfile"
	"tune/internal/checkpoint"
	"tune/internal/machine"
	"tune/internal/model"
	"tune/internal/tokenizer"
	"tune/internal/torch"
	"tune/trainer"
)

// voice is a model that answers, with the adapter that it may have. It is found first, loaded then.
type voice struct {
	from   source
	name   string // the model as the user called it
	dir    string // its folder
	commit string // of a model of the Hub
	device torch.Device
	dtype  torch.DType
	bits   int // of a quantised weight's numbers
	tok    *tokenizer.Tokenizer

	w         io.Writer // for replies
	unwritten error     // why one could not be written whole
	out, errs screen
	progress  func(text string) // shows what goes on, or with "" no longer

	s       *torch.Scope
	model   *model.Model
	adapter *adapters.Adapter
}

// side is one of the two models that an adapter makes of one.
type side int

const (
	base  side = iota // without the adapter
	tuned             // with it, or the whole model where there is none
)

func (s side) String() string { return [...]string{"base", "tuned"}[s] }
func (s side) title() string  { return [...]string{"base model", "with the adapter"}[s] }

// flags joins the flags that commands share with their own.
func flags(lists ...[]cli.Flag) (all []cli.Flag) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// voiceFlags say which model answers.
func voiceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "run", Usage: "a `RUN`: an id or the start of one, a name, or last, the newest that has left an adapter or a model"},
		&cli.StringFlag{Name: "model", Usage: "a model `FOLDER`, or a name on the Hub such as google/gemma-3-1b-it"},
		&cli.StringFlag{Name: "adapter", Usage: "an adapter `FOLDER`, PEFT's or MLX's, for --model"},
		&cli.BoolFlag{Name: "no-adapter", Usage: "the base model alone of --run"},
		&cli.StringFlag{Name: "device", Usage: "auto, mps, cuda or cpu", Value: "auto"},
		&cli.StringFlag{Name: "dtype", Usage: "auto, bfloat16 or float32", Value: "auto"},
		quantizeFlag(),
		&cli.IntFlag{Name: "threads", Usage: "compute with `N` threads on the CPU; 0 for one a core"},
	}
}

// quantizeFlag keeps the base model in fewer bits. It is none also for a run that was quantised: an adapter is mostly used
// with the model as it is, and then it should be heard so.
func quantizeFlag() cli.Flag {
	return &cli.StringFlag{Name: "quantize", Usage: "keep the linear modules' weights as int8 or int4, or with none as they are", Value: "none"}
}

// findVoice finds, and where need be fetches, all but the weights.
func findVoice(ctx context.Context, c *cli.Context) (*voice, error) {
	if err := errors.Join(oneOf(c, "dtype", "auto", "bfloat16", "float32"), oneOf(c, "quantize", "none", "int8", "int4"),
		atLeast(c, "threads", 0)); err != nil {
		return nil, err
	}
	if n := c.Int("threads"); n > configs.MaxThreads() {
		return nil, badInput{fmt.Errorf("%s: --threads: must be at most %d, got %d: this machine has %d logical CPUs", commandOf(c),
			configs.MaxThreads(), n, runtime.NumCPU()), "--threads 0 takes one a core"}
	}
	if c.Command.Name == "bench" { // a database that cannot be written would lose what was measured
		if err := checkDatabase("--db", c.String("db")); err != nil {
			return nil, err
		}
	}
	from, err := sourceOf(c)
	if err != nil {
		return nil, err
	}
	v := &voice{from: from, name: from.model, dir: from.model, w: c.App.Writer, out: screenOf(c.App.Writer), errs: screenOf(c.App.ErrWriter)}
	v.progress = func(text string) {
		if v.errs.terminal {
			fmt.Fprintf(c.App.ErrWriter, "\r\x1b[K%s", v.errs.paint(faint, text))
		}
	}
	if c.Bool("no-adapter") {
		if v.from.adapter == "" {
			return nil, badInput{fmt.Errorf("%s: --no-adapter: there is none", commandOf(c)), "leave it out"}
		}
		v.from.adapter, v.from.sha256 = "", ""
	}
	if c.Bool("compare") && v.from.adapter == "" { // bench has no such flag
		return nil, badInput{fmt.Errorf("%s: --compare: there is no adapter to compare %s with", commandOf(c), v.name),
			"--run RUN or --adapter FOLDER names one"}
	}
	if v.device, err = torch.ParseDevice(c.String("device")); err != nil {
		return nil, badInput{fmt.Errorf("--device: %w", err), "tune doctor shows what this machine has"}
	}
	v.dtype, v.bits = chooseDType(c.String("dtype"), v.device), configs.Model{Quantize: c.String("quantize")}.QuantizeBits()
	torch.SetThreads(cmp.Or(c.Int("threads"), machine.PhysicalCores()))
	what := "--model " + from.model
	if from.run != "" {
		what = "run " + from.run + ": its model " + from.model
	}
	found, err := findModel(ctx, c.App.ErrWriter, what, from.model, from.revision, from.hub)
	if err != nil {
		return nil, err
	}
	if err := v.checkAdapter(found.config); err != nil {
		return nil, err
	}
	if err := found.fetchWeights(ctx, c.App.ErrWriter); err != nil {
		return nil, err
	}
	v.tok, v.dir, v.commit, v.from.model = found.tok, found.dir, found.commit, found.dir
	return v, nil
}

// checkAdapter refuses an adapter that is none, or is for another model, before the weights are fetched and loaded.
func (v *voice) checkAdapter(config *checkpoint.Config) error {
	if v.from.adapter == "" {
		return nil
	}
	adapter, err := adapterfile.Read(v.from.adapter)
	if err == nil {
		if err = adapters.Fits(adapter, config); err != nil {
			err = fmt.Errorf("%s: %w", v.from.adapter, err)
		}
	}
	if err != nil {
		what := "--adapter"
		if v.from.run != "" {
			what = "run " + v.from.run + ": its adapter"
		}
		return badInput{fmt.Errorf("%s: %w", what, err), ""}
	}
	return nil
}

// check refuses a conversation that the model's template cannot write.
func (v *voice) check(messages []tokenizer.Message) error {
	if _, _, err := v.tok.Chat(messages, true); err != nil {
		return badInput{fmt.Errorf("%s: %w", v.name, err), ""}
	}
	return nil
}

// load reads the weights; they belong to s.
func (v *voice) load(s *torch.Scope, stderr io.Writer) (err error) {
	v.s = s
	changed := v.from.changed()
	if v.model, err = model.Load(s, v.dir, model.Options{Device: v.device, DType: v.dtype, QuantizeBits: v.bits}); err != nil {
		return loadError(err)
	}
	if v.from.adapter != "" {
		if v.adapter, err = adapters.Load(s, v.model, v.from.adapter); err != nil {
			return loadError(err)
		}
	}
	if changed() {
		v.warnChanged(stderr)
	}
	return nil
}

func (v *voice) warnChanged(stderr io.Writer) {
	fmt.Fprintf(stderr, "warning: %s has changed since the run: the adapter was trained on another model\n", v.name)
}

// answer has one side answer.
func (v *voice) answer(ctx context.Context, side side, messages []tokenizer.Message, o model.GenerateOptions, each func(string)) (trainer.Answered, error) {
	if v.adapter != nil {
		v.adapter.Enable(side == tuned)
		defer v.adapter.Enable(true)
	}
	a, err := trainer.Answer(ctx, v.s, v.model, v.tok, messages, o, each)
	if err == nil && a.Stopped == model.StopContext && a.NewTokens == 0 {
		prompt, reach := a.Cached+a.PromptTokens, v.model.Config.MaxPositionEmbeddings
		return a, badInput{fmt.Errorf("the prompt has %d tokens, the model reaches %d (max_position_embeddings)", prompt, reach), ""}
	}
	return a, err
}
