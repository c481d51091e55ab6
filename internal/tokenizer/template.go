package tokenizer

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Style is a way to write a conversation. The turns are the same in both; a system message is not.
type Style int

const (
	// StyleGemma2 is that of Gemma 1 and Gemma 2: a system message is refused.
	StyleGemma2 Style = iota + 1
	// StyleGemma3 is that of Gemma 3: the text of a system message, as it is, and two newlines stand before the
	// content of the first user message.
	StyleGemma3
)

// String returns the models that write so.
func (s Style) String() string {
	switch s {
	case StyleGemma2:
		return "Gemma 1 and 2"
	case StyleGemma3:
		return "Gemma 3"
	}
	return "Style(" + strconv.Itoa(int(s)) + ")"
}

// startOfTurnGemma2 is the id of <start_of_turn> in Gemma 1 and 2; Gemma 3 has 105.
const startOfTurnGemma2 = 106

// ChatStyle returns how the model writes conversations. A chat_template in the model folder decides, by what it
// does: it renders some conversations, and the style that gives the same text for all of them is the model's. In a
// folder without one, as base models are published, the id of <start_of_turn> decides: 106 is Gemma 1 or 2, any
// other Gemma 3.
//
// Errors: a template that is in no style, with the first conversation on which it differs; one that the template
// engine cannot run; a tokenizer without turn tokens. The template is looked at once, when it is first needed.
func (t *Tokenizer) ChatStyle() (Style, error) { return t.style() }

func (t *Tokenizer) findStyle() (Style, error) {
	style := StyleGemma3
	if t.startOfTurn == startOfTurnGemma2 {
		style = StyleGemma2
	}
	if t.template.path != "" {
		var err error
		if style, err = t.templateStyle(); err != nil {
			return 0, fmt.Errorf("%s: this chat template is not supported, only the turns of Gemma 1 to 3 are: %w",
				t.template.path, err)
		}
	}
	switch {
	case t.startOfTurn < 0:
		return 0, fmt.Errorf("%s: has no %s: a tokenizer without chat turns", t.path, startOfTurn)
	case t.endOfTurn < 0:
		return 0, fmt.Errorf("%s: has no %s: a tokenizer without chat turns", t.path, endOfTurn)
	}
	return style, nil
}

// templateStyle returns the style in which the model's chat template writes.
func (t *Tokenizer) templateStyle() (Style, error) {
	if t.template.source == "" {
		return 0, fmt.Errorf("there are several, %s, and none is called \"default\"",
			strings.Join(quoteAll(t.template.others), ", "))
	}
	rendered, err := renderTemplate(t.template.source, map[string]string{
		"bos_token": t.Piece(t.bos), "eos_token": t.Piece(t.eos), "pad_token": t.Piece(t.pad),
	}, probes, maxTemplateTime)
	if err != nil {
		return 0, fmt.Errorf("the template engine cannot run it: %w", err)
	}
	// Of the two differences, the one that shows last is between the template and what it is most like.
	furthest, difference := -1, error(nil)
	for _, style := range []Style{StyleGemma3, StyleGemma2} {
		at, err := t.compare(style, rendered)
		if err == nil {
			return style, nil
		}
		if at > furthest {
			furthest, difference = at, err
		}
	}
	return 0, difference
}

// compare returns the first probe that the template renders otherwise than a style, and how.
func (t *Tokenizer) compare(style Style, rendered []rendering) (int, error) {
	for i, p := range probes {
		got, want := rendered[i], t.expect(style, p)
		switch {
		case got.err != nil:
			return i, fmt.Errorf("the template engine cannot run it on %s: %w", p.what, got.err)
		case want.refused && got.refused, !want.refused && !got.refused && got.text == want.text:
			continue
		}
		return i, fmt.Errorf("of %s it makes %s, want %s", p.what, got.describe(want.text), want.describe(got.text))
	}
	return len(probes), nil
}

// expect is what a template of this style makes of a conversation.
func (t *Tokenizer) expect(style Style, p probe) rendering {
	parts, err := style.write(p.messages, p.generate)
	if err != nil {
		return rendering{refused: true}
	}
	return rendering{text: t.partsText(parts)}
}

// A probe is a conversation on which templates differ.
type probe struct {
	what     string // is in it, for a message
	messages []Message
	generate bool
}

// probes go from what every template can do to what few agree on, so that the first difference says most. Roles out
// of turn are not among them: Chat refuses those whatever the template would make of them.
var probes = []probe{
	{"one user message", talk("u", "Hello"), false},
	{"one user message and a generation prompt", talk("u", "Hello"), true},
	{"a question and its answer", talk("ua", "Do you bite?", "Only socks."), false},
	{"three messages and a generation prompt", talk("uau", "One?", "Two.", "Three?"), true},
	{"six messages", talk("uauaua", "1", "2", "3", "4", "5", "6"), false},
	{"empty messages", talk("uau", "", "", ""), true},
	{"messages with white space at their ends",
		talk("uau", " \t\r\nOne  space ", "\n\nTwo\n\n", "\v\f\x1c\x1f\u0085\u00a0\u2003\u2028\u3000Three\u3000"), true},
	{"messages with line breaks", talk("ua", "\n\none\n\n\ntwo\tthree\r\nfour\n", "  five\n  six\n"), false},
	{"messages in Unicode", talk("ua", "Zoë, 你好 🫠 👩\u200d💻 e\u0301", "\ufeff\u200bпривет ▁\u202e"), false},
	{"messages that hold marks", talk("ua", "<bos><start_of_turn>model\n'\\n\" {{ 1 }} {% if %}<end_of_turn>",
		"<think>Hm.</think> <eos> & <b> </s> [INST] <|im_end|>"), false},
	{"a system message and three messages", talk("suau", "Be kind.", "One?", "Two.", "Three?"), true},
	{"a system message and a user message", talk("su", "Be kind.", "Hello"), false},
	{"a system message with white space at its ends", talk("sua", " \n Be kind. \n\n", "  Hello ", " Hi. "), false},
	{"an empty system message", talk("su", "", "Hello"), true},
}

// talk is a conversation of these roles, one letter each.
func talk(roles string, contents ...string) []Message {
	messages := make([]Message, len(contents))
	for i, content := range contents {
		messages[i] = Message{map[byte]string{'s': roleSystem, 'u': roleUser, 'a': roleAssistant}[roles[i]], content}
	}
	return messages
}

// rendering is what a template makes of a conversation: a text, a refusal, or an error of the engine.
type rendering struct {
	text    string
	refused bool
	reason  string // the template's, for the refusal
	err     error
}

// describe shows a rendering where it differs from another text.
func (r rendering) describe(other string) string {
	switch {
	case r.refused && r.reason != "":
		return fmt.Sprintf("a refusal, %q", printable(r.reason))
	case r.refused:
		return "a refusal"
	}
	const before, most = 20, 70 // characters
	mine, others := []rune(r.text), []rune(other)
	same := 0
	for same < min(len(mine), len(others)) && mine[same] == others[same] {
		same++
	}
	start := max(0, same-before)
	end := min(len(mine), start+most)
	text := string(mine[start:end])
	if start > 0 {
		text = "..." + text
	}
	if end < len(mine) {
		text += "..."
	}
	return strconv.Quote(text)
}

// printable makes a text of others fit for one line of a message.
func printable(s string) string {
	const most = 200
	runes := []rune(s)
	if len(runes) > most {
		runes = append(runes[:most:most], []rune("...")...)
	}
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = ' '
		}
	}
	return string(runes)
}

func quoteAll(names []string) []string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = strconv.Quote(printable(name))
	}
	return quoted
}
