package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tune/internal/runstore"
)

// chosenRunsFlags are the options that choose runs where none is named.
func chosenRunsFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "the runs with this `NAME`"},
		&cli.StringFlag{Name: "tag", Usage: "the runs with this `TAG`"},
		&cli.StringFlag{Name: "sweep", Usage: "the trials of this `SWEEP`"},
		&cli.StringFlag{Name: "status", Usage: "the runs that are `STATUS`: " + strings.Join(statuses, ", ")},
		&cli.StringFlag{Name: "since", Usage: "the runs begun within `AGE` (36h, 7d), or since a day (2026-11-30)"},
		&cli.IntFlag{Name: "limit", Usage: "the newest `N` of those chosen", Value: 12},
	}
}

// chosenBy are the options that choose runs.
var chosenBy = []string{"name", "tag", "sweep", "status", "since", "limit"}

// chosenRuns returns the ids of the runs that the command line names, each once, or of those that its options choose, the
// oldest first and the trials of a sweep in their order. That there is none is an error.
func chosenRuns(c *cli.Context, store *runstore.Store, now time.Time) ([]string, error) {
	refs := c.Args().Slice()
	option := slices.IndexFunc(chosenBy, c.IsSet)
	switch {
	case len(refs) > 0 && option >= 0:
		return nil, badInput{fmt.Errorf("%s: got both %s and --%s", commandOf(c), refs[0], chosenBy[option]),
			"name runs, or choose them by --name, --tag, --sweep, --status, --since and --limit"}
	case option < 0:
		if len(refs) == 0 {
			refs = []string{"last"}
		}
		return namedRuns(c, store, refs)
	}
	filter, err := chosenFilter(c, store, now)
	if err != nil {
		return nil, err
	}
	runs, err := store.Runs(c.Context, filter)
	if err != nil {
		return nil, err
	}
	if len(runs) == 0 {
		return nil, badInput{fmt.Errorf("%s: no run fits --%s", commandOf(c), chosenBy[option]), "tune runs lists them"}
	}
	ids := make([]string, len(runs))
	for i := range runs {
		ids[i] = runs[i].ID
	}
	if filter.SweepID == "" {
		slices.Reverse(ids)
	}
	return ids, nil
}

// namedRuns returns the ids of the runs that are meant, each once.
func namedRuns(c *cli.Context, store *runstore.Store, refs []string) ([]string, error) {
	var ids []string
	for _, ref := range refs {
		run, err := store.Run(c.Context, ref)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ids, run.ID) {
			ids = append(ids, run.ID)
		}
	}
	return ids, nil
}

// chosenFilter is what the options say.
func chosenFilter(c *cli.Context, store *runstore.Store, now time.Time) (runstore.Filter, error) {
	filter := runstore.Filter{Name: c.String("name"), Tag: c.String("tag"), Status: runstore.Status(c.String("status")), Limit: c.Int("limit")}
	if c.IsSet("status") {
		if err := oneOf(c, "status", statuses...); err != nil {
			return filter, err
		}
	}
	if c.IsSet("since") {
		var err error
		if filter.Since, err = sinceWhen(c.String("since"), now); err != nil {
			return filter, badInput{fmt.Errorf("%s: --since: %w", commandOf(c), err), ""}
		}
	}
	if c.IsSet("sweep") {
		sweep, err := store.Sweep(c.Context, c.String("sweep"))
		if err != nil {
			return filter, err
		}
		if filter.SweepID = sweep.ID; !c.IsSet("limit") {
			filter.Limit = 0
		}
	}
	return filter, nil
}

// sinceWhen reads an age, such as 36h or 7d, or a day, with a time or without.
func sinceWhen(text string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseFloat(days, 64); err == nil && n >= 0 && n < 36500 {
			return now.Add(-time.Duration(n * 24 * float64(time.Hour))), nil
		}
	}
	if age, err := time.ParseDuration(text); err == nil && age >= 0 {
		return now.Add(-age), nil
	}
	for _, layout := range []string{time.DateOnly, time.DateTime, "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	return time.Time{}, fmt.Errorf("want an age such as 36h or 7d, or a day such as 2026-11-30, got %q", text)
}
