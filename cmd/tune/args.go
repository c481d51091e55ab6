package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/configs"
)

// arrange puts a command line into the order that the library wants: commands, options, then "--" and the
// arguments. People write the file first and the options behind it; the library stops looking for options at
// the first argument.
//
// Errors, all of them bad input: a command or an option that does not exist, an option without its value, a
// value that is no number where one is wanted.
func arrange(app *cli.App, args []string) ([]string, error) {
	app.Setup() // adds the help command
	root := &cli.Command{Name: app.Name, Subcommands: app.Commands, Flags: app.Flags}
	line := commandLine{command: root, path: []string{app.Name}}
	if err := line.read(args[1:]); err != nil {
		return nil, err
	}
	if line.command == root && slices.Contains(line.options, "--version") {
		return []string{app.Name, "version"}, nil
	}
	for _, option := range line.options {
		name, _, _ := strings.Cut(strings.TrimLeft(option, "-"), "=")
		if !isHelp(name) && flagNamed(line.command.Flags, name) == nil {
			return nil, line.unknownOption(name)
		}
	}
	out := append(line.path, line.options...)
	// The library takes what stands beside --help for the name of a command to explain.
	if len(line.arguments) > 0 && !slices.ContainsFunc(line.options, func(o string) bool { return isHelp(o[2:]) }) {
		out = append(append(out, "--"), line.arguments...)
	}
	return out, nil
}

// commandLine is a command line taken apart.
type commandLine struct {
	command   *cli.Command // the one that is meant
	path      []string     // the words that name it
	options   []string     // --name or --name=value
	arguments []string
}

func (l *commandLine) read(args []string) error {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			l.arguments = append(l.arguments, args[i+1:]...)
			return nil
		case strings.HasPrefix(arg, "-") && arg != "-":
			used, err := l.option(args[i:])
			if err != nil {
				return err
			}
			i += used - 1
		default:
			if err := l.word(arg); err != nil {
				return err
			}
		}
	}
	return nil
}

// word is the name of a command as long as commands can follow, and an argument from then on.
func (l *commandLine) word(arg string) error {
	if len(l.arguments) == 0 {
		for _, sub := range l.command.Subcommands {
			if sub.HasName(arg) {
				l.command, l.path = sub, append(l.path, sub.Name)
				return nil
			}
		}
		if len(l.path) == 1 {
			hint := didYouMean("tune ", arg, commandNames(l.command), "tune --help lists the commands")
			return badInput{fmt.Errorf("unknown command %q", arg), hint}
		}
	}
	l.arguments = append(l.arguments, arg)
	return nil
}

// option reads the option that args begin with and returns how many of them it took. Whether it exists is known
// only once the command is; until then one of any command below is looked for, to know whether it has a value.
func (l *commandLine) option(args []string) (used int, err error) {
	name, value, given := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(args[0], "-"), "-"), "=")
	switch {
	case name == "version" && len(l.path) == 1, isHelp(name):
		l.options = append(l.options, "--"+name)
		return 1, nil
	}
	f := flagBelow(l.command, name)
	if f == nil {
		l.options = append(l.options, "--"+name) // arrange reports it
		return 1, nil
	}
	name = f.Names()[0]
	if _, on := f.(*cli.BoolFlag); on {
		if given {
			name += "=" + value
		}
		l.options = append(l.options, "--"+name)
		return 1, nil
	}
	used = 1
	if !given {
		if len(args) < 2 || l.isOption(args[1]) {
			return 0, l.bad(fmt.Errorf("--%s: wants a value behind it", name))
		}
		value, used = args[1], 2
	}
	if want := wantedNumber(f, value); want != "" {
		return 0, l.bad(fmt.Errorf("--%s: want %s, got %q", name, want, value))
	}
	l.options = append(l.options, "--"+name+"="+value)
	return used, nil
}

// isOption reports whether an argument is certainly an option and no value: "-" and -1 are values.
func (l *commandLine) isOption(arg string) bool {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	return strings.HasPrefix(arg, "--") && (isHelp(name) || flagBelow(l.command, name) != nil)
}

func (l *commandLine) bad(err error) error {
	command := strings.Join(l.path, " ")
	return badInput{fmt.Errorf("%s: %w", command, err), command + " --help lists the options"}
}

func (l *commandLine) unknownOption(name string) error {
	var names []string
	for _, f := range l.command.Flags {
		names = append(names, "--"+f.Names()[0])
	}
	command := strings.Join(l.path, " ")
	return badInput{fmt.Errorf("%s: unknown option --%s", command, name),
		didYouMean("", "--"+name, names, command+" --help lists the options")}
}

func isHelp(name string) bool { return name == "help" || name == "h" }

func flagNamed(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

// flagBelow finds a flag of a command or of one below it.
func flagBelow(c *cli.Command, name string) cli.Flag {
	if f := flagNamed(c.Flags, name); f != nil {
		return f
	}
	for _, sub := range c.Subcommands {
		if f := flagBelow(sub, name); f != nil {
			return f
		}
	}
	return nil
}

// wantedNumber says which kind of number f wants when value is none of it.
func wantedNumber(f cli.Flag, value string) string {
	switch f.(type) {
	case *cli.IntFlag, *cli.Int64Flag:
		if _, err := strconv.ParseInt(value, 10, 64); err != nil {
			return "a whole number"
		}
	case *cli.Float64Flag:
		if _, err := strconv.ParseFloat(value, 64); err != nil {
			return "a number"
		}
	}
	return ""
}

func commandNames(c *cli.Command) []string {
	var names []string
	for _, sub := range c.Subcommands {
		names = append(names, sub.Name)
	}
	return names
}

// didYouMean asks about the nearest choice, or says otherwise when none is near.
func didYouMean(prefix, word string, choices []string, otherwise string) string {
	if near := configs.Nearest(word, choices); near != "" {
		return "did you mean " + prefix + near + "?"
	}
	return otherwise
}

// argument returns the one argument of a command.
func argument(c *cli.Context, what, example string) (string, error) {
	switch args := c.Args().Slice(); len(args) {
	case 0:
		return "", badInput{fmt.Errorf("%s: want %s", commandOf(c), what), example}
	case 1:
		return args[0], nil
	default:
		return "", badInput{fmt.Errorf("%s: want %s, got %d: %s", commandOf(c), what, len(args), strings.Join(args, " ")), ""}
	}
}

// noArguments refuses what a command would ignore.
func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return badInput{fmt.Errorf("%s: takes no argument, got %q", commandOf(c), c.Args().First()), ""}
	}
	return nil
}

// commandOf names a command as it is typed.
func commandOf(c *cli.Context) string { return c.Command.HelpName }

// atLeast refuses a number below a flag's smallest.
func atLeast(c *cli.Context, name string, smallest int) error {
	if n := c.Int(name); n < smallest {
		return badInput{fmt.Errorf("%s: --%s: must be at least %d, got %d", commandOf(c), name, smallest, n), ""}
	}
	return nil
}

// oneOf refuses a value that is not among a flag's choices.
func oneOf(c *cli.Context, name string, choices ...string) error {
	if got := c.String(name); !slices.Contains(choices, got) {
		return badInput{fmt.Errorf("%s: --%s: want %s, got %q", commandOf(c), name, strings.Join(choices, ", "), got), ""}
	}
	return nil
}

// readAll returns what an input holds, without white space at its ends.
func readAll(r io.Reader) (string, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return "", errors.Join(errors.New("read standard input"), err)
	}
	return strings.TrimSpace(string(b)), nil
}
