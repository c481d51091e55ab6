package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tune/internal/runstore"
)

// filterFlags choose runs.
func filterFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "status", Usage: "only runs that are `STATUS`, or one of several with commas: " + strings.Join(statuses, ", ")},
		&cli.StringFlag{Name: "name", Usage: "only runs with this `NAME`; * and ? stand for any letters"},
		&cli.StringFlag{Name: "model", Usage: "only runs whose base model has this `TEXT` in its path"},
		&cli.StringFlag{Name: "since", Usage: "only runs created at `WHEN` or later: 2026-11-21, 2026-11-21T10:00, or an age such as 7d, 12h, 30m"},
		&cli.StringFlag{Name: "until", Usage: "only runs created before `WHEN`"},
		&cli.StringSliceFlag{Name: "tag", Usage: "only runs with this `TAG`; may be repeated: with all of them"},
		&cli.StringFlag{Name: "sweep", Usage: "only the trials of this `SWEEP`: an id, a name, or last"},
	}
}

// sortOrders are what runs can be sorted by, from the first that is shown to the last.
var sortOrders = map[string]func(a, b *runstore.RunSummary) int{
	"created":    func(a, b *runstore.RunSummary) int { return b.CreatedAt.Compare(a.CreatedAt) },
	"name":       func(a, b *runstore.RunSummary) int { return cmp.Compare(a.Name, b.Name) },
	"status":     func(a, b *runstore.RunSummary) int { return cmp.Compare(a.Status, b.Status) },
	"model":      func(a, b *runstore.RunSummary) int { return cmp.Compare(a.ModelPath, b.ModelPath) },
	"loss":       smallestFirst(func(r *runstore.RunSummary) float64 { return float64(r.LastLoss) }),
	"validation": smallestFirst(func(r *runstore.RunSummary) float64 { return float64(r.BestValidationLoss) }),
	"steps":      largestFirst(func(r *runstore.RunSummary) float64 { return float64(r.StepsDone) }),
	"wall":       smallestFirst(func(r *runstore.RunSummary) float64 { return wallSeconds(r, time.Now()) }),
	"memory":     smallestFirst(func(r *runstore.RunSummary) float64 { return orNaN(r.PeakMemoryBytes) }),
	"speed":      largestFirst(func(r *runstore.RunSummary) float64 { return float64(r.TokensPerSecond) }),
}

// orNaN is a count in which 0 is unknown.
func orNaN(n int64) float64 {
	if n == 0 {
		return math.NaN()
	}
	return float64(n)
}

// smallestFirst sorts by a number; what has none comes last.
func smallestFirst(of func(*runstore.RunSummary) float64) func(a, b *runstore.RunSummary) int {
	return func(a, b *runstore.RunSummary) int { return unknownLast(of(a), of(b), 1) }
}

func largestFirst(of func(*runstore.RunSummary) float64) func(a, b *runstore.RunSummary) int {
	return func(a, b *runstore.RunSummary) int { return unknownLast(of(a), of(b), -1) }
}

func unknownLast(x, y float64, direction int) int {
	switch {
	case math.IsNaN(x) && math.IsNaN(y):
		return 0
	case math.IsNaN(x):
		return 1
	case math.IsNaN(y):
		return -1
	}
	return direction * cmp.Compare(x, y)
}

func orderNames() []string {
	var names []string
	for name := range sortOrders {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// runFilter is what filterFlags say.
type runFilter struct {
	store    runstore.Filter // what the database can tell
	statuses []string
	name     string
	model    string
	tags     []string
	sweep    string
}

// readFilter reads the flags. Errors: bad input, by flag.
func readFilter(c *cli.Context, now time.Time) (*runFilter, error) {
	f := &runFilter{name: c.String("name"), model: c.String("model"), tags: c.StringSlice("tag"), sweep: c.String("sweep")}
	refuse := func(name, want string) error {
		return badInput{fmt.Errorf("%s: --%s: want %s, got %q", commandOf(c), name, want, c.String(name)), ""}
	}
	if c.IsSet("status") {
		for _, status := range strings.Split(c.String("status"), ",") {
			if status = strings.TrimSpace(status); !slices.Contains(statuses, status) {
				return nil, refuse("status", strings.Join(statuses, ", ")+", or several with commas")
			}
			f.statuses = append(f.statuses, status)
		}
	}
	if _, err := path.Match(f.name, ""); err != nil {
		return nil, refuse("name", "a name or a pattern")
	}
	for name, into := range map[string]*time.Time{"since": &f.store.Since, "until": &f.store.Until} {
		if !c.IsSet(name) {
			continue
		}
		at, ok := parseWhen(c.String(name), now)
		if !ok {
			return nil, refuse(name, "a date such as 2026-11-21, a time such as 2026-11-21T10:00, or an age such as 7d, 12h, 30m")
		}
		*into = at
	}
	return f, nil
}

var agePattern = regexp.MustCompile(`^(\d{1,6})(m|h|d|w)$`)

// parseWhen reads a date or a time of day where the reader is, a time with its zone, or how long ago.
func parseWhen(text string, now time.Time) (at time.Time, ok bool) {
	if m := agePattern.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1])
		unit := map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}[m[2]]
		return now.Add(-time.Duration(n) * unit), true
	}
	for _, layout := range []string{"2006-01-02", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02 15:04:05"} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, true
		}
	}
	at, err := time.Parse(time.RFC3339, text)
	return at, err == nil
}

// runs returns the runs that fit, newest first, or the trials of a sweep in their order. Errors: no such sweep.
func (f *runFilter) runs(ctx context.Context, store *runstore.Store) ([]runstore.RunSummary, error) {
	filter := f.store
	if f.sweep != "" {
		sweep, err := store.Sweep(ctx, f.sweep)
		if err != nil {
			return nil, err
		}
		filter.SweepID = sweep.ID
	}
	runs, err := store.Runs(ctx, filter)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(runs, func(r runstore.RunSummary) bool {
		if len(f.statuses) > 0 && !slices.Contains(f.statuses, string(r.Status)) {
			return true
		}
		if fits, _ := path.Match(f.name, r.Name); f.name != "" && f.name != r.Name && !fits {
			return true
		}
		if !strings.Contains(r.ModelPath, f.model) {
			return true
		}
		for _, tag := range f.tags {
			if !slices.Contains(r.Tags, tag) {
				return true
			}
		}
		return false
	}), nil
}

// isSet reports whether anything was asked for.
func (f *runFilter) isSet() bool {
	return len(f.statuses) > 0 || f.name != "" || f.model != "" || f.sweep != "" || len(f.tags) > 0 || !f.store.Since.IsZero() || !f.store.Until.IsZero()
}
