package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/configs"
	"tune/internal/machine"
	"tune/internal/runstore"
)

func resumeCommand() *cli.Command {
	return &cli.Command{
		Name:      "resume",
		Usage:     "go on with a run that was stopped, as if it never had been",
		ArgsUsage: "RUN [CONFIG]",
		Description: "Goes on with a run, whatever stopped it, from its last checkpoint: on the CPU with the very numbers\n" +
			"that it would have had without a stop. RUN is an id, the start of one, a name, or last. The run's own\n" +
			"config counts; a CONFIG is compared with it, and refused where it differs.\n\n" +
			"   tune resume last",
		Flags: []cli.Flag{databaseFlag(), forceFlag()},
		Action: func(c *cli.Context) error {
			if n := c.NArg(); n < 1 || n > 2 {
				return badInput{fmt.Errorf("tune resume: want a run, and no more than its config, got %d arguments", n), "tune runs lists them"}
			}
			var given *configs.Config
			if c.NArg() == 2 {
				var err error
				if given, err = configs.Load(c.Args().Get(1), nil); err != nil {
					return err
				}
			}
			if _, err := os.Stat(c.String("db")); errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("%s: %w", c.String("db"), runstore.ErrNoDatabase)
			}
			return withStore("--db", c.String("db"), func(store *runstore.Store) error {
				run, err := store.Run(c.Context, c.Args().First())
				if err != nil {
					return err
				}
				if err := resumable(&run); err != nil {
					return err
				}
				cfg, err := configs.Parse("runs.config of "+run.ID, []byte(run.Config), nil)
				if err != nil {
					return err
				}
				if given != nil {
					if err := sameConfig(c.Args().Get(1), given, cfg); err != nil {
						return err
					}
				}
				if err := checkOutputDir(cfg.Output.Dir); err != nil {
					return err
				}
				return newSession(c, store, cfg).resume(c.Context, run)
			})
		},
	}
}

// resumable refuses a run that there is nothing to do for, or that another process is at.
func resumable(run *runstore.RunSummary) error {
	switch {
	case run.Status == runstore.Done:
		return badInput{fmt.Errorf("run %s is done: there is nothing to go on with", run.ID),
			"lora.from in a new config goes on from its adapter"}
	case run.Status == runstore.Diverged:
		return badInput{fmt.Errorf("run %s diverged, and would again: %s", run.ID, run.Error),
			"a new run with a smaller train.learning_rate may hold; lora.from takes one of its checkpoints"}
	case run.Status == runstore.Running && !gone(run):
		return badInput{fmt.Errorf("run %s is running, as process %d", run.ID, run.PID), "stop it first: Ctrl-C, or kill that process"}
	}
	return nil
}

// gone reports whether a run that is running in the database has no process any more.
func gone(run *runstore.RunSummary) bool {
	if run.Stale {
		return true
	}
	if host, err := os.Hostname(); err != nil || run.Host != "" && run.Host != host { // its processes cannot be seen
		return false
	}
	mark, alive := machine.Process(run.PID)
	return !alive || mark != "" && run.Process != "" && mark != run.Process
}

// sameConfig refuses a config that is not a run's own, with every difference.
func sameConfig(path string, given, own *configs.Config) error {
	settleAs(given, own)
	var problems []error
	eachDifference(reflect.ValueOf(*own), reflect.ValueOf(*given), func(key string, was, is any) {
		problems = append(problems, fmt.Errorf("%s: %s: is %v, in the run it was %v", path, key, is, was))
	})
	if len(problems) == 0 {
		return nil
	}
	return badInput{errors.Join(problems...), "tune run " + path + " begins a run with this config"}
}

// eachDifference calls f for every key of a config whose value differs in another.
func eachDifference(a, b reflect.Value, f func(key string, a, b any)) {
	others := map[string]any{}
	eachKey(b, "", func(key string, value any) { others[key] = value })
	eachKey(a, "", func(key string, x any) {
		y, list := others[key], reflect.ValueOf(x)
		if !reflect.DeepEqual(x, y) && !(list.Kind() == reflect.Slice && list.Len()+reflect.ValueOf(y).Len() == 0) {
			f(key, x, y)
		}
	})
}

// eachKey calls f for every key of a config.
func eachKey(v reflect.Value, parent string, f func(key string, value any)) {
	for i := range v.NumField() {
		key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if key == "-" {
			continue
		}
		if parent != "" {
			key = parent + "." + key
		}
		if x := v.Field(i); x.Kind() == reflect.Struct {
			eachKey(x, key, f)
		} else {
			f(key, x.Interface())
		}
	}
}

// settleAs gives what a config leaves open what it became in a run.
func settleAs(cfg, own *configs.Config) {
	if cfg.Threads == 0 {
		cfg.Threads = own.Threads
	}
	if cfg.Train.AutoCheckpointing && !own.Train.AutoCheckpointing {
		cfg.Train.AutoCheckpointing, cfg.Train.GradientCheckpointing = false, own.Train.GradientCheckpointing
	}
}

// interruptedRun finds the newest run of a name; where it has this very config, was interrupted and has a checkpoint, it is
// what tune run goes on with.
func interruptedRun(ctx context.Context, store *runstore.Store, cfg *configs.Config) (*runstore.RunSummary, error) {
	newest, err := store.Runs(ctx, runstore.Filter{Name: cfg.Name, Limit: 1})
	if err != nil || len(newest) == 0 {
		return nil, err
	}
	run, err := store.Run(ctx, newest[0].ID)
	if err != nil {
		return nil, err
	}
	if run.SweepID != "" { // its sweep decides how it goes on
		return nil, nil
	}
	if run.Status != runstore.Interrupted && !(run.Status == runstore.Running && gone(&run)) {
		return nil, nil
	}
	own, err := configs.Parse("runs.config of "+run.ID, []byte(run.Config), nil)
	if err != nil { // of another tune: not ours to go on with
		return nil, nil
	}
	same := *cfg
	settleAs(&same, own)
	differs := false
	eachDifference(reflect.ValueOf(*own), reflect.ValueOf(same), func(string, any, any) { differs = true })
	checkpoints, err := checkpointsOf(filepath.Join(cfg.Output.Dir, run.ID)).Steps()
	if err != nil || differs || len(checkpoints) == 0 {
		return nil, err
	}
	return &run, nil
}
