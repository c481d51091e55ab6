package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"tune/adapters"
	"tune/configs"
	"tune/datasets"
	"tune/internal/checkpoint"
	"tune/internal/machine"
	"tune/internal/model"
	"tune/internal/plan"
	"tune/internal/runstore"
	"tune/internal/tokenizer"
	"tune/internal/torch"
	"tune/trainer"
)

// loaded is about when this process began, where the system does not tell better.
var loaded = time.Now()

func benchTrainCommand() *cli.Command {
	return &cli.Command{
		Name:  "train",
		Usage: "measure training steps, the same work as bench/baseline.py does",
		Description: "Trains a fresh adapter on rows of token ids in the order of the file, without validation, without samples,\n" +
			"and keeps nothing of it but the measurement, in the database (runs.db). With --profile, which makes steps\n" +
			"slower, or --no-record not even that. tune bench table sets measurements side by side; docs/performance.md\n" +
			"tells what the numbers mean; make bench sets them beside PyTorch's.\n\n" +
			"   tune bench train --model build/bench/small-bf16 --data build/bench/small-bf16/bench.jsonl\n" +
			"   tune bench train --model build/bench/small-bf16 --data build/bench/small-bf16/bench.jsonl --max-steps 6 --profile",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "model", Usage: "`FOLDER` of the base model; no tokenizer is needed"},
			&cli.StringFlag{Name: "data", Usage: "JSONL `FILE` of input_ids and labels"},
			&cli.StringFlag{Name: "dtype", Usage: "auto, bfloat16 or float32", Value: "auto"},
			quantizeFlag(),
			&cli.StringFlag{Name: "device", Usage: "auto, mps, cuda or cpu", Value: "auto"},
			&cli.IntFlag{Name: "threads", Usage: "compute with `N` threads on the CPU; 0 for one a core"},
			&cli.IntFlag{Name: "batch", Usage: "`N` rows a step", Value: 4},
			&cli.IntFlag{Name: "rank", Usage: "of the adapter", Value: 16},
			&cli.Float64Flag{Name: "alpha", Usage: "scales the adapter by alpha/rank; twice the rank when absent"},
			&cli.Float64Flag{Name: "lr", Usage: "learning `RATE`, constant", Value: 2e-4},
			&cli.IntFlag{Name: "epochs", Usage: "passes over the rows", Value: 1},
			&cli.IntFlag{Name: "max-steps", Usage: "stop after `N` steps; 0 for whole epochs"},
			&cli.BoolFlag{Name: "checkpointing", Usage: "gradient checkpointing"},
			&cli.BoolFlag{Name: "profile", Usage: "time every operator from the second step on, and list those that took longest; nothing is recorded"},
			&cli.BoolFlag{Name: "no-record", Usage: "leave the database alone"},
			databaseFlag(), jsonFlag(),
		},
		Action: benchTrain,
	}
}

// trainBenchmark is one measurement of training. The names up to last_loss are those of bench/baseline.py.
type trainBenchmark struct {
	Tool          string  `json:"tool"`
	Libtorch      string  `json:"libtorch"`
	Model         string  `json:"model"`
	DType         string  `json:"dtype"`
	Quantize      string  `json:"quantize"`
	Threads       int     `json:"threads"`
	Checkpointing bool    `json:"checkpointing"`
	Wall          float64 `json:"wall_s"`       // from the beginning of the first step to the end of the last
	TokensPerS    float64 `json:"tokens_per_s"` // real tokens
	StepMedian    float64 `json:"step_s_median"`
	PeakRSS       float64 `json:"peak_rss_gb"` // 10⁶ KiB, as baseline.py has it
	FirstLoss     float64 `json:"first_loss"`
	LastLoss      float64 `json:"last_loss"`

	Operators     int     `json:"operators_per_step"`     // outermost ones, of the second step
	AllOperators  int     `json:"all_operators_per_step"` // with those that operators call in turn
	Startup       float64 `json:"startup_s"`              // from the process's start to the beginning of the first step
	Device        string  `json:"device"`
	DevicePeak    float64 `json:"device_peak_gb"` // 10⁹ bytes in tensors; 0 where it cannot be told
	Batch         int     `json:"batch"`
	Rank          int     `json:"rank"`
	Steps         int     `json:"steps"`
	Tokens        int     `json:"tokens"`
	TargetTokens  int     `json:"target_tokens"`
	LayersGFLOP   float64 `json:"layers_gflop_per_step"` // matrix products of a step on average: of the layers
	HeadGFLOP     float64 `json:"head_gflop_per_step"`   // and of the LM head
	Chip          string  `json:"chip"`
	Machine       string  `json:"machine"` // model, where the system tells it, cores and memory
	OS            string  `json:"os"`
	Version       string  `json:"tune_version"`
	Commit        string  `json:"commit"`
	Dirty         bool    `json:"dirty"`
	ProfiledSteps int     `json:"profiled_steps,omitempty"`

	ID int64 `json:"benchmark_id,omitempty"` // in the database; absent where it was not recorded

	Profile []operatorTime `json:"profile,omitempty"`
}

// operatorTime is what one operator took in the steps that were profiled.
type operatorTime struct {
	Name      string  `json:"name"`
	Calls     int     `json:"calls"`
	Outermost int     `json:"outermost"`
	Self      float64 `json:"self_s"`
	Total     float64 `json:"total_s"`
}

func benchTrain(c *cli.Context) error {
	cfg, err := trainBenchConfig(c)
	if err != nil {
		return err
	}
	ctx, stop := untilInterrupted(c.Context)
	defer stop()
	b, err := measureAndRecord(ctx, c, cfg)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return json.NewEncoder(c.App.Writer).Encode(b) // in one line, to be collected in a file
	}
	return b.write(c.App.Writer)
}

// measureAndRecord measures training and writes it to the database, unless a flag says not to.
func measureAndRecord(ctx context.Context, c *cli.Context, cfg *configs.Config) (*trainBenchmark, error) {
	if c.Bool("no-record") || c.Bool("profile") {
		b, _, err := measureTraining(ctx, cfg, c.Bool("profile"))
		return b, err
	}
	// Before anything is measured: a database that cannot be written would lose it.
	store, err := openStore("--db", c.String("db"))
	if err != nil {
		return nil, err
	}
	b, watch, err := measureTraining(ctx, cfg, false)
	if err == nil {
		b.ID, err = b.record(ctx, store, watch)
	}
	return b, closing(store, err)
}

// record writes the measurement to the database and returns its id there.
func (b *trainBenchmark) record(ctx context.Context, store *runstore.Store, watch *stopwatch) (int64, error) {
	row := b.row(watch)
	config, err := readBenchModel(b.Model)
	if err != nil {
		return 0, err
	}
	row.TotalParameters = config.Count()
	if row.ModelSHA256, err = hashModel(b.Model); err != nil { // now: reading it all would have been part of the start-up
		return 0, err
	}
	return store.RecordBenchmark(ctx, row)
}

func readBenchModel(dir string) (*checkpoint.Config, error) {
	config, err := checkpoint.ReadConfig(dir)
	if err != nil {
		return nil, badInput{err, "--model must name a folder with config.json and safetensors"}
	}
	return config, nil
}

// row is the measurement as the database keeps it. The first step makes what stays for the others, so that it is left out
// where there are more.
func (b *trainBenchmark) row(watch *stopwatch) runstore.Benchmark {
	took, rates := watch.took, make([]float64, len(watch.took))
	for i, seconds := range took {
		rates[i] = float64(watch.stepTokens[i]) / seconds
	}
	if len(took) > 1 {
		took, rates = took[1:], rates[1:]
	}
	facts, _ := machine.ReadFacts() // usable with an error, which names what the system does not tell
	build := machine.ReadBuild()
	dtype := b.DType
	if b.Quantize != "none" {
		dtype += "+" + b.Quantize
	}
	none := runstore.Spread{Median: unmeasured, Min: unmeasured, Max: unmeasured}
	return runstore.Benchmark{CreatedAt: time.Now().UTC().Truncate(time.Millisecond), Kind: runstore.BenchmarkTrain,
		ModelPath: b.Model, Device: b.Device, DeviceName: watch.deviceName, DType: dtype, Threads: b.Threads,
		Repetitions: len(took), TimeToFirstToken: none, PrefillTokensPerSecond: none, DecodeTokensPerSecond: none,
		BatchSize: b.Batch, LoRARank: b.Rank, GradientCheckpointing: b.Checkpointing,
		TrainTokensPerSecond: runstore.SpreadOf(rates), StepSeconds: runstore.SpreadOf(took),
		PeakMemoryBytes: watch.peakMemory, DevicePeakMemoryBytes: watch.devicePeak,
		TuneVersion: build.Version, LibtorchVersion: b.Libtorch, GoVersion: runtime.Version(), GitCommit: b.Commit,
		GitDirty: b.Dirty, Chip: facts.Chip, MachineModel: facts.Model, OS: facts.OS, Arch: facts.Arch, Cores: facts.Cores,
		PerformanceCores: facts.PerformanceCores, MemoryBytes: int64(facts.MemoryBytes)}
}

// trainBenchConfig turns the flags into the config of the run that is measured.
func trainBenchConfig(c *cli.Context) (*configs.Config, error) {
	if err := errors.Join(noArguments(c), oneOf(c, "dtype", "auto", "bfloat16", "float32"), oneOf(c, "quantize", "none", "int8", "int4"), atLeast(c, "threads", 0),
		atLeast(c, "batch", 1), atLeast(c, "rank", 1), atLeast(c, "epochs", 1), atLeast(c, "max-steps", 0)); err != nil {
		return nil, err
	}
	for _, name := range []string{"model", "data"} {
		if c.String(name) == "" {
			return nil, badInput{fmt.Errorf("%s: want --%s", commandOf(c), name), "bench/make_model.py makes a model and its rows"}
		}
	}
	cfg := configs.Default()
	cfg.Name, cfg.Device, cfg.Threads = "bench", c.String("device"), cmp.Or(c.Int("threads"), machine.PhysicalCores())
	cfg.Model.Path, cfg.Model.DType, cfg.Model.Quantize = c.String("model"), c.String("dtype"), c.String("quantize")
	cfg.Data.Train, cfg.Data.Shuffle = c.String("data"), false
	cfg.LoRA.Rank, cfg.LoRA.Alpha = c.Int("rank"), float64(2*c.Int("rank"))
	if c.IsSet("alpha") {
		cfg.LoRA.Alpha = c.Float64("alpha")
	}
	t := &cfg.Train
	t.BatchSize, t.NumTrainEpochs, t.MaxSteps, t.GradientCheckpointing = c.Int("batch"), c.Int("epochs"), c.Int("max-steps"), c.Bool("checkpointing")
	t.AutoCheckpointing = false
	t.LearningRate, t.LRSchedulerType, t.WeightDecay, t.MaxGradNorm = c.Float64("lr"), "constant", 0.01, 1
	if err := cfg.Validate(); err != nil {
		return nil, badInput{fmt.Errorf("%s: %w", commandOf(c), err), ""}
	}
	return &cfg, nil
}

// measureTraining trains as cfg says and returns what it took, with every step in the stopwatch.
func measureTraining(ctx context.Context, cfg *configs.Config, profile bool) (*trainBenchmark, *stopwatch, error) {
	device, err := torch.ParseDevice(cfg.Device)
	if err != nil {
		return nil, nil, badInput{fmt.Errorf("--device: %w", err), "tune doctor shows what this machine has"}
	}
	torch.SetThreads(cfg.Threads)
	dtype := chooseDType(cfg.Model.DType, device)
	config, err := readBenchModel(cfg.Model.Path)
	if err != nil {
		return nil, nil, err
	}
	rows, err := openIDs(cfg.Data.Train, int(config.VocabSize))
	if err != nil {
		return nil, nil, err
	}
	if err := fits(config, rows); err != nil {
		return nil, nil, err
	}
	steps := trainer.Steps(datasets.NewBatcher(rows, batchOptions(cfg)).BatchesPerEpoch(), cfg.Train)
	watch := &stopwatch{steps: steps, profile: profile}
	defer watch.stopRecording()
	var summary trainer.Summary
	err = torch.Run(func(s *torch.Scope) error {
		m, err := model.Load(s, cfg.Model.Path, model.Options{DType: dtype, Device: device, QuantizeBits: cfg.Model.QuantizeBits()})
		if err != nil {
			return loadError(err)
		}
		adapter, err := adapters.New(s, m, cfg.LoRA, cfg.Seed)
		if err != nil {
			return loadError(err)
		}
		device.Synchronize()
		if err := watch.ready(); err != nil {
			return err
		}
		summary, err = trainer.Run(ctx, s, trainer.Job{Model: m, Adapter: adapter, Train: datasets.NewBatcher(rows, batchOptions(cfg)),
			Options: cfg.Train, Seed: cfg.Seed, Recorder: watch, Now: time.Now})
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	watch.deviceName, watch.peakMemory, watch.devicePeak = device.Name(), peakMemory(), known(summary.DevicePeak)
	facts, _ := machine.ReadFacts() // usable with an error, which names what the system does not tell
	b := &trainBenchmark{Tool: "tune bench train", Libtorch: torch.Version(), Model: cfg.Model.Path, DType: dtype.String(), Quantize: cfg.Model.Quantize,
		Threads: torch.Threads(), Checkpointing: cfg.Train.GradientCheckpointing, FirstLoss: rounded(summary.FirstLoss, 6),
		LastLoss: rounded(summary.LastLoss, 6), Device: device.String(), DevicePeak: rounded(float64(watch.devicePeak)/1e9, 3),
		Batch: cfg.Train.BatchSize, Rank: cfg.LoRA.Rank, Steps: summary.Steps, Tokens: summary.Tokens,
		PeakRSS: rounded(float64(watch.peakMemory)/1024/1e6, 3), Chip: facts.Chip, Machine: machineText(facts), OS: facts.OS,
		Version: machine.ReadBuild().Version}
	b.Commit, b.Dirty = machine.GitCommit(ctx, ".")
	watch.fill(b)
	b.countWork(config, cfg, rows)
	return b, watch, nil
}

// machineText is a machine in a few words: its cores and memory, and its model where the system tells it.
func machineText(f machine.Facts) string {
	return spaced(f.Model, fmt.Sprintf("%d cores, %.0f GiB", f.Cores, float64(f.MemoryBytes)/(1<<30)))
}

// countWork puts the matrix products of the steps into b: those that have to do with the vocabulary, and the rest.
func (b *trainBenchmark) countWork(config *checkpoint.Config, cfg *configs.Config, rows *datasets.Dataset) {
	in := plan.Inputs{Model: config, Config: cfg, Modules: plan.ModulesOf(config, cfg.LoRA)}
	batcher := datasets.NewBatcher(rows, batchOptions(cfg))
	var all, layers float64
	for range b.Steps {
		size := sizeOf(batcher.Next())
		all += in.Work(size)
		size.Targets = 0
		layers += in.Work(size)
	}
	b.LayersGFLOP = rounded(layers/float64(b.Steps)/1e9, 3)
	b.HeadGFLOP = rounded((all-layers)/float64(b.Steps)/1e9, 3)
}

// openIDs opens rows that are token ids already.
func openIDs(path string, vocabSize int) (*datasets.Dataset, error) {
	tok := &noTokenizer{vocabSize: vocabSize}
	d, err := datasets.Open(path, tok, datasets.Options{})
	if err == nil && tok.asked {
		err = errText
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, datasets.ErrInvalid) || errors.Is(err, errText) {
		return nil, badInput{err, "--data wants rows of input_ids and labels, as bench/make_model.py writes"}
	}
	return d, err
}

var errText = errors.New("rows of text, which no tokenizer is there for")

// noTokenizer knows how many ids there are and nothing else.
type noTokenizer struct {
	vocabSize int
	asked     bool // for the ids of a text
}

func (t *noTokenizer) Encode(string) []int64 { t.asked = true; return nil }
func (t *noTokenizer) Chat([]tokenizer.Message, bool) ([]int64, []tokenizer.Span, error) {
	t.asked = true
	return nil, nil, errText
}
func (t *noTokenizer) BOS() int64         { return 2 }
func (t *noTokenizer) EOS() int64         { return 1 }
func (t *noTokenizer) Piece(int64) string { return "" }
func (t *noTokenizer) VocabSize() int     { return t.vocabSize }

// stopwatch is the trainer's Recorder when steps are measured.
type stopwatch struct {
	steps   int
	profile bool

	began, ended time.Time // of the first step, of the last
	took         []float64 // seconds
	stepTokens   []int     // of each step
	tokens       int
	targets      int
	recording    *torch.Recording
	first        []torch.Operator // of the step that operators are counted in
	operators    []torch.Operator // with profile, of all steps that were recorded
	recorded     int              // steps

	// What else is measured of the process.
	deviceName             string
	peakMemory, devicePeak int64 // bytes
}

// ready is called before the first step. Operators are counted in the second, because the first one also makes what
// stays; where there is only one step, in that.
func (w *stopwatch) ready() error {
	if w.steps == 1 {
		return w.record()
	}
	return nil
}

func (w *stopwatch) record() (err error) {
	w.recording, err = torch.RecordOperators()
	return err
}

func (w *stopwatch) stopRecording() []torch.Operator {
	if w.recording == nil {
		return nil
	}
	defer func() { w.recording = nil }()
	return w.recording.Stop()
}

func (w *stopwatch) RecordStep(_ context.Context, m trainer.StepMetrics) error {
	w.ended = time.Now()
	if m.Step == 1 {
		w.began = w.ended.Add(-m.Elapsed)
	}
	w.took, w.stepTokens = append(w.took, m.Elapsed.Seconds()), append(w.stepTokens, m.Tokens)
	w.tokens, w.targets = w.tokens+m.Tokens, w.targets+m.TargetTokens
	if w.recording != nil {
		found := w.stopRecording()
		if w.first == nil {
			w.first = found
		}
		w.operators, w.recorded = addOperators(w.operators, found), w.recorded+1
	}
	if m.Step < w.steps && (m.Step == 1 || w.profile) {
		return w.record()
	}
	return nil
}

func (w *stopwatch) Sync(context.Context) error                                      { return nil }
func (w *stopwatch) RecordCheckpoint(context.Context, trainer.SavedCheckpoint) error { return nil }
func (w *stopwatch) RecordEvaluation(context.Context, trainer.Evaluation) error      { return nil }
func (w *stopwatch) RecordSample(context.Context, trainer.SampleText) error          { return nil }
func (w *stopwatch) RecordEvent(_ context.Context, e trainer.Event) error {
	if e.Level == trainer.Warning {
		fmt.Fprintln(os.Stderr, "warning:", printable(e.Message))
	}
	return nil
}

// addOperators adds the operators of a step to those of the steps before it.
func addOperators(sum, more []torch.Operator) []torch.Operator {
	at := map[string]int{}
	for i, o := range sum {
		at[o.Name] = i
	}
	for _, o := range more {
		i, ok := at[o.Name]
		if !ok {
			sum = append(sum, o)
			continue
		}
		sum[i].Calls, sum[i].Outermost = sum[i].Calls+o.Calls, sum[i].Outermost+o.Outermost
		sum[i].Total, sum[i].Self = sum[i].Total+o.Total, sum[i].Self+o.Self
	}
	slices.SortStableFunc(sum, func(a, b torch.Operator) int { return cmp.Compare(b.Self, a.Self) })
	return sum
}

// fill writes what was measured into b.
func (w *stopwatch) fill(b *trainBenchmark) {
	start, ok := machine.ProcessStart()
	if !ok {
		start = loaded
	}
	wall := w.ended.Sub(w.began).Seconds()
	b.Startup, b.Wall = rounded(w.began.Sub(start).Seconds(), 3), rounded(wall, 3)
	b.TokensPerS = rounded(float64(w.tokens)/wall, 1)
	b.StepMedian = rounded(slices.Sorted(slices.Values(w.took))[len(w.took)/2], 5)
	b.TargetTokens = w.targets
	for _, o := range w.first {
		b.Operators += o.Outermost
		b.AllOperators += o.Calls
	}
	if !w.profile {
		return
	}
	b.ProfiledSteps = w.recorded
	for _, o := range w.operators {
		b.Profile = append(b.Profile, operatorTime{o.Name, o.Calls, o.Outermost, rounded(o.Self.Seconds(), 6), rounded(o.Total.Seconds(), 6)})
	}
}

// rounded cuts the digits that say nothing.
func rounded(v float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(v*scale) / scale
}

// write shows a measurement to people.
func (b *trainBenchmark) write(w io.Writer) error {
	s := screenOf(w)
	checkpointing := ""
	if b.Checkpointing {
		checkpointing = ", checkpointing"
	}
	dtype := b.DType
	if b.Quantize != "none" {
		dtype += ", " + b.Quantize
	}
	fmt.Fprintf(w, "%s on %s, %s, %s%s: %s\n\n", b.Model, b.Device, dtype, countOf(b.Threads, "thread"), checkpointing, countOf(b.Steps, "step"))
	memory := fmt.Sprintf("%.3f GB resident", b.PeakRSS)
	if b.DevicePeak > 0 {
		memory += fmt.Sprintf(", %.3f GB in tensors", b.DevicePeak)
	}
	s.writeFields(w, "", []field{
		{"tokens/s", fmt.Sprintf("%.1f (%d in %.2f s)", b.TokensPerS, b.Tokens, b.Wall)},
		{"step", fmt.Sprintf("%.4f s, the median", b.StepMedian)},
		{"peak memory", memory},
		{"loss", fmt.Sprintf("%.4f at first, %.4f at last", b.FirstLoss, b.LastLoss)},
		{"operators", fmt.Sprintf("%d a step; %d with those that they call", b.Operators, b.AllOperators)},
		{"start-up", fmt.Sprintf("%.2f s", b.Startup)},
		{"products", fmt.Sprintf("%.2f GFLOP a step in the layers, %.2f in the head", b.LayersGFLOP, b.HeadGFLOP)},
	})
	if len(b.Profile) == 0 {
		return nil
	}
	const most = 40
	var sum float64
	for _, o := range b.Profile {
		sum += o.Self
	}
	steps := float64(b.ProfiledSteps)
	fmt.Fprintf(w, "\noperators by their own time, a step: %.2f ms in all\n\n", 1e3*sum/steps)
	columns := []tableColumn{{title: "operator"}, {title: "calls", right: true}, {title: "outermost", right: true},
		{title: "self ms", right: true}, {title: "share", right: true}, {title: "total ms", right: true}}
	for _, o := range b.Profile[:min(most, len(b.Profile))] {
		for i, cell := range []string{o.Name, fmt.Sprintf("%.1f", float64(o.Calls)/steps), fmt.Sprintf("%.1f", float64(o.Outermost)/steps),
			fmt.Sprintf("%.3f", 1e3*o.Self/steps), fmt.Sprintf("%.1f%%", 100*o.Self/sum), fmt.Sprintf("%.3f", 1e3*o.Total/steps)} {
			columns[i].cells = append(columns[i].cells, cell)
		}
	}
	return s.writeTable(w, columns)
}
