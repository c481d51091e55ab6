package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tune/adapters"
	"tune/configs"
	"tune/datasets"
	"tune/internal/adapterfile"
	"tune/internal/chart"
	"tune/internal/checkpoint"
	"tune/internal/machine"
	"tune/internal/model"
	"tune/internal/plan"
	"tune/internal/tokenizer"
	"tune/internal/torch"
	"tune/trainer"
)

func planCommand() *cli.Command {
	return &cli.Command{
		Name:      "plan",
		Usage:     "predict what a run needs, before it begins",
		ArgsUsage: "CONFIG",
		Description: "Predicts the peak memory of a run, by what it is for, and its time on this machine from a second of\n" +
			"matrix products, and says whether it fits. Nothing is trained and no weight is read. The exit status\n" +
			"is 1 when it does not fit.\n\n" +
			"   tune plan configs/bluey.yaml\n" +
			"   tune plan configs/bluey-gemma.yaml --set train.batch_size=8 --json",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "set", Usage: "override one `KEY=VALUE` of the file; may be repeated"},
			jsonFlag(),
		},
		Action: planAction,
	}
}

// planReport is what tune plan --json writes.
type planReport struct {
	Model  string `json:"model"`
	Device string `json:"device"`
	DType  string `json:"dtype"`
	Steps  int    `json:"steps"`

	GradientCheckpointing bool   `json:"gradient_checkpointing"`
	CheckpointingReason   string `json:"gradient_checkpointing_reason,omitempty"` // where the config says auto

	Parts      []plan.Part `json:"parts"`
	PeakBytes  int64       `json:"peak_memory_bytes"`
	LimitBytes int64       `json:"limit_bytes"`     // 0 where it is unknown
	FreeBytes  int64       `json:"available_bytes"` // of the limit, now; 0 where it is unknown
	LimitOf    string      `json:"limit_of"`
	Fits       bool        `json:"fits"`
	Change     []string    `json:"cheapest_change"` // null when it fits, or when none helps
	Seconds    float64     `json:"seconds"`
	FLOPS      float64     `json:"flops_per_second"` // of the matrix products that were timed
}

func planAction(c *cli.Context) error {
	path, err := argument(c, "a config file", "tune plan configs/bluey.yaml")
	if err != nil {
		return err
	}
	cfg, err := configs.Load(path, c.StringSlice("set"))
	if err != nil {
		return err
	}
	ctx, stop := untilInterrupted(c.Context)
	defer stop()
	if err := errors.Join(checkOutputDir(cfg.Output.Dir), checkDatabase("output.database", cfg.Output.Database)); err != nil {
		return err
	}
	device, err := torch.ParseDevice(cfg.Device)
	if err != nil {
		return badInput{fmt.Errorf("device: %w", err), "tune doctor shows what this machine has"}
	}
	if cfg.Threads == 0 {
		cfg.Threads = machine.PhysicalCores()
	}
	torch.SetThreads(cfg.Threads)
	// A model of the Hub is not fetched for a plan: its config and its tokenizer are, which tell all that is needed.
	found, err := findModel(ctx, c.App.ErrWriter, "model.path: "+cfg.Model.Path, cfg.Model.Path, cfg.Model.Revision, true)
	if err != nil {
		return err
	}
	if err := checkPrompts(cfg, found.tok); err != nil {
		return err
	}
	rows, validation, err := openRows(cfg, found.tok)
	if err != nil {
		return err
	}
	if err := fits(found.config, rows, validation); err != nil {
		return err
	}
	p, err := newPlanner(cfg, found.config, device, rows, validation)
	if err != nil {
		return err
	}
	report, err := p.report(ctx, time.Second)
	if err != nil {
		return err
	}
	// As in a run: what does not fit needs no weights, and those of the Hub come when it runs.
	if report.Fits && found.commit == "" && cfg.Model.Init != "random" {
		if err := found.checkWeights(); err != nil {
			return err
		}
	}
	if c.Bool("json") {
		err = writeJSON(c.App.Writer, report)
	} else {
		report.write(c.App.Writer)
	}
	if err == nil && !report.Fits { // the answer to a plan is no wrong input: exit status 1
		err = fmt.Errorf("%s: the run does not fit", path)
	}
	return err
}

// openRows opens the files of rows that a config names.
func openRows(cfg *configs.Config, tok *tokenizer.Tokenizer) (rows, validation *datasets.Dataset, err error) {
	o := datasets.Options{MaxLength: cfg.Data.MaxLength, LossOn: cfg.Data.LossOn}
	if rows, err = datasets.Open(cfg.Data.Train, tok, o); err != nil || cfg.Data.Validation == "" {
		return rows, nil, err
	}
	validation, err = datasets.Open(cfg.Data.Validation, tok, o)
	return rows, validation, err
}

// planner predicts runs of one model on one set of rows.
type planner struct {
	cfg              *configs.Config
	model            *checkpoint.Config
	device           torch.Device
	rows, validation *datasets.Dataset
	from             *adapterfile.Adapter // lora.from
	process          int64
	limits           func() (limit, free int64, of string)
}

// newPlanner reads the adapter of lora.from, which a prediction needs, and refuses one that does not go with the model.
func newPlanner(cfg *configs.Config, c *checkpoint.Config, device torch.Device, rows, validation *datasets.Dataset) (_ *planner, err error) {
	p := &planner{cfg: cfg, model: c, device: device, rows: rows, validation: validation, process: torch.ProcessMemory().Now}
	p.limits = p.deviceLimits
	if cfg.Method == "lora" && cfg.LoRA.From != "" {
		if p.from, err = adapterfile.Read(cfg.LoRA.From); err != nil {
			return nil, badInput{fmt.Errorf("lora.from: %w", err), ""}
		}
	}
	if cfg.Method == "lora" {
		if err := adapters.Check(c, cfg.LoRA, p.from); err != nil {
			return nil, badInput{err, ""}
		}
	}
	return p, nil
}

// inputs returns what a run with another config than the planner's would be predicted from.
func (p *planner) inputs(cfg *configs.Config) plan.Inputs {
	in := plan.Inputs{Model: p.model, Config: cfg, ElementSize: chooseDType(cfg.Model.DType, p.device).Size(),
		Fused: p.device == torch.CPU, FusedAttention: torch.HasSDPA() && p.device != torch.MPS, MeanKeepsInput: torch.MeanKeepsInput(),
		Bucket: model.Bucket(p.device, chooseDType(cfg.Model.DType, p.device)), ProcessBytes: max(0, p.process)}
	in.HalfWeights = halfWeights(p.model, p.device, chooseDType(cfg.Model.DType, p.device))
	if p.device == torch.CUDA {
		in.ProcessBytes = 0 // the device's memory is counted, which libtorch itself is not in
	}
	if cfg.Method == "lora" {
		in.Modules = plan.ModulesOf(p.model, cfg.LoRA)
		if p.from != nil {
			in.Modules = plan.ModulesIn(p.from)
			decided := *cfg // lora.use_dora may be left out: the adapter says it
			decided.LoRA.UseDoRA = p.from.UseDoRA
			in.Config = &decided
		}
	}
	if p.rows != nil {
		in.Batches = batchesOf(cfg, p.rows, batchOptions(cfg))
	}
	if p.validation != nil {
		in.Evaluations = batchesOf(cfg, p.validation, datasets.BatchOptions{BatchSize: cfg.Train.BatchSize})
	}
	return in
}

// halfWeights reports whether a model's weights stay in the bfloat16 that its files hold beside float32 activations.
func halfWeights(c *checkpoint.Config, device torch.Device, dtype torch.DType) bool {
	return dtype == torch.Float32 && c.TorchDType == torch.BFloat16.String() && device.KeepsBFloat16([]int64{c.VocabSize, c.HiddenSize}) &&
		device.KeepsBFloat16([]int64{c.IntermediateSize, c.HiddenSize})
}

// batchOptions is how a run puts rows into batches.
func batchOptions(cfg *configs.Config) datasets.BatchOptions {
	o := datasets.BatchOptions{BatchSize: cfg.Train.BatchSize, Shuffle: cfg.Data.Shuffle, Seed: cfg.Seed}
	if cfg.Data.PadToMaxLength {
		o.PadTo = cfg.Data.MaxLength
	}
	return o
}

// batchesOf returns the sizes of the batches that a run makes of rows, each size once: of two runs with the same seed
// they are the same. Of very many, the first.
func batchesOf(cfg *configs.Config, d *datasets.Dataset, o datasets.BatchOptions) []plan.Batch {
	if len(d.Samples) == 0 {
		return nil
	}
	short := *d
	short.Samples = make([]datasets.Sample, len(d.Samples))
	for i, row := range d.Samples { // a smaller max_length than the one they were read with cuts them
		n := min(len(row.InputIDs), cfg.Data.MaxLength)
		short.Samples[i] = datasets.Sample{InputIDs: row.InputIDs[:n], Labels: row.Labels[:n], Line: row.Line}
	}
	batcher := datasets.NewBatcher(&short, o)
	const most = 10000
	count := min(most, trainer.Steps(batcher.BatchesPerEpoch(), cfg.Train)*cfg.Train.GradientAccumulationSteps)
	if !o.Shuffle {
		count = min(count, batcher.BatchesPerEpoch())
	}
	seen := map[plan.Batch]bool{}
	var batches []plan.Batch
	for range max(1, count) {
		size := sizeOf(batcher.Next())
		if !seen[size] {
			seen[size] = true
			batches = append(batches, size)
		}
	}
	return batches
}

// sizeOf returns what a batch's work depends on.
func sizeOf(b datasets.Batch) plan.Batch {
	size := plan.Batch{Rows: int64(len(b.Rows)), Tokens: int64(len(b.InputIDs)), Targets: int64(b.TargetTokens)}
	for i := range b.Rows {
		size.Longest = max(size.Longest, int64(b.Starts[i+1]-b.Starts[i]))
	}
	return size
}

// deviceLimits returns what the run's device lets it have in all and, of that, what is free now; 0 is unknown.
func (p *planner) deviceLimits() (limit, free int64, of string) {
	total, available := machine.Memory()
	switch p.device {
	case torch.CUDA:
		n := max(0, p.device.MemoryLimit())
		return n, n, "free on the GPU"
	case torch.MPS:
		if n := p.device.MemoryLimit(); n > 0 {
			return n, n, "that macOS recommends for the GPU"
		}
		n := int64(total / 4 * 3)
		return n, n, "for the GPU, 75% of what is installed"
	}
	return int64(total), int64(available) + p.process, "of this machine"
}

// settle puts true or false for train.gradient_checkpointing: auto and returns why: it is true only for a run that fits
// into limit bytes with it and not without. The reason is empty where the config has decided. predict is asked for the
// memory of a config.
func settle(cfg *configs.Config, limit int64, of string, predict func(*configs.Config) int64) (reason string) {
	if !cfg.Train.AutoCheckpointing {
		return ""
	}
	cfg.Train.GradientCheckpointing, cfg.Train.AutoCheckpointing = false, false
	if limit == 0 {
		return "this system does not tell how much memory there is"
	}
	without := predict(cfg)
	if without <= limit {
		return "the run fits without it"
	}
	alternative := *cfg
	alternative.Train.GradientCheckpointing = true
	if with := predict(&alternative); with > limit {
		return "the run fits neither with it nor without"
	}
	cfg.Train.GradientCheckpointing = true
	return fmt.Sprintf("without it the run needs %s, and there are %s %s", chart.FormatBytes(float64(without)),
		chart.FormatBytes(float64(limit)), of)
}

// report predicts the planner's own run, whose config it settles first. measuring is about how long matrix products are
// timed; without it no time is predicted.
func (p *planner) report(ctx context.Context, measuring time.Duration) (*planReport, error) {
	limit, free, of := p.limits()
	reason := settle(p.cfg, limit, of, func(c *configs.Config) int64 { return plan.Predict(p.inputs(c)).Bytes })
	in := p.inputs(p.cfg)
	predicted := plan.Predict(in)
	dtype := chooseDType(p.cfg.Model.DType, p.device)
	batcher := datasets.NewBatcher(p.rows, batchOptions(p.cfg))
	r := &planReport{Model: p.cfg.Model.Path, Device: p.device.String(), DType: dtype.String(),
		Steps: trainer.Steps(batcher.BatchesPerEpoch(), p.cfg.Train), Parts: predicted.Parts, PeakBytes: predicted.Bytes,
		GradientCheckpointing: p.cfg.Train.GradientCheckpointing, CheckpointingReason: reason,
		LimitBytes: limit, FreeBytes: free, LimitOf: of}
	r.Fits = r.LimitBytes == 0 || r.PeakBytes <= r.LimitBytes
	if !r.Fits {
		var err error
		r.Change, err = plan.Cheapest(*p.cfg, r.LimitBytes, func(c *configs.Config) (int64, error) {
			return plan.Predict(p.inputs(c)).Bytes, ctx.Err()
		})
		if err != nil {
			return nil, err
		}
	}
	if measuring == 0 {
		return r, nil
	}
	var err error
	if r.FLOPS, err = productRate(p.model, p.device, dtype, measuring); err != nil {
		return nil, err
	}
	r.Seconds = p.seconds(&in, r.FLOPS, r.Steps)
	return r, nil
}

// seconds predicts the time of a run's steps, from those of its batches on average.
func (p *planner) seconds(in *plan.Inputs, flops float64, steps int) float64 {
	batcher := datasets.NewBatcher(p.rows, batchOptions(p.cfg))
	const sampled = 64
	var work float64
	n := 0
	for ; n < min(sampled, batcher.BatchesPerEpoch()); n++ {
		work += in.Work(sizeOf(batcher.Next()))
	}
	if n == 0 || flops <= 0 {
		return 0
	}
	return in.Seconds(work/float64(n), flops) * float64(steps*p.cfg.Train.GradientAccumulationSteps)
}

// productRate times products of the model's own shapes: a batch of tokens with the widest weight of a layer, which is
// cut where it is wider than the rate depends on, so that a plan needs little memory itself.
func productRate(c *checkpoint.Config, device torch.Device, dtype torch.DType, measuring time.Duration) (flops float64, err error) {
	const tokens = 256
	in, out := min(c.HiddenSize, 2048), min(c.IntermediateSize, 8192)
	err = torch.Run(func(s *torch.Scope) error {
		x := s.Zeros(dtype, device, tokens, in)
		kept := dtype
		if halfWeights(c, device, dtype) {
			kept = torch.BFloat16
		}
		w := s.Zeros(kept, device, out, in)
		once := func() error {
			return s.Nest(func(s *torch.Scope) error { s.FrozenLinear(x, w); return s.Err() })
		}
		if err := once(); err != nil { // the first makes kernels and threads
			return err
		}
		device.Synchronize()
		began, n := time.Now(), 0
		for time.Since(began) < measuring {
			if err := once(); err != nil {
				return err
			}
			device.Synchronize()
			n++
		}
		flops = float64(n) * 2 * tokens * float64(in*out) / time.Since(began).Seconds()
		return s.Err()
	})
	return flops, err
}

// line is the plan in one line, for tune run.
func (r *planReport) line() string {
	text := "plan: " + chart.FormatBytes(float64(r.PeakBytes))
	if r.LimitBytes > 0 {
		text += fmt.Sprintf(" of %s %s", chart.FormatBytes(float64(r.LimitBytes)), r.LimitOf)
	}
	if r.Seconds > 0 {
		text += ", about " + chart.FormatDuration(r.Seconds)
	}
	return text
}

// checkpointing says what became of train.gradient_checkpointing: auto; empty where the config does not say auto.
func (r *planReport) checkpointing() string {
	if r.CheckpointingReason == "" {
		return ""
	}
	return fmt.Sprintf("train.gradient_checkpointing: auto is %v: %s", r.GradientCheckpointing, r.CheckpointingReason)
}

// refusal says why a run cannot fit and what would make it.
func (r *planReport) refusal() error {
	var parts []string
	for _, part := range r.Parts {
		if part.Bytes > 0 {
			parts = append(parts, part.Name+" "+chart.FormatBytes(float64(part.Bytes)))
		}
	}
	hint := "only a smaller model fits; --force tries it all the same"
	if r.Change != nil {
		hint = "--set " + strings.Join(settings(r.Change), " --set ") + " makes it fit; --force tries it as it is"
	}
	return badInput{fmt.Errorf("the run needs %s of memory (%s), %s are there %s", chart.FormatBytes(float64(r.PeakBytes)),
		strings.Join(parts, ", "), chart.FormatBytes(float64(r.LimitBytes)), r.LimitOf), hint}
}

// settings turns "train.batch_size: 2" into "train.batch_size=2".
func settings(change []string) []string {
	out := make([]string, len(change))
	for i, set := range change {
		out[i] = strings.Replace(set, ": ", "=", 1)
	}
	return out
}

func (r *planReport) write(w io.Writer) {
	s := screenOf(w)
	fmt.Fprintf(w, "%s on %s, %s, %d steps\n\n", r.Model, r.Device, r.DType, r.Steps)
	for _, part := range r.Parts {
		if part.Bytes > 0 {
			fmt.Fprintf(w, "  %-12s %10s  %s\n", part.Name, chart.FormatBytes(float64(part.Bytes)), partMeaning[part.Name])
		}
	}
	fmt.Fprintf(w, "  %-12s %10s\n\n", "peak", s.paint(bold, chart.FormatBytes(float64(r.PeakBytes))))
	if text := r.checkpointing(); text != "" {
		fmt.Fprintln(w, text)
	}
	switch {
	case r.LimitBytes == 0:
		fmt.Fprintln(w, "whether it fits is unknown: this system does not tell how much memory there is")
	case !r.Fits:
		fmt.Fprintf(w, "it does not fit: there are %s %s\n", chart.FormatBytes(float64(r.LimitBytes)), r.LimitOf)
		if r.Change == nil {
			fmt.Fprintln(w, "no setting makes it fit: take a smaller model")
		} else {
			fmt.Fprintf(w, "the cheapest change that makes it fit: %s\n", strings.Join(r.Change, ", "))
		}
	case r.FreeBytes > 0 && r.PeakBytes > r.FreeBytes:
		fmt.Fprintf(w, "it fits into the %s %s, but other programs use all but %s of them now\n",
			chart.FormatBytes(float64(r.LimitBytes)), r.LimitOf, chart.FormatBytes(float64(r.FreeBytes)))
	default:
		fmt.Fprintf(w, "it fits: there are %s %s\n", chart.FormatBytes(float64(r.LimitBytes)), r.LimitOf)
	}
	fmt.Fprintf(w, "time: about %s, by matrix products at %.0f GFLOP/s; evaluations and samples come on top\n",
		chart.FormatDuration(r.Seconds), r.FLOPS/1e9)
}

var partMeaning = map[string]string{
	"process":     "libtorch, the tokenizer and the rows",
	"weights":     "of the base model",
	"adapter":     "its trained numbers, in float32",
	"gradients":   "of what is trained, in float32",
	"optimizer":   "AdamW's two moments",
	"activations": "kept for the backward pass of the largest batch",
	"logits":      "of one block of target rows",
	"working":     "made and dropped by operators",
}
