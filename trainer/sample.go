package trainer

import (
	"context"
	"fmt"
	"strings"

	"tune/internal/model"
	"tune/internal/tokenizer"
	"tune/internal/torch"
)

// Answered is a reply and how it came about.
type Answered struct {
	Text   string
	Tokens int // of Text: without the one that ended it
	Cached int // tokens of the conversation that the cache held already
	model.Written
}

// Answer has the model answer a conversation. each, when given, receives the text as it comes, never half a
// character.
//
// With o.Cache only what the cache does not hold yet is computed: of a conversation that goes on, the newest turn.
// A cache of another text is used as far as both agree.
func Answer(ctx context.Context, s *torch.Scope, m *model.Model, tok *tokenizer.Tokenizer, messages []tokenizer.Message,
	o model.GenerateOptions, each func(text string)) (Answered, error) {
	prompt, _, err := tok.Chat(messages, true)
	if err != nil {
		return Answered{}, fmt.Errorf("prompt: %w", err)
	}
	var a Answered
	if o.Cache != nil {
		a.Cached = o.Cache.Reuse(s, prompt)
	}
	o.Stop = append([]int64{tok.EOS(), tok.EndOfTurn()}, m.Config.EOSTokenIDs...)
	decoder := tok.NewDecoder()
	var text strings.Builder
	write := func(piece string) {
		text.WriteString(piece)
		if each != nil && piece != "" {
			each(piece)
		}
	}
	a.Written, err = m.Generate(ctx, s, prompt[a.Cached:], o, func(id int64) bool {
		a.Tokens++
		write(decoder.Next(id))
		return true
	})
	write(decoder.Close())
	a.Text = text.String()
	return a, err
}

// Reply has the model answer a conversation and returns the text, how many tokens it took and why it ended.
func Reply(ctx context.Context, s *torch.Scope, m *model.Model, tok *tokenizer.Tokenizer, messages []tokenizer.Message,
	o model.GenerateOptions, each func(text string)) (reply string, tokens int, stopped string, err error) {
	a, err := Answer(ctx, s, m, tok, messages, o, each)
	return a.Text, a.Tokens, a.Stopped, err
}
