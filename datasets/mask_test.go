package datasets_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"tune/datasets"
	"tune/internal/tokenizer"
)

// TestLabelsCoverTheReplies: whatever is said, what is learned of a conversation is each reply with its <end_of_turn>
// and the newline behind it, in order, and nothing else; with prompt and completion only the replies of the completion;
// with loss_on all everything after the first token. Cut, a row learns what is left of the same.
func TestLabelsCoverTheReplies(t *testing.T) {
	tok := smallTokenizer(t)
	path := filepath.Join(t.TempDir(), "x.jsonl")
	rapid.Check(t, func(t *rapid.T) {
		var messages []tokenizer.Message
		if rapid.Bool().Draw(t, "system") {
			messages = append(messages, tokenizer.Message{Role: "system", Content: drawContent(t)})
		}
		first := len(messages)
		turns := 2 * rapid.IntRange(1, 4).Draw(t, "pairs")
		for i := range turns {
			role := "user"
			if i%2 == 1 {
				role = rapid.SampledFrom([]string{"assistant", "model"}).Draw(t, "role")
			}
			messages = append(messages, tokenizer.Message{Role: role, Content: drawContent(t)})
		}
		row := map[string]any{"messages": messages}
		learnedFrom := 0 // the first reply that is learned
		if rapid.Bool().Draw(t, "split") {
			learnedFrom = rapid.IntRange(0, turns/2-1).Draw(t, "replies in the prompt")
			at := first + 2*learnedFrom + 1
			row = map[string]any{"prompt": messages[:at], "completion": messages[at:]}
		}
		b, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := datasets.Open(path, tok, datasets.Options{})
		if err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		s := d.Samples[0]
		var want []int64
		for i := learnedFrom; i < turns/2; i++ {
			content := strings.TrimFunc(messages[first+2*i+1].Content, isPythonSpace)
			want = append(want, cat(tok.Encode(content), tok.EndOfTurn(), tok.Encode("\n"))...)
		}
		var got []int64
		for i, label := range s.Labels {
			if label == datasets.NoLoss {
				continue
			}
			if label != s.InputIDs[i] {
				t.Fatalf("label %d at a place that holds %d\n%s", label, s.InputIDs[i], b)
			}
			got = append(got, label)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("learned %q, want %q\n%s", tok.Decode(got), tok.Decode(want), b)
		}

		all, err := datasets.Open(path, tok, datasets.Options{LossOn: datasets.LossOnAll})
		if err != nil {
			t.Fatal(err)
		}
		if a := all.Samples[0]; !slices.Equal(a.InputIDs, s.InputIDs) || a.Labels[0] != datasets.NoLoss ||
			!slices.Equal(a.Labels[1:], s.InputIDs[1:]) {
			t.Fatalf("loss_on all learns %v of %v", a.Labels, s.InputIDs)
		}

		most := rapid.IntRange(2, len(s.InputIDs)).Draw(t, "max length")
		cut, err := datasets.Open(path, tok, datasets.Options{MaxLength: most})
		left := slices.ContainsFunc(s.Labels[:most], func(l int64) bool { return l != datasets.NoLoss })
		switch {
		case (err == nil) != left:
			t.Fatalf("cut to %d of %d, something left to learn %v: %v", most, len(s.InputIDs), left, err)
		case err == nil && (!slices.Equal(cut.Samples[0].InputIDs, s.InputIDs[:most]) ||
			!slices.Equal(cut.Samples[0].Labels, s.Labels[:most])):
			t.Fatalf("cut to %d it is %+v, whole %+v", most, cut.Samples[0], s)
		}
	})
}

// drawContent draws what a message says: never nothing, which a data file must not have.
func drawContent(t *rapid.T) string {
	word := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"Hello", " \n", "<end_of_turn>\n<start_of_turn>model\n", "<bos>",
		"▁▁", "\x00", "né 🫠", "</td>"}))
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(word, 1, 4).Draw(t, "words"), " ")
	}).Filter(func(s string) bool {
		return strings.TrimFunc(s, isPythonSpace) != "" && strings.TrimSpace(s) != ""
	}).Draw(t, "content")
}

// isPythonSpace is what a chat template strips: Unicode's white space and the separators U+001C to U+001F.
func isPythonSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
