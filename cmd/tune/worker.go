package main

import (
	"bufio"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"tune/adapters"
	"tune/configs"
	"tune/datasets"
	"tune/internal/chart"
	"tune/internal/files"
	"tune/internal/machine"
	"tune/internal/model"
	"tune/internal/runstore"
	"tune/internal/tokenizer"
	"tune/internal/torch"
	"tune/trainer"
)

// workerCommand is the half of tune run that trains. It is no command for people.
func workerCommand() *cli.Command {
	return &cli.Command{Name: "worker", Hidden: true, Usage: "train for tune run, which starts it", Action: func(c *cli.Context) error {
		if os.Getenv(workerVariable) == "" { // file descriptor 3 is then something else
			return badInput{errors.New("tune worker: is started by tune run, for which it trains"), "tune run CONFIG"}
		}
		return serveOrder(os.Stdin, os.NewFile(3, "messages"))
	}}
}

// workerVariable is set in a worker's environment.
const workerVariable = "TUNE_WORKER"

// errSupervisorGone is why a worker stops when nobody listens any more.
var errSupervisorGone = errors.New("tune run, which started it, is gone")

// serveOrder carries out the order on commands and tells on messages how it goes. The exit status says nothing: the last
// message does.
func serveOrder(commands io.Reader, messages io.Writer) error {
	// Ctrl-C reaches every process of a terminal: what it means is for the supervisor to say. So is what to do when the
	// other end of standard error is gone.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	machine.OfferToOOMKiller()
	lines := bufio.NewReader(commands)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("tune worker: no order: %w", err)
	}
	var o order
	if err := json.Unmarshal(first, &o); err != nil {
		return fmt.Errorf("tune worker: its order: %w", err)
	}
	cfg, err := configs.Parse(o.Run.Name, []byte(o.Config), nil)
	if err != nil {
		return fmt.Errorf("tune worker: its config: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w := &worker{order: o, cfg: cfg, dir: filepath.Join(cfg.Output.Dir, o.Run.ID), began: time.Now(), err: os.Stderr,
		messages: gob.NewEncoder(messages), synced: make(chan int64, 1)}
	go w.listen(lines, cancel)

	end := &ending{Failure: failureOf(catch(func() error { return w.work(ctx) }))}
	end.Summary, end.Loading, end.Saving, end.Artifact = w.summary, w.loading, w.saving, w.artifact
	if err := w.send(message{End: end}); err != nil && !errors.Is(err, errSupervisorGone) {
		return err
	}
	return nil
}

// worker is one run from its order to its last message.
type worker struct {
	order
	cfg      *configs.Config
	dir      string // where the run's files go
	plan     *planReport
	model    *foundModel // the base model
	began    time.Time
	loading  time.Duration
	saving   time.Duration
	summary  trainer.Summary
	artifact string // the adapter or model that was saved
	err      io.Writer

	lock     sync.Mutex
	messages *gob.Encoder
	waiting  []message // sent, and not known to be recorded
	orphaned bool      // nobody listens any more
	syncs    int64
	synced   chan int64
}

// listen follows the supervisor's commands until there is no supervisor.
func (w *worker) listen(lines *bufio.Reader, stop func()) {
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			w.lock.Lock()
			w.orphaned = true
			w.lock.Unlock()
			stop()
			close(w.synced)
			return
		}
		switch word, number, _ := strings.Cut(strings.TrimSpace(line), " "); word {
		case "stop":
			stop()
		case "synced":
			if n, err := strconv.ParseInt(number, 10, 64); err == nil {
				w.synced <- n // which Sync waits for, also when the run is to stop
			}
		}
	}
}

// send tells the supervisor, or keeps what it would have told.
func (w *worker) send(m message) error {
	w.lock.Lock()
	defer w.lock.Unlock()
	if m.Sync == 0 && m.End == nil {
		w.waiting = append(w.waiting, m)
	}
	if !w.orphaned && w.messages.Encode(m) != nil {
		w.orphaned = true // the pipe is broken; listen will notice as well, and end the run
	}
	if w.orphaned && (m.Sync != 0 || m.End != nil) {
		return errSupervisorGone
	}
	return nil
}

func (w *worker) RecordStep(_ context.Context, m trainer.StepMetrics) error {
	return w.send(message{Step: &m})
}
func (w *worker) RecordEvaluation(_ context.Context, e trainer.Evaluation) error {
	return w.send(message{Evaluation: &e})
}
func (w *worker) RecordSample(_ context.Context, t trainer.SampleText) error {
	return w.send(message{Sample: &t})
}
func (w *worker) RecordEvent(_ context.Context, e trainer.Event) error {
	return w.send(message{Event: &e})
}
func (w *worker) RecordCheckpoint(_ context.Context, c trainer.SavedCheckpoint) error {
	return w.send(message{Checkpoint: &c})
}

// Sync waits until the supervisor has recorded all that was sent. Without one, what was sent is put into a file.
func (w *worker) Sync(context.Context) error {
	w.syncs++
	err := w.send(message{Sync: w.syncs})
	for err == nil {
		n, there := <-w.synced
		if !there {
			err = errSupervisorGone
		} else if n == w.syncs {
			w.lock.Lock()
			w.waiting = nil
			w.lock.Unlock()
			return nil
		}
	}
	return leaveUnrecorded(w.dir, w.waiting)
}

// work loads, trains and saves.
func (w *worker) work(ctx context.Context) error {
	cfg := w.cfg
	device, err := torch.ParseDevice(cfg.Device)
	if err != nil {
		return badInput{fmt.Errorf("device: %w", err), "tune doctor shows what this machine has"}
	}
	if cfg.Threads == 0 {
		cfg.Threads = machine.PhysicalCores()
	}
	torch.SetThreads(cfg.Threads)
	dtype := chooseDType(cfg.Model.DType, device)

	if err := w.findModel(ctx); err != nil {
		return err
	}
	tok := w.model.tok
	if err := checkPrompts(cfg, tok); err != nil {
		return err
	}
	for _, warning := range cfg.Warnings() {
		if err := w.warn(ctx, "config", warning); err != nil {
			return err
		}
	}
	rows, err := w.openData(ctx, cfg.Data.Train, tok)
	if err != nil {
		return err
	}
	var validation *datasets.Dataset
	if cfg.Data.Validation != "" {
		if validation, err = w.openData(ctx, cfg.Data.Validation, tok); err != nil {
			return err
		}
	}
	if err := fits(w.model.config, rows, validation); err != nil {
		return err
	}
	if err := w.predict(ctx, device, rows, validation); err != nil {
		return err
	}
	if err := w.fetchWeights(ctx); err != nil {
		return err
	}
	hashes := hashInBackground(w.model.dir, rows, validation)

	return torch.Run(func(s *torch.Scope) error {
		m, err := model.Load(s, w.model.dir, model.Options{DType: dtype, Device: device,
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
			Tokenizer: tok, Recorder: w, Now: time.Now, MicroBatch: w.MicroBatch, SaveSteps: cfg.Checkpoint.Steps, Base: cfg.Model.Path,
			StopAfter: w.StopAfter}
		if validation != nil {
			job.Validation = epochOf(validation, cfg.Train.BatchSize)
		}
		h, err := hashes()
		if err != nil {
			return err
		}
		if err := w.sameAsBefore(h); err != nil {
			return err
		}
		if err := w.describe(h, device, dtype, adapter, total, rows, validation,
			trainer.Steps(batcher.BatchesPerEpoch(), cfg.Train)); err != nil {
			return err
		}
		unlock, err := lockRun(ctx, w.dir, func() { fmt.Fprintln(w.err, "waiting for the run's earlier process to end") })
		if err != nil {
			return err
		}
		defer unlock()
		job.Checkpoints = checkpointsOf(w.dir)
		job.Checkpoints.Keep = cfg.Checkpoint.Keep
		job.Checkpoints.Of = trainer.Identity{"config": w.Run.ConfigSHA256, "model.path": h.model, "data.train": h.train, "data.validation": h.validation}
		if job.Resume, err = w.resumePoint(ctx, job.Checkpoints); err != nil {
			return err
		}
		w.loading = time.Since(w.began)
		start := &started{Plan: w.plan}
		if job.Resume != nil {
			start.From = job.Resume.State.Step
		}
		if err := w.send(message{Started: start}); err != nil {
			return err
		}
		w.summary, err = trainer.Run(ctx, s, job)
		if err != nil && !errors.Is(err, trainer.ErrInterrupted) {
			return err
		}
		return errors.Join(err, w.save(ctx, s, m, adapter))
	})
}

// checkpointsOf are those in a run's folder.
func checkpointsOf(dir string) *trainer.Checkpoints {
	return &trainer.Checkpoints{Dir: filepath.Join(dir, "checkpoints")}
}

// sameAsBefore refuses to go on with a run whose files have changed since it began.
func (w *worker) sameAsBefore(h hashSet) error {
	if !w.Resume {
		return nil
	}
	was := trainer.Identity{"model.path": w.Run.ModelSHA256, "data.train": w.Run.DataTrainSHA256, "data.validation": w.Run.DataValidationSHA256}
	if w.Run.ModelSHA256 == "" { // it was stopped before it had read them
		return nil
	}
	paths := map[string]string{"model.path": w.cfg.Model.Path, "data.train": w.cfg.Data.Train, "data.validation": w.cfg.Data.Validation}
	var problems []error
	for _, line := range was.Differences(trainer.Identity{"model.path": h.model, "data.train": h.train, "data.validation": h.validation}) {
		key, text, _ := strings.Cut(line, ": ")
		problems = append(problems, fmt.Errorf("%s: %s has changed since the run began: %s", key, paths[key], text))
	}
	if len(problems) == 0 {
		return nil
	}
	return badInput{errors.Join(problems...), "tune run --fresh begins a new run with what is there now"}
}

// resumePoint finds the checkpoint to go on from; nil without one, or when the run begins.
func (w *worker) resumePoint(ctx context.Context, c *trainer.Checkpoints) (*trainer.Checkpoint, error) {
	if !w.Resume {
		return nil, nil
	}
	found, damaged, err := c.Newest(w.LastStep)
	for _, d := range damaged {
		if err := w.warn(ctx, "damaged_checkpoint", fmt.Sprintf("%s is damaged and was passed over: %v", d.Path, d.Err)); err != nil {
			return nil, err
		}
	}
	if errors.Is(err, trainer.ErrNoCheckpoint) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if lines := found.Identity.Differences(c.Of); len(lines) > 0 {
		return nil, badInput{fmt.Errorf("%s is of another run: %s", found.Path, strings.Join(lines, "; ")), ""}
	}
	return found, nil
}

// findModel finds the model that model.path names, without its weights, and records which commit of the Hub it is of.
func (w *worker) findModel(ctx context.Context) (err error) {
	path := w.cfg.Model.Path
	w.model, err = findModel(ctx, w.err, "model.path: "+path, path, w.cfg.Model.Revision, true)
	if err != nil || w.model.commit == "" {
		return w.whileFetching(ctx, err)
	}
	w.Run.ModelRevision = w.model.commit
	return w.tellRow() // now: what fails from here on fails with this model
}

// tellRow sends the run's row as it is known now.
func (w *worker) tellRow() error {
	row := w.Run
	return w.send(message{Run: &row})
}

// fetchWeights brings what the run begins with; a random start needs none.
func (w *worker) fetchWeights(ctx context.Context) error {
	if w.cfg.Model.Init == "random" {
		return nil
	}
	return w.whileFetching(ctx, w.model.fetchWeights(ctx, w.err))
}

// whileFetching tells an interrupt from a failure.
func (w *worker) whileFetching(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w while fetching %s: the next run goes on where it stopped", trainer.ErrInterrupted, w.cfg.Model.Path)
	}
	return err
}

// predict plans the run and refuses one that cannot fit.
func (w *worker) predict(ctx context.Context, device torch.Device, rows, validation *datasets.Dataset) error {
	p, err := newPlanner(w.cfg, w.model.config, device, rows, validation)
	if err != nil {
		return err
	}
	if w.plan, err = p.report(ctx, 100*time.Millisecond); err != nil {
		return err
	}
	if err := w.settled(ctx); err != nil {
		return err
	}
	w.Run.PredictedPeakMemoryBytes, w.Run.PredictedSeconds = w.plan.PeakBytes, runstore.Real(w.plan.Seconds)
	if w.plan.Fits {
		return nil
	}
	if !w.Force {
		return w.plan.refusal()
	}
	return w.warn(ctx, "memory", fmt.Sprintf("the run needs %s of memory, %s are there %s",
		chart.FormatBytes(float64(w.plan.PeakBytes)), chart.FormatBytes(float64(w.plan.LimitBytes)), w.plan.LimitOf))
}

// settled keeps what the plan has made of the words auto in the config, so that the run's row repeats it anywhere.
func (w *worker) settled(ctx context.Context) error {
	text := w.plan.checkpointing()
	if text == "" {
		return nil
	}
	config, err := w.cfg.YAML()
	if err != nil {
		return err
	}
	w.Run.Config, w.Run.ConfigSHA256 = string(config), hashBytes(config)
	return w.RecordEvent(ctx, trainer.Event{Level: trainer.Info, Kind: "checkpointing", Message: text})
}

// openData opens a file of rows and tells what max_length has cut.
func (w *worker) openData(ctx context.Context, path string, tok *tokenizer.Tokenizer) (*datasets.Dataset, error) {
	d, err := datasets.Open(path, tok, datasets.Options{MaxLength: w.cfg.Data.MaxLength, LossOn: w.cfg.Data.LossOn})
	if err != nil {
		return nil, err
	}
	if d.Truncated+d.Dropped > 0 {
		err = w.warn(ctx, "truncated", fmt.Sprintf("%s: data.max_length %d: rows cut %d (%d tokens), rows left out because nothing to learn remained %d",
			path, w.cfg.Data.MaxLength, d.Truncated, d.TruncatedTokens, d.Dropped))
	}
	return d, err
}

// warn records a warning, which the supervisor shows.
func (w *worker) warn(ctx context.Context, kind, message string) error {
	return w.RecordEvent(ctx, trainer.Event{Level: trainer.Warning, Kind: kind, Message: message})
}

// describe completes the row with what loading has shown.
func (w *worker) describe(h hashSet, device torch.Device, dtype torch.DType, adapter *adapters.Adapter, total int64,
	rows, validation *datasets.Dataset, steps int) error {
	w.Run.ModelSHA256, w.Run.DataTrainSHA256, w.Run.DataValidationSHA256 = h.model, h.train, h.validation
	w.Run.Device, w.Run.DeviceName, w.Run.DType, w.Run.Threads = device.String(), device.Name(), dtype.String(), torch.Threads()
	w.Run.TotalSteps, w.Run.TotalParameters, w.Run.TrainableParameters = int64(steps), total, total
	if adapter != nil {
		w.Run.TrainableParameters = adapter.Parameters()
		w.Run.LoRARank, w.Run.LoRAAlpha = adapter.Config.Rank, runstore.Real(adapter.Config.Alpha) // those of lora.from, where it decides
	}
	w.Run.TrainRows = int64(len(rows.Samples))
	if validation != nil {
		w.Run.ValidationRows = int64(len(validation.Samples))
	}
	return w.tellRow()
}

// save writes the adapter, or the model, and records it.
func (w *worker) save(ctx context.Context, s *torch.Scope, m *model.Model, adapter *adapters.Adapter) error {
	began := time.Now()
	defer func() { w.saving = time.Since(began) }()
	kind := "adapter"
	if adapter == nil {
		kind = "model"
	}
	artifact := filepath.Join(w.dir, kind)
	var err error
	if adapter != nil {
		err = adapter.Save(s, artifact, w.cfg.Model.Path)
	} else {
		dtype := torch.BFloat16
		if w.cfg.Output.DType == "float32" {
			dtype = torch.Float32
		}
		err = files.ReplaceDir(artifact, func(dir string) error {
			if err := copyTokenizer(w.model.dir, dir); err != nil {
				return err
			}
			return m.Save(s, dir, dtype)
		})
	}
	if err != nil {
		return fmt.Errorf("save %s: %w", kind, err)
	}
	w.artifact = artifact
	return eachArtifact(kind, artifact, func(a runstore.Artifact) error { return w.send(message{Artifact: &a}) })
}
