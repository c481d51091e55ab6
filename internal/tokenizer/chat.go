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

// Chat returns the ids of a conversation in Gemma's turns, and where in them the replies are: for every assistant
// message its content, <end_of_turn> and the newline after it, which is what a model is to learn.
//
// The ids are <bos>, then for each message <start_of_turn>, "user" or "model", a newline, the content without white
// space at its ends, <end_of_turn>, a newline. A system message comes first or not at all and is no turn: its text,
// as it is, and two newlines stand before the content of the first user message. With addGenerationPrompt the ids
// end with <start_of_turn>model and a newline, for the model to go on.
//
// Contents are read as Data: whatever they say, the turns are those of messages.
//
// Errors: a tokenizer without turn tokens, a model folder with a chat template of another family, no messages, and
// roles that are unknown or do not alternate, which name the message, such as messages[1].role.
//
// Source: Gemma 3's chat_template in tokenizer_config.json.
func (t *Tokenizer) Chat(messages []Message, addGenerationPrompt bool) (ids []int64, replies []Span, err error) {
	return t.ChatWith(messages, addGenerationPrompt, Data)
}

// ChatWith is Chat with another reading of the contents. With HuggingFace the ids are those of transformers'
// apply_chat_template, in which a content that says <end_of_turn> does end its turn.
func (t *Tokenizer) ChatWith(messages []Message, addGenerationPrompt bool, r Reading) ([]int64, []Span, error) {
	if err := t.checkChat(); err != nil {
		return nil, nil, err
	}
	if err := checkRoles(messages); err != nil {
		return nil, nil, err
	}
	prefix := ""
	if messages[0].Role == roleSystem {
		prefix, messages = messages[0].Content+"\n\n", messages[1:]
	}
	ids := []int64{t.bos}
	var replies []Span
	for _, m := range messages {
		ids = append(ids, t.startOfTurn)
		content := strings.TrimFunc(m.Content, isPythonSpace)
		if m.Role == roleUser {
			// In one go, because newlines at the start of a system text join the one after the role.
			ids = t.appendIDs(ids, roleUser+"\n"+prefix+content, r)
			ids = t.appendEndOfTurn(ids)
			prefix = ""
			continue
		}
		ids = t.appendIDs(ids, roleModel+"\n", Data)
		start := len(ids)
		ids = t.appendIDs(ids, content, r)
		ids = t.appendEndOfTurn(ids)
		replies = append(replies, Span{start, len(ids)})
	}
	if addGenerationPrompt {
		ids = append(ids, t.startOfTurn)
		ids = t.appendIDs(ids, roleModel+"\n", Data)
	}
	return ids, replies, nil
}

func (t *Tokenizer) appendEndOfTurn(ids []int64) []int64 {
	return t.appendIDs(append(ids, t.endOfTurn), "\n", Data)
}

// checkChat reports why this tokenizer cannot render a conversation.
func (t *Tokenizer) checkChat() error {
	switch {
	case t.template.path != "" && !t.template.gemma:
		return fmt.Errorf("%s: the chat template does not write Gemma's turns (no %s in it); only those are supported",
			t.template.path, startOfTurn)
	case t.startOfTurn < 0:
		return fmt.Errorf("%s: has no %s: a tokenizer without chat turns", t.path, startOfTurn)
	case t.endOfTurn < 0:
		return fmt.Errorf("%s: has no %s: a tokenizer without chat turns", t.path, endOfTurn)
	}
	return nil
}

// checkRoles reports the first message whose role is unknown or out of turn.
func checkRoles(messages []Message) error {
	if len(messages) == 0 {
		return errors.New("messages: is empty, want a message of the user")
	}
	want := roleUser
	for i, m := range messages {
		role := m.Role
		if role == roleModel {
			role = roleAssistant
		}
		switch {
		case role == roleSystem && i == 0:
			continue
		case role == roleSystem:
			return fmt.Errorf("messages[%d].role: %q must be the first message", i, m.Role)
		case role != roleUser && role != roleAssistant:
			return fmt.Errorf("messages[%d].role: unknown role %q (want system, user or assistant)", i, m.Role)
		case role != want:
			return fmt.Errorf("messages[%d].role: %q is out of turn, want %q (user and assistant alternate, user first)",
				i, m.Role, want)
		}
		want = roleAssistant
		if role == roleAssistant {
			want = roleUser
		}
	}
	if len(messages) == 1 && messages[0].Role == roleSystem {
		return errors.New("messages: holds a system message only, want a message of the user after it")
	}
	return nil
}

// isPythonSpace is Python's str.isspace for one character: Unicode's white space and the four separators
// U+001C to U+001F. The template strips contents with str.strip.
func isPythonSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
