package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"tune/internal/model"
	"tune/internal/tokenizer"
	"tune/internal/torch"
)

// withChat runs f with a conversation with the model in dir, as if someone typed.
func withChat(t *testing.T, dir string, f func(c *chat, written, notes *bytes.Buffer)) {
	t.Helper()
	tok, err := tokenizer.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	err = torch.Run(func(s *torch.Scope) error {
		var written, notes bytes.Buffer
		v := &voice{name: "model", dir: dir, device: torch.CPU, dtype: torch.Float32, tok: tok, w: &written, progress: func(string) {},
			out: screen{unicode: true}, errs: screen{unicode: true}}
		if err := v.load(s, &notes); err != nil {
			return err
		}
		c := &chat{voice: v, options: model.GenerateOptions{MaxNewTokens: 8}, terminal: true, notes: &notes, side: tuned,
			caches: [2]*model.Cache{v.model.NewCache(s), v.model.NewCache(s)}}
		f(c, &written, &notes)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// typist types a line each time it is told to.
type typist struct {
	lines  chan string
	unread []byte
}

func (p *typist) Read(b []byte) (int, error) {
	if len(p.unread) == 0 {
		line, ok := <-p.lines
		if !ok {
			return 0, io.EOF
		}
		p.unread = []byte(line + "\n")
	}
	n := copy(b, p.unread)
	p.unread = p.unread[n:]
	return n, nil
}

// writeFunc is a writer that is a function.
type writeFunc func(b []byte) (int, error)

func (f writeFunc) Write(b []byte) (int, error) { return f(b) }

// Ctrl-C stops the reply and keeps the conversation; at the prompt the second one ends.
func TestCtrlCStopsAReplyAndTwiceEnds(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows cannot send an interrupt to one process")
	}
	interrupt := func() {
		p, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = p.Signal(os.Interrupt)
		}
		if err != nil {
			t.Error(err)
		}
	}
	withChat(t, tinyModel(t), func(c *chat, written, notes *bytes.Buffer) {
		c.options.MaxNewTokens = 400
		typing := &typist{lines: make(chan string, 4)}
		typing.lines <- "Hello"
		pieces := 0
		c.w = writeFunc(func(b []byte) (int, error) {
			switch text := string(b); {
			case text == "> " && len(c.turns) == 2: // the reply was stopped: at the prompt again
				go func() { time.Sleep(10 * time.Millisecond); interrupt() }()
			case text != "> " && text != "\n":
				if pieces++; pieces == 3 {
					interrupt()
				}
				time.Sleep(2 * time.Millisecond) // the signal takes its time; so do terminals
			}
			return written.Write(b)
		})
		giveUp := time.AfterFunc(time.Minute, func() { close(typing.lines) })
		if err := c.talk(t.Context(), typing); err != nil || !giveUp.Stop() {
			t.Errorf("%v, want Ctrl-C twice to end the conversation, within a minute", err)
		}
		if len(c.turns) != 2 || len(c.last) != 1 || c.last[0].Stopped != model.StopCaller || c.last[0].Tokens > 300 {
			t.Errorf("turns %v, reply %+v, want one that was stopped", c.turns, c.last)
		}
		if got := c.turns[1].Content; got == "" || !strings.Contains(written.String(), got) {
			t.Errorf("the turn %q is not what was shown: %q", got, written.String())
		}
	})
}

// What someone types wrong can be typed again; the conversation is as it was.
func TestAMistakeDoesNotEndAConversation(t *testing.T) {
	withChat(t, tinyModel(t), func(c *chat, written, notes *bytes.Buffer) {
		long := strings.Repeat("one two three four five ", 150)
		in := strings.Join([]string{"Hello", "/adapter off", "/nothing", long, "/stats", "And then?"}, "\n")
		if err := c.talk(t.Context(), strings.NewReader(in)); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"/adapter: model has no adapter here", "unknown command /nothing",
			"tokens with this line, the model reaches 512: /reset starts a new one", "of 512 positions"} {
			if !strings.Contains(notes.String(), want) {
				t.Errorf("not said: %q in\n%s", want, notes)
			}
		}
		if len(c.turns) != 4 || c.turns[2].Content != "And then?" {
			t.Errorf("turns %q, want two questions and their replies", c.turns)
		}
	})
}

// A conversation that runs to the model's last position says so, and how to go on.
func TestAFullConversationIsSaid(t *testing.T) {
	withChat(t, tinyModel(t), func(c *chat, written, notes *bytes.Buffer) {
		c.options.MaxNewTokens = 600
		if err := c.talk(t.Context(), strings.NewReader("Hello\nHello\n/reset\n/stats\n")); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"the reply was cut off: the conversation fills all 512 positions of the model; /reset starts a new one",
			"a new conversation"} {
			if !strings.Contains(notes.String(), want) {
				t.Errorf("not said: %q in\n%s", want, notes)
			}
		}
	})
}

// Gemma 2's template has no system message.
func TestASystemMessageNeedsATemplateThatHasOne(t *testing.T) {
	dir := tinyModel(t)
	if err := copyTokenizer("../../testdata/tokenizers/small-gemma2", dir); err != nil {
		t.Fatal(err)
	}
	withChat(t, dir, func(c *chat, written, notes *bytes.Buffer) {
		err := c.command("/system Be brief.")
		var wrong badInput
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), "system") || c.system != "" {
			t.Errorf("%v, system message %q, want an error and none", err, c.system)
		}
		if err := c.talk(t.Context(), strings.NewReader("Hello\n")); err != nil || len(c.turns) != 2 {
			t.Errorf("%v, turns %q, want a reply", err, c.turns)
		}
	})
}

// What is drawn follows the seed, but not every turn begins with the same numbers.
func TestEachTurnDrawsOtherNumbers(t *testing.T) {
	dir := tinyModel(t)
	ask := func() (replies [2]string) {
		withChat(t, dir, func(c *chat, written, notes *bytes.Buffer) {
			c.options.Temperature, c.options.Seed = 1, 3
			for i := range replies {
				c.reset()
				if _, err := c.turn(t.Context(), "Hello", make(chan os.Signal, 1)); err != nil {
					t.Fatal(err)
				}
				replies[i] = c.turns[1].Content
			}
		})
		return replies
	}
	first := ask()
	if first[0] == first[1] {
		t.Errorf("the same question got %q twice", first[0])
	}
	if again := ask(); again != first {
		t.Errorf("one seed gave %q and %q", first, again)
	}
}

// Each side of a comparison goes on from its own replies, and both from what was said before.
func TestCompareKeepsTwoConversations(t *testing.T) {
	dir := tinyModel(t)
	withChat(t, dir, func(c *chat, written, notes *bytes.Buffer) {
		c.turns = []tokenizer.Message{{Role: "user", Content: "Hello"}, {Role: "assistant", Content: "Hello, friend."}}
		before := slices.Clone(c.turns)
		c.setCompare(true)
		if _, err := c.turn(t.Context(), "Who are you?", make(chan os.Signal, 1)); err != nil {
			t.Fatal(err)
		}
		for name, turns := range map[string][]tokenizer.Message{"base": c.baseTurns, "tuned": c.turns} {
			if len(turns) != 4 || !slices.Equal(turns[:2], before) || turns[2].Content != "Who are you?" || turns[3].Content == "" {
				t.Errorf("%s: %q", name, turns)
			}
		}
		c.baseTurns[3].Content = "Another."
		if c.turns[3].Content == "Another." {
			t.Error("both sides share their turns")
		}
		c.setCompare(false)
		if c.baseTurns != nil || len(c.turns) != 4 {
			t.Errorf("after compare: base %q, tuned %q", c.baseTurns, c.turns)
		}
	})
}
