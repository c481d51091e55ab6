package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/urfave/cli/v2"

	"tune/configs"
	"tune/datasets"
	"tune/internal/checkpoint"
	"tune/internal/machine"
	"tune/internal/runstore"
	"tune/internal/tokenizer"
	"tune/internal/torch"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "train as a YAML file says, and record it",
		ArgsUsage: "CONFIG",
		Description: "Trains the model that CONFIG names on the data that it names, with a progress bar on a terminal\n" +
			"and plain lines elsewhere. Every step goes to the database (runs.db) as it happens; the adapter\n" +
			"goes to a folder of the run below runs/. Ctrl-C ends it after a step and keeps all; the same command\n" +
			"then goes on where it stopped.\n\n" +
			"   tune run configs/bluey.yaml\n" +
			"   tune run configs/bluey.yaml --set train.num_train_epochs=5 --set lora.rank=8",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "set", Usage: "override one `KEY=VALUE` of the file; may be repeated"},
			&cli.BoolFlag{Name: "fresh", Usage: "begin anew although a run of this very config was interrupted"},
			forceFlag(),
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
			if err := checkOutputDir(cfg.Output.Dir); err != nil {
				return err
			}
			return withStore("output.database", cfg.Output.Database, func(store *runstore.Store) error {
				r := newSession(c, store, cfg)
				var before *runstore.RunSummary
				if !c.Bool("fresh") {
					if before, err = interruptedRun(c.Context, store, cfg); err != nil {
						return err
					}
				}
				if before != nil {
					r.out.line("run %s of this config was interrupted after step %d of %d and goes on (--fresh begins anew)", before.ID, before.StepsDone,
						before.TotalSteps)
					return r.resume(c.Context, *before)
				}
				return r.start(c.Context)
			})
		},
	}
}

func forceFlag() cli.Flag {
	return &cli.BoolFlag{Name: "force", Usage: "run although it is predicted not to fit into memory"}
}

// withStore opens a database for writing, closes it, and keeps the first error.
func withStore(key, path string, f func(*runstore.Store) error) error {
	store, err := openStore(key, path)
	if err != nil {
		return err
	}
	defer store.Close()
	return f(store)
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
