package datasets

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"tune/internal/tokenizer"
)

// Example is a line of a data file, in the form that its keys tell.
type Example struct {
	// Line in the file, from 1.
	Line int
	// Messages of a conversation; from "messages", or "prompt" and "completion" as lists, one after the other.
	Messages []tokenizer.Message
	// PromptMessages is how many of Messages come from "prompt": replies in there are not learned.
	PromptMessages int
	// Prompt and Completion are plain text that is continued.
	Prompt, Completion string
	// Text is learned from its first character to its end.
	Text string
	// InputIDs and Labels are tokens as they are to be fed.
	InputIDs, Labels []int64

	form form
}

// form is which of an Example's fields count.
type form int

const (
	formChat form = iota + 1
	formCompletion
	formText
	formIDs
)

// formKeys are the keys that make a form. Other keys, such as "id" or "source", are left alone.
var formKeys = []string{"messages", "prompt", "completion", "text", "input_ids", "labels"}

// unsupported keys would change what the model sees if they were honoured, so leaving them out in silence would
// train on something else than the file says.
var unsupported = map[string]string{
	"tools":  "tool definitions are not supported",
	"images": "images are not supported",
	"system": `put it into messages, as {"role": "system", "content": ...}`,
}

const wantForm = `want "messages", "prompt" and "completion", "text", or "input_ids"`

// parseExample reads one line of JSON, or tells everything that is wrong with it.
func parseExample(line []byte) (Example, []fault) {
	if f, ok := checkJSON(line); !ok {
		return Example{}, []fault{f}
	}
	raw := json.RawMessage(bytes.Trim(line, " \t\r\n"))
	row, ok := members(raw)
	if !ok {
		return Example{}, []fault{faultf("", "want an object, got %s", describe(raw))}
	}
	if faults := duplicates(row, ""); len(faults) > 0 {
		return Example{}, faults
	}
	for _, m := range row {
		if why, bad := unsupported[m.key]; bad && !isNull(m.value) {
			return Example{}, []fault{faultf(m.key, "%s", why)}
		}
	}

	var present []string
	for _, key := range formKeys {
		if _, ok := find(row, key); ok {
			present = append(present, key)
		}
	}
	switch strings.Join(present, " ") {
	case "messages":
		return parseChat(row)
	case "prompt completion":
		return parsePrompt(row)
	case "text":
		return parseText(row)
	case "input_ids", "input_ids labels":
		return parseIDs(row)
	case "":
		return Example{}, []fault{faultf("", "%s, got %s", wantForm, keyList(row))}
	case "prompt":
		return Example{}, []fault{faultf("completion", `is missing beside "prompt", got %s`, keyList(row))}
	case "completion":
		return Example{}, []fault{faultf("prompt", `is missing beside "completion", got %s`, keyList(row))}
	case "labels":
		return Example{}, []fault{faultf("input_ids", `is missing beside "labels", got %s`, keyList(row))}
	default:
		return Example{}, []fault{faultf("", "more than one form: %s, got %s together", wantForm, quoteAll(present))}
	}
}

func parseChat(row []member) (Example, []fault) {
	raw, _ := find(row, "messages")
	messages, faults := parseMessages(raw, "messages")
	if len(faults) > 0 {
		return Example{}, faults
	}
	e := Example{form: formChat, Messages: messages}
	return e, e.checkTurns()
}

func parsePrompt(row []member) (Example, []fault) {
	prompt, _ := find(row, "prompt")
	completion, _ := find(row, "completion")
	if prompt[0] == '[' && completion[0] == '[' {
		return parsePromptMessages(prompt, completion)
	}
	if prompt[0] == '[' || completion[0] == '[' {
		return Example{}, []fault{faultf("completion", "want what prompt is, two texts or two lists of messages")}
	}
	e := Example{form: formCompletion}
	var faults, more []fault
	e.Prompt, faults = text(prompt, "prompt")
	e.Completion, more = text(completion, "completion")
	faults = append(faults, more...)
	if len(faults) == 0 && e.Completion == "" {
		faults = append(faults, faultf("completion", "is empty, so there is nothing to learn"))
	}
	return e, faults
}

func parsePromptMessages(rawPrompt, rawCompletion json.RawMessage) (Example, []fault) {
	prompt, faults := parseMessages(rawPrompt, "prompt")
	completion, more := parseMessages(rawCompletion, "completion")
	if faults = append(faults, more...); len(faults) > 0 {
		return Example{}, faults
	}
	if first := completion[0].Role; first != roleAssistant && first != roleModel {
		return Example{}, []fault{faultf("completion[0].role", "want assistant, the reply to learn, got %q", first)}
	}
	e := Example{form: formChat, Messages: slices.Concat(prompt, completion), PromptMessages: len(prompt)}
	return e, e.checkTurns()
}

func parseText(row []member) (Example, []fault) {
	raw, _ := find(row, "text")
	s, faults := text(raw, "text")
	if len(faults) == 0 && s == "" {
		faults = append(faults, faultf("text", "is empty, so there is nothing to learn"))
	}
	return Example{form: formText, Text: s}, faults
}

func parseIDs(row []member) (Example, []fault) {
	raw, _ := find(row, "input_ids")
	e := Example{form: formIDs}
	var faults, more []fault
	e.InputIDs, faults = ids(raw, "input_ids")
	raw, labelled := find(row, "labels")
	if labelled {
		e.Labels, more = ids(raw, "labels")
		faults = append(faults, more...)
	} else {
		e.Labels = slices.Clone(e.InputIDs)
	}
	if len(faults) == 0 && len(e.Labels) != len(e.InputIDs) {
		faults = append(faults, faultf("labels", "want one a token, %d as input_ids, got %d", len(e.InputIDs), len(e.Labels)))
	}
	return e, faults
}

// keyList names the keys of a row for a message.
func keyList(row []member) string {
	const most = 8
	if len(row) == 0 {
		return "no keys"
	}
	var names []string
	for _, m := range row[:min(len(row), most)] {
		names = append(names, shorten(m.key))
	}
	list := quoteAll(names)
	if len(row) > most {
		list += ", ..."
	}
	return list
}

// quoteAll lists names in quotes.
func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(quoted, ", ")
}
