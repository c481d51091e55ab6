package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"github.com/urfave/cli/v2"

	"tune/adapters"
	"tune/configs"
	"tune/datasets"
	"tune/internal/chart"
	"tune/internal/checkpoint"
	"tune/internal/files"
	"tune/internal/machine"
	"tune/internal/model"
	"tune/internal/runstore"
	"tune/internal/tokenizer"
	"tune/internal/torch"
	"tune/trainer"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "train as a YAML file says, and record it",
		ArgsUsage: "CONFIG",
		Description: "Trains the model that CONFIG names on the data that it names, with a progress bar on a terminal\n" +
			"and plain lines elsewhere. Every step goes to the database (runs.db) as it happens; the adapter\n" +
			"goes to a folder of the run below runs/.\n\n" +
			"   tune run configs/bluey.yaml\n" +
			"   tune run configs/bluey.yaml --set train.num_train_epochs=5 --set lora.rank=8",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "set", Usage: "override one `KEY=VALUE` of the file; may be repeated"},
			&cli.BoolFlag{Name: "force", Usage: "run although it is predicted not to fit into memory"},
		},
		Action: func(c *cli.Context) error {
			path, err := argument(c, "a config file", "tune run configs/bluey.yaml")
			if err != nil {
				return err
			}
			cfg, err := configs.Load(path, c.StringSlice("set"))
			if err != nil {
				return err
			}
			ctx, stop := untilInterrupted(c.Context)
			defer stop()
			quiet := context.AfterFunc(ctx, func() {
				fmt.Fprintln(c.App.ErrWriter, "\nending after this step; Ctrl-C again quits at once")
			})
			defer quiet() // before stop, which ends ctx too
			return train(ctx, c, cfg)
		},
	}
}

// session is one run from its row to its summary.
type session struct {
	cfg      *configs.Config
	force    bool // run what does not fit
	plan     *planReport
	store    *runstore.Store
	row      runstore.Run
	out      *console
	dir      string      // where the run's files go
	model    *foundModel // the base model
	began    time.Time
	loading  time.Duration
	saving   time.Duration
	summary  trainer.Summary
	before   map[int]trainer.SampleText // by prompt
	after    map[int]trainer.SampleText
	artifact string // the adapter or model that was saved
}

// train opens the database, makes the run's row, trains, and writes how it ended, whatever happens.
func train(ctx context.Context, c *cli.Context, cfg *configs.Config) error {
	began := time.Now()
	if err := checkOutputDir(cfg.Output.Dir); err != nil {
		return err
	}
	store, err := openStore("output.database", cfg.Output.Database)
	if err != nil {
		return err
	}
	defer store.Close()

	r := &session{cfg: cfg, force: c.Bool("force"), store: store, began: began, out: newConsole(c.App.Writer, c.App.ErrWriter),
		before: map[int]trainer.SampleText{}, after: map[int]trainer.SampleText{}}
	r.row, err = newRow(ctx, cfg, began)
	if err != nil {
		return err
	}
	r.dir = filepath.Join(cfg.Output.Dir, r.row.ID)
	if err := store.CreateRun(ctx, r.row); err != nil {
		return err
	}
	if err := store.StartRun(ctx, r.row.ID); err != nil {
		return err
	}
	stopBeating := r.heartbeat(ctx)

	err = catch(func() error { return r.work(ctx) })
	stopBeating()
	r.out.closeBar()
	finish := runstore.Finish{Status: statusOf(err), WallSeconds: seconds(time.Since(began)), LoadSeconds: seconds(r.loading),
		TrainSeconds: seconds(r.summary.Training), EvaluateSeconds: seconds(r.summary.Evaluating), SaveSeconds: seconds(r.saving)}
	if err != nil {
		finish.Error = err.Error()
	}
	if ferr := store.FinishRun(ctx, r.row.ID, finish); ferr != nil {
		err = errors.Join(err, ferr)
	}
	if err != nil {
		err = fmt.Errorf("run %s: %w", r.row.ID, err)
		if errors.Is(err, trainer.ErrInterrupted) && r.artifact != "" {
			err = hinted{err, "what it had learned is in " + r.artifact + "; tune generate --run " + r.row.ID + " tries it"}
		}
		return err
	}
	r.printSummary(time.Since(began))
	return nil
}

func statusOf(err error) runstore.Status {
	var diverged *trainer.DivergedError
	switch {
	case err == nil:
		return runstore.Done
	case errors.As(err, &diverged):
		return runstore.Diverged
	case errors.Is(err, trainer.ErrInterrupted):
		return runstore.Interrupted
	}
	return runstore.Failed
}

func seconds(d time.Duration) runstore.Real { return runstore.Real(d.Seconds()) }

// heartbeat tells the database every few seconds that this process lives.
func (r *session) heartbeat(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				// A missed beat is no reason to stop training: the next step is a sign of life too.
				_ = r.store.Heartbeat(ctx, r.row.ID)
			}
		}
	}()
	return func() { cancel(); <-done }
}

// work loads, trains and saves.
func (r *session) work(ctx context.Context) error {
	cfg := r.cfg
	device, err := torch.ParseDevice(cfg.Device)
	if err != nil {
		return badInput{fmt.Errorf("device: %w", err), "tune doctor shows what this machine has"}
	}
	if cfg.Threads == 0 {
		cfg.Threads = machine.PhysicalCores()
	}
	torch.SetThreads(cfg.Threads)
	dtype := chooseDType(cfg.Model.DType, device)

	if err := r.findModel(ctx); err != nil {
		return err
	}
	tok := r.model.tok
	if err := checkPrompts(cfg, tok); err != nil {
		return err
	}
	for _, warning := range cfg.Warnings() {
		if err := r.warn(ctx, "config", warning); err != nil {
			return err
		}
	}
	rows, err := r.openData(ctx, cfg.Data.Train, tok)
	if err != nil {
		return err
	}
	var validation *datasets.Dataset
	if cfg.Data.Validation != "" {
		if validation, err = r.openData(ctx, cfg.Data.Validation, tok); err != nil {
			return err
		}
	}
	if err := fits(r.model.config, rows, validation); err != nil {
		return err
	}
	if err := r.predict(ctx, device, rows, validation); err != nil {
		return err
	}
	if err := r.fetchWeights(ctx); err != nil {
		return err
	}
	hashes := hashInBackground(r.model.dir, rows, validation)

	return torch.Run(func(s *torch.Scope) error {
		m, err := model.Load(s, r.model.dir, model.Options{DType: dtype, Device: device,
			Random: cfg.Model.Init == "random", Seed: cfg.Seed, QuantizeBits: cfg.Model.QuantizeBits()})
		if err != nil {
			return loadError(err)
		}
		total := m.Config.Count()
		var adapter *adapters.Adapter
		if cfg.Method == "lora" {
			if adapter, err = adapters.New(s, m, cfg.LoRA, cfg.Seed); err != nil {
				return loadError(err)
			}
		}
		batcher := datasets.NewBatcher(rows, batchOptions(cfg))
		job := trainer.Job{Model: m, Adapter: adapter, Train: batcher, Options: cfg.Train, Sample: cfg.Sample, Seed: cfg.Seed,
			Tokenizer: tok, Recorder: r, Now: time.Now}
		if validation != nil {
			job.Validation = epochOf(validation, cfg.Train.BatchSize)
		}
		if err := r.describe(ctx, hashes, device, dtype, adapter, total, rows, validation,
			trainer.Steps(batcher.BatchesPerEpoch(), cfg.Train)); err != nil {
			return err
		}
		r.loading = time.Since(r.began)
		r.out.start(&r.row, r.plan)

		r.summary, err = trainer.Run(ctx, s, job)
		if err != nil && !errors.Is(err, trainer.ErrInterrupted) {
			return err
		}
		return errors.Join(err, r.save(ctx, s, m, adapter))
	})
}

// findModel finds the model that model.path names, without its weights, and records which commit of the Hub it is of.
func (r *session) findModel(ctx context.Context) (err error) {
	path := r.cfg.Model.Path
	r.model, err = findModel(ctx, r.out.err, "model.path: "+path, path, r.cfg.Model.Revision, true)
	if err != nil || r.model.commit == "" {
		return r.whileFetching(ctx, err)
	}
	r.row.ModelRevision = r.model.commit
	return r.store.UpdateRun(ctx, r.row) // now: what fails from here on fails with this model
}

// fetchWeights brings what the run begins with; a random start needs none.
func (r *session) fetchWeights(ctx context.Context) error {
	if r.cfg.Model.Init == "random" {
		return nil
	}
	return r.whileFetching(ctx, r.model.fetchWeights(ctx, r.out.err))
}

// whileFetching tells an interrupt from a failure.
func (r *session) whileFetching(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w while fetching %s: the next run goes on where it stopped", trainer.ErrInterrupted, r.cfg.Model.Path)
	}
	return err
}

// checkPrompts refuses sample.prompts where the model's template cannot write them.
func checkPrompts(cfg *configs.Config, tok *tokenizer.Tokenizer) error {
	if len(cfg.Sample.Prompts) == 0 {
		return nil
	}
	if _, _, err := tok.Chat([]tokenizer.Message{{Role: "user", Content: "Hello"}}, true); err != nil {
		return badInput{fmt.Errorf("sample.prompts: %w", err), ""}
	}
	return nil
}

// predict plans the run and refuses one that cannot fit.
func (r *session) predict(ctx context.Context, device torch.Device, rows, validation *datasets.Dataset) error {
	p, err := newPlanner(r.cfg, r.model.config, device, rows, validation)
	if err != nil {
		return err
	}
	if r.plan, err = p.report(ctx, 100*time.Millisecond); err != nil {
		return err
	}
	if err := r.settled(ctx); err != nil {
		return err
	}
	r.row.PredictedPeakMemoryBytes, r.row.PredictedSeconds = r.plan.PeakBytes, runstore.Real(r.plan.Seconds)
	if r.plan.Fits {
		return nil
	}
	if !r.force {
		return r.plan.refusal()
	}
	return r.warn(ctx, "memory", fmt.Sprintf("the run needs %s of memory, %s are there %s",
		chart.FormatBytes(float64(r.plan.PeakBytes)), chart.FormatBytes(float64(r.plan.LimitBytes)), r.plan.LimitOf))
}

// settled keeps what the plan has made of the words auto in the config, so that the run's row repeats it anywhere.
func (r *session) settled(ctx context.Context) error {
	text := r.plan.checkpointing()
	if text == "" {
		return nil
	}
	config, err := r.cfg.YAML()
	if err != nil {
		return err
	}
	r.row.Config, r.row.ConfigSHA256 = string(config), hashBytes(config)
	return r.RecordEvent(ctx, trainer.Event{Level: trainer.Info, Kind: "checkpointing", Message: text})
}

// openData opens a file of rows and tells what max_length has cut.
func (r *session) openData(ctx context.Context, path string, tok *tokenizer.Tokenizer) (*datasets.Dataset, error) {
	d, err := datasets.Open(path, tok, datasets.Options{MaxLength: r.cfg.Data.MaxLength, LossOn: r.cfg.Data.LossOn})
	if err != nil {
		return nil, err
	}
	if d.Truncated+d.Dropped > 0 {
		err = r.warn(ctx, "truncated", fmt.Sprintf("%s: data.max_length %d: rows cut %d (%d tokens), rows left out because nothing to learn remained %d",
			path, r.cfg.Data.MaxLength, d.Truncated, d.TruncatedTokens, d.Dropped))
	}
	return d, err
}

// warn prints a warning and records it.
func (r *session) warn(ctx context.Context, kind, message string) error {
	return r.RecordEvent(ctx, trainer.Event{Level: trainer.Warning, Kind: kind, Message: message})
}

// fits refuses rows that are longer than the model reaches.
func fits(c *checkpoint.Config, sets ...*datasets.Dataset) error {
	for _, d := range sets {
		if d == nil {
			continue
		}
		for _, row := range d.Samples {
			if n := int64(len(row.InputIDs)); n > c.MaxPositionEmbeddings {
				return badInput{fmt.Errorf("%s:%d: the row has %d tokens, the model reaches %d (max_position_embeddings)",
					d.Path, row.Line, n, c.MaxPositionEmbeddings), "a smaller data.max_length cuts such rows"}
			}
		}
	}
	return nil
}

// loadError tells a model folder that is wrong from a machine that is too small.
func loadError(err error) error {
	if errors.Is(err, torch.ErrOutOfMemory) {
		return hinted{err, "a smaller model, or model.dtype: bfloat16, needs less memory"}
	}
	return badInput{err, ""}
}

// chooseDType resolves auto: bfloat16 where the device multiplies it in hardware, float32 elsewhere.
func chooseDType(name string, device torch.Device) torch.DType {
	if name == "bfloat16" || name == "auto" && device.BFloat16IsFast() {
		return torch.BFloat16
	}
	return torch.Float32
}

// epochOf returns a dataset's batches in the order of the file.
func epochOf(d *datasets.Dataset, batchSize int) []datasets.Batch {
	batcher := datasets.NewBatcher(d, datasets.BatchOptions{BatchSize: batchSize})
	batches := make([]datasets.Batch, batcher.BatchesPerEpoch())
	for i := range batches {
		batches[i] = batcher.Next()
	}
	return batches
}

// newRow is the run's row as far as it is known before anything is loaded.
func newRow(ctx context.Context, cfg *configs.Config, at time.Time) (runstore.Run, error) {
	text, err := cfg.YAML()
	if err != nil {
		return runstore.Run{}, err
	}
	facts, _ := machine.ReadFacts() // usable with an error, which names what the system does not tell
	build := machine.ReadBuild()
	commit, dirty := machine.GitCommit(ctx, ".")
	row := runstore.Run{
		ID: runstore.NewID(cfg.Name, at), Name: cfg.Name, Method: cfg.Method, ModelPath: cfg.Model.Path,
		DataTrain: cfg.Data.Train, DataValidation: cfg.Data.Validation, Config: string(text), ConfigSHA256: hashBytes(text),
		Seed: cfg.Seed, LearningRate: runstore.Real(cfg.Train.LearningRate), BatchSize: cfg.Train.BatchSize,
		GradientAccumulationSteps: cfg.Train.GradientAccumulationSteps, NumTrainEpochs: cfg.Train.NumTrainEpochs,
		MaxLength: cfg.Data.MaxLength, TuneVersion: build.Version, LibtorchVersion: torch.Version(), GoVersion: runtime.Version(),
		GitCommit: commit, GitDirty: dirty, Chip: facts.Chip, MachineModel: facts.Model, OS: facts.OS, Arch: facts.Arch,
		Cores: facts.Cores, PerformanceCores: facts.PerformanceCores, MemoryBytes: int64(facts.MemoryBytes),
	}
	if cfg.Method == "lora" {
		row.LoRARank, row.LoRAAlpha = cfg.LoRA.Rank, runstore.Real(cfg.LoRA.Alpha)
	}
	return row, nil
}

// describe completes the row with what loading has shown.
func (r *session) describe(ctx context.Context, hashes func() (hashSet, error), device torch.Device, dtype torch.DType,
	adapter *adapters.Adapter, total int64, rows, validation *datasets.Dataset, steps int) error {
	h, err := hashes()
	if err != nil {
		return err
	}
	r.row.ModelSHA256, r.row.DataTrainSHA256, r.row.DataValidationSHA256 = h.model, h.train, h.validation
	r.row.Device, r.row.DeviceName, r.row.DType, r.row.Threads = device.String(), device.Name(), dtype.String(), torch.Threads()
	r.row.TotalSteps, r.row.TotalParameters, r.row.TrainableParameters = int64(steps), total, total
	if adapter != nil {
		r.row.TrainableParameters = adapter.Parameters()
		r.row.LoRARank, r.row.LoRAAlpha = adapter.Config.Rank, runstore.Real(adapter.Config.Alpha) // those of lora.from, where it decides
	}
	r.row.TrainRows = int64(len(rows.Samples))
	if validation != nil {
		r.row.ValidationRows = int64(len(validation.Samples))
	}
	return r.store.UpdateRun(ctx, r.row)
}

// save writes the adapter, or the model, and records it.
func (r *session) save(ctx context.Context, s *torch.Scope, m *model.Model, adapter *adapters.Adapter) error {
	ctx = context.WithoutCancel(ctx) // an interrupted run keeps what it learned
	began := time.Now()
	defer func() { r.saving = time.Since(began) }()
	kind := "adapter"
	if adapter == nil {
		kind = "model"
	}
	r.artifact = filepath.Join(r.dir, kind)
	var err error
	if adapter != nil {
		err = adapter.Save(s, r.artifact, r.cfg.Model.Path)
	} else {
		dtype := torch.BFloat16
		if r.cfg.Output.DType == "float32" {
			dtype = torch.Float32
		}
		err = files.ReplaceDir(r.artifact, func(dir string) error {
			if err := copyTokenizer(r.model.dir, dir); err != nil {
				return err
			}
			return m.Save(s, dir, dtype)
		})
	}
	if err != nil {
		return fmt.Errorf("save %s: %w", kind, err)
	}
	return r.recordArtifacts(ctx, kind, r.artifact)
}
