package datasets_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tune/datasets"
	"tune/internal/bounded"
	"tune/internal/tokenizer"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// small is a tokenizer of Gemma 3's layout with 8000 pieces.
var small = sync.OnceValues(func() (*tokenizer.Tokenizer, error) {
	return tokenizer.Open("../testdata/tokenizers/small-gemma3")
})

func smallTokenizer(t testing.TB) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := small()
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// TestGood compares the statistics and all rows of each testdata/*.good.jsonl, learned tokens in brackets, with
// the golden file beside it.
func TestGood(t *testing.T) {
	tok := smallTokenizer(t)
	for _, path := range glob(t, "testdata/*.good.jsonl") {
		d, err := datasets.Open(path, tok, datasets.Options{})
		if err != nil {
			t.Error(err)
			continue
		}
		d.Path = filepath.ToSlash(d.Path)
		var out bytes.Buffer
		if err := d.Stats().Write(&out); err != nil {
			t.Error(err)
		}
		for row := range d.Samples {
			preview, err := d.Preview(tok, row)
			if err != nil {
				t.Error(err)
			}
			out.WriteByte('\n')
			if err := preview.Write(&out, false); err != nil {
				t.Error(err)
			}
		}
		golden(t, strings.TrimSuffix(path, ".jsonl")+".golden", out.String())
	}
}

// TestBad compares the error of each testdata/*.bad.jsonl with the golden file beside it.
func TestBad(t *testing.T) {
	for _, path := range glob(t, "testdata/*.bad.jsonl") {
		_, err := datasets.Open(path, smallTokenizer(t), datasets.Options{})
		if err == nil {
			t.Errorf("%s: want an error, got none", path)
			continue
		}
		if !errors.Is(err, datasets.ErrInvalid) {
			t.Errorf("%s: want ErrInvalid, got %v", path, err)
		}
		golden(t, strings.TrimSuffix(path, ".jsonl")+".golden", filepath.ToSlash(err.Error())+"\n")
	}
}

// TestRepliesMatchReference: what is learned of a conversation is what the reference says are its replies. The
// reference is in Gemma 3's style; in Gemma 2's a system message is refused.
func TestRepliesMatchReference(t *testing.T) {
	for _, name := range []string{"small-gemma2", "small-gemma3"} {
		t.Run(name, func(t *testing.T) {
			tok, err := tokenizer.Open("../testdata/tokenizers/" + name)
			if err != nil {
				t.Fatal(err)
			}
			cases, err := os.ReadFile("../testdata/golden/tokenizer/" + name + ".chat.jsonl")
			if err != nil {
				t.Fatal(err)
			}
			compared, refused := 0, 0
			for line := range strings.SplitSeq(string(cases), "\n") {
				var want struct {
					Messages            []tokenizer.Message `json:"messages"`
					AddGenerationPrompt bool                `json:"add_generation_prompt"`
					Text                string              `json:"text"`
					IDs                 []int64             `json:"ids"`
					ReplySpans          [][2]int            `json:"reply_spans"`
				}
				if line == "" {
					continue
				}
				if err := json.Unmarshal([]byte(line), &want); err != nil {
					t.Fatal(err)
				}
				if want.AddGenerationPrompt || len(want.ReplySpans) == 0 || hasEmpty(want.Messages) {
					continue // no row of training data
				}
				if strings.Contains(string(raw(t, want.Messages)), "<end_of_turn>") {
					continue // spelled out as text here, a token in the reference
				}
				d, err := openText(t, tok, `{"messages": `+string(raw(t, want.Messages))+"}", datasets.Options{})
				if name == "small-gemma2" && want.Messages[0].Role == "system" {
					refused++
					wantProblem(t, err, "x.jsonl:1: messages[0].role: the model's chat template has no system turn")
					continue
				}
				compared++
				if err != nil {
					t.Error(err)
					continue
				}
				labels := slices.Repeat([]int64{datasets.NoLoss}, len(want.IDs))
				for _, span := range want.ReplySpans {
					copy(labels[span[0]:span[1]], want.IDs[span[0]:span[1]])
				}
				if diff := cmp.Diff(datasets.Sample{InputIDs: want.IDs, Labels: labels, Line: 1}, d.Samples[0]); diff != "" {
					t.Errorf("%s\n(-want +got):\n%s", want.Text, diff)
				}
			}
			if compared == 0 || (name == "small-gemma2") != (refused > 0) {
				t.Errorf("%d cases compared, %d refused", compared, refused)
			}
		})
	}
}

// TestNoSystemTurn: the field is the one of the file, also where messages come from prompt and completion.
func TestNoSystemTurn(t *testing.T) {
	tok, err := tokenizer.Open("../testdata/tokenizers/small-gemma2")
	if err != nil {
		t.Fatal(err)
	}
	rows := `{"text": "a"}
{"prompt": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}], ` +
		`"completion": [{"role": "assistant", "content": "c"}]}
{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
{"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}, ` +
		`{"role": "assistant", "content": "c"}]}`
	_, err = openText(t, tok, rows, datasets.Options{})
	wantProblem(t, err, "x.jsonl:2: prompt[0].role: the model's chat template has no system turn",
		"x.jsonl:4: messages[0].role: the model's chat template has no system turn")
}

// TestForeignTemplate: conversations need a chat template that is known, and say so once; other rows need none.
func TestForeignTemplate(t *testing.T) {
	dir := t.TempDir()
	for from, to := range map[string]string{
		"../testdata/tokenizers/small-gemma3/tokenizer.json":    "tokenizer.json",
		"../internal/tokenizer/testdata/templates/llama3.jinja": "chat_template.jinja",
	} {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tok, err := tokenizer.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	others := `{"text": "a"}
{"prompt": "a", "completion": "b"}
{"input_ids": [5, 6]}
`
	d, err := openText(t, tok, others, datasets.Options{})
	if err != nil || len(d.Samples) != 3 {
		t.Fatalf("rows without conversations: %v", err)
	}
	const talk = `{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}` + "\n"
	_, err = openText(t, tok, others+`{"text": 1}`+"\n"+talk+talk, datasets.Options{})
	wantProblem(t, err, "x.jsonl:4: text: want a text, got 1", "x.jsonl:5: "+filepath.Join(dir, "chat_template.jinja")+
		": this chat template is not supported, only the turns of Gemma 1 to 3 are: ")
}

// TestOneBOS: <bos> stands at the start of a row and nowhere else, whatever the row says.
func TestOneBOS(t *testing.T) {
	tok := smallTokenizer(t)
	const forged = `<bos> <bos><eos><start_of_turn>user\n<end_of_turn>`
	for row, eos := range map[string]int{
		`{"text": "` + forged + `"}`:                          1,
		`{"prompt": "` + forged + `", "completion": "<bos>"}`: 1,
		`{"messages": [{"role": "user", "content": "` + forged + `"}, {"role": "assistant", "content": "<bos>"}]}`: 0,
	} {
		d, err := openText(t, tok, row, datasets.Options{})
		if err != nil {
			t.Fatal(err)
		}
		got := map[int64]int{}
		for _, id := range d.Samples[0].InputIDs {
			got[id]++
		}
		if d.Samples[0].InputIDs[0] != tok.BOS() || got[tok.BOS()] != 1 || got[tok.EOS()] != eos {
			t.Errorf("%s: ids %v, want one <bos>, at the start, and %d <eos>", row, d.Samples[0].InputIDs, eos)
		}
	}
}

func TestLabels(t *testing.T) {
	tok := smallTokenizer(t)
	const none = datasets.NoLoss
	bos, eos := tok.BOS(), tok.EOS()
	a, b := tok.Encode("a")[0], tok.Encode("b")[0]
	for _, tc := range []struct {
		name, row   string
		lossOn      string
		ids, labels []int64
	}{
		{"text", `{"text": "ab"}`, "", cat(bos, tok.Encode("ab"), eos), cat(none, tok.Encode("ab"), eos)},
		{"completion", `{"prompt": "a", "completion": "b"}`, "replies",
			[]int64{bos, a, b, eos}, []int64{none, none, b, eos}},
		{"completion, all", `{"prompt": "a", "completion": "b"}`, "all",
			[]int64{bos, a, b, eos}, []int64{none, a, b, eos}},
		{"labels of the file", `{"input_ids": [5, 6, 7], "labels": [5, -100, 7]}`, "replies",
			[]int64{5, 6, 7}, []int64{none, none, 7}},
		{"labels of the file, all", `{"input_ids": [5, 6, 7], "labels": [5, -100, 7]}`, "all",
			[]int64{5, 6, 7}, []int64{none, none, 7}},
		{"ids alone", `{"input_ids": [5, 6, 7]}`, "", []int64{5, 6, 7}, []int64{none, 6, 7}},
		{"a question alone, all", `{"messages": [{"role": "user", "content": "a"}]}`, "all",
			chat(t, "a"), cat(none, chat(t, "a")[1:])},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, err := openText(t, tok, tc.row, datasets.Options{LossOn: tc.lossOn})
			if err != nil {
				t.Fatal(err)
			}
			want := []datasets.Sample{{InputIDs: tc.ids, Labels: tc.labels, Line: 1}}
			if diff := cmp.Diff(want, d.Samples); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMaxLength(t *testing.T) {
	rows := strings.Join([]string{
		`{"input_ids": [5, 6, 7, 8, 9]}`,
		`{"input_ids": [5, 6, 7]}`,
		`{"input_ids": [5, 6, 7, 8], "labels": [5, -100, -100, 8]}`,
	}, "\n")
	d, err := openText(t, smallTokenizer(t), rows, datasets.Options{MaxLength: 3})
	if err != nil {
		t.Fatal(err)
	}
	want := []datasets.Sample{
		{InputIDs: []int64{5, 6, 7}, Labels: []int64{datasets.NoLoss, 6, 7}, Line: 1},
		{InputIDs: []int64{5, 6, 7}, Labels: []int64{datasets.NoLoss, 6, 7}, Line: 2},
	}
	if diff := cmp.Diff(want, d.Samples); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	stats := d.Stats()
	got := []int{stats.Truncated, stats.TruncatedTokens, stats.Dropped, stats.Rows, stats.Tokens, stats.TargetTokens}
	if diff := cmp.Diff([]int{1, 2, 1, 2, 6, 4}, got); diff != "" {
		t.Errorf("truncated, tokens, dropped, rows, tokens, targets (-want +got):\n%s", diff)
	}

	_, err = openText(t, smallTokenizer(t), strings.Split(rows, "\n")[2], datasets.Options{MaxLength: 3})
	if err == nil || !errors.Is(err, datasets.ErrInvalid) ||
		!strings.Contains(err.Error(), "nothing is left to learn: in all 1 rows the cut to max_length 3") {
		t.Errorf("every row dropped: got %v", err)
	}
}

func TestUnreadable(t *testing.T) {
	for _, tc := range []struct {
		path, want string
		gone       bool
	}{
		{"testdata/nowhere.jsonl", "testdata/nowhere.jsonl: no such file", true},
		{"testdata", "testdata: is a folder, want a JSONL file", false},
	} {
		_, err := datasets.Open(tc.path, smallTokenizer(t), datasets.Options{})
		if err == nil || err.Error() != tc.want {
			t.Errorf("want %q, got %v", tc.want, err)
		}
		if !errors.Is(err, datasets.ErrInvalid) || errors.Is(err, fs.ErrNotExist) != tc.gone {
			t.Errorf("%s: want ErrInvalid, and fs.ErrNotExist %v, got %v", tc.path, tc.gone, err)
		}
	}
	_, err := datasets.Open("testdata/forms.good.jsonl", smallTokenizer(t), datasets.Options{LossOn: "reply"})
	if want := "testdata/forms.good.jsonl: loss_on must be replies or all, got reply"; err == nil || err.Error() != want {
		t.Errorf("want %q, got %v", want, err)
	}
}

// TestLongLine: a row may be longer than any buffer.
func TestLongLine(t *testing.T) {
	row := `{"text": "` + strings.Repeat("all work and no play ", 1<<17) + `"}`
	d, err := openText(t, smallTokenizer(t), row+"\n"+`{"text": "b"}`, datasets.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Samples) != 2 || len(d.Samples[0].InputIDs) < 1<<17 {
		t.Errorf("want 2 rows, the first of more than 131072 tokens, got %d rows", len(d.Samples))
	}
	if _, err := openText(t, smallTokenizer(t), strings.Repeat("[", 1<<20), datasets.Options{}); err == nil {
		t.Error("a million open brackets: want an error, got none")
	}
}

func TestSHA256(t *testing.T) {
	content := "\ufeff{\"text\": \"a\"}\r\n\n{\"text\": \"b\"}"
	d, err := openText(t, smallTokenizer(t), content, datasets.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(content))
	if want := hex.EncodeToString(sum[:]); d.SHA256 != want || d.Stats().SHA256 != want {
		t.Errorf("want %s, got %s", want, d.SHA256)
	}
}

func TestPreview(t *testing.T) {
	tok := smallTokenizer(t)
	row := `{"messages": [{"role": "user", "content": "Hi\u001b"}, {"role": "assistant", "content": "a\nb"}]}`
	d, err := openText(t, tok, row, datasets.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d.Path = "x.jsonl"
	p, err := d.Preview(tok, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		color bool
		want  string
	}{
		{false, "  <bos><start_of_turn>user⏎\n  Hi␛<end_of_turn>⏎\n  <start_of_turn>model⏎\n" +
			"  ⟦a⏎⟧\n  ⟦b<end_of_turn>⏎⟧\n"},
		{true, "  \x1b[2m<bos><start_of_turn>user⏎\x1b[0m\n  \x1b[2mHi␛<end_of_turn>⏎\x1b[0m\n" +
			"  \x1b[2m<start_of_turn>model⏎\x1b[0m\n  \x1b[32ma⏎\x1b[0m\n  \x1b[32mb<end_of_turn>⏎\x1b[0m\n"},
	} {
		var out strings.Builder
		if err := p.Write(&out, tc.color); err != nil {
			t.Fatal(err)
		}
		head, body, _ := strings.Cut(out.String(), "\n")
		if want := fmt.Sprintf("x.jsonl:1: %d tokens, 5 learned", len(d.Samples[0].InputIDs)); head != want {
			t.Errorf("want %q, got %q", want, head)
		}
		if diff := cmp.Diff(tc.want, body); diff != "" {
			t.Errorf("color %v (-want +got):\n%s", tc.color, diff)
		}
	}
	for _, row := range []int{-1, 1} {
		if _, err := d.Preview(tok, row); err == nil {
			t.Errorf("row %d of 1: want an error, got none", row)
		}
	}
}

// TestHostileLines: what is no row is told by its line, and what only looks odd is read.
func TestHostileLines(t *testing.T) {
	const row = `{"text": "fine"}`
	tok := smallTokenizer(t)
	want, err := openText(t, tok, row, datasets.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{row + "\n", row + "\r\n", "\ufeff" + row, "\ufeff\r\n\r\n" + row + "\r\n\r\n", "\t " + row + " "} {
		d, err := openText(t, tok, content, datasets.Options{})
		if err != nil {
			t.Errorf("%q: %v", content, err)
			continue
		}
		if diff := cmp.Diff(want.Samples[0].InputIDs, d.Samples[0].InputIDs); diff != "" {
			t.Errorf("%q (-want +got):\n%s", content, diff)
		}
	}
	escaped, err := openText(t, tok, `{"text": "a\u0000b"}`, datasets.Options{})
	if err != nil || tok.Decode(escaped.Samples[0].InputIDs) == "" {
		t.Errorf("a NUL that JSON escapes is text: %v", err)
	}
	for _, tc := range []struct {
		name, content string
		want          []string
	}{
		{"empty", "", []string{"x.jsonl: holds no rows"}},
		{"byte order mark alone", "\ufeff", []string{"x.jsonl: holds no rows"}},
		{"byte order mark in the middle", row + "\n\ufeff" + row, []string{"x.jsonl:2: not valid JSON: "}},
		{"UTF-16", "\xff\xfe{\x00\"\x00", []string{"x.jsonl:1: not UTF-8 text"}},
		{"cut character", row + "\n{\"text\": \"\xe2\x96\"}", []string{"x.jsonl:2: not UTF-8 text"}},
		{"surrogate as UTF-8", "{\"text\": \"\xed\xa0\x80\"}", []string{"x.jsonl:1: not UTF-8 text"}},
		{"NUL", "{\"text\": \"a\x00b\"}", []string{"x.jsonl:1: not valid JSON: "}},
		{"a sparse file's zeros", row + "\n" + strings.Repeat("\x00", 4096), []string{"x.jsonl:2: not valid JSON: "}},
		{"key twice", `{"text": "a", "text": "a"}`, []string{`x.jsonl:1: key "text" is given twice`}},
		{"key twice, once escaped", `{"text": "a", "\u0074ext": "b"}`, []string{`x.jsonl:1: key "text" is given twice`}},
		{"key twice inside", `{"messages": [{"role": "user", "role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}`,
			[]string{`x.jsonl:1: messages[0]: key "role" is given twice`}},
		{"lone carriage returns", row + "\r" + row, []string{"x.jsonl:1: not valid JSON: "}},
		{"brackets without end", strings.Repeat(`{"text":`, 20000), []string{"x.jsonl:1: not valid JSON: "}},
		{"a number beyond 64 bits", `{"input_ids": [2, 9223372036854775808]}`, []string{"x.jsonl:1: input_ids[1]: want a token id"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := openText(t, tok, tc.content, datasets.Options{})
			wantProblem(t, err, tc.want...)
		})
	}
}

// TestLineOf50MB: a line that no model could learn is refused by its length, and without taking memory for it; the
// lines around it are still looked at.
func TestLineOf50MB(t *testing.T) {
	long := `{"text": "` + strings.Repeat("x", 50<<20) + `"}`
	path := filepath.Join(t.TempDir(), "x.jsonl")
	if err := os.WriteFile(path, []byte("{\"text\": \"fine\"}\n"+long+"\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tok := smallTokenizer(t)
	var err error
	bounded.Run(t, len(long), 1, func() { _, err = datasets.Open(path, tok, datasets.Options{MaxLength: 512}) })
	wantProblem(t, err, fmt.Sprintf("x.jsonl:2: the line has %d bytes, want at most 8388608", len(long)+1), "x.jsonl:3: want ")
}

// FuzzOpen: any bytes give rows that hold together, or an error that says so, and never a panic.
func FuzzOpen(f *testing.F) {
	for _, pattern := range []string{"testdata/*.good.jsonl", "testdata/*.bad.jsonl"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			f.Fatalf("%s matches nothing (%v)", pattern, err)
		}
		for _, path := range paths {
			content, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(content, uint8(0))
			for line := range bytes.Lines(content) {
				f.Add(line, uint8(5))
			}
		}
	}
	tok := smallTokenizer(f)
	outside := func(id int64) bool { return id < 0 || id >= int64(tok.VocabSize()) }
	path := filepath.Join(f.TempDir(), "fuzz.jsonl")
	f.Fuzz(func(t *testing.T, content []byte, maxLength uint8) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		var d *datasets.Dataset
		var err error
		// A token is at least a byte and takes two int64; a line is decoded, checked for keys and encoded.
		bounded.Run(t, len(content), 500, func() { d, err = datasets.Open(path, tok, datasets.Options{MaxLength: int(maxLength)}) })
		if err != nil {
			if !errors.Is(err, datasets.ErrInvalid) {
				t.Fatalf("want ErrInvalid, got %v", err)
			}
			return
		}
		if len(d.Samples) == 0 {
			t.Fatal("no rows and no error")
		}
		for _, s := range d.Samples {
			switch {
			case len(s.InputIDs) != len(s.Labels) || s.Labels[0] != datasets.NoLoss || s.TargetTokens() == 0:
				t.Fatalf("line %d: %d ids, labels %v", s.Line, len(s.InputIDs), s.Labels)
			case maxLength > 0 && len(s.InputIDs) > int(maxLength):
				t.Fatalf("line %d: %d tokens of at most %d", s.Line, len(s.InputIDs), maxLength)
			}
			for i, id := range s.InputIDs {
				learned := s.Labels[i] != datasets.NoLoss
				if outside(id) || (learned && outside(s.Labels[i])) {
					t.Fatalf("line %d: id %d, label %d", s.Line, id, s.Labels[i])
				}
			}
		}
	})
}

// wantProblem checks that an error is ErrInvalid and has these problems, one a line.
func wantProblem(t *testing.T, err error, want ...string) {
	t.Helper()
	if !errors.Is(err, datasets.ErrInvalid) {
		t.Fatalf("want ErrInvalid, got %v", err)
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("want %d problems, got %v", len(want), err)
	}
	for i, line := range lines {
		if !strings.Contains(line, want[i]) {
			t.Errorf("problem %d: want %q, got %q", i, want[i], line)
		}
	}
}

// openText is Open for a file with this content.
func openText(t *testing.T, tok datasets.Tokenizer, content string, opt datasets.Options) (*datasets.Dataset, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.jsonl")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return datasets.Open(path, tok, opt)
}

// hasEmpty reports a message without content, which a data file must not have.
func hasEmpty(messages []tokenizer.Message) bool {
	return slices.ContainsFunc(messages, func(m tokenizer.Message) bool { return strings.TrimSpace(m.Content) == "" })
}

// raw writes messages as JSON, with < and > as they are.
func raw(t *testing.T, messages []tokenizer.Message) []byte {
	t.Helper()
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(messages); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(out.Bytes())
}

// chat is a conversation of one user message.
func chat(t *testing.T, content string) []int64 {
	t.Helper()
	ids, _, err := smallTokenizer(t).Chat([]tokenizer.Message{{Role: "user", Content: content}}, false)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// cat joins ids and lists of ids.
func cat(parts ...any) []int64 {
	var out []int64
	for _, part := range parts {
		switch part := part.(type) {
		case []int64:
			out = append(out, part...)
		case int64:
			out = append(out, part)
		case int:
			out = append(out, int64(part))
		}
	}
	return out
}

// glob fails the test when nothing matches, so that a moved folder cannot pass.
func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s matches nothing (%v)", pattern, err)
	}
	return paths
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	if diff := cmp.Diff(strings.ReplaceAll(string(want), "\r\n", "\n"), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
