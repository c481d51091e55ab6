package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Message is one message of a conversation, as in a line of training data.
type Message struct {
	Role    string `json:"role"` // system, user or assistant
	Content string `json:"content"`
}

// Span is a stretch of ids: from Start up to but not including End.
type Span struct{ Start, End int }

// The roles of a message, and Gemma's own word for an assistant, which is taken too.
const (
	roleSystem    = "system"
	roleUser      = "user"
	roleAssistant = "assistant"
	roleModel     = "model"
)

// TurnError is a message that cannot have its role where it stands.
type TurnError struct {
	Index   int    // of the message, from 0
	Problem string // what is wrong with its role, and what was wanted
}

// Error is the problem after the name of the field, such as messages[1].role.
func (e *TurnError) Error() string { return fmt.Sprintf("messages[%d].role: %s", e.Index, e.Problem) }

// CheckTurns returns the first message whose role is unknown or out of turn, or nil: a system message may come
// first, then user and assistant alternate, user first. Whether a system message may come at all is a matter of the
// model's chat template; Chat reports it.
func CheckTurns(messages []Message) *TurnError {
	want := roleUser
	for i, m := range messages {
		fault := func(format string, args ...any) *TurnError { return &TurnError{i, fmt.Sprintf(format, args...)} }
		role := m.Role
		if role == roleModel {
			role = roleAssistant
		}
		switch {
		case role == roleSystem && i == 0:
			if len(messages) == 1 {
				return fault("a system message alone, want a user message after it")
			}
			continue
		case role == roleSystem:
			return fault("a system message must be the first")
		case role != roleUser && role != roleAssistant:
			return fault("unknown role %q (want system, user or assistant)", m.Role)
		case role != want:
			return fault("%s is out of turn, want %s (they alternate, user first)", m.Role, want)
		}
		want = roleAssistant
		if role == roleAssistant {
			want = roleUser
		}
	}
	return nil
}

// Chat returns the ids of a conversation in the turns of the model, and where in them the replies are: for every
// assistant message its content, <end_of_turn> and the newline after it, which is what a model is to learn.
//
// The ids are <bos>, then for each message <start_of_turn>, "user" or "model", a newline, the content without white
// space at its ends, <end_of_turn>, a newline. With addGenerationPrompt they end with <start_of_turn>model and a
// newline, for the model to go on. A system message comes first or not at all and is no turn: see Style.
//
// Contents are read as Data: whatever they say, the turns are those of messages, and <bos> is the first id only.
//
// Errors: those of ChatStyle; no messages; a *TurnError for a role that is unknown, out of turn, or a system
// message in a style that has none.
//
// Source: the chat_template in tokenizer_config.json of Gemma 1, 2 and 3.
func (t *Tokenizer) Chat(messages []Message, addGenerationPrompt bool) (ids []int64, replies []Span, err error) {
	return t.ChatWith(messages, addGenerationPrompt, Data)
}

// ChatWith is Chat with another reading of the contents. With HuggingFace the ids are those of transformers'
// apply_chat_template, in which a content that says <end_of_turn> does end its turn.
func (t *Tokenizer) ChatWith(messages []Message, addGenerationPrompt bool, r Reading) ([]int64, []Span, error) {
	style, err := t.ChatStyle()
	if err != nil {
		return nil, nil, err
	}
	return t.chatIn(style, messages, addGenerationPrompt, r)
}

// chatIn is ChatWith in a style that is known.
func (t *Tokenizer) chatIn(style Style, messages []Message, generate bool, r Reading) ([]int64, []Span, error) {
	parts, err := style.write(messages, generate)
	if err != nil {
		return nil, nil, err
	}
	ids, replies := t.encodeParts(parts, r)
	return ids, replies, nil
}

// part is a stretch of a conversation as it is written: a mark, or a text.
type part struct {
	mark    mark
	text    string
	content bool // somebody's words are in text: they get the reading that was asked for
	reply   bool // the model is to learn it
}

type mark int

const (
	noMark mark = iota
	markBOS
	markStart
	markEnd
)

// write puts a conversation into turns.
func (s Style) write(messages []Message, generate bool) ([]part, error) {
	if len(messages) == 0 {
		return nil, errors.New("messages: is empty, want a message of the user")
	}
	if fault := CheckTurns(messages); fault != nil {
		return nil, fault
	}
	prefix := ""
	if messages[0].Role == roleSystem {
		if s == StyleGemma2 {
			return nil, &TurnError{0, noSystemTurn}
		}
		prefix, messages = messages[0].Content+"\n\n", messages[1:]
	}
	parts := []part{{mark: markBOS}}
	for _, m := range messages {
		content := strings.TrimFunc(m.Content, isPythonSpace)
		parts = append(parts, part{mark: markStart})
		if m.Role == roleUser {
			// In one text, because newlines at the start of a system text join the one after the role.
			parts = append(parts, part{text: roleUser + "\n" + prefix + content, content: true},
				part{mark: markEnd}, part{text: "\n"})
			prefix = ""
			continue
		}
		parts = append(parts, part{text: roleModel + "\n"}, part{text: content, content: true, reply: true},
			part{mark: markEnd, reply: true}, part{text: "\n", reply: true})
	}
	if generate {
		parts = append(parts, part{mark: markStart}, part{text: roleModel + "\n"})
	}
	return parts, nil
}

// noSystemTurn is the problem of a system message that the style has no place for.
const noSystemTurn = "the model's chat template has no system turn (Gemma 1 and 2 know none: " +
	"put the text into the first user message)"

// encodeParts returns the ids of a written conversation, and its replies in them.
func (t *Tokenizer) encodeParts(parts []part, r Reading) (ids []int64, replies []Span) {
	within := false // a reply, which is several parts
	for _, p := range parts {
		start := len(ids)
		switch {
		case p.mark != noMark:
			ids = append(ids, t.markID(p.mark))
		case p.content:
			ids = t.appendIDs(ids, p.text, r)
		default:
			ids = t.appendIDs(ids, p.text, Data)
		}
		switch {
		case p.reply && within:
			replies[len(replies)-1].End = len(ids)
		case p.reply:
			replies = append(replies, Span{start, len(ids)})
		}
		within = p.reply
	}
	return ids, replies
}

func (t *Tokenizer) markID(m mark) int64 {
	return [...]int64{markBOS: t.bos, markStart: t.startOfTurn, markEnd: t.endOfTurn}[m]
}

func (t *Tokenizer) markText(m mark) string {
	return [...]string{markBOS: t.Piece(t.bos), markStart: startOfTurn, markEnd: endOfTurn}[m]
}

// partsText returns a written conversation as one text, which is what a chat template makes of it.
func (t *Tokenizer) partsText(parts []part) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(t.markText(p.mark))
		b.WriteString(p.text)
	}
	return b.String()
}

// isPythonSpace is Python's str.isspace for one character: Unicode's white space and the four separators
// U+001C to U+001F. The template strips contents with str.strip.
func isPythonSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
