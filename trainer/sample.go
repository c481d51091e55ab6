package trainer

import (
	"context"
	"fmt"
	"strings"

	"tune/internal/model"
	"tune/internal/tokenizer"
	"tune/internal/torch"
)

// Reply has the model answer a conversation and returns the text, how many tokens it took and why it ended.
// each, when given, receives the text as it comes, never half a character.
func Reply(ctx context.Context, s *torch.Scope, m *model.Model, tok *tokenizer.Tokenizer, messages []tokenizer.Message,
	o model.GenerateOptions, each func(text string)) (reply string, tokens int, stopped string, err error) {
	prompt, _, err := tok.Chat(messages, true)
	if err != nil {
		return "", 0, "", fmt.Errorf("prompt: %w", err)
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
	stopped, err = m.Generate(ctx, s, prompt, o, func(id int64) bool {
		tokens++
		write(decoder.Next(id))
		return true
	})
	write(decoder.Close())
	return text.String(), tokens, stopped, err
}
