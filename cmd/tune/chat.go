package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/internal/model"
	"tune/internal/tokenizer"
	"tune/internal/torch"
	"tune/trainer"
)

func chatCommand() *cli.Command {
	return &cli.Command{
		Name:  "chat",
		Usage: "talk with a model, or with what a run has made of it",
		Description: "A line is what you say, and the model answers; what was said before stays in its memory, so that a\n" +
			"turn costs only what is new in it. Ctrl-C stops a reply, twice ends; so do Ctrl-D and /exit. Lines may\n" +
			"also come from a file or a pipe: only the replies then go to standard output.\n\n" +
			chatHelp + "\n" +
			"   tune chat --run last\n" +
			"   tune chat --model models/pocket --temperature 0.8 --top-p 0.95",
		Flags: flags(voiceFlags(), samplingFlags(1000), []cli.Flag{
			&cli.StringFlag{Name: "system", Usage: "a system message with this `TEXT`"},
			&cli.BoolFlag{Name: "compare", Usage: "the base model answers too"},
			&cli.BoolFlag{Name: "stats", Usage: "say after each reply how long it took"},
			databaseFlag(),
		}),
		Action: chatAction,
	}
}

const chatHelp = "/reset           forget what was said, but not the system message\n" +
	"/system TEXT     a system message, and a new beginning; without TEXT none\n" +
	"/adapter on|off  answer with the adapter or without\n" +
	"/compare on|off  the base model answers beside the adapted one\n" +
	"/stats           how fast the last reply came, and how many of the model's positions are taken\n" +
	"/help            this list\n" +
	"/exit            end\n"

// chat is a conversation at the terminal.
type chat struct {
	*voice
	options  model.GenerateOptions
	caches   [2]*model.Cache
	stats    bool
	terminal bool // someone is typing
	notes    io.Writer

	system string
	turns  []tokenizer.Message // without the system message
	// With compare on each side has a conversation of its own, for a reply belongs to the one that gave it.
	compare   bool
	baseTurns []tokenizer.Message
	side      side // that answers when there is no compare
	last      []trainer.Answered
	lastSides []side
}

func chatAction(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return badInput{err, "tune generate answers a single prompt"}
	}
	options, err := readSampling(c)
	if err != nil {
		return err
	}
	ctx, stop := untilInterrupted(c.Context)
	defer stop()
	v, err := findVoice(ctx, c)
	if err == nil {
		err = v.drawAsAdvised(c, &options)
	}
	if err != nil {
		return err
	}
	in, fromTerminal := c.App.Reader.(*os.File)
	t := &chat{voice: v, options: options, stats: c.Bool("stats"), compare: c.Bool("compare"), notes: c.App.ErrWriter, side: tuned,
		system: c.String("system")}
	t.terminal = fromTerminal && screenOf(in).terminal && v.out.terminal
	if err := t.checkSystem(t.system); err != nil {
		return err
	}
	return torch.Run(func(s *torch.Scope) error {
		err := v.load(s, c.App.ErrWriter)
		stop() // from here on Ctrl-C means a reply
		if err != nil {
			return err
		}
		t.caches = [2]*model.Cache{base: v.model.NewCache(s), tuned: v.model.NewCache(s)}
		t.greet()
		return t.talk(c.Context, c.App.Reader)
	})
}

// greet says who answers and what can be done.
func (t *chat) greet() {
	if !t.terminal {
		return
	}
	who := t.name
	if t.from.adapter != "" {
		who += " with " + t.from.adapter
	}
	t.note("%s; /help lists the commands, Ctrl-D ends", who)
}

// note writes a line about the conversation, which is no part of it.
func (t *chat) note(format string, a ...any) {
	fmt.Fprintln(t.notes, t.errs.paint(faint, t.errs.ascii(printable(fmt.Sprintf(format, a...)))))
}

// talk reads lines and answers them until there are no more.
func (t *chat) talk(ctx context.Context, in io.Reader) error {
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	lines, failed := readLines(in)
	stopped := false // the last thing that came was Ctrl-C
	for {
		if t.terminal {
			fmt.Fprint(t.w, t.out.paint(bold, "> "))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-interrupts:
			if !t.terminal {
				return errChatInterrupted
			}
			fmt.Fprintln(t.notes)
			if stopped {
				return nil
			}
			stopped = true
			t.note("Ctrl-C again, Ctrl-D or /exit ends")
		case line, ok := <-lines:
			if !ok {
				if t.terminal {
					fmt.Fprintln(t.w)
				}
				return *failed
			}
			stopped = false
			line = strings.TrimSpace(line)
			if line == "/exit" || line == "/quit" {
				return nil
			}
			var err error
			switch {
			case line == "":
			case strings.HasPrefix(line, "/"):
				err = t.command(line)
			default:
				if stopped, err = t.turn(ctx, line, interrupts); stopped && err == nil && !t.terminal {
					err = errChatInterrupted
				}
			}
			var wrong badInput
			switch {
			case err != nil && t.terminal && errors.As(err, &wrong):
				t.note("%v", err) // someone who types can type again
			case err != nil:
				return err
			}
		}
	}
}

// errChatInterrupted is Ctrl-C where nobody types: what is left of the input is not for half a conversation.
var errChatInterrupted = errors.New("chat: interrupted")

// readLines reads lines in the background, so that Ctrl-C is heard while nobody types. failed may be read once lines is
// closed.
func readLines(in io.Reader) (lines <-chan string, failed *error) {
	out, failed := make(chan string), new(error)
	go func() {
		defer close(out)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, 16<<20) // a pasted document is one line
		for scanner.Scan() {
			out <- scanner.Text()
		}
		if err := scanner.Err(); err != nil {
			*failed = fmt.Errorf("read standard input: %w", err)
		}
	}()
	return out, failed
}

// command does what a line with a slash says.
func (t *chat) command(line string) error {
	name, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	if rest != "" && !slices.Contains([]string{"/system", "/adapter", "/compare"}, name) && slices.Contains(chatCommands, name) {
		return badInput{fmt.Errorf("%s takes nothing behind it, got %q", name, rest), ""}
	}
	switch name {
	case "/help":
		fmt.Fprint(t.notes, chatHelp)
	case "/reset":
		t.reset()
		t.note("a new conversation")
	case "/system":
		if err := t.checkSystem(rest); err != nil {
			return err
		}
		t.system = rest
		t.reset()
		if rest == "" {
			t.note("a new conversation, without a system message")
		} else {
			t.note("a new conversation, with this system message")
		}
	case "/adapter", "/compare":
		on, err := t.onOff(name, rest)
		if err != nil {
			return err
		}
		if name == "/compare" {
			t.setCompare(on)
		} else {
			t.setAdapter(on)
		}
	case "/stats":
		t.showStats()
	default:
		return badInput{fmt.Errorf("unknown command %s: %s", name, didYouMean("", name, chatCommands, "/help lists them")), ""}
	}
	return nil
}

var chatCommands = []string{"/reset", "/system", "/adapter", "/compare", "/stats", "/help", "/exit"}

func (t *chat) onOff(name, word string) (bool, error) {
	switch {
	case word != "on" && word != "off":
		return false, badInput{fmt.Errorf("%s: want on or off, got %q", name, word), ""}
	case t.adapter == nil:
		return false, badInput{fmt.Errorf("%s: %s has no adapter here", name, t.name), ""}
	}
	return word == "on", nil
}

func (t *chat) setAdapter(on bool) {
	t.setCompare(false)
	if t.side = base; on {
		t.side = tuned
	}
	t.note("adapter %s", onOrOff(on))
}

func (t *chat) setCompare(on bool) {
	switch {
	case on == t.compare:
	case on: // both sides go on from what was said
		t.baseTurns = slices.Clone(t.turns)
	default:
		t.baseTurns = nil
	}
	if t.compare != on {
		t.compare = on
		t.note("compare %s", onOrOff(on))
	}
}

func onOrOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// reset forgets the conversation. The caches keep the system message's tokens, which the next turn finds there.
func (t *chat) reset() { t.turns, t.baseTurns = nil, nil }

// checkSystem refuses a system message where the model's template has none.
func (t *chat) checkSystem(text string) error {
	return t.check(withSystem(text, []tokenizer.Message{{Role: "user", Content: "Hello"}}))
}

func withSystem(text string, turns []tokenizer.Message) []tokenizer.Message {
	if text == "" {
		return turns
	}
	return append([]tokenizer.Message{{Role: "system", Content: text}}, turns...)
}

// turn has the model answer a line. It reports whether Ctrl-C stopped the reply.
func (t *chat) turn(ctx context.Context, line string, interrupts chan os.Signal) (stopped bool, err error) {
	ctx, done := untilSignal(ctx, interrupts)
	defer done()

	said := tokenizer.Message{Role: "user", Content: line}
	sides, histories := []side{t.side}, []*[]tokenizer.Message{&t.turns}
	if t.compare {
		sides, histories = []side{base, tuned}, []*[]tokenizer.Message{&t.baseTurns, &t.turns}
	}
	// Both must fit before one answers, or the two conversations would part.
	for _, turns := range histories {
		if err := t.fits(append(slices.Clip(*turns), said)); err != nil {
			return false, err
		}
	}
	conversation := func(side side) ([]tokenizer.Message, *model.Cache) {
		turns := *histories[slices.Index(sides, side)]
		return withSystem(t.system, append(slices.Clip(turns), said)), t.caches[side]
	}
	answers, err := t.show(ctx, conversation, t.options, sides)
	if err != nil {
		return false, err
	}
	t.options.Seed++ // the next turn draws other numbers: the same question need not get the same answer
	t.last, t.lastSides = answers, sides
	for i, a := range answers {
		*histories[i] = append(*histories[i], said, tokenizer.Message{Role: "assistant", Content: a.Text})
		stopped = stopped || a.Stopped == model.StopCaller
		switch a.Stopped {
		case model.StopContext:
			t.note("the reply was cut off: the conversation fills all %d positions of the model; /reset starts a new one", t.model.Config.MaxPositionEmbeddings)
		case model.StopLength:
			t.note("the reply was cut off: --max-new-tokens allows more than %d", t.options.MaxNewTokens)
		}
	}
	if t.stats {
		t.showStats()
	}
	return stopped, nil
}

// fits refuses a conversation that leaves the model no position to answer at.
func (t *chat) fits(turns []tokenizer.Message) error {
	ids, _, err := t.tok.Chat(withSystem(t.system, turns), true)
	if err != nil {
		return badInput{fmt.Errorf("%s: %w", t.name, err), ""}
	}
	if reach := t.model.Config.MaxPositionEmbeddings; int64(len(ids)) > reach {
		return badInput{fmt.Errorf("the conversation has %d tokens with this line, the model reaches %d: /reset starts a new one", len(ids), reach), ""}
	}
	return nil
}

// untilSignal returns a context that the first signal ends; the next one ends the process, as it would without us.
func untilSignal(ctx context.Context, interrupts chan os.Signal) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	over, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-interrupts:
			signal.Stop(interrupts)
			cancel()
		case <-over:
		}
	}()
	return ctx, func() {
		close(over)
		<-watched
		cancel()
		signal.Notify(interrupts, os.Interrupt)
	}
}

// showStats says how fast the last reply came.
func (t *chat) showStats() {
	if len(t.last) == 0 {
		t.note("nothing was said yet")
		return
	}
	for i, a := range t.last {
		line := statsLine(a, true) + fmt.Sprintf(" · %d of %d positions", t.caches[t.lastSides[i]].Len(), t.model.Config.MaxPositionEmbeddings)
		if len(t.last) > 1 {
			line = fmt.Sprintf("%-6s %s", t.lastSides[i], line)
		}
		t.note("%s", line)
	}
}
