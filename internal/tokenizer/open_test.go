package tokenizer

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/bounded"
)

// wantError checks that an error begins with the file and says what is expected.
func wantError(t *testing.T, err error, path, want string) {
	t.Helper()
	if err == nil {
		t.Fatal("accepted")
	}
	if !strings.HasPrefix(err.Error(), path) || !strings.Contains(err.Error(), want) {
		t.Errorf("error %q\nwant %s and %q", err, path, want)
	}
}

func TestOpenTakesTheFileThatIsThere(t *testing.T) {
	dir := filepath.Dir(writeFile(t, modelFileName, miniModel()))
	tk, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(tk.path, modelFileName) {
		t.Errorf("opened %s", tk.path)
	}
	raw, _, err := ModelToJSON(miniModel(), 512)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, jsonFileName), raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if tk, err = Open(dir); err != nil || !strings.HasSuffix(tk.path, jsonFileName) {
		t.Errorf("with both files: opened %v, %v, want the JSON", tk, err)
	}
	empty := t.TempDir()
	_, err = Open(empty)
	wantError(t, err, empty, "neither tokenizer.json nor tokenizer.model is there")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
	for _, open := range []func(string) (*Tokenizer, error){OpenJSON, OpenModel} {
		if _, err := open(filepath.Join(empty, "absent")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v is not fs.ErrNotExist", err)
		}
	}
}

func TestSpecialTokens(t *testing.T) {
	for _, tc := range []struct {
		name                         string
		size                         int
		pad, eos, bos, start, finish int64
	}{{"small-gemma2", 7000, 0, 1, 2, 106, 107}, {"small-gemma3", 8000, 0, 1, 2, 105, 106}} {
		tk, err := Open(smallDir(tc.name))
		if err != nil {
			t.Fatal(err)
		}
		got := []int64{int64(tk.VocabSize()), tk.PAD(), tk.EOS(), tk.BOS(), tk.StartOfTurn(), tk.EndOfTurn()}
		want := []int64{int64(tc.size), tc.pad, tc.eos, tc.bos, tc.start, tc.finish}
		if !slices.Equal(got, want) {
			t.Errorf("%s: size, pad, eos, bos, start, end %v, want %v", tc.name, got, want)
		}
		for id, want := range map[int64]string{tc.bos: "<bos>", -1: "", int64(tc.size): "", math.MaxInt64: ""} {
			if got := tk.Piece(id); got != want {
				t.Errorf("%s: piece %d is %q, want %q", tc.name, id, got, want)
			}
		}
	}
}

func TestOpenModelRefuses(t *testing.T) {
	base := basePieces()
	good := gemmaTrainer()
	for _, tc := range []struct {
		name string
		raw  []byte
		want string
	}{
		{"empty", nil, "trainer_spec: is missing: truncated file?"},
		{"text", []byte("hello world"), "wire type"},
		{"cut", miniModel()[:100], "the field is cut off"},
		{"unigram", modelBytes(base, protoVarint(good, 3, 1), gemmaNormalizer()), "model_type: is UNIGRAM, want BPE"},
		{"word", modelBytes(base, protoVarint(good, 3, 3), gemmaNormalizer()), "model_type: is WORD"},
		{"type 9", modelBytes(base, protoVarint(good, 3, 9), gemmaNormalizer()), "model_type: is 9"},
		{"no byte fallback", modelBytes(base, protoVarint(good, 35, 0), gemmaNormalizer()), "byte_fallback: is false"},
		{"suffix", modelBytes(base, protoVarint(good, 24, 1), gemmaNormalizer()), "treat_whitespace_as_suffix: is true"},
		{"model type as text", modelBytes(base, protoBytes(good, 3, "x"), gemmaNormalizer()),
			"trainer_spec: field 3 has the wire type 2, want 0"},
		{"dummy prefix", modelBytes(base, good, protoVarint(gemmaNormalizer(), 3, 1)), "add_dummy_prefix: is true"},
		{"default normalizer", modelBytes(base, good, nil), "add_dummy_prefix: is true"},
		{"extra spaces", modelBytes(base, good, protoVarint(gemmaNormalizer(), 4, 1)), "remove_extra_whitespaces: is true"},
		{"no escape", modelBytes(base, good, protoVarint(gemmaNormalizer(), 5, 0)), "escape_whitespaces: is false"},
		{"charsmap", modelBytes(base, good, protoBytes(gemmaNormalizer(), 2, "x")), "normalizer_spec: has a character map"},
		{"denormalizer", protoBytes(miniModel(), 5, string(protoBytes(nil, 2, "x"))),
			"denormalizer_spec: has a character map"},
		{"unused piece", modelBytes(append(base, spPiece{"x", 0, unused}), good, gemmaNormalizer()),
			`piece 269, "x": type UNUSED is not supported`},
		{"unknown type", protoBytes(nil, 1, string(protoVarint(protoBytes(nil, 1, "x"), 3, 77))),
			`piece 0, "x": type 77 is not known`},
		{"score NaN", modelBytes(append(base, spPiece{"x", float32(math.NaN()), normal}), good, gemmaNormalizer()),
			`piece 269, "x": the score is not a number`},
		{"odd byte", modelBytes(append(base, spPiece{"<0xzz>", 0, byteful}), good, gemmaNormalizer()),
			"a byte piece must be called"},
		{"empty piece", modelBytes(append(base, spPiece{"", 0, normal}), good, gemmaNormalizer()), "piece 269 is empty"},
		{"piece not UTF-8", modelBytes(append(base, spPiece{"\xff", 0, normal}), good, gemmaNormalizer()), "is not UTF-8"},
		{"piece twice", modelBytes(append(base, base[0]), good, gemmaNormalizer()), `"<pad>" is piece 0 and piece 269`},
		{"byte missing", modelBytes(base[:len(base)-1], good, gemmaNormalizer()), "the byte piece <0xFF> is missing"},
		{"pad missing", modelBytes(base[1:], good, gemmaNormalizer()), `the pad token "<pad>" is missing`},
		{"bos called otherwise", modelBytes(base, protoBytes(good, 46, "<s>"), gemmaNormalizer()),
			`the bos token "<s>" is missing`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := writeFile(t, modelFileName, tc.raw)
			_, err := OpenModel(path)
			wantError(t, err, path+": ", tc.want)
		})
	}
}

// A download can end anywhere.
func TestOpenModelCutAnywhere(t *testing.T) {
	whole := miniModel()
	if _, err := parseModel(whole); err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if _, err := parseModel(whole[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are accepted", n, len(whole))
		}
	}
}

// at follows keys into decoded JSON.
func at(file map[string]any, keys ...string) map[string]any {
	for _, key := range keys {
		file = file[key].(map[string]any)
	}
	return file
}

func TestOpenJSONRefuses(t *testing.T) {
	addedToken := func(f map[string]any, i int) map[string]any { return f["added_tokens"].([]any)[i].(map[string]any) }
	for _, tc := range []struct {
		name string
		edit func(f map[string]any)
		want string
	}{
		{"unigram", func(f map[string]any) { at(f, "model")["type"] = "Unigram" }, `model.type: is "Unigram", want "BPE"`},
		{"no bytes", func(f map[string]any) { at(f, "model")["byte_fallback"] = false }, "model.byte_fallback: is false"},
		{"ignore_merges", func(f map[string]any) { at(f, "model")["ignore_merges"] = true },
			"model.ignore_merges: is true"},
		{"dropout", func(f map[string]any) { at(f, "model")["dropout"] = 0.1 }, "model.dropout: is 0.1"},
		{"prefix", func(f map[string]any) { at(f, "model")["continuing_subword_prefix"] = "##" }, `prefix: is "##"`},
		{"suffix", func(f map[string]any) { at(f, "model")["end_of_word_suffix"] = "</w>" }, `suffix: is "</w>"`},
		{"no normalizer", func(f map[string]any) { delete(f, "normalizer") },
			`normalizer: is null, want Replace " " by "▁"`},
		{"Llama's normalizer", func(f map[string]any) {
			f["normalizer"] = map[string]any{"type": "Sequence", "normalizers": []any{
				map[string]any{"type": "Prepend"}, map[string]any{"type": "Replace"}}}
		}, `normalizer: is "Sequence" of Prepend, Replace`},
		{"pre-tokenizer", func(f map[string]any) { f["pre_tokenizer"] = map[string]any{"type": "ByteLevel"} },
			`pre_tokenizer: is "ByteLevel"`},
		{"no decoder", func(f map[string]any) { f["decoder"] = nil }, "decoder: is null"},
		{"Llama's decoder", func(f map[string]any) {
			f["decoder"] = map[string]any{"type": "Sequence", "decoders": []any{map[string]any{"type": "Strip"}}}
		}, `decoder: is "Sequence" of Strip`},
		{"id too large", func(f map[string]any) { at(f, "model", "vocab")["x"] = 1 << 40 }, `"x" has the id 1099511627776`},
		{"id negative", func(f map[string]any) { at(f, "model", "vocab")["x"] = -1 }, `"x" has the id -1`},
		{"id twice", func(f map[string]any) { at(f, "model", "vocab")["x"] = 269 }, `share the id 269`},
		{"id no number", func(f map[string]any) { at(f, "model", "vocab")["x"] = "1" }, "model.vocab: found a string"},
		{"added id too large", func(f map[string]any) { addedToken(f, 4)["id"] = 1 << 40 }, "added_tokens: "},
		{"added id of another", func(f map[string]any) { addedToken(f, 4)["id"] = 0 },
			`added_tokens: "<unused0>" and "<pad>" share the id 0`},
		{"added twice", func(f map[string]any) { addedToken(f, 4)["id"] = 999 }, `"<unused0>" is piece 4 and piece 999`},
		{"lstrip", func(f map[string]any) { addedToken(f, 4)["lstrip"] = true },
			`"<unused0>" has single_word, lstrip or rstrip`},
		{"added empty", func(f map[string]any) { addedToken(f, 4)["id"] = 999; addedToken(f, 4)["content"] = "" },
			"piece 999 is empty"},
		{"merge of strangers", func(f map[string]any) { at(f, "model")["merges"] = []any{[]any{"x", "y"}} },
			`merge 0, "x" + "y": "x" is not in the vocabulary`},
		{"merge of three", func(f map[string]any) { at(f, "model")["merges"] = []any{[]any{"t", "h", "e"}} },
			"is not a pair"},
		{"merge string of three", func(f map[string]any) { at(f, "model")["merges"] = []any{"t h e"} },
			"does not hold one space"},
		{"merge number", func(f map[string]any) { at(f, "model")["merges"] = []any{1} }, "neither a pair nor a string"},
		{"byte missing", func(f map[string]any) { delete(at(f, "model", "vocab"), "<0xE2>") },
			"the byte piece <0xE2> is missing"},
		{"pad not added", func(f map[string]any) { f["added_tokens"] = f["added_tokens"].([]any)[1:] },
			`the pad token "<pad>" is missing`},
		{"no pieces", func(f map[string]any) {
			f["added_tokens"] = nil
			at(f, "model")["vocab"] = nil
		}, "vocabulary: is empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := openJSONOf(t, miniModel(), tc.edit)
			wantError(t, err, "", tc.want)
			if !strings.Contains(err.Error(), jsonFileName+": ") {
				t.Errorf("error %q does not name the file", err)
			}
		})
	}
	path := writeFile(t, jsonFileName, []byte("{"))
	_, err := OpenJSON(path)
	wantError(t, err, path+": ", "unexpected end of JSON input")
}

// Files are written in several ways that mean the same.
func TestOpenJSONVariants(t *testing.T) {
	const text = "the other\tthe\n\n  therefore é <b>"
	want := openModelBytes(t, miniModel()).Encode(text)
	for _, tc := range []struct {
		name string
		edit func(f map[string]any)
	}{
		{"as converted", nil},
		{"merges as strings", func(f map[string]any) {
			merges := at(f, "model")["merges"].([]any)
			for i, m := range merges {
				merges[i] = m.([]any)[0].(string) + " " + m.([]any)[1].(string)
			}
		}},
		{"tab under its hex name", func(f map[string]any) {
			vocab := at(f, "model", "vocab")
			vocab["<0x09>"] = vocab["\t"]
			delete(vocab, "\t")
		}},
		{"normalizer in a sequence", func(f map[string]any) {
			f["normalizer"] = map[string]any{"type": "Sequence", "normalizers": []any{f["normalizer"]}}
		}},
		{"no pre-tokenizer", func(f map[string]any) { f["pre_tokenizer"] = nil }},
		{"added tokens not in the vocabulary", func(f map[string]any) {
			delete(at(f, "model", "vocab"), "<unused0>")
			delete(at(f, "model", "vocab"), "<b>")
		}},
		{"ids with a hole", func(f map[string]any) {
			f["added_tokens"] = append(f["added_tokens"].([]any), map[string]any{"id": 400, "content": "<later>",
				"special": true})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tk, err := openJSONOf(t, miniModel(), tc.edit)
			if err != nil {
				t.Fatal(err)
			}
			if got := tk.Encode(text); !slices.Equal(got, want) {
				t.Errorf("ids %v, want %v", got, want)
			}
			if got := tk.Decode(want); got != text {
				t.Errorf("decoded %q, want %q", got, text)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "templates", "gemma3.jinja"))
	if err != nil {
		t.Fatal(err)
	}
	jinja := string(raw)
	raw, err = json.Marshal(jinja)
	if err != nil {
		t.Fatal(err)
	}
	gemma := string(raw)
	hello := []Message{{Role: "user", Content: "the"}}
	for _, tc := range []struct {
		name, file, content string
		wantOpen, wantChat  string // parts of the errors; "" for none
	}{
		{"no settings", "notes.txt", "", "", ""},
		{"names as strings", "tokenizer_config.json", `{"bos_token":"<bos>","eos_token":null}`, "", ""},
		{"names as objects", "tokenizer_config.json", `{"eos_token":{"content":"<end_of_turn>"}}`, "", ""},
		{"another name", "tokenizer_config.json", `{"bos_token":"<s>"}`, `the bos token "<s>" is missing`, ""},
		{"name no name", "tokenizer_config.json", `{"bos_token":[1]}`, "a token's name is [1]", ""},
		{"no JSON", "tokenizer_config.json", `{`, "tokenizer_config.json: unexpected end", ""},
		{"Gemma's template", "tokenizer_config.json", `{"chat_template":` + gemma + `}`, "", ""},
		{"null template", "tokenizer_config.json", `{"chat_template":null}`, "", ""},
		{"another template", "tokenizer_config.json", `{"chat_template":"<|im_start|>"}`, "",
			`tokenizer_config.json: this chat template is not supported, only the turns of Gemma 1 to 3 are: of one user ` +
				`message it makes "<|im_start|>", want "<bos><start_of_turn>user\nHello<end_of_turn>\n"`},
		{"list of templates", "tokenizer_config.json",
			`{"chat_template":[{"name":"tool","template":"x"},{"name":"default","template":` + gemma + `},` +
				`{"name":"rag","template":"y"}]}`, "", ""},
		{"list with another default", "tokenizer_config.json",
			`{"chat_template":[{"name":"tool","template":` + gemma + `},{"name":"default","template":"x"}]}`, "",
			`this chat template is not supported, only the turns of Gemma 1 to 3 are: of one user message it makes "x"`},
		{"list without a default", "tokenizer_config.json",
			`{"chat_template":[{"name":"tool","template":` + gemma + `},{"name":"rag","template":"x"}]}`, "",
			`there are several, "tool", "rag", and none is called "default"`},
		{"empty list", "tokenizer_config.json", `{"chat_template":[]}`, "", ""},
		{"template no template", "tokenizer_config.json", `{"chat_template":1}`, "chat_template is 1", ""},
		{"jinja", "chat_template.jinja", jinja, "", ""},
		{"another jinja", "chat_template.jinja", "<|im_start|>", "", "chat_template.jinja: this chat template is not supported"},
		{"another json", "chat_template.json", `{"chat_template":"[INST]"}`, "",
			"chat_template.json: this chat template is not supported"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := writeFile(t, modelFileName, miniModel())
			dir := filepath.Dir(path)
			if err := os.WriteFile(filepath.Join(dir, tc.file), []byte(tc.content), 0o644); err != nil {
				t.Fatal(err)
			}
			tk, err := Open(dir)
			if tc.wantOpen != "" {
				wantError(t, err, dir, tc.wantOpen)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = tk.Chat(hello, true)
			if tc.wantChat != "" {
				wantError(t, err, dir, tc.wantChat)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	dir := filepath.Dir(writeFile(t, modelFileName, miniModel()))
	config := []byte(`{"eos_token":{"content":"<end_of_turn>"}}`)
	if err := os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	tk, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if tk.EOS() != tk.EndOfTurn() {
		t.Errorf("eos is %d, want that of tokenizer_config.json, %d", tk.EOS(), tk.EndOfTurn())
	}
}

func TestModelToJSONRefuses(t *testing.T) {
	loose := modelBytes(learned(basePieces(), "xy", "y", "▁"), gemmaTrainer(), gemmaNormalizer())
	if _, _, err := ModelToJSON(loose, 512); err == nil || !strings.Contains(err.Error(),
		`piece "xy" is merged from 'x'`) {
		t.Errorf("error %v", err)
	}
	if _, _, err := ModelToJSON([]byte("x"), 512); err == nil {
		t.Error("accepted a file that is no model")
	}
	noBOS := modelBytes(learned(basePieces(), "▁"), protoBytes(gemmaTrainer(), 46, "<s>"), gemmaNormalizer())
	if _, _, err := ModelToJSON(noBOS, 512); err == nil || !strings.Contains(err.Error(), `bos token "<s>" is missing`) {
		t.Errorf("error %v", err)
	}
}

func FuzzOpenJSON(f *testing.F) {
	raw, _, err := ModelToJSON(miniModel(), 512)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"added_tokens":[{"id":1048575,"content":"<pad>"}],` +
		`"model":{"type":"BPE","vocab":{"a":0},"merges":["a a"]}}`))
	f.Add([]byte(`{"model":{"merges":[["a"],[]]}}`))
	fuzzOpen(f, OpenJSON)
}

func FuzzOpenModel(f *testing.F) {
	f.Add(miniModel())
	f.Add(modelBytes(learned(basePieces(), "ab", "c▁d"), gemmaTrainer(), gemmaNormalizer()))
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	fuzzOpen(f, OpenModel)
}

// FuzzReadSettings: whatever stands beside a tokenizer, it is read or refused by the name of its file.
func FuzzReadSettings(f *testing.F) {
	for _, name := range []string{"small-gemma2", "small-gemma3"} {
		b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "tokenizers", name, "tokenizer_config.json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, []byte("{}"), []byte(""))
	}
	f.Add([]byte(`{"bos_token":{"content":"<s>"},"eos_token":null,"pad_token":[]}`), []byte(`{"chat_template":null}`), []byte("{{ x }}"))
	f.Add([]byte(`{"chat_template":[{"name":"a","template":"x"},{"name":"default","template":"y"}]}`), []byte(`[]`), []byte(""))
	f.Add([]byte(`{"chat_template":[{"name":"a"},{"name":1}]}`), []byte(`{"chat_template":{}}`), []byte("\xff"))
	dir := f.TempDir()
	paths := []string{filepath.Join(dir, "tokenizer_config.json"), filepath.Join(dir, "chat_template.json"),
		filepath.Join(dir, "chat_template.jinja")}
	// The decoder copies a value once for each form that it may have.
	const multiple = 100
	f.Fuzz(func(t *testing.T, config, old, jinja []byte) {
		for i, b := range [][]byte{config, old, jinja} {
			if err := os.WriteFile(paths[i], b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		bounded.Run(t, len(config)+len(old)+len(jinja), multiple, func() {
			s, err := readSettings(dir)
			switch {
			case err != nil && !strings.HasPrefix(err.Error(), dir):
				t.Fatalf("an error without its file: %v", err)
			case err == nil && len(jinja) > 0 && s.template.source != string(jinja):
				t.Fatalf("chat_template.jinja is %q, read %q", jinja, s.template.source)
			}
		})
	})
}

// fuzzOpen opens whatever comes and, when that works, uses the result.
func fuzzOpen(f *testing.F, open func(string) (*Tokenizer, error)) {
	path := filepath.Join(f.TempDir(), "tokenizer")
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
		var tk *Tokenizer
		var err error
		// A piece of a few bytes gets entries in several tables.
		bounded.Run(t, len(raw), 2000, func() { tk, err = open(path) })
		if err != nil {
			if !strings.HasPrefix(err.Error(), path+": ") {
				t.Fatalf("an error without its file: %v", err)
			}
			return
		}
		for _, r := range []Reading{Data, SentencePiece, HuggingFace} {
			for _, id := range tk.EncodeWith("the  other <bos>\n\té▁\xff", r) {
				if id < 0 || id >= int64(tk.VocabSize()) {
					t.Fatalf("id %d of %d", id, tk.VocabSize())
				}
				tk.Decode([]int64{id})
			}
		}
		// A tokenizer without turns may refuse; it must not panic.
		_, _, _ = tk.Chat([]Message{{roleUser, "the"}, {roleAssistant, "re"}}, true)
	})
}
