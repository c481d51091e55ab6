package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"tune/configs"
	"tune/internal/filelock"
	"tune/internal/machine"
	"tune/internal/runstore"
	"tune/internal/torch"
	"tune/trainer"
)

// session is one run as its supervisor sees it: from its row to its summary.
type session struct {
	cfg      *configs.Config
	force    bool // run what does not fit
	store    *runstore.Store
	row      runstore.Run
	out      *console
	dir      string // where the run's files go
	began    time.Time
	earlier  struct{ wall, load float64 } // seconds of the processes before this one
	before   map[int]trainer.SampleText   // by prompt
	after    map[int]trainer.SampleText
	around   *surroundings // what the machine does besides
	ending                 // the last worker's last message
	lastStep int           // that is recorded
	best     runstore.Real // validation loss so far; NaN without one
	failed   error         // to record: what cannot be recorded is not trained

	trial     *trialOf // nil for a run of its own
	stopAfter int      // a step; 0 for the whole run
}

// trialOf is what makes a run the trial of a sweep.
type trialOf struct {
	sweepID  string
	number   int
	settings string         // JSON
	signals  chan os.Signal // what the user wishes, from the sweep
}

func newSession(c *cli.Context, store *runstore.Store, cfg *configs.Config) *session {
	return &session{cfg: cfg, force: c.Bool("force"), store: store, began: time.Now(), out: newConsole(c.App.Writer, c.App.ErrWriter),
		before: map[int]trainer.SampleText{}, after: map[int]trainer.SampleText{}, best: runstore.Real(math.NaN())}
}

// start makes the run's row and trains from the beginning.
func (r *session) start(ctx context.Context) error {
	var err error
	if r.row, err = newRow(ctx, r.cfg, r.began); err != nil {
		return err
	}
	if r.trial != nil {
		r.row.SweepID, r.row.SweepTrial, r.row.SweepSettings = r.trial.sweepID, r.trial.number, r.trial.settings
	}
	r.dir = filepath.Join(r.cfg.Output.Dir, r.row.ID)
	if err := r.store.CreateRun(ctx, r.row); err != nil {
		return err
	}
	return r.supervise(ctx, false)
}

// resume goes on with a run that has a row, and that no process is at, as the row says or the caller has seen.
func (r *session) resume(ctx context.Context, run runstore.RunSummary) error {
	r.row, r.dir, r.lastStep, r.best = run.Run, filepath.Join(r.cfg.Output.Dir, run.ID), int(run.StepsDone), run.Run.BestValidationLoss
	if wall := wallSeconds(&run, time.Now()); !math.IsNaN(wall) {
		r.earlier.wall = wall
	}
	if run.LoadSeconds.Finite() {
		r.earlier.load = float64(run.LoadSeconds)
	}
	if !run.Status.Ended() {
		if err := r.store.EndDeadRun(ctx, &run); err != nil {
			return err
		}
	}
	return r.supervise(ctx, true)
}

// takeOver brings what the run's earlier processes have left: what could not be recorded, and the samples, of which those
// before training are not made again.
func (r *session) takeOver(ctx context.Context) error {
	// A worker whose supervisor was killed finishes its step and leaves what it has made.
	unlock, err := lockRun(ctx, r.dir, func() { r.out.line("waiting for the run's earlier process, which is saving a checkpoint") })
	if err != nil {
		return err
	}
	defer unlock()
	if err := takeUnrecorded(r.dir, func(m message) error { return r.record(ctx, m) }); err != nil {
		return fmt.Errorf("what its last process could not record: %w", err)
	}
	samples, err := r.store.Samples(ctx, r.row.ID)
	if err != nil {
		return err
	}
	for _, s := range samples {
		sample := trainer.SampleText{Step: int(s.Step), Index: s.PromptIndex, Prompt: s.Prompt, Reply: s.Reply}
		if s.Step == 0 {
			r.before[s.PromptIndex] = sample
		}
		r.after[s.PromptIndex] = sample
	}
	return nil
}

// lockRun makes this process the only one at a run's folder; waiting is called where another one is.
func lockRun(ctx context.Context, dir string, waiting func()) (unlock func(), err error) {
	if err := makeRunDir(dir); err != nil {
		return nil, fmt.Errorf("output.dir: %w", err)
	}
	path := filepath.Join(dir, ".lock")
	release, err := filelock.Take(ctx, path, waiting)
	if err != nil {
		return nil, err
	}
	return func() { _ = os.Remove(path); release() }, nil
}

// supervise has a worker train, another one where that is worth a try, and writes how it ended, whatever happens.
func (r *session) supervise(ctx context.Context, resume bool) error {
	if err := r.store.StartRun(ctx, r.row.ID); errors.Is(err, runstore.ErrRunning) {
		return badInput{err, "stop it first: Ctrl-C, or kill that process"}
	} else if err != nil {
		return err
	}
	stopBeating := r.heartbeat(ctx)
	r.around = r.watchSurroundings(ctx, resume)
	err := catch(func() error {
		if resume {
			if err := r.takeOver(ctx); err != nil {
				return err
			}
		}
		return r.work(ctx, resume)
	})
	stopBeating()
	r.out.closeBar()
	finish := runstore.Finish{Status: statusOf(err), WallSeconds: runstore.Real(r.earlier.wall) + seconds(time.Since(r.began)),
		LoadSeconds:  runstore.Real(r.earlier.load) + seconds(r.Loading),
		TrainSeconds: seconds(r.Summary.Training), EvaluateSeconds: seconds(r.Summary.Evaluating),
		SaveSeconds: seconds(r.Saving + r.Summary.Saving)}
	if err != nil {
		finish.Error = err.Error()
	}
	if !errors.Is(err, runstore.ErrLocked) && !errors.Is(err, runstore.ErrFull) { // each try would wait as long as the last
		r.around.record(ctx, r.store, r.row.ID)
	}
	// A disk that is full for the one is full for the other: the next command that looks gives the run its ending.
	if ferr := r.store.FinishRun(ctx, r.row.ID, finish); ferr != nil && !(errors.Is(err, runstore.ErrFull) && errors.Is(ferr, runstore.ErrFull)) {
		err = errors.Join(err, ferr)
	}
	if err != nil {
		hint := hintOf(err)
		err = fmt.Errorf("run %s: %w", r.row.ID, err)
		if finish.Status == runstore.Interrupted && r.lastStep > 0 {
			hint = "tune resume " + r.row.ID + " goes on"
			if r.Artifact != "" {
				hint += "; what it had learned is in " + r.Artifact
			}
		} else if finish.Status == runstore.Failed && r.lastStep > 0 && !isBadInput(err) {
			goesOn := "tune resume " + r.row.ID + " goes on from its last checkpoint"
			if hint != "" {
				goesOn = hint + "; " + goesOn
			}
			hint = goesOn
		}
		if hint != "" && !isBadInput(err) {
			err = hinted{err, hint}
		}
		return err
	}
	if r.trial != nil { // its sweep tells
		return nil
	}
	r.Loading += time.Duration(r.earlier.load * float64(time.Second))
	r.printSummary(time.Duration(float64(finish.WallSeconds) * float64(time.Second)))
	return nil
}

func statusOf(err error) runstore.Status {
	if err == nil {
		return runstore.Done
	}
	if f, ok := errors.AsType[*failure](err); ok {
		switch f.Kind {
		case diverged:
			return runstore.Diverged
		case interrupted, asOrdered:
			return runstore.Interrupted
		}
	}
	return runstore.Failed
}

func seconds(d time.Duration) runstore.Real { return runstore.Real(d.Seconds()) }

// heartbeat tells the database every few seconds that this process lives.
func (r *session) heartbeat(ctx context.Context) (stop func()) {
	// A missed beat is no reason to stop training: the next step is a sign of life too.
	return beat(ctx, func(ctx context.Context) { _ = r.store.Heartbeat(ctx, r.row.ID) })
}

// beat calls once every few seconds until stop, also when ctx has ended.
func beat(ctx context.Context, once func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
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
				once(ctx)
			}
		}
	}()
	return func() { cancel(); <-done }
}

// work has workers train until one comes to an end of its own or there have been too many.
func (r *session) work(ctx context.Context, resume bool) error {
	config, err := r.cfg.YAML()
	if err != nil {
		return err
	}
	stop := r.stopper(ctx)
	defer stop.close()
	o := order{Config: string(config), Force: r.force, Resume: resume, StopAfter: r.stopAfter}
	for try := 0; ; try++ {
		o.Run, o.LastStep = r.row, r.lastStep
		died, err := r.train(ctx, o, stop)
		if err != nil || died == nil && r.Failure == nil {
			return err
		}
		short := died != nil && died.outOfMemory() || r.Failure != nil && r.Failure.Kind == outOfMemory && r.lastStep > 0
		rows := halved(o.MicroBatch, r.cfg.Train.BatchSize)
		if died == nil && (!short || rows == 0) { // another try would end the same way
			return r.Failure.explained()
		}
		var why error = r.Failure
		if died != nil {
			why = died
		}
		if stop.asked() {
			return &failure{Text: fmt.Sprintf("interrupted: %v", why), Kind: interrupted}
		}
		if try == r.cfg.Retries {
			return why
		}
		text := fmt.Sprintf("%v; going on from its last checkpoint (%d of %d retries)", why, try+1, r.cfg.Retries)
		if short && rows > 0 {
			o.MicroBatch = rows
			text += fmt.Sprintf(", with %s at a time", countOf(rows, "row"))
		}
		o.Resume = true
		if err := r.record(ctx, message{Event: &trainer.Event{Step: r.lastStep, Level: trainer.Warning, Kind: "worker_death", Message: text}}); err != nil {
			return err
		}
	}
}

// stopper listens to the user, or to the sweep, which does.
func (r *session) stopper(ctx context.Context) *stopper {
	if r.trial != nil {
		return newStopper(ctx, r.trial.signals, func() {})
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	return newStopper(ctx, signals, func() {
		r.out.line("\nending after this step; Ctrl-C again quits at once")
	})
}

// halved returns half as many rows at a time as before; 0 where there is only one.
func halved(microBatch, batchSize int) int {
	if microBatch == 0 {
		microBatch = batchSize
	}
	return microBatch / 2
}

// train has one worker carry out an order. It returns how the worker died, where it did not come to an end of its own.
func (r *session) train(ctx context.Context, o order, stop *stopper) (*death, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	cmd := exec.Command(executable, "worker")
	cmd.Args[0] = "tune" // by which name the tests' own binary is tune as well
	cmd.ExtraFiles = []*os.File{write}
	cmd.Env = append(append(os.Environ(), workerVariable+"=1"), r.out.screen.environment()...)
	tail := &tailWriter{}
	cmd.Stderr = io.MultiWriter(r.out.err, tail)
	commands, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	write.Close()
	if err != nil {
		return nil, fmt.Errorf("start the training process: %w", err)
	}
	meter := machine.StartMeter(r.device(), cmd.Process.Pid)
	defer r.around.spent(meter)
	w := &workerProcess{cmd: cmd, commands: commands}
	stop.watch(w)
	defer stop.watch(nil)
	kills := oomKills()
	first, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	w.tell(string(first)) // one that is dead already says so below

	r.ending = ending{}
	ended := false
	for messages := gob.NewDecoder(bufio.NewReader(read)); ; {
		var m message
		if err := messages.Decode(&m); err != nil { // its end of the pipe is closed: it is over
			break
		}
		switch {
		case m.End != nil:
			r.ending, ended = *m.End, true
		case r.failed != nil: // nothing more is recorded, and a checkpoint must not claim that it is
		case m.Sync != 0:
			if r.failed = r.store.Sync(context.WithoutCancel(ctx)); r.failed == nil {
				w.tell(fmt.Sprintf("synced %d", m.Sync))
			}
		default:
			r.failed = r.record(ctx, m)
		}
		if r.failed != nil {
			w.closeCommands() // it stops as one that is alone, and waits for no answer
		}
	}
	w.closeCommands()
	waited := cmd.Wait()
	if r.failed != nil {
		return nil, r.failed
	}
	if ended {
		return nil, nil
	}
	if waited == nil {
		waited = errors.New("without a word")
	}
	return &death{state: cmd.ProcessState, why: waited, step: r.lastStep, killed: stop.killed(), lines: tail.lines(),
		spared: kills >= 0 && oomKills() == kills}, nil
}

// device is what the run trains on, as far as it is known before the worker has looked.
func (r *session) device() string {
	if device, err := torch.ParseDevice(r.cfg.Device); err == nil {
		return device.String()
	}
	return r.cfg.Device
}

// record puts a message where it belongs: into the database, and on the screen.
func (r *session) record(ctx context.Context, m message) error {
	ctx = context.WithoutCancel(ctx) // what was done before an interrupt is recorded
	id := r.row.ID
	switch {
	case m.Run != nil:
		r.row = *m.Run
		return r.store.UpdateRun(ctx, r.row)
	case m.Started != nil:
		r.out.start(&r.row, m.Started.Plan)
		if from := m.Started.From; from > 0 {
			r.out.detail("going on behind step %d", from)
			if err := r.store.NoteResume(ctx, id, int64(from)); err != nil {
				return err
			}
			return r.recordEvent(ctx, trainer.Event{Step: from, Level: trainer.Info, Kind: "resumed", Message: fmt.Sprintf("resumed from the checkpoint of step %d", from)})
		}
	case m.Step != nil:
		return r.recordStep(ctx, *m.Step)
	case m.Evaluation != nil:
		e := *m.Evaluation
		if err := r.store.RecordEvaluation(ctx, id, runstore.Evaluation{Step: int64(e.Step), Loss: runstore.Real(e.Loss),
			TargetTokens: int64(e.TargetTokens), Seconds: seconds(e.Elapsed)}); err != nil {
			return err
		}
		r.out.evaluation(e)
		if e.Step > 0 && !e.Extra && !(float64(r.best) <= e.Loss) {
			r.best = runstore.Real(e.Loss)
			return r.store.NoteBest(ctx, id, int64(e.Step), r.best)
		}
	case m.Sample != nil:
		t := *m.Sample
		if t.Step == 0 {
			r.before[t.Index] = t
		}
		r.after[t.Index] = t
		return r.store.RecordSample(ctx, id, runstore.Sample{Step: int64(t.Step), PromptIndex: t.Index, Prompt: t.Prompt,
			Reply: t.Reply, Tokens: int64(t.Tokens), Seconds: seconds(t.Elapsed), StopReason: t.Stopped})
	case m.Event != nil:
		return r.recordEvent(ctx, *m.Event)
	case m.Checkpoint != nil:
		return r.store.NoteCheckpoint(ctx, id, m.Checkpoint.Path)
	case m.Artifact != nil:
		return r.store.RecordArtifact(ctx, id, *m.Artifact)
	}
	return nil
}

func (r *session) recordStep(ctx context.Context, m trainer.StepMetrics) error {
	err := r.store.RecordStep(ctx, r.row.ID, runstore.Step{
		Step: int64(m.Step), Epoch: runstore.Real(m.Epoch), Loss: runstore.Real(m.Loss), LearningRate: runstore.Real(m.LR),
		GradNorm: runstore.Real(m.GradNorm), TargetTokens: int64(m.TargetTokens), Tokens: int64(m.Tokens),
		Seconds: seconds(m.Elapsed), MemoryBytes: known(m.MemoryBytes), PeakMemoryBytes: known(m.PeakMemoryBytes),
		DeviceMemoryBytes: known(m.DeviceMemoryBytes), DevicePeakMemoryBytes: known(m.DevicePeakBytes),
	})
	if err != nil {
		return err
	}
	r.lastStep = max(r.lastStep, m.Step)
	r.out.step(m)
	return nil
}

// known turns the trainer's -1, "cannot be told", into the store's 0.
func known(bytes int64) int64 { return max(0, bytes) }

func (r *session) recordEvent(ctx context.Context, e trainer.Event) error {
	level := runstore.LevelInfo
	if e.Level == trainer.Warning {
		level = runstore.LevelWarning
		r.out.line("warning: %s", e.Message)
	}
	return r.store.RecordEvent(ctx, r.row.ID, runstore.Event{Step: int64(e.Step), Level: level, Kind: e.Kind, Message: e.Message})
}

// workerProcess is a worker as far as it can be spoken to.
type workerProcess struct {
	cmd      *exec.Cmd
	lock     sync.Mutex
	commands io.WriteCloser
}

// tell sends a line. A worker that is gone does not hear it; its end tells.
func (w *workerProcess) tell(line string) {
	w.lock.Lock()
	defer w.lock.Unlock()
	_, _ = io.WriteString(w.commands, line+"\n")
}

func (w *workerProcess) closeCommands() {
	w.lock.Lock()
	defer w.lock.Unlock()
	_ = w.commands.Close()
}

// stopper hands the user's wish to stop to the worker of the moment: the first ends it after a step, the second at once.
type stopper struct {
	signals chan os.Signal
	done    chan struct{}
	lock    sync.Mutex
	worker  *workerProcess
	wishes  int
}

// newStopper listens for signals, and for the end of ctx; told is called at the first.
func newStopper(ctx context.Context, signals chan os.Signal, told func()) *stopper {
	s := &stopper{signals: signals, done: make(chan struct{})}
	go func() {
		ended := ctx.Done()
		for {
			select {
			case <-s.done:
				return
			case <-ended:
				ended = nil // once
			case <-s.signals:
			}
			s.lock.Lock()
			s.wishes++
			wishes := s.wishes
			s.pass()
			s.lock.Unlock()
			if wishes == 1 {
				told()
			}
		}
	}()
	return s
}

// pass tells the worker, if there is one, what is wished. The lock is held.
func (s *stopper) pass() {
	switch {
	case s.worker == nil:
	case s.wishes == 1:
		s.worker.tell("stop")
	case s.wishes > 1:
		_ = s.worker.cmd.Process.Kill()
	}
}

// watch makes a worker the one that is told; nil for none.
func (s *stopper) watch(w *workerProcess) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.worker = w
	s.pass()
}

func (s *stopper) asked() bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.wishes > 0
}

// killed reports whether the worker was ended at once.
func (s *stopper) killed() bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.wishes > 1
}

func (s *stopper) close() {
	signal.Stop(s.signals)
	close(s.done)
}

// oomKills is the system's count, or a test's.
var oomKills = machine.OOMKills

// death is the end of a worker that could not say why.
type death struct {
	state  *os.ProcessState
	why    error
	step   int // the last that was recorded
	killed bool
	spared bool     // the system says that it has ended nobody for want of memory
	lines  []string // the last of its standard error
}

// outOfMemory reports whether it looks as if the system had run out of memory: nothing else of it sends SIGKILL.
func (d *death) outOfMemory() bool {
	status, ok := d.state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL && !d.killed && !d.spared
}

func (d *death) Error() string {
	text := fmt.Sprintf("its training process ended after step %d: %v", d.step, d.why)
	switch {
	case d.killed:
		text = fmt.Sprintf("quit at once after step %d", d.step)
	case d.outOfMemory():
		text += ", as the system does when memory runs out"
	}
	if len(d.lines) > 0 && !d.killed {
		text += "; its last words: " + strings.Join(d.lines, " | ")
	}
	return text
}

// tailWriter keeps the last lines that were written to it.
type tailWriter struct {
	lock sync.Mutex
	kept []byte
}

const (
	tailBytes = 4 << 10
	tailLines = 5
)

func (t *tailWriter) Write(b []byte) (int, error) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.kept = append(t.kept, b...)
	if extra := len(t.kept) - tailBytes; extra > 0 {
		t.kept = append(t.kept[:0], t.kept[extra:]...)
	}
	return len(b), nil
}

func (t *tailWriter) lines() []string {
	t.lock.Lock()
	defer t.lock.Unlock()
	var lines []string
	for line := range bytes.Lines(t.kept) {
		if text := strings.TrimSpace(printable(string(line))); text != "" {
			lines = append(lines, text)
		}
	}
	return lines[max(0, len(lines)-tailLines):]
}
