package datasets

import (
	"encoding/json"
	"strings"

	"tune/internal/tokenizer"
)

// The roles of a message; model is Gemma's word for an assistant.
const (
	roleSystem    = "system"
	roleUser      = "user"
	roleAssistant = "assistant"
	roleModel     = "model"
)

// parseMessages reads a list of {"role", "content"}. Keys beside those two must be null: most that exist (tool
// calls, weights, names) would change what is learned.
func parseMessages(raw json.RawMessage, field string) ([]tokenizer.Message, []fault) {
	list, ok := elements(raw)
	if !ok {
		return nil, []fault{faultf(field, "want a list of messages, got %s", describe(raw))}
	}
	if len(list) == 0 {
		return nil, []fault{faultf(field, "is empty")}
	}
	messages := make([]tokenizer.Message, len(list))
	var faults []fault
	for i, element := range list {
		var more []fault
		messages[i], more = parseMessage(element, index(field, i))
		faults = append(faults, more...)
	}
	return messages, faults
}

func parseMessage(raw json.RawMessage, field string) (tokenizer.Message, []fault) {
	object, ok := members(raw)
	if !ok {
		return tokenizer.Message{}, []fault{faultf(field, `want {"role": ..., "content": ...}, got %s`, describe(raw))}
	}
	faults := duplicates(object, field)
	for _, m := range object {
		if m.key != "role" && m.key != "content" && !isNull(m.value) {
			faults = append(faults, faultf(field, "unknown key %q, want role and content", shorten(m.key)))
		}
	}
	var message tokenizer.Message
	for _, part := range []struct {
		key string
		to  *string
	}{{"role", &message.Role}, {"content", &message.Content}} {
		value, ok := find(object, part.key)
		if !ok {
			faults = append(faults, faultf(field+"."+part.key, "is missing"))
			continue
		}
		var more []fault
		*part.to, more = text(value, field+"."+part.key)
		faults = append(faults, more...)
	}
	if len(faults) > 0 {
		return message, faults
	}
	switch message.Role {
	case roleUser, roleAssistant, roleModel:
		if strings.TrimSpace(message.Content) == "" {
			faults = append(faults, faultf(field+".content", "is empty"))
		}
	case roleSystem:
	default:
		faults = append(faults, faultf(field+".role", "unknown role %q (want system, user or assistant)", message.Role))
	}
	return message, faults
}

// checkTurns reports the first message that is out of turn: a system message may come first, then user and
// assistant alternate. The tokenizer checks the same; here the fields have the names of the file.
func checkTurns(messages []tokenizer.Message, field func(int) string) []fault {
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
			return []fault{faultf(field(i)+".role", "a system message must be the first")}
		case role != want:
			return []fault{faultf(field(i)+".role", "%s is out of turn, want %s (they alternate, user first)", m.Role, want)}
		}
		want = roleAssistant
		if role == roleAssistant {
			want = roleUser
		}
	}
	if len(messages) == 1 && messages[0].Role == roleSystem {
		return []fault{faultf(field(0)+".role", "a system message alone, want a user message after it")}
	}
	return nil
}
