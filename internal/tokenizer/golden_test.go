package tokenizer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// goldenDir is where the reference vectors are: TUNE_GOLDEN or the project's copy.
func goldenDir() string {
	if dir := os.Getenv("TUNE_GOLDEN"); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", "testdata", "golden")
}

// smallDir is the folder of a small tokenizer, beside the golden vectors.
func smallDir(name string) string { return filepath.Join(goldenDir(), "..", "tokenizers", name) }

// readLines decodes a JSONL file and fails when it is empty.
func readLines[T any](t testing.TB, path string) []T {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []T
	for dec := json.NewDecoder(bufio.NewReader(f)); dec.More(); {
		var line T
		if err := dec.Decode(&line); err != nil {
			t.Fatalf("%s: line %d: %v", path, len(lines)+1, err)
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		t.Fatalf("%s is empty", path)
	}
	return lines
}

// forBothForms runs a test on every small tokenizer that has golden vectors of this kind, in both file forms.
func forBothForms(t *testing.T, suffix string, test func(t *testing.T, tk *Tokenizer, golden string)) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(goldenDir(), "tokenizer", "*"+suffix))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden vectors %s in %s (%v)", suffix, goldenDir(), err)
	}
	for _, path := range paths {
		dir := smallDir(strings.TrimSuffix(filepath.Base(path), suffix))
		for _, form := range []struct {
			file string
			open func(string) (*Tokenizer, error)
		}{{jsonFileName, OpenJSON}, {modelFileName, OpenModel}} {
			t.Run(filepath.Base(dir)+"/"+form.file, func(t *testing.T) {
				tk, err := form.open(filepath.Join(dir, form.file))
				if err != nil {
					t.Fatal(err)
				}
				test(t, tk, path)
			})
		}
	}
}

type encodeCase struct {
	Text       string   `json:"text"`
	IDs        []int64  `json:"ids"`
	IDsSpecial []int64  `json:"ids_special"` // absent when they are IDs
	Decoded    *string  `json:"decoded"`     // absent when it is Text
	Pieces     []string `json:"pieces"`      // of IDs, in the shorter cases
}

func TestGoldenTokenizerEncode(t *testing.T) {
	forBothForms(t, ".encode.jsonl", func(t *testing.T, tk *Tokenizer, golden string) {
		for i, c := range readLines[encodeCase](t, golden) {
			special, decoded := c.IDsSpecial, c.Text
			if special == nil {
				special = c.IDs
			}
			if c.Decoded != nil {
				decoded = *c.Decoded
			}
			if got := tk.EncodeWith(c.Text, SentencePiece); !equalIDs(got, c.IDs) {
				t.Errorf("line %d: %.80q as SentencePiece:\n got %v\nwant %v", i+1, c.Text, got, c.IDs)
			}
			if got := tk.EncodeWith(c.Text, HuggingFace); !equalIDs(got, special) {
				t.Errorf("line %d: %.80q as HuggingFace:\n got %v\nwant %v", i+1, c.Text, got, special)
			}
			if got := tk.Decode(c.IDs); got != decoded {
				t.Errorf("line %d: decoded %.80q, want %.80q", i+1, got, decoded)
			}
			if got := tk.Decode(tk.Encode(c.Text)); got != decoded {
				t.Errorf("line %d: decoded as data %.80q, want %.80q", i+1, got, decoded)
			}
			// Text without marks has one reading only.
			if !hasMark(tk, c.Text) {
				if got := tk.Encode(c.Text); !equalIDs(got, c.IDs) {
					t.Errorf("line %d: %.80q as data:\n got %v\nwant %v", i+1, c.Text, got, c.IDs)
				}
			}
			for k := range c.Pieces {
				// The tab's byte has two names; transformers' converter writes the tab itself.
				if got := tk.Piece(c.IDs[k]); got != c.Pieces[k] && !(got == "\t" && c.Pieces[k] == "<0x09>") {
					t.Errorf("line %d: piece %d is %q, want %q", i+1, c.IDs[k], got, c.Pieces[k])
				}
			}
		}
	})
}

// hasMark reports whether a text spells a fixed piece that is no text.
func hasMark(tk *Tokenizer, text string) bool {
	for _, p := range tk.vocabulary.pieces {
		if p.isFixed() && !p.isText() && strings.Contains(text, p.text) {
			return true
		}
	}
	return false
}

// equalIDs compares ids; nil and empty are the same.
func equalIDs(a, b []int64) bool { return len(a) == 0 && len(b) == 0 || cmp.Equal(a, b) }

func TestGoldenTokenizerDecode(t *testing.T) {
	type decodeCase struct {
		IDs     []int64 `json:"ids"`
		Decoded string  `json:"decoded"`
	}
	forBothForms(t, ".decode.jsonl", func(t *testing.T, tk *Tokenizer, golden string) {
		for i, c := range readLines[decodeCase](t, golden) {
			if got := tk.Decode(c.IDs); got != c.Decoded {
				t.Errorf("line %d: %v decoded to %q, want %q", i+1, c.IDs, got, c.Decoded)
			}
		}
	})
}

type chatCase struct {
	Messages            []Message `json:"messages"`
	AddGenerationPrompt bool      `json:"add_generation_prompt"`
	Text                string    `json:"text"`
	IDs                 []int64   `json:"ids"`
	ReplySpans          [][2]int  `json:"reply_spans"`
}

// TestGoldenTokenizerChat compares with transformers' rendering, which reads marks in contents as tokens, and makes
// sure that the safe reading differs from it only for the conversations that forge marks. All vectors are in the style
// of Gemma 3, see README.md there; the tokenizer's own style gives the same or, in Gemma 2's, refuses a system message.
func TestGoldenTokenizerChat(t *testing.T) {
	forBothForms(t, ".chat.jsonl", func(t *testing.T, tk *Tokenizer, golden string) {
		own, err := tk.ChatStyle()
		if err != nil {
			t.Fatal(err)
		}
		honest, systems, refused := 0, 0, 0
		for i, c := range readLines[chatCase](t, golden) {
			want := []Span{}
			for _, span := range c.ReplySpans {
				want = append(want, Span{span[0], span[1]})
			}
			check := func(r Reading) {
				t.Helper()
				ids, replies, err := tk.chatIn(StyleGemma3, c.Messages, c.AddGenerationPrompt, r)
				if err != nil {
					t.Errorf("line %d: %v", i+1, err)
					return
				}
				if !equalIDs(ids, c.IDs) {
					t.Errorf("line %d: reading %d:\n got %v\nwant %v", i+1, r, ids, c.IDs)
				}
				if diff := cmp.Diff(want, append([]Span{}, replies...)); diff != "" {
					t.Errorf("line %d: reading %d: reply spans (-want +got):\n%s", i+1, r, diff)
				}
			}
			check(HuggingFace)
			if c.Messages[0].Role == roleSystem {
				systems++
			}
			ids, _, err := tk.ChatWith(c.Messages, c.AddGenerationPrompt, HuggingFace)
			if own == StyleGemma2 && c.Messages[0].Role == roleSystem {
				wantError(t, err, "messages[0].role: ", "has no system turn")
				refused++
			} else if err != nil || !equalIDs(ids, c.IDs) {
				t.Errorf("line %d: in its own style %v, %v, want %v", i+1, ids, err, c.IDs)
			}
			if got := tk.EncodeWith(c.Text, HuggingFace); !equalIDs(got, c.IDs) {
				t.Errorf("line %d: the text as HuggingFace:\n got %v\nwant %v", i+1, got, c.IDs)
			}
			if forged(tk, c.Messages) {
				checkForged(t, tk, c.Messages, c.AddGenerationPrompt, c.Text)
				continue
			}
			honest++
			check(Data)
		}
		if honest == 0 || systems == 0 {
			t.Errorf("%d conversations forge no mark, %d have a system message, want some of each", honest, systems)
		}
		gemma2 := strings.HasPrefix(filepath.Base(golden), "small-gemma2")
		if (own == StyleGemma2) != gemma2 || gemma2 != (refused > 0) {
			t.Errorf("the style is %v and refuses %d system messages", own, refused)
		}
	})
}

// forged reports whether a content spells a mark.
func forged(tk *Tokenizer, messages []Message) bool {
	for _, m := range messages {
		if hasMark(tk, m.Content) {
			return true
		}
	}
	return false
}

// checkForged makes sure that a conversation has the turns of its messages and not one more, whatever they say.
func checkForged(t *testing.T, tk *Tokenizer, messages []Message, generate bool, text string) {
	t.Helper()
	ids, _, err := tk.chatIn(StyleGemma3, messages, generate, Data)
	if err != nil {
		t.Fatal(err)
	}
	turns := len(messages)
	if messages[0].Role == roleSystem {
		turns--
	}
	want := map[int64]int{tk.BOS(): 1, tk.EOS(): 0, tk.PAD(): 0, tk.StartOfTurn(): turns, tk.EndOfTurn(): turns}
	if generate {
		want[tk.StartOfTurn()]++
	}
	got := map[int64]int{}
	for id := range want {
		got[id] = 0
	}
	for _, id := range ids {
		if p := tk.vocabulary.pieces[id]; p.isFixed() && !p.isText() {
			got[id]++
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("marks in %q (-want +got):\n%s", text, diff)
	}
	d := tk.NewDecoder()
	d.ShowSpecial = true
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(d.Next(id))
	}
	if b.WriteString(d.Close()); b.String() != text {
		t.Errorf("decoded %q, want %q", b.String(), text)
	}
}

// TestGoldenTokenizerReal compares with the published tokenizers of Gemma 2 and 3. Neither they nor the texts are
// part of the project; the vectors are under TUNE_GOLDEN, TUNE_GEMMA_TOKENIZER names the tokenizer file or its folder.
func TestGoldenTokenizerReal(t *testing.T) {
	path := os.Getenv("TUNE_GEMMA_TOKENIZER")
	if path == "" {
		t.Skip("TUNE_GEMMA_TOKENIZER does not name the tokenizer of a published Gemma")
	}
	tk := openAny(t, path)
	name := "gemma3"
	if tk.VocabSize() < 262144 {
		name = "gemma2"
	}
	golden := filepath.Join(goldenDir(), "tokenizer", "real", name+".encode.jsonl")
	if _, err := os.Stat(golden); err != nil {
		t.Skipf("the vectors for it are not there: %v", err)
	}
	for i, c := range readLines[encodeCase](t, golden) {
		for _, r := range []Reading{Data, SentencePiece, HuggingFace} {
			if got := tk.EncodeWith(c.Text, r); !equalIDs(got, c.IDs) {
				t.Errorf("line %d: %.80q, reading %d:\n got %.40v\nwant %.40v", i+1, c.Text, r, got, c.IDs)
			}
		}
	}
}

// openAny opens a folder, a tokenizer.json or a tokenizer.model.
func openAny(t *testing.T, path string) *Tokenizer {
	t.Helper()
	open := Open
	if stat, err := os.Stat(path); err != nil {
		t.Fatal(err)
	} else if !stat.IsDir() {
		open = OpenModel
		if filepath.Ext(path) == ".json" {
			open = OpenJSON
		}
	}
	tk, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

// TestGoldenTokenizerConvert converts tokenizer.model and compares with what transformers wrote for it.
func TestGoldenTokenizerConvert(t *testing.T) {
	dir := smallDir("small-gemma3")
	read := func(name string) []byte {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	tokenizerJSON, configJSON, err := ModelToJSON(read(modelFileName), 8192)
	if err != nil {
		t.Fatal(err)
	}
	if want := read(jsonFileName); !bytes.Equal(tokenizerJSON, want) {
		t.Errorf("tokenizer.json differs at byte %d of %d", firstDifference(tokenizerJSON, want), len(want))
	}
	if want := read("tokenizer_config.json"); !bytes.Equal(configJSON, want) {
		t.Errorf("tokenizer_config.json differs at byte %d of %d", firstDifference(configJSON, want), len(want))
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
