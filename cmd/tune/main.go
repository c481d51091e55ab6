// Command tune fine-tunes Gemma models with LoRA on the machine in front of you, and keeps every run.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"tune/internal/runstore"
)

func main() { os.Exit(run(context.Background(), os.Args, os.Stdout, os.Stderr)) }

// run is the whole program: it returns the exit code, 0 for success, 1 for a failure at run time, 2 for input
// that is wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	out := &output{w: stdout}
	return report(stderr, catch(func() error {
		if err := keepToBudget(os.Getenv, os.Setenv); err != nil {
			return err
		}
		app := newApp(out, stderr)
		args, err := arrange(app, args)
		if err != nil {
			return err
		}
		if err := app.RunContext(ctx, args); err != nil {
			return err
		}
		return out.unwritten()
	}))
}

// output is standard output. It remembers the first write that failed, for most of what is printed is printed without
// a look at the error: a full disk must not pass for success.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// unwritten returns why something was not written.
func (o *output) unwritten() error {
	if o.err == nil {
		return nil
	}
	return fmt.Errorf("write standard output: %w", pathless(o.err))
}

func newApp(stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:      "tune",
		HelpName:  "tune",
		Usage:     "fine-tune Gemma with LoRA on this machine, and keep every run",
		UsageText: "tune COMMAND [OPTION ...] [ARGUMENT ...]",
		Reader:    os.Stdin,
		Writer:    stdout,
		ErrWriter: stderr,
		// The library would end the process itself, and print the whole help before a wrong flag's error.
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   usageError,
		HideVersion:    true, // tune version says more
		// A value such as lora.target_modules=[q_proj, v_proj] is one, whatever commas it has.
		DisableSliceFlagSeparator: true,
		Commands: []*cli.Command{
			runCommand(),
			resumeCommand(),
			sweepCommand(),
			planCommand(),
			runsCommand(),
			queryCommand(),
			exportRunsCommand(),
			chartCommand(),
			reportCommand(),
			serveCommand(),
			costCommand(),
			generateCommand(),
			chatCommand(),
			benchCommand(),
			exportCommand(),
			importCommand(),
			dataCommand(),
			modelsCommand(),
			doctorCommand(),
			versionCommand(),
			workerCommand(),
		},
		Action: func(c *cli.Context) error { return cli.ShowAppHelp(c) },
	}
	for _, c := range app.Commands {
		quieten(c)
	}
	return app
}

// quieten has a command report a wrong flag in one line, and take "help" as the argument that it is.
func quieten(c *cli.Command) {
	c.OnUsageError = usageError
	c.HideHelpCommand = true
	for _, sub := range c.Subcommands {
		quieten(sub)
	}
}

// usageError reports in one line what the library says of a wrong flag.
func usageError(c *cli.Context, err error, _ bool) error {
	return badInput{fmt.Errorf("%s: %w", commandOf(c), err), commandOf(c) + " --help lists the options"}
}

// untilInterrupted returns a context that the first Ctrl-C, or SIGTERM, ends. A second one ends the process.
func untilInterrupted(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// The flags that several commands have.
func databaseFlag() cli.Flag {
	return &cli.StringFlag{Name: "db", Usage: "the database of runs", Value: "runs.db"}
}

func jsonFlag() cli.Flag { return &cli.BoolFlag{Name: "json", Usage: "write JSON, for programs"} }

// openRuns opens the database that --db names, for reading. Runs that died without a word are given their ending.
func openRuns(c *cli.Context) (*runstore.Store, error) {
	return openRunsAt(c.Context, "db", c.String("db"))
}

// openRunsAt opens the database at path, which a flag names, for reading, as openRuns does.
func openRunsAt(ctx context.Context, flag, path string) (*runstore.Store, error) {
	if err := notAFolder(flag, path); err != nil {
		return nil, err
	}
	store, err := runstore.OpenReadOnly(path)
	if err != nil {
		return nil, err
	}
	store.EndDeadRuns(ctx)
	return store, nil
}

// notAFolder refuses a database that is a folder.
func notAFolder(flag, path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return badInput{fmt.Errorf("--%s: %s: is a folder, want a file", flag, path), ""}
	}
	return nil
}

// closing closes the database and keeps the first error.
func closing(store *runstore.Store, err error) error { return errors.Join(err, store.Close()) }
