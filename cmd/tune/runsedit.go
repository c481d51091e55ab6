package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"tune/configs"
	"tune/internal/chart"
	"tune/internal/runstore"
)

func tagCommand() *cli.Command {
	return &cli.Command{
		Name:      "tag",
		Usage:     "give a run tags, or take them away",
		ArgsUsage: "RUN [TAG ...]",
		Description: "Without a tag it shows those that the run has. tune runs --tag TAG lists the runs that have one.\n\n" +
			"   tune runs tag last good first-try\n" +
			"   tune runs tag last --remove good",
		Flags: []cli.Flag{&cli.StringSliceFlag{Name: "remove", Usage: "take this `TAG` away; may be repeated"}, databaseFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return badInput{errors.New("tune runs tag: want a run, and its tags"), "tune runs tag last good"}
			}
			add, remove := c.Args().Slice()[1:], c.StringSlice("remove")
			for _, tag := range append(append([]string{}, add...), remove...) {
				if strings.TrimSpace(tag) == "" || strings.TrimSpace(tag) != tag || printable(tag) != tag || strings.ContainsAny(tag, "\n\t") {
					return badInput{fmt.Errorf("tune runs tag: %q is no tag, want a word without blanks at its ends", tag), ""}
				}
			}
			return editRun(c, c.Args().First(), func(store *runstore.Store, run *runstore.RunSummary) error {
				if len(add)+len(remove) > 0 {
					if err := store.Tag(c.Context, run.ID, add, remove); err != nil {
						return err
					}
				}
				now, err := store.Run(c.Context, run.ID)
				if err != nil {
					return err
				}
				fmt.Fprintf(c.App.Writer, "%s: %s\n", run.ID, yesOr(strings.Join(now.Tags, ", "), "no tags"))
				return nil
			})
		},
	}
}

func noteCommand() *cli.Command {
	return &cli.Command{
		Name:      "note",
		Usage:     "keep a note with a run, or read it",
		ArgsUsage: "RUN [TEXT]",
		Description: "A TEXT of - is read from standard input.\n\n" +
			"   tune runs note last \"the first that says please\"\n" +
			"   tune runs note last",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "clear", Usage: "remove the note"}, databaseFlag()},
		Action: func(c *cli.Context) error {
			if n := c.NArg(); n < 1 || n > 2 || n == 2 && c.Bool("clear") {
				return badInput{errors.New("tune runs note: want a run, and its note or --clear"), "tune runs note last \"what I saw\""}
			}
			text := c.Args().Get(1)
			if text == "-" {
				var err error
				if text, err = readAll(c.App.Reader); err != nil {
					return err
				}
			}
			return editRun(c, c.Args().First(), func(store *runstore.Store, run *runstore.RunSummary) error {
				if c.NArg() == 2 || c.Bool("clear") {
					return store.SetNote(c.Context, run.ID, text)
				}
				if run.Note != "" {
					fmt.Fprintln(c.App.Writer, printable(run.Note))
				}
				return nil
			})
		},
	}
}

// editRun opens the database for writing, which must be there, and finds a run.
func editRun(c *cli.Context, ref string, f func(*runstore.Store, *runstore.RunSummary) error) error {
	if _, err := os.Stat(c.String("db")); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", c.String("db"), runstore.ErrNoDatabase)
	}
	return withStore("--db", c.String("db"), func(store *runstore.Store) error {
		run, err := store.Run(c.Context, ref)
		if err != nil {
			return err
		}
		return f(store, &run)
	})
}

func removeCommand() *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Usage:     "remove runs, with their folders",
		ArgsUsage: "RUN ...",
		Description: "Says what would go and asks. A run that is running is not removed; benchmarks of its adapter stay.\n\n" +
			"   tune runs rm bluey-r4\n" +
			"   tune runs rm $(tune runs --status failed --csv | tail -n +2 | cut -d, -f1) --yes",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"}, databaseFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return badInput{errors.New("tune runs rm: want a run"), "tune runs lists them"}
			}
			if _, err := os.Stat(c.String("db")); errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s: %w", c.String("db"), runstore.ErrNoDatabase)
			}
			return withStore("--db", c.String("db"), func(store *runstore.Store) error { return removeRuns(c, store) })
		},
	}
}

// removal is a run to be removed, with its folder.
type removal struct {
	run   runstore.RunSummary
	dir   string // empty where there is none
	bytes int64
}

func removeRuns(c *cli.Context, store *runstore.Store) error {
	var all []removal
	seen := map[string]bool{}
	for _, ref := range c.Args().Slice() {
		run, err := store.Run(c.Context, ref)
		if err != nil {
			return err
		}
		if !run.Status.Ended() {
			return badInput{fmt.Errorf("run %s is %s, as process %d: it is not removed", run.ID, run.Status, run.PID), "stop it first: Ctrl-C, or kill that process"}
		}
		if seen[run.ID] {
			continue
		}
		seen[run.ID] = true
		x := removal{run: run}
		if x.dir, err = folderOf(&run); err != nil {
			return err
		}
		if x.dir, x.bytes, err = measure(x.dir); err != nil {
			return err
		}
		all = append(all, x)
	}
	for _, x := range all {
		what := "its rows; its folder is not here"
		if x.dir != "" {
			what = fmt.Sprintf("its rows and %s (%s)", x.dir, chart.FormatBytes(float64(x.bytes)))
		}
		fmt.Fprintf(c.App.ErrWriter, "%s  %s, %s steps: %s\n", x.run.ID, statusOfRun(&x.run), stepsOf(&x.run), printable(what))
	}
	if yes, err := agreed(c, len(all)); err != nil || !yes {
		return err
	}
	for _, x := range all {
		clearLeftovers(c.Context, store, filepath.Dir(x.dir))
		if err := remove(c.Context, store, x.run.ID, x.dir, os.RemoveAll); err != nil {
			return err
		}
		fmt.Fprintln(c.App.Writer, "removed", x.run.ID)
	}
	return nil
}

// agreed asks whether to go on. Without a terminal nobody can answer, and --yes has to be given.
func agreed(c *cli.Context, n int) (bool, error) {
	if c.Bool("yes") {
		return true, nil
	}
	if f, ok := c.App.Reader.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return false, badInput{errors.New("tune runs rm: standard input is no terminal, so nobody can be asked"), "--yes removes without a question"}
	}
	fmt.Fprintf(c.App.ErrWriter, "remove %s? [y/N] ", countOf(n, "run"))
	answer, err := bufio.NewReader(c.App.Reader).ReadString('\n')
	if err != nil && answer == "" {
		return false, nil
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	fmt.Fprintln(c.App.ErrWriter, "nothing is removed")
	return false, nil
}

// folderOf is where a run's files lie as its config says: output.dir/id. The id comes from a file that anybody may have made: one that
// leads out of the folder is refused.
func folderOf(run *runstore.RunSummary) (string, error) {
	if !filepath.IsLocal(run.ID) || strings.ContainsAny(run.ID, `/\`) || run.ID == "." {
		return "", badInput{fmt.Errorf("run %q: its id is no name of a folder; nothing is removed", run.ID), ""}
	}
	dir := "runs"
	if cfg, err := configs.Parse(run.ID, []byte(run.Config), nil); err == nil {
		dir = cfg.Output.Dir
	}
	return filepath.Join(dir, run.ID), nil
}

// aside is where a folder is while its run is being removed.
func aside(dir string) string {
	return filepath.Join(filepath.Dir(dir), ".removed-"+filepath.Base(dir))
}

// measure returns the folder where it is, which after an interrupted removal is aside, with its size; "" where there is none. A link is
// no folder of the run's: it goes, what it leads to stays.
func measure(dir string) (there string, bytes int64, err error) {
	for _, path := range []string{dir, aside(dir)} {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		err := filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			info, err := e.Info()
			if err == nil {
				bytes += info.Size()
			}
			return err
		})
		return path, bytes, err
	}
	return "", 0, nil
}

// clearLeftovers removes folders that an interrupted removal has left aside after their rows were gone. What cannot be removed stays
// for the next time.
func clearLeftovers(ctx context.Context, store *runstore.Store, parent string) {
	left, _ := filepath.Glob(filepath.Join(parent, ".removed-*"))
	for _, path := range left {
		id := strings.TrimPrefix(filepath.Base(path), ".removed-")
		if _, err := store.Run(ctx, id); errors.Is(err, runstore.ErrNotFound) {
			_ = os.RemoveAll(path)
		}
	}
}

// remove removes a run and its folder so that whatever fails in between leaves both, or neither with its rest told: the folder is put
// aside, the row deleted, and then the files. dir is empty where there is no folder.
func remove(ctx context.Context, store *runstore.Store, id, dir string, removeAll func(string) error) error {
	moved := dir
	if dir != "" && !strings.HasPrefix(filepath.Base(dir), ".removed-") {
		moved = aside(dir)
		if err := os.Rename(dir, moved); err != nil {
			return fmt.Errorf("remove run %s: %w", id, err)
		}
	}
	if err := store.DeleteRun(ctx, id); err != nil {
		if moved != dir {
			err = errors.Join(err, os.Rename(moved, dir))
		}
		return err
	}
	if dir == "" {
		return nil
	}
	if err := removeAll(moved); err != nil {
		return hinted{fmt.Errorf("run %s is removed, but not all of its files: %w", id, err), "remove " + moved + " by hand"}
	}
	return nil
}
