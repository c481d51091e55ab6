package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/urfave/cli/v2"

	"tune/internal/runstore"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:  "check",
		Usage: "see whether the database of runs is sound, and save what can be read of a damaged one",
		Description: "The exit status is 0 when it is sound and 1 when it is damaged. A damaged file is never written to.\n\n" +
			"   tune runs check\n" +
			"   tune runs check --salvage saved.db",
		Flags: []cli.Flag{
			databaseFlag(),
			&cli.StringFlag{Name: "salvage", Usage: "write every row that can be read to `NEW.db`, which must not exist"},
		},
		Action: checkRuns,
	}
}

func checkRuns(c *cli.Context) error {
	if err := errors.Join(noArguments(c), notAFolder("db", c.String("db"))); err != nil {
		return err
	}
	path, out := c.String("db"), c.String("salvage")
	problems, err := runstore.Check(c.Context, path)
	if err != nil && (out == "" || !errors.Is(err, runstore.ErrForeign)) {
		return err
	}
	if err != nil { // a damaged header may look like another program's
		problems = []string{err.Error()}
	}
	result := fmt.Sprintf("%s is sound", path)
	if len(problems) > 0 {
		result = fmt.Sprintf("%s is damaged: %s", path, problems[0])
		if n := len(problems) - 1; n > 0 {
			result += fmt.Sprintf(" (and %s)", countOf(n, "more problem"))
		}
	}
	switch {
	case out != "":
		saved, err := salvage(c, path, out)
		if err != nil {
			return err
		}
		fmt.Fprintln(c.App.Writer, printable(result))
		writeSalvaged(c.App.Writer, out, saved)
		return nil
	case len(problems) > 0:
		return hinted{errors.New(result), "tune runs check --db " + path + " --salvage NEW.db saves what can be read"}
	}
	fmt.Fprintln(c.App.Writer, result)
	return nil
}

// salvage saves what can be read.
func salvage(c *cli.Context, path, out string) (*runstore.Salvaged, error) {
	if err := checkDatabase("--salvage", out); err != nil {
		return nil, err
	}
	saved, err := runstore.Salvage(c.Context, path, out)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, badInput{fmt.Errorf("--salvage: %w", err), "nothing is overwritten: name a file that is not there"}
	case errors.Is(err, runstore.ErrDamaged): // no bad input, and the hint of others leads here
		return nil, hinted{errors.New(err.Error()), "a copy from before the damage is all that is left"}
	}
	return saved, err
}

// writeSalvaged says how much was saved, and of which runs something is missing.
func writeSalvaged(w io.Writer, out string, saved *runstore.Salvaged) {
	fmt.Fprintf(w, "saved to %s\n", out)
	for _, t := range saved.Tables {
		fmt.Fprintf(w, "  %-12s %7d\n", t.Table, t.Rows)
	}
	if len(saved.Losses) > 0 {
		fmt.Fprintln(w, "runs that lost rows")
	}
	for _, loss := range saved.Losses {
		for _, what := range loss.Missing {
			fmt.Fprintf(w, "  %s  %s\n", printable(loss.RunID), what)
		}
	}
}
