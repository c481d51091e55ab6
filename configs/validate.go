package configs

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"regexp/syntax"
	"runtime"
	"slices"
	"strings"
	"unicode"

	"tune/internal/checkpoint"
)

// most bounds every count and size: far above any use, and low enough that products of them fit 64 bits.
const most = 1 << 20

// mostRank is the largest rank that adapter files are read with.
const mostRank = 1 << 16

// mostSteps bounds numbers of steps, which are only ever counted.
const mostSteps = 1 << 40

// MaxThreads is the largest number of threads that is taken here: more than one a core only gets in the way of the
// others, and tens of thousands keep a machine from doing anything else, ending them included.
func MaxThreads() int { return 4 * runtime.NumCPU() }

// Validate returns every problem of c, one a line, or nil. errors.Is(err, ErrInvalid) holds for all of them.
// Places are empty: Load knows the lines.
func (c *Config) Validate() error { return join(c.problems()) }

// Warnings returns what is allowed but likely not meant, each as "key: text", for the command line to show.
func (c *Config) Warnings() []string {
	var out []string
	warn := func(key, format string, args ...any) {
		out = append(out, key+": "+fmt.Sprintf(format, args...))
	}
	if c.Method == "full" && !reflect.DeepEqual(c.LoRA, Default().LoRA) {
		warn("lora", "is not used: method full trains every weight and makes no adapter")
	}
	if c.Train.MaxSteps > 0 && c.Train.WarmupSteps > c.Train.MaxSteps {
		warn("train.warmup_steps", "the run ends after %d steps, before the learning rate has reached its peak",
			c.Train.MaxSteps)
	}
	if c.Data.Validation != "" && c.Data.Validation == c.Data.Train {
		warn("data.validation", "is the training file, so its loss says nothing about unseen rows")
	}
	return out
}

// problems checks everything, in the order of the schema.
func (c *Config) problems() []*Problem {
	check := &checker{}
	if strings.ContainsFunc(c.Name, unicode.IsControl) {
		check.bad("name", "must be one line of text without control characters, got %q", c.Name)
	}
	check.oneOf("device", c.Device, "auto", "mps", "cuda", "cpu")
	if c.Threads > MaxThreads() {
		check.bad("threads", "must be at most %d, got %d: this machine has %d logical CPUs", MaxThreads(), c.Threads, runtime.NumCPU())
	} else {
		check.whole("threads", c.Threads, 0, most)
	}
	check.oneOf("method", c.Method, "lora", "full")
	c.Model.check(check, c.Method)
	c.LoRA.check(check, c.Method)
	c.Data.check(check)
	c.Train.check(check, c.Data.Validation)
	check.whole("retries", c.Retries, 0, most)
	check.whole("checkpoint.steps", c.Checkpoint.Steps, 0, mostSteps)
	check.whole("checkpoint.keep", c.Checkpoint.Keep, 1, most)
	c.Sample.check(check)
	c.Output.check(check)
	return check.problems
}

func (m Model) check(check *checker, method string) {
	check.path("model.path", m.Path, "name a folder with config.json, tokenizer and safetensors, such as models/pocket")
	if strings.ContainsFunc(m.Revision, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		check.bad("model.revision", "must be a branch, a tag or a commit of the Hub, got %q", m.Revision)
	}
	check.dtype("model.dtype", m.DType, "auto", "bfloat16", "float32")
	check.oneOf("model.quantize", m.Quantize, "none", "int8", "int4")
	if m.QuantizeBits() != 0 && method == "full" {
		check.bad("model.quantize", "%s needs method lora: method full trains every weight, and quantised ones cannot move", m.Quantize)
	}
	check.oneOf("model.init", m.Init, "pretrained", "random")
	if m.Init == "random" && method == "lora" {
		check.bad("model.init", "random needs method full: an adapter on random weights learns nothing worth keeping")
	}
}

func (l LoRA) check(check *checker, method string) {
	if l.From != "" && method == "full" {
		check.bad("lora.from", "is not used with method: full, which trains every weight and takes no adapter: leave it out, "+
			"or tune export %s --to merged and train that model", l.From)
	}
	decided := l.From != "" // zero is what the adapter has
	if !decided || l.Rank != 0 {
		check.whole("lora.rank", l.Rank, 1, mostRank)
	}
	if !decided || l.Alpha != 0 {
		check.above("lora.alpha", l.Alpha)
	}
	check.share("lora.dropout", l.Dropout)

	known := checkpoint.LinearModules()
	if len(l.TargetModules) == 0 && !decided {
		check.bad("lora.target_modules", "is empty, want all-linear or some of %s", strings.Join(known, ", "))
	}
	for i, module := range l.TargetModules {
		key := fmt.Sprintf("lora.target_modules[%d]", i)
		switch first := slices.Index(l.TargetModules, module); {
		case module == allLinear && len(l.TargetModules) == 1:
			// Load writes it out; a Config made in Go may hold the word.
		case module == allLinear:
			check.bad(key, "all-linear names every module already and stands alone")
		case !slices.Contains(known, module):
			check.bad(key, "unknown module %q%s (want all-linear or some of %s)",
				module, didYouMean(Nearest(module, known)), strings.Join(known, ", "))
		case first != i:
			check.bad(key, "%s is listed twice", module)
		}
	}
	for i, layer := range l.LayersToTransform {
		key := fmt.Sprintf("lora.layers_to_transform[%d]", i)
		check.whole(key, layer, 0, most)
		if slices.Index(l.LayersToTransform, layer) != i {
			check.bad(key, "layer %d is listed twice", layer)
		}
	}
	checkPattern(check, "lora.rank_pattern", l.RankPattern, func(key string, rank int) { check.whole(key, rank, 1, mostRank) })
	checkPattern(check, "lora.alpha_pattern", l.AlphaPattern, check.above)
	if r := l.LoRAPlusLRRatio; check.finite("lora.loraplus_lr_ratio", r) && r != 0 && (r < 1 || r > 1000) {
		check.bad("lora.loraplus_lr_ratio", "must be 0 (off) or from 1 to 1000, got %v", r)
	}
	if len(l.ModulesToSave) > 0 {
		check.bad("lora.modules_to_save", "is not supported: Gemma's head is its embedding, so a trained copy of one no longer "+
			"fits the other; train linear modules (lora.target_modules) or every weight (method: full)")
	}
	if strings.ContainsRune(l.From, 0) {
		check.bad("lora.from", "must not contain a zero byte, got %q", l.From)
	}
}

// checkPattern checks the keys of a pattern as regular expressions, and each value with its own check.
func checkPattern[V int | float64](check *checker, key string, p Pattern[V], value func(key string, v V)) {
	const longest = 256
	for i, line := range p {
		at := fmt.Sprintf("%s[%q]", key, line.Key)
		_, err := regexp.Compile(line.Key)
		var wrong *syntax.Error
		switch {
		case line.Key == "" || len(line.Key) > longest:
			check.bad(at, "want a module's name or a regular expression for some, in at most %d letters", longest)
		case errors.As(err, &wrong):
			check.bad(at, "is neither a module's name nor a regular expression: %s", wrong.Code)
		case slices.ContainsFunc(p[:i], func(earlier PatternEntry[V]) bool { return earlier.Key == line.Key }):
			check.bad(at, "is listed twice")
		}
		value(at, line.Value)
	}
}

func (d Data) check(check *checker) {
	check.path("data.train", d.Train, "name a JSONL file, such as datasets/bluey/train.jsonl")
	if d.Validation != "" {
		check.path("data.validation", d.Validation, "name a JSONL file or leave the key out")
	}
	check.whole("data.max_length", d.MaxLength, 2, most) // a row of one token predicts nothing
	check.oneOf("data.loss_on", d.LossOn, "replies", "all")
}

func (t Train) check(check *checker, validation string) {
	check.whole("train.num_train_epochs", t.NumTrainEpochs, 1, most)
	check.whole("train.max_steps", t.MaxSteps, 0, mostSteps)
	check.whole("train.batch_size", t.BatchSize, 1, most)
	check.whole("train.gradient_accumulation_steps", t.GradientAccumulationSteps, 1, most)
	check.above("train.learning_rate", t.LearningRate)
	check.oneOf("train.lr_scheduler_type", t.LRSchedulerType, "constant", "linear", "cosine")
	check.whole("train.warmup_steps", t.WarmupSteps, 0, mostSteps)
	check.atLeast0("train.weight_decay", t.WeightDecay)
	check.atLeast0("train.max_grad_norm", t.MaxGradNorm)
	check.share("train.adam_beta1", t.AdamBeta1)
	check.share("train.adam_beta2", t.AdamBeta2)
	check.above("train.adam_epsilon", t.AdamEpsilon)
	check.whole("train.eval_steps", t.EvalSteps, 0, mostSteps)
	if t.EvalSteps > 0 && validation == "" {
		check.bad("train.eval_steps", "needs data.validation, a file to evaluate on")
	}
	check.whole("train.patience", t.Patience, 0, most)
	if t.Patience > 0 && t.EvalSteps == 0 {
		check.bad("train.patience", "needs train.eval_steps, how often to evaluate")
	}
}

func (s Sample) check(check *checker) {
	for i, prompt := range s.Prompts {
		if strings.TrimSpace(prompt) == "" {
			check.bad(fmt.Sprintf("sample.prompts[%d]", i), "is empty")
		}
	}
	check.whole("sample.steps", s.Steps, 0, mostSteps)
	if s.Steps > 0 && len(s.Prompts) == 0 {
		check.bad("sample.steps", "needs sample.prompts, something to reply to")
	}
	check.whole("sample.max_new_tokens", s.MaxNewTokens, 1, most)
	check.atLeast0("sample.temperature", s.Temperature)
}

func (o Output) check(check *checker) {
	check.path("output.dir", o.Dir, "name a folder, such as runs")
	check.path("output.database", o.Database, "name a file, such as runs.db")
	check.dtype("output.dtype", o.DType, "bfloat16", "float32")
}

// checker collects problems.
type checker struct{ problems []*Problem }

func (c *checker) bad(key, format string, args ...any) {
	c.problems = append(c.problems, &Problem{Key: key, Text: fmt.Sprintf(format, args...)})
}

func (c *checker) whole(key string, got, atLeast, atMost int) {
	switch {
	case got < atLeast:
		c.bad(key, "must be at least %d, got %d", atLeast, got)
	case got > atMost:
		c.bad(key, "must be at most %d, got %d", atMost, got)
	}
}

// finite reports NaN and the infinities, which would pass or fail comparisons by accident.
func (c *checker) finite(key string, got float64) bool {
	if math.IsNaN(got) || math.IsInf(got, 0) {
		c.bad(key, "must be a finite number, got %v", got)
		return false
	}
	return true
}

func (c *checker) above(key string, got float64) {
	if c.finite(key, got) && got <= 0 {
		c.bad(key, "must be above 0, got %v", got)
	}
}

func (c *checker) atLeast0(key string, got float64) {
	if c.finite(key, got) && got < 0 {
		c.bad(key, "must be at least 0, got %v", got)
	}
}

func (c *checker) share(key string, got float64) {
	if c.finite(key, got) && (got < 0 || got >= 1) {
		c.bad(key, "must be at least 0 and below 1, got %v", got)
	}
}

func (c *checker) oneOf(key, got string, choices ...string) {
	if !slices.Contains(choices, got) {
		last := len(choices) - 1
		c.bad(key, "must be %s or %s, got %q", strings.Join(choices[:last], ", "), choices[last], got)
	}
}

// dtype is oneOf with the reason why the type that many would try first is not among the choices.
func (c *checker) dtype(key, got string, choices ...string) {
	switch got {
	case "float16", "fp16", "half":
		c.bad(key, "%s overflows: Gemma's activations pass 65504, its largest number; use bfloat16 or float32", got)
	default:
		c.oneOf(key, got, choices...)
	}
}

func (c *checker) path(key, got, advice string) {
	switch {
	case strings.TrimSpace(got) == "":
		c.bad(key, "is missing: %s", advice)
	case strings.ContainsRune(got, 0):
		c.bad(key, "must not contain a zero byte, got %q", got)
	}
}
