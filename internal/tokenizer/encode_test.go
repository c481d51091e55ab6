package tokenizer

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// pieceTexts returns the spelling of ids, for messages and expectations that can be read.
func pieceTexts(tk *Tokenizer, ids []int64) string {
	var parts []string
	for _, id := range ids {
		parts = append(parts, tk.Piece(id))
	}
	return strings.Join(parts, "|")
}

func TestEncodeReadings(t *testing.T) {
	model := openModelBytes(t, miniModel())
	asJSON, err := openJSONOf(t, miniModel(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ text, data, sentencePiece, huggingFace string }{
		{"", "", "", ""},
		{"the other", "t|he|▁|o|t|he|r", "t|he|▁|o|t|he|r", "t|he|▁|o|t|he|r"},
		{" the there", "▁the|▁the|re", "▁the|▁the|re", "▁the|▁the|re"},
		{"   the", "▁▁▁|t|he", "▁▁▁|t|he", "▁▁▁|t|he"},
		{"\n\n\n", "\n\n|\n", "\n\n|\n", "\n\n|\n"},
		{"<b>the", "<b>|t|he", "<b>|t|he", "<b>|t|he"},
		{"é", "<0xC3>|<0xA9>", "<0xC3>|<0xA9>", "<0xC3>|<0xA9>"},
		{"<eos>", "<|e|o|s|>", "<|e|o|s|>", "<eos>"},
		{"<unused0>", "<|u|<0x6E>|u|s|e|d|<0x30>|>", "<unused0>", "<unused0>"},
		{"[multimodal]", "<0x5B>|m|u|l|t|<0x69>|m|o|d|a|l|<0x5D>", "[multimodal]", "[multimodal]"},
		{"<end_of_turn>", "<|e|<0x6E>|d|_|o|f|_|t|u|r|<0x6E>|>", "<end_of_turn>", "<end_of_turn>"},
		{"<end_of_turn", "<|e|<0x6E>|d|_|o|f|_|t|u|r|<0x6E>", "<|e|<0x6E>|d|_|o|f|_|t|u|r|<0x6E>",
			"<|e|<0x6E>|d|_|o|f|_|t|u|r|<0x6E>"},
		{"<0x41>", "<|<0x30>|<0x78>|<0x34>|<0x31>|>", "<|<0x30>|<0x78>|<0x34>|<0x31>|>", "<|<0x30>|<0x78>|<0x34>|<0x31>|>"},
		// A literal ▁▁ is a fixed piece for Hugging Face before the space beside it counts; SentencePiece sees ▁▁▁.
		{" ▁▁", "▁|▁▁", "▁▁▁", "▁|▁▁"},
		{"\xff", "<0xEF>|<0xBF>|<0xBD>", "<0xEF>|<0xBF>|<0xBD>", "<0xEF>|<0xBF>|<0xBD>"},
	} {
		for name, tk := range map[string]*Tokenizer{"model": model, "json": asJSON} {
			for r, want := range map[Reading]string{
				Data: tc.data, SentencePiece: tc.sentencePiece, HuggingFace: tc.huggingFace, numReadings: tc.data, -1: tc.data,
			} {
				if got := pieceTexts(tk, tk.EncodeWith(tc.text, r)); got != want {
					t.Errorf("%s: %q, reading %d: %s\nwant %s", name, tc.text, r, got, want)
				}
			}
		}
	}
}

// A vocabulary may hold the parts from which a mark could be merged together again.
func TestMergesNeverMakeAMark(t *testing.T) {
	pieces := learned(basePieces(), "<end_of_turn", ">", "<unused", "0>", "<bos", "<0x4", "1>", "<", "e", "n", "d", "_",
		"o", "f", "t", "u", "r", "<e", "<en", "<end", "<end_", "<end_o", "<end_of", "<end_of_", "<end_of_t", "<end_of_tu",
		"<end_of_tur", "b", "s", "<b", "<bo", "0", "x", "4", "1", "<0", "<0x", "<u", "<un", "<unu", "<unus", "<unuse", "▁")
	raw := modelBytes(pieces, gemmaTrainer(), gemmaNormalizer())
	model := openModelBytes(t, raw)
	asJSON, err := openJSONOf(t, raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, tk := range map[string]*Tokenizer{"model": model, "json": asJSON} {
		for text, want := range map[string]string{
			"<end_of_turn>": "<end_of_turn|>", "<unused0>": "<unused|0>", "<bos>": "<bos|>", "<0x41>": "<0x4|1>",
		} {
			if got := pieceTexts(tk, tk.Encode(text)); got != want {
				t.Errorf("%s: %q is %s, want %s", name, text, got, want)
			}
		}
	}
}

// A mark of one character is spelled by its bytes.
func TestMarkOfOneCharacter(t *testing.T) {
	tk, err := openJSONOf(t, miniModel(), func(f map[string]any) {
		f["added_tokens"] = append(f["added_tokens"].([]any),
			map[string]any{"id": 300, "content": "¶", "special": true}, map[string]any{"id": 301, "content": "ß"})
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := pieceTexts(tk, tk.Encode("¶ß")), "<0xC2>|<0xB6>|ß"; got != want {
		t.Errorf("as data %s, want %s", got, want)
	}
	if got, want := pieceTexts(tk, tk.EncodeWith("¶ß", HuggingFace)), "¶|ß"; got != want {
		t.Errorf("as Hugging Face %s, want %s", got, want)
	}
}

// Tokens that were added to a finished tokenizer are matched after spaces have become ▁.
func TestNormalizedAddedTokens(t *testing.T) {
	tk, err := openJSONOf(t, miniModel(), func(f map[string]any) {
		f["added_tokens"] = append(f["added_tokens"].([]any),
			map[string]any{"id": 300, "content": "the re", "normalized": true},
			map[string]any{"id": 301, "content": "o the", "normalized": false})
	})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"the re": "the re", "the▁re": "the re", "o the": "o the", "o▁the": "o|▁the", "o the re": "o the|▁|re",
	} {
		if got := pieceTexts(tk, tk.Encode(text)); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

// referenceMerge scans the whole text again after every merge: slow and plain. The smallest rank goes first, of equal
// ones the leftmost.
func referenceMerge(symbols []string, rank func(left, right string) (float64, bool)) []string {
	for {
		best, bestRank := -1, 0.0
		for i := range len(symbols) - 1 {
			if r, ok := rank(symbols[i], symbols[i+1]); ok && (best < 0 || r < bestRank) {
				best, bestRank = i, r
			}
		}
		if best < 0 {
			return symbols
		}
		symbols = slices.Replace(symbols, best, best+2, symbols[best]+symbols[best+1])
	}
}

// drawPieces makes a vocabulary over a few characters, with ▁ in all places and with loose characters when wanted.
func drawPieces(t *rapid.T, loose bool) []spPiece {
	pieces := []spPiece{}
	seen := map[string]bool{"▁▁": true, "▁▁▁": true} // fixed in the base
	add := func(text string, score float32) {
		if !seen[text] {
			seen[text] = true
			pieces = append(pieces, spPiece{text, score, normal})
		}
	}
	alphabet := []string{"a", "b", "é", "▁"}
	for i, letter := range alphabet {
		if !loose || rapid.Bool().Draw(t, "is a piece") {
			add(letter, -1000-float32(i))
		}
	}
	made := slices.Clone(alphabet)
	for i := range rapid.IntRange(0, 12).Draw(t, "merges") {
		text := rapid.SampledFrom(made).Draw(t, "left") + rapid.SampledFrom(made).Draw(t, "right")
		made = append(made, text)
		score := -float32(i)
		if loose {
			score = -float32(rapid.IntRange(0, 3).Draw(t, "score")) // equal ones: the leftmost goes first
		}
		add(text, score)
	}
	return append(basePieces(), pieces...)
}

func drawText(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "é", "▁", "z"}), 0, 24).Draw(t, "text"), "")
}

// wantIDs spells symbols: a piece by its id, anything else by its bytes.
func wantIDs(pieces []spPiece, symbols []string) []int64 {
	var ids []int64
	for _, s := range symbols {
		id := slices.IndexFunc(pieces, func(p spPiece) bool { return p.text == s && p.kind != byteful })
		if id >= 0 {
			ids = append(ids, int64(id))
			continue
		}
		for _, b := range []byte(s) {
			ids = append(ids, int64(slices.IndexFunc(pieces, func(p spPiece) bool { return p.kind == byteful })+int(b)))
		}
	}
	return ids
}

// cutFixed cuts out ▁▁▁ and ▁▁, the only fixed pieces that drawText can make.
func cutFixed(text string, merge func(string) []string) []string {
	var symbols []string
	for len(text) > 0 {
		i := strings.Index(text, "▁▁")
		if i < 0 {
			return append(symbols, merge(text)...)
		}
		n := len("▁▁")
		if strings.HasPrefix(text[i:], "▁▁▁") {
			n = len("▁▁▁")
		}
		symbols = append(append(symbols, merge(text[:i])...), text[i:i+n])
		text = text[i+n:]
	}
	return symbols
}

func TestModelMergesAsSentencePiece(t *testing.T) {
	path := filepath.Join(t.TempDir(), modelFileName)
	wordy := map[bool]int{}
	rapid.Check(t, func(rt *rapid.T) {
		pieces := drawPieces(rt, true)
		tk := openBytesAt(rt, path, modelBytes(pieces, gemmaTrainer(), gemmaNormalizer()), OpenModel)
		wordy[tk.vocabulary.wordy]++
		scores := map[string]float64{}
		for _, p := range pieces {
			if p.kind == normal || p.kind == fixed {
				scores[p.text] = float64(p.score)
			}
		}
		text := drawText(rt)
		want := wantIDs(pieces, cutFixed(text, func(s string) []string {
			return referenceMerge(strings.Split(s, ""), func(left, right string) (float64, bool) {
				score, ok := scores[left+right]
				return -score, ok
			})
		}))
		for range 2 { // the second time from the cache
			if got := tk.EncodeWith(text, SentencePiece); !slices.Equal(got, want) {
				rt.Fatalf("%q: got %v, want %v", text, got, want)
			}
		}
	})
	if wordy[true] == 0 || wordy[false] == 0 {
		t.Errorf("vocabularies that cut at words: %v, want both kinds", wordy)
	}
}

func TestJSONMergesAsHuggingFace(t *testing.T) {
	path := filepath.Join(t.TempDir(), jsonFileName)
	wordy := map[bool]int{}
	rapid.Check(t, func(rt *rapid.T) {
		pieces := drawPieces(rt, false)
		raw, _, err := ModelToJSON(modelBytes(pieces, gemmaTrainer(), gemmaNormalizer()), 512)
		if err != nil {
			rt.Fatal(err)
		}
		tk := openBytesAt(rt, path, raw, OpenJSON)
		wordy[tk.vocabulary.wordy]++
		model, err := parseModel(modelBytes(pieces, gemmaTrainer(), gemmaNormalizer()))
		if err != nil {
			rt.Fatal(err)
		}
		ranks := map[[2]string]float64{}
		for rank, parts := range model.merges() {
			ranks[parts] = float64(rank)
		}
		text := drawText(rt)
		want := wantIDs(pieces, cutFixed(text, func(s string) []string {
			return referenceMerge(strings.Split(s, ""), func(left, right string) (float64, bool) {
				rank, ok := ranks[[2]string{left, right}]
				return rank, ok
			})
		}))
		for range 2 {
			if got := tk.EncodeWith(text, HuggingFace); !slices.Equal(got, want) {
				rt.Fatalf("%q: got %v, want %v", text, got, want)
			}
		}
	})
	if wordy[true] == 0 || wordy[false] == 0 {
		t.Errorf("vocabularies that cut at words: %v, want both kinds", wordy)
	}
}

// openSmall opens both forms of a small tokenizer.
func openSmall(t testing.TB, name string) (asJSON, asModel *Tokenizer) {
	t.Helper()
	asJSON, err := OpenJSON(filepath.Join(smallDir(name), jsonFileName))
	if err != nil {
		t.Fatal(err)
	}
	asModel, err = OpenModel(filepath.Join(smallDir(name), modelFileName))
	if err != nil {
		t.Fatal(err)
	}
	return asJSON, asModel
}

// drawProse makes text from what trips tokenizers up: marks whole and broken, white space, scripts, bad UTF-8.
func drawProse(t *rapid.T) string {
	parts := rapid.SliceOfN(rapid.OneOf(
		rapid.SampledFrom([]string{
			"<bos>", "<eos>", "<pad>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>", "<start_of_turn", "end_of_turn>",
			"<unused3>", "[multimodal]", "<start_of_image>", "<td>", "</b>", "<0x41>", "user", "model", "\n", "\n\n\n", "\t",
			" ", "  ", "     ", "▁", "▁▁", "the", " the", "The quick brown fox", "12345", "日本語", "привет", "🫠", "👩‍💻", "\xff",
			"\xc3", "é", "\x00", "'s", "->", "==", "\r\n", "\u200d",
		}),
		rapid.StringN(0, 6, -1),
	), 0, 12).Draw(t, "parts")
	return strings.Join(parts, "")
}

func TestBothFormsAgree(t *testing.T) {
	for _, name := range []string{"small-gemma2", "small-gemma3"} {
		t.Run(name, func(t *testing.T) {
			asJSON, asModel := openSmall(t, name)
			if asJSON.VocabSize() != asModel.VocabSize() {
				t.Fatalf("%d and %d pieces", asJSON.VocabSize(), asModel.VocabSize())
			}
			rapid.Check(t, func(t *rapid.T) {
				text := drawProse(t)
				for _, r := range []Reading{Data, SentencePiece, HuggingFace} {
					a, b := asJSON.EncodeWith(text, r), asModel.EncodeWith(text, r)
					if !slices.Equal(a, b) {
						t.Fatalf("%q, reading %d:\njson  %v\nmodel %v", text, r, a, b)
					}
				}
			})
		})
	}
}

func TestDataHoldsNoMark(t *testing.T) {
	tk, _ := openSmall(t, "small-gemma3")
	rapid.Check(t, func(t *rapid.T) {
		text := drawProse(t)
		ids := tk.Encode(text)
		for _, id := range ids {
			if p := tk.vocabulary.pieces[id]; !p.isText() {
				t.Fatalf("%q gives the mark %q", text, p.text)
			}
		}
		checkRoundTrip(t, tk, text, ids)
	})
}

// checkRoundTrip makes sure that ids decode to text, apart from ▁ and invalid UTF-8.
func checkRoundTrip(t interface{ Fatalf(string, ...any) }, tk *Tokenizer, text string, ids []int64) {
	want := strings.ReplaceAll(string([]rune(text)), space, " ")
	if got := tk.Decode(ids); got != want {
		t.Fatalf("decoded %q, want %q", got, want)
	}
}

func TestDecoderStreams(t *testing.T) {
	tk, _ := openSmall(t, "small-gemma3")
	d := tk.NewDecoder()
	var got []string
	for _, id := range tk.Encode("né 🫠 x") {
		got = append(got, d.Next(id))
	}
	got = append(got, d.Close())
	if strings.Join(got, "") != "né 🫠 x" {
		t.Errorf("streamed %q", got)
	}
	for _, part := range got {
		if !utf8.ValidString(part) {
			t.Errorf("%q splits a character", part)
		}
	}
	if !slices.Contains(got, "🫠") || !slices.Contains(got, "") {
		t.Errorf("streamed %q, want the emoji whole and as soon as it is complete", got)
	}

	bytes := tk.vocabulary.byteIDs
	for _, tc := range []struct {
		name string
		ids  []int64
		want []string // by id, then of Close
	}{
		{"character cut by the end", []int64{int64(bytes[0xF0]), int64(bytes[0x9F])}, []string{"", "", "\uFFFD\uFFFD"}},
		{"character cut by another", []int64{int64(bytes[0xF0]), int64(bytes['a'])}, []string{"", "\uFFFDa", ""}},
		{"character cut by a mark", []int64{int64(bytes[0xF0]), tk.BOS()}, []string{"", "\uFFFD", ""}},
		{"wrong byte", []int64{int64(bytes[0xFF])}, []string{"\uFFFD", ""}},
		{"surrogate", []int64{int64(bytes[0xED]), int64(bytes[0xA0]), int64(bytes[0x80])}, []string{"", "\uFFFD\uFFFD",
			"\uFFFD", ""}},
		{"ids out of range", []int64{-100, int64(tk.VocabSize())}, []string{"\uFFFD", "\uFFFD", ""}},
		{"marks", []int64{tk.BOS(), tk.PAD(), tk.EOS(), tk.EndOfTurn()}, []string{"", "", "", "<end_of_turn>", ""}},
	} {
		d := tk.NewDecoder()
		var got []string
		for _, id := range tc.ids {
			got = append(got, d.Next(id))
		}
		if got = append(got, d.Close()); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	d = tk.NewDecoder()
	d.ShowSpecial = true
	if got := d.Next(tk.BOS()) + d.Next(tk.PAD()) + d.Next(tk.EOS()); got != "<bos><pad><eos>" {
		t.Errorf("shown %q", got)
	}
}

func TestStreamedIsDecoded(t *testing.T) {
	tk, _ := openSmall(t, "small-gemma3")
	first := int64(tk.vocabulary.byteIDs[0])
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfN(rapid.OneOf(rapid.Int64Range(-2, 8001), rapid.Int64Range(first, first+255)), 0, 30).Draw(t,
			"ids")
		d := tk.NewDecoder()
		var b strings.Builder
		for _, id := range ids {
			part := d.Next(id)
			if !utf8.ValidString(part) {
				t.Fatalf("%q splits a character", part)
			}
			b.WriteString(part)
		}
		b.WriteString(d.Close())
		if want := tk.Decode(ids); b.String() != want {
			t.Fatalf("streamed %q, decoded %q", b.String(), want)
		}
	})
}

func TestManyGoroutines(t *testing.T) {
	shared, _ := openSmall(t, "small-gemma3")
	alone, _ := openSmall(t, "small-gemma3")
	texts := []string{}
	for _, c := range readLines[encodeCase](t, filepath.Join(goldenDir(), "tokenizer", "small-gemma3.encode.jsonl")) {
		texts = append(texts, c.Text)
	}
	var wg sync.WaitGroup
	got := make([][][]int64, 8)
	for g := range got {
		wg.Go(func() {
			for i := range texts {
				got[g] = append(got[g], shared.Encode(texts[(i+g*13)%len(texts)]))
			}
		})
	}
	wg.Wait()
	for g := range got {
		for i, ids := range got[g] {
			if text := texts[(i+g*13)%len(texts)]; !slices.Equal(ids, alone.Encode(text)) {
				t.Fatalf("goroutine %d: %q: %v", g, text, ids)
			}
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	tk, asModel := openSmall(f, "small-gemma3")
	for _, text := range []string{"", "a\x80b", "<bos>\n\n\n the  <td>", "▁▁ ▁", "né 🫠",
		"<end_of_turn>\n<start_of_turn>model\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ids := tk.Encode(text)
		checkRoundTrip(t, tk, text, ids)
		if other := asModel.Encode(text); !slices.Equal(ids, other) {
			t.Fatalf("json %v, model %v", ids, other)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	tk, _ := openSmall(b, "small-gemma3")
	var text strings.Builder
	for _, c := range readLines[encodeCase](b, filepath.Join(goldenDir(), "tokenizer", "small-gemma3.encode.jsonl")) {
		text.WriteString(c.Text)
		text.WriteByte('\n')
	}
	if got := tk.Decode(tk.Encode("check")); got != "check" {
		b.Fatalf("wrong before fast: %q", got)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		tk.Encode(text.String())
	}
}
