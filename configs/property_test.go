package configs_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tune/configs"
	"tune/internal/bounded"
	"tune/internal/checkpoint"
)

// TestYAMLReadsBack: a run can be repeated from the text kept with it, whatever its settings are.
func TestYAMLReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawConfig(t)
		if err := want.Validate(); err != nil {
			t.Fatalf("the generator made an invalid configuration: %v", err)
		}
		text, err := want.YAML()
		if err != nil {
			t.Fatal(err)
		}
		got, err := configs.Parse("resolved.yaml", text, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-written +read):\n%s\n%s", diff, text)
		}
	})
}

// FuzzParse: any text gives a configuration that holds, or an error that says so, and never a panic.
func FuzzParse(f *testing.F) {
	f.Add("model: {path: a}\ndata: {train: b}\n", "lora.rank=8")
	f.Add("lora:\n  aplha: 2e-4\n  r: [1, {x: y}]\n", "lora={rank: 8")
	f.Add("a: &x 1\nb: *x\n<<: !!str c\n? [q]\n: |\n  z\n", "sample.prompts=[a, ]")
	f.Add("---\n...\n---\n\ufeff\r\n", "name=")
	f.Fuzz(func(t *testing.T, src, set string) {
		if len(src) > 4096 || len(set) > 4096 { // the parser's time grows with the square of the nesting
			return
		}
		var cfg *configs.Config
		var err error
		// The YAML library keeps tokens, nodes and the path to each of them.
		bounded.Run(t, len(src)+len(set), 20000, func() { cfg, err = configs.Parse("fuzz.yaml", []byte(src), []string{set}) })
		if err != nil {
			if !errors.Is(err, configs.ErrInvalid) {
				t.Fatalf("want ErrInvalid, got %v", err)
			}
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, "fuzz.yaml") && !strings.HasPrefix(line, "--set ") {
					t.Fatalf("a line without its place: %q in\n%s", line, err)
				}
			}
			return
		}
		text, err := cfg.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := configs.Parse("again.yaml", text, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(cfg, again); diff != "" {
			t.Fatalf("(-written +read):\n%s\n%s", diff, text)
		}
	})
}

// patternKey draws keys of rank_pattern and alpha_pattern: any text that is a regular expression.
var patternKey = rapid.OneOf(rapid.StringN(1, 20, 256), rapid.SampledFrom([]string{"q_proj", "layers.0.self_attn.q_proj",
	`layers\.[0-3]\..*`, "a: b", "yes", "~", "- x", "?", "# c", "12", "a, b"})).Filter(func(s string) bool {
	_, err := regexp.Compile(s)
	return err == nil
})

// drawConfig makes a valid configuration.
func drawConfig(t *rapid.T) *configs.Config {
	whole := func(name string, low, high int) int { return rapid.IntRange(low, high).Draw(t, name) }
	number := func(name string, low, high float64) float64 { return rapid.Float64Range(low, high).Draw(t, name) }
	yes := func(name string) bool { return rapid.Bool().Draw(t, name) }
	one := func(name string, choices ...string) string { return rapid.SampledFrom(choices).Draw(t, name) }
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"yes", "~", "null", "007", "1e3", "- a", "a: b", "# c", " lead", "trail ", "'", `"`, `\`, "a\nb", "a\r\nb\n\n",
		"\tx", "|", "> x", "*a", "&a", "!t", "@", "`", "%", "{a", "[a", "?", "-", ":", "...", "---", "\u2028", "\u0085x",
		"\ufeff", "x #y", "0x1f", "true", ".nan", "a\n b\n  c", "\n x", "\x00\x7f\x1b", "é\U0001fae0",
	}))
	path := func(name string) string {
		return text.Filter(func(s string) bool {
			return strings.TrimSpace(s) != "" && !strings.ContainsRune(s, 0)
		}).Draw(t, name)
	}

	c := configs.Default()
	c.Name = text.Filter(func(s string) bool {
		return s != "" && !strings.ContainsFunc(s, unicode.IsControl)
	}).Draw(t, "name")
	c.Seed = rapid.Int64().Draw(t, "seed")
	c.Device = one("device", "auto", "mps", "cuda", "cpu")
	c.Threads = whole("threads", 0, configs.MaxThreads())
	c.Method = one("method", "lora", "full")
	c.Model = configs.Model{Path: path("model"), DType: one("dtype", "auto", "bfloat16", "float32"), Quantize: "none", Init: "pretrained"}
	if c.Method == "lora" {
		c.Model.Quantize = one("quantize", "none", "int8", "int4")
	}
	if c.Method == "full" {
		c.Model.Init = one("init", "pretrained", "random")
	}
	c.LoRA = configs.LoRA{
		Rank: whole("rank", 1, 1<<16), Alpha: number("alpha", 1e-300, 1e300), Dropout: number("dropout", 0, 0.999),
		TargetModules: rapid.SliceOfNDistinct(rapid.SampledFrom(checkpoint.LinearModules()), 1, 7, rapid.ID[string]).
			Draw(t, "modules"),
		UseRSLoRA: yes("rslora"), UseDoRA: yes("dora"),
		LayersToTransform: rapid.SliceOfNDistinct(rapid.IntRange(0, 99), 1, 5, rapid.ID[int]).Draw(t, "layers"),
	}
	if yes("every layer") {
		c.LoRA.LayersToTransform = nil
	}
	for _, key := range rapid.SliceOfNDistinct(patternKey, 0, 3, rapid.ID[string]).Draw(t, "rank keys") {
		c.LoRA.RankPattern = append(c.LoRA.RankPattern, configs.PatternEntry[int]{Key: key, Value: whole("its rank", 1, 1<<16)})
	}
	for _, key := range rapid.SliceOfNDistinct(patternKey, 0, 3, rapid.ID[string]).Draw(t, "alpha keys") {
		c.LoRA.AlphaPattern = append(c.LoRA.AlphaPattern, configs.PatternEntry[float64]{Key: key, Value: number("its alpha", 1e-300, 1e300)})
	}
	c.LoRA.LoRAPlusLRRatio = rapid.SampledFrom([]float64{0, 1, 16, 1000}).Draw(t, "ratio")
	if c.Method == "lora" && yes("from an adapter") {
		c.LoRA.From = path("from")
		if yes("which decides all") {
			c.LoRA = configs.LoRA{From: c.LoRA.From, Dropout: c.LoRA.Dropout, LoRAPlusLRRatio: c.LoRA.LoRAPlusLRRatio}
		}
	}
	c.Data = configs.Data{Train: path("train"), Validation: path("validation"), MaxLength: whole("length", 2, 1<<20),
		LossOn: one("loss", "replies", "all"), Shuffle: yes("shuffle"), PadToMaxLength: yes("pad")}
	c.Train = configs.Train{
		NumTrainEpochs: whole("epochs", 1, 99), MaxSteps: whole("steps", 0, 1<<40), BatchSize: whole("batch", 1, 99),
		GradientAccumulationSteps: whole("accumulate", 1, 99), LearningRate: number("rate", 1e-300, 10),
		LRSchedulerType: one("schedule", "constant", "linear", "cosine"), WarmupSteps: whole("warmup", 0, 99),
		WeightDecay: number("decay", 0, 1), MaxGradNorm: number("clip", 0, 1e9), AdamBeta1: number("beta1", 0, 0.999),
		AdamBeta2: number("beta2", 0, 0.999), AdamEpsilon: number("epsilon", 1e-300, 1),
		GradientCheckpointing: yes("checkpointing"), EvalSteps: whole("eval", 0, 99),
	}
	c.Train.AutoCheckpointing = !c.Train.GradientCheckpointing && yes("auto")
	c.Sample = configs.Sample{
		Prompts: rapid.SliceOfN(text.Filter(func(s string) bool { return strings.TrimSpace(s) != "" }), 1, 3).
			Draw(t, "prompts"),
		Steps: whole("every", 0, 99), MaxNewTokens: whole("new", 1, 99), Temperature: number("temperature", 0, 9),
	}
	c.Output = configs.Output{Dir: path("dir"), Database: path("database"), DType: one("save", "bfloat16", "float32")}
	return &c
}
