package tokenizer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// readTemplate reads a published template from testdata/templates.
func readTemplate(t testing.TB, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "templates", name+".jinja"))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// withTemplate opens the small tokenizer of Gemma 3 with a chat template beside it.
func withTemplate(t testing.TB, template string) *Tokenizer {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chat_template.jinja")
	if err := os.WriteFile(path, []byte(template), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := readSettings(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	tk, err := openJSON(filepath.Join(smallDir("small-gemma3"), jsonFileName), s)
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

func TestChatStyleOfPublishedTemplates(t *testing.T) {
	for name, want := range map[string]Style{"gemma2": StyleGemma2, "gemma2_training": StyleGemma2,
		"gemma3": StyleGemma3, "gemma3_training": StyleGemma3} {
		source := readTemplate(t, name)
		for _, variant := range []string{source, source + "\n", strings.ReplaceAll(source, "\n", "\r\n")} {
			if got, err := withTemplate(t, variant).ChatStyle(); err != nil || got != want {
				t.Errorf("%s: style %v, %v, want %v", name, got, err, want)
			}
		}
	}
}

// A template counts for what it does: here are the same turns in other words.
func TestChatStyleOfOtherSpellings(t *testing.T) {
	const turns = `{%- macro turn(role, content) %}<start_of_turn>{{ role }}{{ "\n" ~ content }}<end_of_turn>{{ "\n" }}` +
		`{%- endmacro %}{# one loop #}{{ bos_token }}{% set first = messages | first %}` +
		`{% for m in (messages[1:] if first.role is eq('system') else messages) -%}` +
		`{%- if loop.index is odd and m.role != "user" or loop.index is even and m.role == "user" -%}` +
		`{{ raise_exception() }}{%- endif -%}` +
		`{{ turn({"user": "user", "assistant": "model"}[m.role], ` +
		`(first.content ~ "\n\n" if loop.first and first.role == "system" else "") ~ m.content | string | trim) }}` +
		`{%- endfor %}{% if not not add_generation_prompt %}{{ "<start_of_turn>" "model\n" }}{% endif %}`
	source := strings.ReplaceAll(turns, `"<start_of_turn>" "model\n"`, `"<start_of_turn>" + "model" + "\n"`)
	refusing := `{% if messages[0].role == "system" %}{{ raise_exception("no system") }}{% endif %}` + source
	for want, source := range map[Style]string{StyleGemma3: source, StyleGemma2: refusing} {
		if got, err := withTemplate(t, source).ChatStyle(); err != nil || got != want {
			t.Errorf("style %v, %v, want %v", got, err, want)
		}
	}
}

// Chat refuses roles out of turn itself, so a template that takes them writes the same texts.
func TestChatStyleOfTemplateThatTakesAnyOrder(t *testing.T) {
	const alternate = "(message['role'] == 'user') != (loop.index0 % 2 == 0)"
	for name, want := range map[string]Style{"gemma2": StyleGemma2, "gemma3": StyleGemma3} {
		source := readTemplate(t, name)
		lax := strings.Replace(source, alternate, "false", 1)
		if lax == source {
			t.Fatalf("%s does not hold %q", name, alternate)
		}
		if got, err := withTemplate(t, lax).ChatStyle(); err != nil || got != want {
			t.Errorf("%s: style %v, %v, want %v", name, got, err, want)
		}
	}
}

func TestChatStyleWithoutTemplate(t *testing.T) {
	for dir, want := range map[string]Style{smallDir("small-gemma2"): StyleGemma2, smallDir("small-gemma3"): StyleGemma3,
		filepath.Join("..", "..", "models", "pocket"): StyleGemma3} {
		for file, open := range map[string]func(string) (*Tokenizer, error){jsonFileName: OpenJSON, modelFileName: OpenModel} {
			tk, err := open(filepath.Join(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := tk.ChatStyle(); err != nil || got != want {
				t.Errorf("%s: style %v, %v, want %v", tk.path, got, err, want)
			}
		}
	}
}

// The conversations and texts in rendered.jsonl are from Jinja2 itself.
func TestTemplatesMatchJinja2(t *testing.T) {
	type reference struct {
		Messages            []Message          `json:"messages"`
		AddGenerationPrompt bool               `json:"add_generation_prompt"`
		Rendered            map[string]*string `json:"rendered"` // nil where the template fails
	}
	references := readLines[reference](t, filepath.Join("testdata", "templates", "rendered.jsonl"))
	conversations := make([]probe, len(references))
	for i, r := range references {
		conversations[i] = probe{messages: r.Messages, generate: r.AddGenerationPrompt}
	}
	styles := map[string]Style{"gemma2": StyleGemma2, "gemma2_training": StyleGemma2,
		"gemma3": StyleGemma3, "gemma3_training": StyleGemma3, "llama3": 0, "unsloth_gemma": 0}
	tk, _ := openSmall(t, "small-gemma3")
	for name, style := range styles {
		renderings, err := renderTemplate(readTemplate(t, name), map[string]string{"bos_token": "<bos>"}, conversations,
			maxTemplateTime)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		refused := 0
		for i, r := range references {
			want, ok := r.Rendered[name]
			if !ok {
				t.Fatalf("line %d: %s is not rendered", i+1, name)
			}
			got := renderings[i]
			if got.err != nil && strings.HasSuffix(got.err.Error(), "sequence is not iterable") && len(r.Messages) <= 2 {
				continue // the engine does not loop over an empty part of a list, such as messages[2:]
			}
			if want == nil != (got.refused || got.err != nil) || want != nil && got.text != *want {
				t.Errorf("line %d: %s: engine %+v, want %q", i+1, name, got, orNil(want))
			}
			if want == nil {
				refused++
			}
			// What Chat writes, and what it refuses, is what the template writes and refuses.
			if style == 0 || len(r.Messages) == 1 && r.Messages[0].Role == roleSystem {
				continue // a system message alone, which Chat always refuses
			}
			parts, err := style.write(r.Messages, r.AddGenerationPrompt)
			if want == nil != (err != nil) || want != nil && tk.partsText(parts) != *want {
				t.Errorf("line %d: %s: wrote %q, %v, want %q", i+1, style, tk.partsText(parts), err, orNil(want))
			}
		}
		if style != 0 && refused == 0 {
			t.Errorf("%s: no conversation is refused", name)
		}
	}
}

// orNil shows a text that may be absent.
func orNil(s *string) string {
	if s == nil {
		return "nothing"
	}
	return *s
}

func TestChatStyleRefuses(t *testing.T) {
	gemma2, gemma3 := readTemplate(t, "gemma2"), readTemplate(t, "gemma3")
	change := func(template, old, replacement string) string {
		t.Helper()
		if !strings.Contains(template, old) {
			t.Fatalf("the template does not hold %q", old)
		}
		return strings.ReplaceAll(template, old, replacement)
	}
	const alternate = "(message['role'] == 'user') != (loop.index0 % 2 == 0)"
	for _, tc := range []struct{ name, template, want string }{
		{"another family", readTemplate(t, "llama3"),
			`of one user message it makes "<bos><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>", want "<bos><st`},
		{"ChatML", `{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}`,
			`of one user message it makes "<|im_start|>user\nHello<|im_end|>\n", want "<bos><start_of_turn>user\nHello`},
		{"a system message of its own kind", readTemplate(t, "unsloth_gemma"),
			`of a system message and three messages it makes "...f_turn>user\nBe kind. One?<end_of_turn>`},
		{"a system turn", change(change(gemma2, "{% if messages[0]['role'] == 'system' %}", "{% if false %}"), alternate, "false"),
			`of a system message and three messages it makes "<bos><start_of_turn>system\nBe kind.`},
		{"no <bos>", change(gemma3, "{{ bos_token }}", ""),
			`of one user message it makes "<start_of_turn>user\nHello<end_of_turn>\n", want "<bos><start_of_turn>`},
		{"two <bos>", change(gemma3, "{{ bos_token }}", "{{ bos_token }}{{ bos_token }}"), `it makes "<bos><bos><start`},
		{"no newline at the end", change(gemma3, "<end_of_turn>\n", "<end_of_turn>"), `Hello<end_of_turn>", want`},
		{"assistant for model", change(gemma3, `"model"`, `"assistant"`), "of a question and its answer it makes"},
		{"no trim", change(gemma3, "message['content'] | trim", "message['content']"),
			"of messages with white space at their ends it makes"},
		{"less trim", change(gemma3, "message['content'] | trim", `message['content'] | trim(" \n\t\r")`),
			"of messages with white space at their ends it makes"},
		{"system text trimmed", change(gemma3, "messages[0]['content'] +", "messages[0]['content'] | trim +"),
			"of a system message with white space at its ends it makes"},
		{"system in every turn", change(gemma3, "if loop.first", "if true"),
			`of a system message and three messages it makes "...start_of_turn>model\nBe kind.`},
		{"thoughts cut out", change(gemma3, "{{ message['content'] | trim }}",
			"{{ '' if '</think>' in message['content'] else message['content'] | trim }}"),
			"of messages that hold marks it makes"},
		{"four turns at most", change(gemma3, "loop_messages = messages ", "loop_messages = messages[:4] "),
			"of six messages it makes"},
		{"no generation prompt", change(gemma3, "add_generation_prompt", "false"),
			"of one user message and a generation prompt it makes"},
		{"a generation prompt always", change(gemma3, "if add_generation_prompt", "if true"), "of one user message it makes"},
		{"refuses all", "{{ raise_exception('No\x1b[31m chat\nfor ' + messages[0].role) }}",
			`of one user message it makes a refusal, "No [31m chat for user", want "<bos>`},
		{"text", "Hello", `it makes "Hello", want "<bos>`},
		{"syntax", "{% if %}", "the template engine cannot run it: SyntaxError: unexpected end of block (line 1)"},
		{"no end", "{% for m in messages %}", "cannot run it: SyntaxError: unexpected end of input"},
		{"unknown filter", "\n\n{{ bos_token | reverse }}",
			"the template engine cannot run it on one user message: unknown filter: reverse"},
		{"a method", "{{ messages[0].content.strip() }}",
			"the template engine cannot run it on one user message: line 1: unknown function: "},
		{"another file", "{% include '/etc/passwd' %}", "the template engine cannot run it on one user message: "},
		{"the date", "{{ bos_token }}{{ strftime_now('%d') }}", `it makes "<bos>today", want "<bos><start`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tk := withTemplate(t, tc.template)
			began := time.Now()
			style, err := tk.ChatStyle()
			wantError(t, err, tk.template.path+": this chat template is not supported, only the turns of Gemma 1 to 3 are: ", tc.want)
			if style != 0 || strings.ContainsAny(fmt.Sprint(err), "\n\x1b") {
				t.Errorf("style %v, error %q, want none, and one line", style, err)
			}
			if _, _, again := tk.Chat([]Message{{roleUser, "Hi"}}, true); !errors.Is(again, err) {
				t.Errorf("Chat says %v, want the same, found once", again)
			}
			// Texts need no chat template.
			if got := tk.Decode(tk.Encode("Hello")); got != "Hello" {
				t.Errorf("decoded %q", got)
			}
			if took := time.Since(began); took > maxTemplateTime {
				t.Errorf("took %v", took)
			}
		})
	}
}

// A model folder comes from others: whatever is in its template, an error comes, and soon.
func TestTemplateBounds(t *testing.T) {
	const soon = 20 * time.Millisecond
	for _, tc := range []struct{ name, template, want string }{
		{"loops", "{% for a in [1] * 10000 %}{% for b in [1] * 10000 %}{{ b }}{% endfor %}{% endfor %}",
			"it has not ended after 10000 steps"},
		{"calls itself", "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", "recursion limit"},
		{"loops over itself", "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}", "recursion limit"},
		{"a block in itself", "{% block a %}{{ self.a() }}{% endblock %}", "it has not ended after 10000 steps"},
		{"nested", "{{ " + strings.Repeat("(", maxTemplateBytes/2), "recursion limit"},
		{"long sum", "{{ 1" + strings.Repeat("+1", maxTemplateBytes/4) + " }}", "it has not ended after 10000 steps"},
		{"long", strings.Repeat("x", maxTemplateBytes+1), "it is 65537 bytes long, more than 65536"},
		{"large", "{{ [1] * 100000000000000000 }}", "the engine gave up: "},
		// Bodies without a statement take no steps; only the clock sees them.
		{"idle loops", "{% for a in [1] * 1000 %}{% for b in [1] * 3000 %}{% endfor %}{% endfor %}",
			"it has not ended after 20ms"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			limit := maxTemplateTime
			if strings.HasSuffix(tc.want, " 20ms") {
				limit = soon
			}
			renderings, err := renderTemplate(tc.template, nil, probes[:1], limit)
			if err == nil {
				err = renderings[0].err
			}
			wantError(t, err, "", tc.want)
		})
	}
}

// FuzzTemplate: no template ends the program, and one that counts as Gemma's writes Gemma's turns.
func FuzzTemplate(f *testing.F) {
	for _, name := range []string{"gemma2", "gemma3", "gemma3_training", "llama3", "unsloth_gemma"} {
		f.Add(readTemplate(f, name))
	}
	f.Add("{% for m in messages %}{{ m.role * 3 }}{{ m['content'][1:-1] }}{% else %}{% endfor %}{% set x %}{% endset %}")
	tk, _ := openSmall(f, "small-gemma3")
	f.Fuzz(func(t *testing.T, source string) {
		renderings, err := renderTemplate(source, map[string]string{"bos_token": "<bos>"}, probes, maxTemplateTime)
		if err != nil {
			return
		}
		for _, style := range []Style{StyleGemma2, StyleGemma3} {
			if _, err := tk.compare(style, renderings); err == nil && !strings.Contains(source, "of_turn>") {
				t.Errorf("%q writes the turns of %v", source, style)
			}
		}
	})
}

func BenchmarkChatStyle(b *testing.B) {
	tk := withTemplate(b, readTemplate(b, "gemma3"))
	for b.Loop() {
		if style, err := tk.findStyle(); err != nil || style != StyleGemma3 {
			b.Fatal(style, err)
		}
	}
}
