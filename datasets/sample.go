package datasets

import (
	"errors"
	"slices"
	"strings"

	"tune/internal/tokenizer"
)

// NoLoss is the label of a token that is not learned, PyTorch's ignore_index.
const NoLoss = -100

// The values of Options.LossOn.
const (
	LossOnReplies = "replies"
	LossOnAll     = "all"
)

// Tokenizer is what this package needs of *tokenizer.Tokenizer.
type Tokenizer interface {
	Encode(text string) []int64
	Chat(messages []tokenizer.Message, addGenerationPrompt bool) (ids []int64, replies []tokenizer.Span, err error)
	BOS() int64
	EOS() int64
	Piece(id int64) string
	VocabSize() int
}

// Sample is a row as it is learned.
type Sample struct {
	// InputIDs are the tokens, T of them.
	InputIDs []int64
	// Labels, T of them, are the tokens again where they are learned and NoLoss where not. They are not shifted:
	// Labels[i] belongs to InputIDs[i]. The first is always NoLoss, as nothing comes before it to tell it from.
	Labels []int64
	// Line is where in the file the row stands, from 1.
	Line int
}

// TargetTokens is how many tokens of the row are learned.
func (s Sample) TargetTokens() int {
	n := 0
	for _, label := range s.Labels {
		if label != NoLoss {
			n++
		}
	}
	return n
}

// newSample renders an example as tokens and labels them. An error is the tokenizer's, whatever the row.
func newSample(e Example, tok Tokenizer, lossOn string) (Sample, []fault, error) {
	s := Sample{Line: e.Line}
	var faults []fault
	switch e.form {
	case formChat:
		var err error
		if faults, err = s.fromChat(e, tok); err != nil {
			return s, nil, err
		}
	case formCompletion:
		s.InputIDs = append([]int64{tok.BOS()}, tok.Encode(e.Prompt)...)
		s.Labels = unlearned(len(s.InputIDs))
		// Prompt and completion are encoded apart, because that is what the model will see: it gets a prompt
		// that ends where this one does and goes on from there.
		reply := append(tok.Encode(e.Completion), tok.EOS())
		s.InputIDs = append(s.InputIDs, reply...)
		s.Labels = append(s.Labels, reply...)
	case formText:
		s.InputIDs = append(append([]int64{tok.BOS()}, tok.Encode(e.Text)...), tok.EOS())
		s.Labels = slices.Clone(s.InputIDs)
	case formIDs:
		s.InputIDs, s.Labels = e.InputIDs, e.Labels
		faults = checkIDs(e, tok.VocabSize())
	}
	if len(faults) > 0 {
		return s, faults, nil
	}
	if lossOn == LossOnAll && e.form != formIDs {
		s.Labels = slices.Clone(s.InputIDs)
	}
	s.Labels[0] = NoLoss
	if s.TargetTokens() == 0 {
		field := "labels"
		if e.form == formChat {
			field = "messages"
		}
		return s, []fault{faultf(field, "nothing to learn: no token after the first has a label")}, nil
	}
	return s, nil, nil
}

// fromChat labels the replies of a conversation with their ends.
func (s *Sample) fromChat(e Example, tok Tokenizer) ([]fault, error) {
	ids, replies, err := tok.Chat(e.Messages, false)
	var out *tokenizer.TurnError
	if errors.As(err, &out) { // a system message, where the model's template has none
		return []fault{e.turnFault(out)}, nil
	}
	if err != nil {
		return nil, err
	}
	replies = replies[min(countReplies(e.Messages[:e.PromptMessages]), len(replies)):]
	s.InputIDs, s.Labels = ids, unlearned(len(ids))
	for _, span := range replies {
		copy(s.Labels[span.Start:span.End], ids[span.Start:span.End])
	}
	return nil, nil
}

// checkIDs reports a row too short to predict anything, and the first token or label that the model has no row
// for.
func checkIDs(e Example, vocabSize int) []fault {
	if len(e.InputIDs) < 2 {
		return []fault{faultf("input_ids", "want at least 2 tokens, one to learn from and one to learn, got %d",
			len(e.InputIDs))}
	}
	outside := func(id int64) bool { return id < 0 || id >= int64(vocabSize) }
	if i := slices.IndexFunc(e.InputIDs, outside); i >= 0 {
		return []fault{faultf(index("input_ids", i), "must be from 0 to %d, the vocabulary's last id, got %d",
			vocabSize-1, e.InputIDs[i])}
	}
	for i, label := range e.Labels {
		if label != NoLoss && outside(label) {
			return []fault{faultf(index("labels", i), "must be %d or from 0 to %d, the vocabulary's last id, got %d",
				NoLoss, vocabSize-1, label)}
		}
	}
	return nil
}

// cut keeps the first maxLength tokens and returns how many were lost.
func (s *Sample) cut(maxLength int) int {
	lost := len(s.InputIDs) - maxLength
	if maxLength <= 0 || lost <= 0 {
		return 0
	}
	s.InputIDs, s.Labels = s.InputIDs[:maxLength:maxLength], s.Labels[:maxLength:maxLength]
	return lost
}

// replyWords counts the words of each text in the example that is there to be learned as an answer.
func (e Example) replyWords() []int {
	var out []int
	for _, m := range e.Messages[e.PromptMessages:] {
		if m.Role == roleAssistant || m.Role == roleModel {
			out = append(out, len(strings.Fields(m.Content)))
		}
	}
	if e.form == formCompletion {
		out = append(out, len(strings.Fields(e.Completion)))
	}
	return out
}

// turns counts the messages of a conversation; a system message is no turn.
func (e Example) turns() int {
	n := 0
	for _, m := range e.Messages {
		if m.Role != roleSystem {
			n++
		}
	}
	return n
}

func countReplies(messages []tokenizer.Message) int {
	n := 0
	for _, m := range messages {
		if m.Role == roleAssistant || m.Role == roleModel {
			n++
		}
	}
	return n
}

// unlearned is n labels of NoLoss.
func unlearned(n int) []int64 {
	labels := make([]int64, n)
	for i := range labels {
		labels[i] = NoLoss
	}
	return labels
}
