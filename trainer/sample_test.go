package trainer

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"tune/internal/model"
	"tune/internal/tokenizer"
	"tune/internal/torch"
)

// withPocket runs f with the model of the repository.
func withPocket(t *testing.T, f func(s *torch.Scope, m *model.Model, tok *tokenizer.Tokenizer) error) {
	t.Helper()
	dir := filepath.Join("..", "models", "pocket")
	tok, err := tokenizer.Open(dir)
	if err == nil {
		err = torch.Run(func(s *torch.Scope) error {
			m, err := model.Load(s, dir, model.Options{DType: torch.Float32, Device: torch.CPU})
			if err != nil {
				return err
			}
			return f(s, m, tok)
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Turn by turn on one cache a conversation comes out as it does when each turn is computed from nothing, also after an
// earlier turn was changed, and each turn costs only what is new.
func TestAConversationOnOneCacheEqualsFreshOnes(t *testing.T) {
	withPocket(t, func(s *torch.Scope, m *model.Model, tok *tokenizer.Tokenizer) error {
		options := model.GenerateOptions{MaxNewTokens: 25, Temperature: 0.8, TopK: 40, RepetitionPenalty: 1.1, Seed: 3}
		ask := func(messages []tokenizer.Message, cache *model.Cache) Answered {
			o := options
			o.Cache = cache
			a, err := Answer(t.Context(), s, m, tok, messages, o, nil)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		cache := m.NewCache(s)
		var messages []tokenizer.Message
		turn := func(question string) Answered {
			t.Helper()
			messages = append(messages, tokenizer.Message{Role: "user", Content: question})
			got, want := ask(messages, cache), ask(messages, nil)
			if got.Text != want.Text || got.Tokens != want.Tokens || got.Stopped != want.Stopped {
				t.Errorf("%q: %q (%s), fresh %q (%s)", question, got.Text, got.Stopped, want.Text, want.Stopped)
			}
			if want.Cached != 0 || got.Cached+got.PromptTokens != want.PromptTokens {
				t.Errorf("%q: %d cached and %d computed, fresh %d", question, got.Cached, got.PromptTokens, want.PromptTokens)
			}
			messages = append(messages, tokenizer.Message{Role: "assistant", Content: got.Text})
			return got
		}
		if first := turn("Why is the sky blue?"); first.Cached != 0 {
			t.Errorf("an empty cache held %d tokens", first.Cached)
		}
		before := cache.Len()
		second := turn("Tell me a story about a dog.")
		// The reply may be spelled with other tokens than it was written with; the question before it is kept anyway.
		if question, _, _ := tok.Chat(messages[:1], true); second.Cached < len(question) || second.Cached > before {
			t.Errorf("the second turn found %d tokens in a cache of %d, want at least the question's %d", second.Cached, before, len(question))
		}
		turn("And then?")
		messages = messages[:2] // the second question again, otherwise
		turn("Who are you?")
		messages = nil
		turn("Why is grass green?")
		return nil
	})
}

func TestAnswerStreamsTheTextItReturns(t *testing.T) {
	withPocket(t, func(s *torch.Scope, m *model.Model, tok *tokenizer.Tokenizer) error {
		messages := []tokenizer.Message{{Role: "user", Content: "Hello"}}
		var pieces []string
		// Hot enough that byte tokens come, which make characters only together.
		o := model.GenerateOptions{MaxNewTokens: 120, Temperature: 3, Seed: 5}
		a, err := Answer(t.Context(), s, m, tok, messages, o, func(piece string) { pieces = append(pieces, piece) })
		if err != nil {
			return err
		}
		if strings.Join(pieces, "") != a.Text || slices.Contains(pieces, "") || len(pieces) < 10 {
			t.Errorf("pieces %q, text %q", pieces, a.Text)
		}
		for _, piece := range pieces {
			if !utf8.ValidString(piece) {
				t.Errorf("half a character: %q", piece)
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		n := 0
		a, err = Answer(ctx, s, m, tok, messages, o, func(string) {
			if n++; n == 3 {
				stop()
			}
		})
		if err != nil || a.Stopped != model.StopCaller || n < 3 || n > 4 { // the decoder may still hold a piece
			t.Errorf("stopped after %d pieces (%s), %v", n, a.Stopped, err)
		}
		return nil
	})
}
