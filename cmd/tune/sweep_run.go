package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"tune/configs"
	"tune/internal/chart"
	"tune/internal/runstore"
	"tune/trainer"
)

// sweeper runs a sweep: trials one after the other or several at once, and at each rung of halving the better ones on.
//
// What it decides depends on the database alone, and a trial that was stopped goes on as if it never had been: after the
// death of any process the sweep comes to the same table.
type sweeper struct {
	spec     *configs.Sweep
	trials   []*sweepTrial
	hash     string
	typed    string // the command that goes on with it
	resumed  bool   // by --resume, from its row
	store    *runstore.Store
	row      runstore.Sweep
	out, err io.Writer
	screen   screen // of err
	force    bool   // run what does not fit
	json     bool

	jobs    int
	threads int    // of the trials that are there; 0 where there are none
	limit   int64  // bytes for all that runs at once; 0 where it is unknown
	limitOf string // where those are

	signals *sweepSignals
	best    *rankedTrial // so far
}

// sweepTrial is a trial with what is known of it.
type sweepTrial struct {
	configs.Trial
	steps     int   // of the whole run
	peakBytes int64 // predicted
	fits      bool
	seconds   float64 // predicted, of a dry run
	run       *runstore.RunSummary
	begun     time.Time // in this process
}

// rungStep returns the step at which a trial is compared: at a fraction of its steps, 0 for its end.
func (t *sweepTrial) rungStep(fraction float64) int {
	step := max(1, int(math.Round(fraction*float64(t.steps))))
	if step >= t.steps {
		return 0
	}
	return step
}

// supervise runs the sweep, and writes how it ended, whatever happens.
func (s *sweeper) supervise(ctx context.Context) error {
	stopBeating := s.heartbeat(ctx)
	stopListening := s.signals.listen(ctx, func() {
		fmt.Fprintln(s.err, "\nending after this step; Ctrl-C again quits at once")
	})
	err := catch(func() error { return s.run(ctx) })
	stopListening()
	stopBeating()
	status, reason := runstore.Done, ""
	switch {
	case errors.Is(err, errSweepStopped):
		status = runstore.Interrupted
	case err != nil:
		status = runstore.Failed
	}
	if err != nil {
		reason = err.Error()
	}
	ferr := s.store.FinishSweep(ctx, s.row.ID, status, reason)
	if err != nil {
		hint := s.typed + " goes on"
		if own := hintOf(err); own != "" {
			hint = own + "; " + hint
		}
		return hinted{fmt.Errorf("sweep %s: %w", s.row.ID, errors.Join(err, ferr)), hint}
	}
	if ferr != nil {
		return ferr
	}
	if err := s.report(ctx); err != nil {
		return err
	}
	if s.best == nil {
		return fmt.Errorf("sweep %s: no trial came to its end", s.row.ID)
	}
	return nil
}

// errSweepStopped is what a sweep ends with that the user has interrupted.
var errSweepStopped = errors.New("interrupted")

// heartbeat tells the database every few seconds that this process lives.
func (s *sweeper) heartbeat(ctx context.Context) (stop func()) {
	return beat(ctx, func(ctx context.Context) { _ = s.store.BeatSweep(ctx, s.row.ID) }) // a missed one is no reason to stop
}

// run takes the trials from rung to rung and to the end.
func (s *sweeper) run(ctx context.Context) error {
	s.settleJobs()
	alive := s.trials
	for _, rung := range append(slices.Clone(s.spec.Halving.Rungs), 1) {
		if err := s.advance(ctx, alive, rung); err != nil {
			return err
		}
		if rung < 1 {
			var err error
			if alive, err = s.halve(ctx, alive, rung); err != nil {
				return err
			}
		}
	}
	return nil
}

// advance runs the trials that have not come as far as a rung, as many at once as there are jobs and as memory allows.
func (s *sweeper) advance(ctx context.Context, trials []*sweepTrial, rung float64) error {
	var queue []*sweepTrial
	for _, t := range trials {
		arrived, err := s.arrived(ctx, t, rung)
		if err != nil {
			return err
		}
		if !arrived {
			queue = append(queue, t)
		}
	}
	type ended struct {
		t   *sweepTrial
		err error
	}
	ends := make(chan ended)
	running, used := 0, int64(0)
	var failure error
	for {
		for len(queue) > 0 && failure == nil && running < s.jobs && (running == 0 || s.limit == 0 || used+queue[0].peakBytes <= s.limit) {
			t := queue[0]
			signals, ok := s.signals.join()
			if !ok {
				queue = nil
				break
			}
			queue = queue[1:]
			running, used = running+1, used+t.peakBytes
			go func() {
				defer s.signals.leave(signals)
				ends <- ended{t, catch(func() error { return s.runTrial(ctx, t, rung, signals) })}
			}()
		}
		if running == 0 {
			break
		}
		end := <-ends
		running, used = running-1, used-end.t.peakBytes
		if failure == nil && end.err != nil && !s.signals.asked() {
			failure = fmt.Errorf("trial %d: %w", end.t.Number, end.err)
			s.signals.wish(os.Interrupt) // the others stop after a step
		}
		if failure == nil && !s.signals.asked() {
			failure = s.tell(ctx, end.t, rung)
		}
	}
	if failure == nil && s.signals.asked() {
		failure = s.interruption()
	}
	return failure
}

// interruption says how far the sweep had come.
func (s *sweeper) interruption() error {
	done := 0
	for _, t := range s.trials {
		if t.run != nil && t.run.Status == runstore.Done {
			done++
		}
	}
	return fmt.Errorf("%w: %d of %s done", errSweepStopped, done, countOf(len(s.trials), "trial"))
}

// arrived reports whether there is nothing more to do for a trial before a rung is judged.
func (s *sweeper) arrived(ctx context.Context, t *sweepTrial, rung float64) (bool, error) {
	if t.run == nil {
		return false, nil
	}
	switch t.run.Status {
	case runstore.Done, runstore.Failed, runstore.Diverged:
		return true, nil
	}
	step := t.rungStep(rung)
	if step == 0 || t.run.StepsDone < int64(step) || !t.run.Status.Ended() {
		return false, nil
	}
	// Also of a run that a dead process had taken further: told to stop here it could not.
	score, at, err := scoreAt(ctx, s.store, s.spec.Goal, t.run.ID, step)
	return score.Finite() && at == step, err
}

// runTrial takes a trial to a rung, in a run that begins or goes on. It returns an error where the sweep cannot go on: a
// trial that fails is last in the ranking, no more.
func (s *sweeper) runTrial(ctx context.Context, t *sweepTrial, rung float64, signals chan os.Signal) error {
	t.begun = time.Now()
	r := &session{cfg: t.Config, force: s.force, store: s.store, began: t.begun, before: map[int]trainer.SampleText{}, after: map[int]trainer.SampleText{},
		out: newConsole(s.out, s.err), best: runstore.Real(math.NaN()), stopAfter: t.rungStep(rung),
		trial: &trialOf{s.row.ID, t.Number, t.SettingsJSON(), signals}}
	r.out.trial, r.out.noBar = fmt.Sprintf("trial %d", t.Number), s.jobs > 1
	id, err := s.trainTrial(ctx, r, t)
	if id == "" {
		return err
	}
	run, rerr := s.store.Run(ctx, id)
	if rerr != nil {
		return errors.Join(err, rerr)
	}
	t.run = &run
	_, failedOnItsOwn := errors.AsType[*failure](err)
	_, died := errors.AsType[*death](err)
	switch {
	case err == nil, failedOnItsOwn, died:
		return nil
	case r.failed != nil || !run.Status.Ended() || errors.Is(err, runstore.ErrRunning):
		return err
	}
	return nil
}

// trainTrial begins a trial's run, or goes on with it, and returns its id.
func (s *sweeper) trainTrial(ctx context.Context, r *session, t *sweepTrial) (id string, err error) {
	if t.run == nil {
		err = r.start(ctx)
		return r.row.ID, err
	}
	run, err := s.store.Run(ctx, t.run.ID)
	if err != nil {
		return "", err
	}
	if run.Status == runstore.Running && !gone(&run) {
		return "", badInput{fmt.Errorf("run %s: %w, as process %d", run.ID, runstore.ErrRunning, run.PID), "stop it first: Ctrl-C, or kill that process"}
	}
	if r.cfg, err = configs.Parse("runs.config of "+run.ID, []byte(run.Config), nil); err != nil {
		return "", err
	}
	return run.ID, r.resume(ctx, run)
}

// halve judges a rung: it returns the trials that go on, and says of the others why they do not.
func (s *sweeper) halve(ctx context.Context, trials []*sweepTrial, rung float64) ([]*sweepTrial, error) {
	type judged struct {
		t     *sweepTrial
		step  int
		score runstore.Real
	}
	var all []judged
	for _, t := range trials {
		j := judged{t, t.rungStep(rung), runstore.Real(math.NaN())}
		if done := int(t.run.StepsDone); j.step == 0 || t.run.Status == runstore.Done && done < j.step { // its end came first
			j.step = done
		}
		if t.run.Status != runstore.Failed && t.run.Status != runstore.Diverged {
			var err error
			if j.score, _, err = scoreAt(ctx, s.store, s.spec.Goal, t.run.ID, j.step); err != nil {
				return nil, err
			}
		}
		all = append(all, j)
	}
	slices.SortStableFunc(all, func(a, b judged) int { return compareScores(a.score, b.score) })
	keep := int(math.Ceil(s.spec.Halving.Keep * float64(len(all))))
	var on []*sweepTrial
	stopped := 0
	for i, j := range all {
		switch {
		case i < keep:
			on = append(on, j.t)
		case j.t.run.Status == runstore.Interrupted:
			stopped++
			reason := fmt.Sprintf("%s: place %d of %d at step %d, by %s %.4f", stoppedBySweep, i+1, len(all), j.step, goalText(s.spec.Goal), float64(j.score))
			if err := s.store.StopTrial(ctx, j.t.run.ID, reason); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(on, func(a, b *sweepTrial) int { return a.Number - b.Number })
	if stopped > 0 {
		fmt.Fprintf(s.err, "rung %g: %d of %s go on\n", rung, len(on), countOf(len(all), "trial"))
	}
	return on, nil
}

// stoppedBySweep begins the error of a trial that was not among the better ones of a rung.
const stoppedBySweep = "stopped by its sweep"

// compareScores puts the smaller first, and what is no number last.
func compareScores(a, b runstore.Real) int {
	switch {
	case a == b || !a.Finite() && !b.Finite():
		return 0
	case !b.Finite() || a < b:
		return -1
	}
	return 1
}

// tell says what a trial has come to, and which is the best so far.
func (s *sweeper) tell(ctx context.Context, t *sweepTrial, rung float64) error {
	ranked, err := rank(ctx, s.store, s.spec.Goal, t.run)
	if err != nil {
		return err
	}
	if ranked.Status == string(runstore.Done) && (s.best == nil || ranked.Value < s.best.Value) {
		s.best = &ranked
	}
	text := fmt.Sprintf("trial %d of %d  %s  ", t.Number, len(s.trials), t.settingsText())
	switch t.run.Status {
	case runstore.Done:
		text += fmt.Sprintf("%s %.4f", goalText(s.spec.Goal), float64(ranked.Value))
	case runstore.Interrupted:
		score, _, err := scoreAt(ctx, s.store, s.spec.Goal, t.run.ID, t.rungStep(rung))
		if err != nil {
			return err
		}
		text += fmt.Sprintf("%s %.4f at step %d of %d", goalText(s.spec.Goal), float64(score), t.rungStep(rung), t.steps)
	default:
		text += s.screen.paint(red, string(t.run.Status)) + ": " + printable(firstLine(t.run.Error))
	}
	if s.best != nil && s.best.Trial != t.Number {
		text += fmt.Sprintf("  best %.4f (trial %d)", float64(s.best.Value), s.best.Trial)
	} else if s.best != nil {
		text += s.screen.paint(green, "  the best so far")
	}
	fmt.Fprintf(s.err, "%s  %s\n", text, chart.FormatDuration(time.Since(t.begun).Seconds()))
	return nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// settingsText writes what a trial tries: rank 8, learning_rate 2e-4.
func (t *sweepTrial) settingsText() string {
	keys, values := settingsJSON(t.SettingsJSON()).values()
	parts := make([]string, len(keys))
	for i, title := range shortKeys(keys) {
		parts[i] = title + " " + values[i]
	}
	return strings.Join(parts, ", ")
}

// goalText is a goal in words.
func goalText(goal string) string { return strings.ReplaceAll(goal, "_", " ") }

// sweepSignals hands what the user wishes to every trial that runs.
type sweepSignals struct {
	lock   sync.Mutex
	wishes int
	live   map[chan os.Signal]bool
}

// listen passes on Ctrl-C and SIGTERM, and notices the end of ctx, which the trials see themselves; told is called at the
// first.
func (s *sweepSignals) listen(ctx context.Context, told func()) (stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		ended := ctx.Done()
		for {
			select {
			case <-done:
				return
			case <-ended:
				ended = nil // once
				s.lock.Lock()
				s.wishes++
				s.lock.Unlock()
			case sig := <-signals:
				if s.wish(sig) == 1 {
					told()
				}
			}
		}
	}()
	return func() { signal.Stop(signals); close(done) }
}

// wish passes a signal on and returns how many there have been.
func (s *sweepSignals) wish(sig os.Signal) int {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.wishes++
	for trial := range s.live {
		select {
		case trial <- sig:
		default: // two are waiting already, which say all
		}
	}
	return s.wishes
}

// join returns a channel for the signals of one trial; false where no trial is to begin any more.
func (s *sweepSignals) join() (chan os.Signal, bool) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.wishes > 0 {
		return nil, false
	}
	trial := make(chan os.Signal, 2)
	s.live[trial] = true
	return trial, true
}

func (s *sweepSignals) leave(trial chan os.Signal) {
	s.lock.Lock()
	defer s.lock.Unlock()
	delete(s.live, trial)
}

func (s *sweepSignals) asked() bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.wishes > 0
}
