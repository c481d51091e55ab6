package tokenizer

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/mitsuhiko/minijinja/minijinja-go/v2"
	"github.com/mitsuhiko/minijinja/minijinja-go/v2/filters"
	"github.com/mitsuhiko/minijinja/minijinja-go/v2/syntax"
	"github.com/mitsuhiko/minijinja/minijinja-go/v2/tests"
	"github.com/mitsuhiko/minijinja/minijinja-go/v2/value"
)

// A model folder comes from others, so its template runs within bounds and reaches neither files nor the network. A
// published one takes some hundred steps, 4 KB and a millisecond. What a single step may allocate is not bounded: the
// engine has no such limit.
const (
	maxTemplateBytes = 64 << 10 // the parser recurses, so the length bounds the stack
	maxTemplateSteps = 10_000   // statements in one conversation
	maxTemplateTime  = 5 * time.Second
)

// renderTemplate renders conversations with a chat template as transformers does. specials are the names of the
// special tokens in templates and their spellings.
//
// Errors: a template that cannot be parsed or does not end; one that fails in a conversation is in its rendering.
//
// Source: transformers 4.56, src/transformers/utils/chat_template_utils.py, _compile_jinja_template.
func renderTemplate(source string, specials map[string]string, conversations []probe,
	limit time.Duration) ([]rendering, error) {
	if len(source) > maxTemplateBytes {
		return nil, fmt.Errorf("it is %d bytes long, more than %d", len(source), maxTemplateBytes)
	}
	type outcome struct {
		renderings []rendering
		err        error
	}
	done := make(chan outcome, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- outcome{err: fmt.Errorf("the engine gave up: %s", printable(fmt.Sprint(r)))}
			}
		}()
		renderings, err := renderAll(source, specials, conversations)
		done <- outcome{renderings, err}
	}()
	// The steps end every loop; the clock is for a single step that takes for ever.
	select {
	case o := <-done:
		return o.renderings, o.err
	case <-time.After(limit):
		return nil, fmt.Errorf("it has not ended after %v", limit)
	}
}

func renderAll(source string, specials map[string]string, conversations []probe) ([]rendering, error) {
	env := newTemplateEnvironment()
	var refusal *string
	env.AddFunction("raise_exception", func(_ *minijinja.State, args []value.Value,
		_ map[string]value.Value) (value.Value, error) {
		reason := ""
		if len(args) > 0 {
			reason = args[0].String()
		}
		refusal = &reason
		return value.Undefined(), errors.New("raise_exception")
	})
	template, err := env.TemplateFromString(portable(source))
	if err != nil {
		return nil, engineError(err)
	}
	renderings := make([]rendering, len(conversations))
	for i, c := range conversations {
		refusal = nil
		text, err := template.Render(templateContext(c, specials))
		switch {
		case refusal != nil && err != nil:
			renderings[i] = rendering{refused: true, reason: *refusal}
		case err != nil:
			renderings[i] = rendering{err: engineError(err)}
		default:
			renderings[i] = rendering{text: text}
		}
	}
	return renderings, nil
}

// newTemplateEnvironment returns an engine set up as transformers sets up Jinja2. It knows the filters, tests and
// functions that a template of turns has a use for, and no others: some make a text as long as a number says.
func newTemplateEnvironment() *minijinja.Environment {
	env := minijinja.EmptyEnvironment()
	env.SetWhitespace(syntax.WhitespaceConfig{TrimBlocks: true, LstripBlocks: true})
	steps := uint64(maxTemplateSteps)
	env.SetFuel(&steps)
	for name, filter := range map[string]minijinja.FilterFunc{
		"trim": trimFilter, "string": filters.FilterString, "length": filters.FilterLength, "count": filters.FilterLength,
		"first": filters.FilterFirst, "last": filters.FilterLast, "list": filters.FilterList,
		"lower": filters.FilterLower, "upper": filters.FilterUpper, "capitalize": filters.FilterCapitalize,
		"default": filters.FilterDefault, "d": filters.FilterDefault, "safe": filters.FilterSafe,
		"selectattr": filters.FilterSelectAttr, "rejectattr": filters.FilterRejectAttr,
	} {
		env.AddFilter(name, filter)
	}
	for name, test := range map[string]minijinja.TestFunc{
		"defined": tests.TestDefined, "undefined": tests.TestUndefined, "none": tests.TestNone,
		"true": tests.TestTrue, "false": tests.TestFalse, "boolean": tests.TestBoolean,
		"string": tests.TestString, "number": tests.TestNumber, "integer": tests.TestInteger,
		"mapping": tests.TestMapping, "sequence": tests.TestSequence, "iterable": tests.TestIterable,
		"odd": tests.TestOdd, "even": tests.TestEven, "in": tests.TestIn,
		"eq": tests.TestEq, "equalto": tests.TestEq, "==": tests.TestEq, "ne": tests.TestNe, "!=": tests.TestNe,
	} {
		env.AddTest(name, test)
	}
	env.AddFunction("strftime_now", func(*minijinja.State, []value.Value, map[string]value.Value) (value.Value, error) {
		return value.FromString("today"), nil // a template that writes the date is none of Gemma 1 to 3's
	})
	return env
}

// trimFilter is Jinja2's trim, Python's str.strip; the engine's own knows four kinds of white space.
func trimFilter(_ minijinja.FilterState, v value.Value, args []value.Value, _ map[string]value.Value) (value.Value, error) {
	if len(args) > 0 {
		if chars, ok := args[0].AsString(); ok {
			return value.FromString(strings.Trim(v.String(), chars)), nil
		}
	}
	return value.FromString(strings.TrimFunc(v.String(), isPythonSpace)), nil
}

// templateContext is what a template sees of a conversation.
func templateContext(c probe, specials map[string]string) map[string]any {
	messages := make([]map[string]any, len(c.messages))
	for i, m := range c.messages {
		messages[i] = map[string]any{"role": m.Role, "content": m.Content}
	}
	context := map[string]any{
		"messages": messages, "add_generation_prompt": c.generate, "tools": nil, "documents": nil,
	}
	for name, text := range specials {
		context[name] = text
	}
	return context
}

// The tags around what is learned, in templates that TRL has trained with. transformers renders what is between them
// and nothing else.
var (
	generationTag    = regexp.MustCompile(`(\{%[-+]?\s*)generation(\s*[-+]?%\})`)
	endGenerationTag = regexp.MustCompile(`(\{%[-+]?\s*)endgeneration(\s*[-+]?%\})`)
	otherNewline     = strings.NewReplacer("\r\n", "\n", "\r", "\n")
)

// portable puts what transformers' Jinja2 knows and the engine does not into words that both know.
func portable(source string) string {
	source = otherNewline.Replace(source) // as Jinja2 reads a template
	source = generationTag.ReplaceAllString(source, "${1}with${2}")
	return endGenerationTag.ReplaceAllString(source, "${1}endwith${2}")
}

// engineError is an error of the engine in one line.
func engineError(err error) error {
	var e *minijinja.Error
	if !errors.As(err, &e) {
		return errors.New(printable(err.Error()))
	}
	if e.Kind == minijinja.ErrOutOfFuel {
		return fmt.Errorf("it has not ended after %d steps", maxTemplateSteps)
	}
	text := e.Kind.String() + ": " + e.Message
	if e.Span != nil {
		text = fmt.Sprintf("line %d: %s", e.Span.StartLine, text)
	}
	return errors.New(printable(text))
}
