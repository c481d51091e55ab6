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

// checkTurns reports the first message that is out of turn, by the name that the file has for it.
func (e Example) checkTurns() []fault {
	if out := tokenizer.CheckTurns(e.Messages); out != nil {
		return []fault{e.turnFault(out)}
	}
	return nil
}

// turnFault names the field of a message that is out of turn.
func (e Example) turnFault(out *tokenizer.TurnError) fault {
	field := index("messages", out.Index)
	switch {
	case e.PromptMessages == 0:
	case out.Index < e.PromptMessages:
		field = index("prompt", out.Index)
	default:
		field = index("completion", out.Index-e.PromptMessages)
	}
	return fault{field + ".role", out.Problem}
}
