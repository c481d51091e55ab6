package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"tune/internal/runstore"
)

// chosenRunsFlags are the options that choose runs where none is named.
func chosenRunsFlags() []cli.Flag {
	return append(filterFlags(), &cli.IntFlag{Name: "limit", Usage: "the newest `N` of those chosen", Value: 12})
}

// chosenRuns returns the ids of the runs that the command line names, each once, or of those that its options choose, the
// oldest first and the trials of a sweep in their order. That there is none is an error.
func chosenRuns(c *cli.Context, store *runstore.Store, now time.Time) ([]string, error) {
	refs := c.Args().Slice()
	option := ""
	for _, f := range chosenRunsFlags() {
		if name := f.Names()[0]; option == "" && c.IsSet(name) {
			option = name
		}
	}
	switch {
	case len(refs) > 0 && option != "":
		return nil, badInput{fmt.Errorf("%s: got both %s and --%s", commandOf(c), refs[0], option), "name runs, or choose them by options"}
	case option == "":
		if len(refs) == 0 {
			refs = []string{"last"}
		}
		runs, err := namedRuns(c, store, refs)
		return idsOf(runs), err
	}
	filter, err := readFilter(c, now)
	if err != nil {
		return nil, err
	}
	runs, err := filter.runs(c.Context, store)
	if err != nil {
		return nil, err
	}
	if len(runs) == 0 {
		return nil, badInput{fmt.Errorf("%s: no run fits --%s", commandOf(c), option), "tune runs lists them"}
	}
	if n := c.Int("limit"); n > 0 && n < len(runs) && (filter.sweep == "" || c.IsSet("limit")) {
		runs = runs[:n]
	}
	if filter.sweep == "" {
		slices.Reverse(runs)
	}
	return idsOf(runs), nil
}

func idsOf(runs []runstore.RunSummary) []string {
	ids := make([]string, len(runs))
	for i := range runs {
		ids[i] = runs[i].ID
	}
	return ids
}

// namedRuns returns the runs that are meant, each once.
func namedRuns(c *cli.Context, store *runstore.Store, refs []string) ([]runstore.RunSummary, error) {
	var runs []runstore.RunSummary
	for _, ref := range refs {
		run, err := store.Run(c.Context, ref)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(runs, func(r runstore.RunSummary) bool { return r.ID == run.ID }) {
			runs = append(runs, run)
		}
	}
	return runs, nil
}
