package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tune/configs"
	"tune/internal/machine"
	"tune/internal/runstore"
)

func sweepCommand() *cli.Command {
	return &cli.Command{
		Name:      "sweep",
		Usage:     "try values of config keys against each other, and rank what comes out",
		ArgsUsage: "SWEEP",
		Description: "Runs the config that SWEEP names once for each combination of the values that it tries, ranks the\n" +
			"runs and says which is best. Ctrl-C stops it after a step; the same command then goes on where it\n" +
			"stopped, whatever stopped it. Every trial is an ordinary run.\n\n" +
			"   tune sweep configs/sweep-bluey.yaml --dry-run\n" +
			"   tune sweep configs/sweep-bluey.yaml\n" +
			"   tune sweep show last --out sweep.svg",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "resume", Usage: "go on with the sweep `ID`: an id, the start of one, a name, or last"},
			&cli.BoolFlag{Name: "fresh", Usage: "begin anew although this sweep is there already"},
			&cli.BoolFlag{Name: "dry-run", Usage: "list the trials, and what they are predicted to need"},
			&cli.StringFlag{Name: "db", Usage: "the database of the sweep that --resume names", Value: "runs.db"},
			forceFlag(), jsonFlag(),
		},
		Action:      sweepAction,
		Subcommands: []*cli.Command{sweepListCommand(), sweepShowCommand()},
	}
}

func sweepAction(c *cli.Context) error {
	if c.IsSet("resume") {
		if err := noArguments(c); err != nil {
			return badInput{errors.New("tune sweep: --resume names the sweep: want no file beside it"), "tune sweep SWEEP.yaml goes on with it as well"}
		}
		if c.Bool("fresh") || c.Bool("dry-run") {
			return badInput{errors.New("tune sweep: --resume goes on with a sweep: --fresh and --dry-run are for a file"), ""}
		}
		return resumeSweep(c)
	}
	if c.NArg() == 1 && c.Args().First() == "" {
		return badInput{errors.New("tune sweep: the path of the sweep is empty"), ""}
	}
	path, err := argument(c, "a sweep's file", "tune sweep configs/sweep-bluey.yaml")
	if err != nil {
		return err
	}
	spec, err := configs.LoadSweep(path)
	if err != nil {
		return noSweep(path, err)
	}
	s, err := newSweeper(c, spec)
	if err != nil {
		return err
	}
	s.typed = "tune sweep " + path
	if c.Bool("dry-run") {
		return s.dryRun(c)
	}
	return withStore("output.database", s.trials[0].Config.Output.Database, func(store *runstore.Store) error {
		s.store = store
		before, err := newestSweep(c.Context, store, spec.Name)
		if err != nil {
			return err
		}
		if before == nil || c.Bool("fresh") {
			return s.begin(c.Context)
		}
		return s.goOn(c.Context, before)
	})
}

// noSweep explains a file that is no sweep where it is something else that was meant.
func noSweep(path string, err error) error {
	if near := configs.Nearest(path, []string{"list", "show"}); near != "" && errors.Is(err, os.ErrNotExist) {
		return badInput{err, "did you mean tune sweep " + near + "?"}
	}
	if _, cerr := configs.Load(path, nil); cerr == nil {
		return badInput{fmt.Errorf("%s: is the config of one run, want a sweep", path), "tune run " + path}
	}
	return err
}

// resumeSweep goes on with a sweep from what its row says.
func resumeSweep(c *cli.Context) error {
	if _, err := os.Stat(c.String("db")); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: %w", c.String("db"), runstore.ErrNoDatabase)
	}
	return withStore("--db", c.String("db"), func(store *runstore.Store) error {
		row, err := findSweep(c.Context, store, c.String("resume"))
		if err != nil {
			return err
		}
		spec, err := configs.ParseSweep("sweeps.config of "+row.ID, []byte(row.Config))
		if err != nil {
			return err
		}
		s, err := newSweeper(c, spec)
		if err != nil {
			return err
		}
		s.typed, s.resumed, s.store = "tune sweep --resume "+row.ID, true, store
		return s.goOn(c.Context, &row)
	})
}

// findSweep finds the sweep that the user means.
func findSweep(ctx context.Context, store *runstore.Store, ref string) (runstore.Sweep, error) {
	row, err := store.Sweep(ctx, ref)
	if errors.Is(err, runstore.ErrNotFound) {
		return row, badInput{fmt.Errorf("sweep %q: there is no such sweep", ref), "tune sweep list lists them"}
	}
	return row, err
}

// newestSweep returns the newest sweep of a name, nil where there is none.
func newestSweep(ctx context.Context, store *runstore.Store, name string) (*runstore.Sweep, error) {
	all, err := store.Sweeps(ctx)
	for i := range all {
		if all[i].Name == name {
			return &all[i], err
		}
	}
	return nil, err
}

// newSweeper expands a sweep and looks at everything that can be wrong before a trial begins.
func newSweeper(c *cli.Context, spec *configs.Sweep) (*sweeper, error) {
	expanded, err := spec.Expand()
	if err != nil {
		return nil, err
	}
	s := &sweeper{spec: spec, out: c.App.Writer, err: c.App.ErrWriter, screen: screenOf(c.App.ErrWriter), force: c.Bool("force"),
		json: c.Bool("json"), signals: &sweepSignals{live: map[chan os.Signal]bool{}}}
	var text strings.Builder
	text.Write(spec.YAML())
	checked := map[string]bool{}
	for i := range expanded {
		t := &sweepTrial{Trial: expanded[i]}
		if dir := t.Config.Output.Dir; !checked[dir] {
			checked[dir] = true
			if err := checkOutputDir(dir); err != nil {
				return nil, err
			}
		}
		config, err := t.Config.YAML()
		if err != nil {
			return nil, err
		}
		text.Write(config)
		s.trials = append(s.trials, t)
	}
	// Of the trials as well: a base that has changed makes another sweep.
	s.hash = hashBytes([]byte(text.String()))
	ctx, stop := untilInterrupted(c.Context)
	defer stop()
	return s, s.predict(ctx, c.Bool("dry-run"))
}

// begin makes the sweep's row and runs it.
func (s *sweeper) begin(ctx context.Context) error {
	now := time.Now()
	s.row = runstore.Sweep{ID: runstore.NewID(s.spec.Name, now), Trials: len(s.trials), Name: s.spec.Name, Goal: s.spec.Goal,
		Config: string(s.spec.YAML()), ConfigSHA256: s.hash}
	if err := s.store.CreateSweep(ctx, s.row); err != nil {
		return err
	}
	fmt.Fprintf(s.err, "sweep %s: %s of %s, by %s\n", s.row.ID, countOf(len(s.trials), "trial"), s.spec.Base, s.spec.Method)
	return s.supervise(ctx)
}

// goOn goes on with a sweep that is there, or shows it where it is done.
func (s *sweeper) goOn(ctx context.Context, was *runstore.Sweep) error {
	running := was.Status == runstore.Running && !sweepGone(s.store, was)
	switch {
	case running:
		return badInput{fmt.Errorf("sweep %s: %w, as process %d", was.ID, runstore.ErrRunning, was.PID), "stop it first: Ctrl-C, or kill that process"}
	case was.ConfigSHA256 == s.hash && was.Status == runstore.Done:
		s.row = *was
		fmt.Fprintf(s.err, "sweep %s is done (--fresh begins anew)\n", was.ID)
		return s.report(ctx)
	case was.ConfigSHA256 != s.hash && was.Status == runstore.Done && !s.resumed:
		return s.begin(ctx)
	case was.ConfigSHA256 != s.hash:
		return s.differs(ctx, was)
	}
	if err := s.store.ResumeSweep(ctx, was); errors.Is(err, runstore.ErrRunning) {
		return badInput{err, "stop it first: Ctrl-C, or kill that process"}
	} else if err != nil {
		return err
	}
	s.row = *was
	if err := s.readTrials(ctx); err != nil {
		return err
	}
	done := 0
	for _, t := range s.trials {
		if t.run == nil || t.run.Status != runstore.Done {
			continue
		}
		done++
		ranked, err := rank(ctx, s.store, s.spec.Goal, t.run)
		if err != nil {
			return err
		}
		if s.best == nil || ranked.Value < s.best.Value {
			s.best = &ranked
		}
	}
	fmt.Fprintf(s.err, "sweep %s goes on: %d of %s done (--fresh begins anew)\n", s.row.ID, done, countOf(len(s.trials), "trial"))
	return s.supervise(ctx)
}

// sweepGone reports whether a sweep that is running in the database has no process any more.
func sweepGone(store *runstore.Store, x *runstore.Sweep) bool {
	return !store.Alive(x) || gone(&runstore.RunSummary{Run: runstore.Run{PID: x.PID, Host: x.Host, Process: x.Process}})
}

// differs refuses to go on with a sweep whose file or base has changed, with every difference.
func (s *sweeper) differs(ctx context.Context, was *runstore.Sweep) error {
	old, err := configs.ParseSweep("sweeps.config of "+was.ID, []byte(was.Config))
	if err != nil {
		return err
	}
	var problems []error
	for _, line := range old.Differences(s.spec) {
		problems = append(problems, fmt.Errorf("sweep %s: %s", was.ID, line))
	}
	if len(problems) == 0 {
		if problems, err = s.changedBase(ctx, was); err != nil {
			return err
		}
	}
	hint := "--fresh begins a new sweep"
	if s.resumed {
		hint = "tune sweep SWEEP.yaml --fresh begins a new sweep"
	}
	return badInput{errors.Join(problems...), hint}
}

// changedBase finds what has changed in the base since a sweep's trials began.
func (s *sweeper) changedBase(ctx context.Context, was *runstore.Sweep) (problems []error, err error) {
	runs, err := s.store.Runs(ctx, runstore.Filter{SweepID: was.ID})
	if err != nil {
		return nil, err
	}
	if len(runs) > 0 { // any of them tells
		run, err := s.store.Run(ctx, runs[0].ID)
		if err != nil {
			return nil, err
		}
		if own, err := configs.Parse("runs.config of "+run.ID, []byte(run.Config), nil); err == nil && run.SweepTrial <= len(s.trials) {
			now := *s.trials[run.SweepTrial-1].Config
			settleAs(&now, own)
			eachDifference(reflect.ValueOf(*own), reflect.ValueOf(now), func(key string, was, is any) {
				problems = append(problems, fmt.Errorf("%s: %s: is %v, when the sweep began it was %v", s.spec.Base, key, is, was))
			})
		}
	}
	if len(problems) == 0 {
		problems = append(problems, fmt.Errorf("%s has changed since sweep %s began", s.spec.Base, was.ID))
	}
	return problems, nil
}

// readTrials gives the trials the runs that they have. Those whose process is gone were interrupted.
func (s *sweeper) readTrials(ctx context.Context) error {
	ofSweep := runstore.Filter{SweepID: s.row.ID}
	runs, err := s.store.Runs(ctx, ofSweep)
	if err != nil {
		return err
	}
	for i := range runs {
		if r := &runs[i]; !r.Status.Ended() && gone(r) {
			if err := s.store.EndDeadRun(ctx, r); err != nil {
				return err
			}
		}
	}
	if runs, err = s.store.Runs(ctx, ofSweep); err != nil {
		return err
	}
	for i := range runs {
		if n := runs[i].SweepTrial; n >= 1 && n <= len(s.trials) {
			s.trials[n-1].run = &runs[i]
			if runs[i].Threads > 0 && s.threads == 0 {
				s.threads = runs[i].Threads // a trial with other threads would have other numbers
			}
		}
	}
	return nil
}

// settleJobs decides how many trials run at once, and with how many threads each where the base leaves that open.
func (s *sweeper) settleJobs() {
	s.jobs = int(s.spec.Jobs)
	cores := machine.PhysicalCores()
	if s.spec.Jobs == 0 {
		s.jobs = min(cores, len(s.trials), s.fitting())
	}
	for _, t := range s.trials {
		if t.Config.Threads == 0 && s.threads > 0 {
			t.Config.Threads = s.threads
		} else if t.Config.Threads == 0 && s.jobs > 1 {
			t.Config.Threads = max(1, cores/s.jobs)
		}
	}
}

// fitting returns how many trials fit into memory at once, whichever they are.
func (s *sweeper) fitting() int {
	largest := int64(1)
	for _, t := range s.trials {
		largest = max(largest, t.peakBytes)
	}
	if s.limit == 0 {
		return 1
	}
	return max(1, int(s.limit/largest))
}
