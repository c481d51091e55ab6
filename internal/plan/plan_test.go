package plan

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"tune/configs"
	"tune/internal/checkpoint"
)

// small is a Gemma 3 of one layer whose sums can be done by hand.
func small() *checkpoint.Config {
	return &checkpoint.Config{Family: checkpoint.Gemma3, HiddenSize: 4, IntermediateSize: 8, NumHiddenLayers: 1,
		NumAttentionHeads: 2, NumKeyValueHeads: 1, HeadDim: 2, VocabSize: 1000,
		LayerTypes: []string{checkpoint.FullAttention},
		Rope:       map[string]checkpoint.Rope{checkpoint.FullAttention: {Theta: 10000, Factor: 1}}}
}

// large has the sizes of Gemma 3 270M, so that no constant hides what grows.
func large() *checkpoint.Config {
	kinds := []string{checkpoint.SlidingAttention, checkpoint.FullAttention}
	c := &checkpoint.Config{Family: checkpoint.Gemma3, HiddenSize: 640, IntermediateSize: 2048, NumHiddenLayers: 18,
		NumAttentionHeads: 4, NumKeyValueHeads: 1, HeadDim: 256, VocabSize: 262144, Rope: map[string]checkpoint.Rope{}}
	for i := range c.NumHiddenLayers {
		c.LayerTypes = append(c.LayerTypes, kinds[i%2])
		c.Rope[kinds[i%2]] = checkpoint.Rope{Theta: 10000, Factor: 1}
	}
	return c
}

func inputs(c *checkpoint.Config, change func(cfg *configs.Config)) Inputs {
	cfg := configs.Default()
	if change != nil {
		change(&cfg)
	}
	in := Inputs{Model: c, Config: &cfg, ElementSize: 4, FusedAttention: true, Bucket: 1}
	if cfg.Method == "lora" {
		in.Modules = ModulesOf(c, cfg.LoRA)
	}
	return in
}

func parts(p Prediction) map[string]int64 {
	by := map[string]int64{}
	for _, part := range p.Parts {
		by[part.Name] = part.Bytes
	}
	return by
}

// TestPredictByHand adds up one small run on paper.
func TestPredictByHand(t *testing.T) {
	in := inputs(small(), func(cfg *configs.Config) {
		cfg.LoRA.Rank, cfg.LoRA.TargetModules = 2, []string{"q_proj"}
	})
	in.ProcessBytes = 1000
	in.Batches = []Batch{{Rows: 1, Tokens: 3, Longest: 3, Targets: 2}, {Rows: 1, Tokens: 2, Longest: 2, Targets: 1}}
	const (
		// Embedding 1000·4, final norm 4; q and o 4·4 each, k and v 2·4 each, three of 8·4, four norms of 4, two of 2.
		parameters = 4000 + 4 + 2*16 + 2*8 + 3*32 + 4*4 + 2*2
		trained    = 2 * (4 + 4) // A and B of q_proj
		// The layer's output and the sum before the MLP, A's input and result, q and k before their norms, q, k and v
		// after them, what the two later norms read, gate, its GELU and up.
		layer = 4 * (3*4 + 3*4 + 3*4 + 3*2 + 3*4 + 3*2 + 3*(4+2+2) + 2*3*4 + 3*3*8)
		// The embedded tokens, the mask, cos and sin.
		around = 4 * (3*4 + 3*3 + 2*3*2)
		// Logits and a temporary of 2 targets; their inputs, gathered, and two gradients.
		logits = 4 * (2*2*1000 + 3*2*4)
	)
	want := map[string]int64{"process": 1000 + operatorBytes, "weights": 4 * parameters, "adapter": 4 * trained,
		"gradients": 4 * trained, "optimizer": 8 * trained, "activations": layer + around, "logits": logits, "working": 0}
	p := Predict(in)
	if got := parts(p); !maps.Equal(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	var sum int64
	for _, bytes := range want {
		sum += bytes
	}
	if p.Bytes != sum {
		t.Errorf("%d bytes in all, want %d", p.Bytes, sum)
	}

	in.MeanKeepsInput = true
	got := parts(Predict(in))
	if squares := got["activations"] - want["activations"]; squares != 4*(4*3*4+3*4+3*2) {
		t.Errorf("the squares of four norms over 4, one over 2 heads of 2 and one over 1: %d bytes", squares)
	}

	in.Fused = true
	// The input and the sum before the MLP, the normed input and A's result, what the two later norms read, q and k before
	// their norms, q, k and v after them and the weights, gate and up.
	const kept = 4 * (3*4 + 3*4 + 3*4 + 3*2 + 2*3*4 + 3*4 + 3*2 + 3*(4+2+2) + 2*3*3 + 2*3*8)
	// The embedded tokens, cos and sin.
	if got, want := parts(Predict(in))["activations"], int64(kept+4*(3*4+2*3*2)); got != want {
		t.Errorf("with the kernels %d bytes of activations, want %d", got, want)
	}
	// 2 targets with the whole vocabulary as one block, and four rows of hidden numbers for each.
	if got, want := parts(Predict(in))["logits"], int64(4*(2*1000+4*2*4)); got != want {
		t.Errorf("with the kernels %d bytes of logits, want %d", got, want)
	}
}

// TestPredictGrows holds the plan to what the settings are for.
func TestPredictGrows(t *testing.T) {
	at := func(rows, longest int64, change func(cfg *configs.Config), also func(in *Inputs)) int64 {
		in := inputs(large(), change)
		in.Batches = []Batch{{Rows: rows, Tokens: rows * longest, Longest: longest, Targets: rows * longest}}
		if also != nil {
			also(&in)
		}
		return Predict(in).Bytes
	}
	set := func(f func(cfg *configs.Config)) int64 { return at(4, 512, f, nil) }
	base := set(nil)

	for name, less := range map[string]int64{
		"bfloat16":         at(4, 512, nil, func(in *Inputs) { in.ElementSize = 2 }),
		"checkpointing":    set(func(cfg *configs.Config) { cfg.Train.GradientCheckpointing = true }),
		"a smaller batch":  at(2, 512, nil, nil),
		"shorter rows":     at(4, 256, nil, nil),
		"a smaller rank":   set(func(cfg *configs.Config) { cfg.LoRA.Rank = 4 }),
		"the upper layers": set(func(cfg *configs.Config) { cfg.LoRA.LayersToTransform = []int{16, 17} }),
	} {
		if less >= base {
			t.Errorf("%s: %d bytes, %d without", name, less, base)
		}
	}
	for name, more := range map[string]int64{
		"full":     set(func(cfg *configs.Config) { cfg.Method = "full" }),
		"DoRA":     set(func(cfg *configs.Config) { cfg.LoRA.UseDoRA = true }),
		"dropout":  set(func(cfg *configs.Config) { cfg.LoRA.Dropout = 0.1 }),
		"no SDPA":  at(4, 512, nil, func(in *Inputs) { in.FusedAttention = false }),
		"soft cap": at(4, 512, nil, func(in *Inputs) { c := *in.Model; c.AttnLogitSoftcapping = 50; in.Model = &c }),
		"buckets":  at(4, 512, nil, func(in *Inputs) { in.Bucket = 1000 }),
	} {
		if more <= base {
			t.Errorf("%s: %d bytes, %d without", name, more, base)
		}
	}

	// Beyond one block of target rows, what the head takes grows with the model's width, not with its vocabulary.
	logits := func(targets int64) int64 {
		in := inputs(large(), nil)
		in.Batches = []Batch{{Rows: 4, Tokens: 2048, Longest: 512, Targets: targets}}
		return parts(Predict(in))["logits"]
	}
	if got := (logits(2048) - logits(1024)) / 1024; got != 3*4*640 {
		t.Errorf("%d bytes of logits a target, want %d", got, 3*4*640)
	}
	// An evaluation keeps no activations, so one on the same rows changes nothing.
	if got := at(4, 512, nil, func(in *Inputs) { in.Evaluations = in.Batches }); got != base {
		t.Errorf("with an evaluation of the same rows %d bytes, %d without", got, base)
	}
	if got := at(4, 512, nil, func(in *Inputs) { in.Evaluations, in.Batches = in.Batches, nil }); got >= base {
		t.Errorf("an evaluation alone %d bytes, training %d", got, base)
	}
}

func TestModulesOf(t *testing.T) {
	l := configs.Default().LoRA
	l.Rank, l.TargetModules, l.LayersToTransform = 8, []string{"q_proj", "down_proj"}, []int{1, 2}
	l.RankPattern = configs.Pattern[int]{{Key: "layers.1.mlp.down_proj", Value: 4}}
	got := ModulesOf(large(), l)
	want := map[string]int64{
		"model.layers.1.self_attn.q_proj": 8, "model.layers.1.mlp.down_proj": 4,
		"model.layers.2.self_attn.q_proj": 8, "model.layers.2.mlp.down_proj": 8,
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	l = configs.Default().LoRA
	l.TargetModules = []string{"all-linear"}
	if got := ModulesOf(large(), l); len(got) != 18*7 {
		t.Errorf("all-linear: %d modules", len(got))
	}
}

// TestWork counts the operations of one small batch on paper.
func TestWork(t *testing.T) {
	lora := func(cfg *configs.Config) { cfg.LoRA.Rank, cfg.LoRA.TargetModules = 2, []string{"q_proj"} }
	in, b := inputs(small(), lora), Batch{Rows: 1, Tokens: 3, Longest: 3, Targets: 2}
	const (
		layer     = 3 * 2 * (2*16 + 2*8 + 3*32)
		attention = 2 * 2 * 3 * 3 * 2 * 2 // queries with keys, weights with values: two heads of 2
		head      = 2 * 2 * 1000 * 4
		adapter   = 3 * 2 * 2 * (4 + 4)
	)
	if got, want := in.Work(b), float64(2*(layer+attention)+attention+2*head+3*adapter); got != want {
		t.Errorf("LoRA: %g operations, want %g", got, want)
	}
	in.Config.Train.GradientCheckpointing = true
	if got, want := in.Work(b), float64(3*(layer+attention)+attention+2*head+3*adapter); got != want {
		t.Errorf("checkpointing: %g operations, want %g", got, want)
	}
	in = inputs(small(), func(cfg *configs.Config) { cfg.Method = "full" })
	if got, want := in.Work(b), float64(3*layer+3*attention+3*head); got != want {
		t.Errorf("full: %g operations, want %g", got, want)
	}
}

// TestHalfWeights: beside float32 activations every weight has two bytes, and nothing else changes; trained ones have four.
func TestHalfWeights(t *testing.T) {
	in := inputs(large(), nil)
	in.Batches = []Batch{{Rows: 1, Tokens: 512, Longest: 512, Targets: 200}}
	whole := Predict(in)
	in.HalfWeights = true
	half := Predict(in)
	if saved := whole.Bytes - half.Bytes; parts(half)["weights"] != 2*in.Model.Count() || saved != 2*in.Model.Count() {
		t.Errorf("%d bytes of weights, %d saved, want %d each", parts(half)["weights"], saved, 2*in.Model.Count())
	}
	in.Config.Method = "full"
	if got := parts(Predict(in))["weights"]; got != 4*in.Model.Count() {
		t.Errorf("trained: %d bytes of weights, want %d", got, 4*in.Model.Count())
	}
}

// TestQuantizedWeights: a number of a linear module has 8.25 or 4.375 bits, and the embedding and the norms keep theirs.
func TestQuantizedWeights(t *testing.T) {
	c := large() // its widths are whole groups
	linear := int64(18 * (640*1024 + 2*640*256 + 1024*640 + 3*640*2048))
	for quantize, bits := range map[string]int64{"int8": 64*8 + 16, "int4": 64*4 + 24} {
		in := inputs(c, func(cfg *configs.Config) { cfg.Model.Quantize = quantize })
		in.ElementSize = 2
		if got, want := parts(Predict(in))["weights"], 2*(c.Count()-linear)+linear/64*bits/8; got != want {
			t.Errorf("%s: %d bytes of weights, want %d", quantize, got, want)
		}
		b := Batch{Rows: 1, Tokens: 512, Longest: 512}
		whole := inputs(c, nil)
		whole.ElementSize = 2
		if got, want := in.step(b).working-whole.step(b).working, int64(2*640*2048); got != want { // the largest, made whole
			t.Errorf("%s: %d more bytes at work, want %d", quantize, got, want)
		}
	}
}

func TestCheapest(t *testing.T) {
	checkpointing := func(c *configs.Config) int64 {
		if c.Train.GradientCheckpointing {
			return 60
		}
		return 100
	}
	perRow := func(c *configs.Config) int64 { return checkpointing(c) * int64(c.Train.BatchSize) / 12 }
	for _, tc := range []struct {
		name  string
		limit int64
		bytes func(c *configs.Config) int64
		want  string
	}{
		{"one that costs time only", 60, checkpointing, "train.gradient_checkpointing: true"},
		{"no batch but a whole share of the old one", 50, perRow, "train.batch_size: 6, train.gradient_accumulation_steps: 4"},
		{"the same setting again", 30, perRow, "train.batch_size: 3, train.gradient_accumulation_steps: 8"},
		{"two together", 5, perRow, "train.gradient_checkpointing: true, train.batch_size: 1, train.gradient_accumulation_steps: 24"},
		{"precision", 9, func(c *configs.Config) int64 {
			if c.Model.DType == "bfloat16" {
				return 9
			}
			return 10
		}, "model.dtype: bfloat16"},
		{"method", 9, func(c *configs.Config) int64 {
			if c.Method == "lora" {
				return 9
			}
			return 10
		}, "method: lora"},
		{"quantised", 9, func(c *configs.Config) int64 {
			if c.Model.Quantize == "int8" {
				return 9
			}
			return 10
		}, "model.quantize: int8"},
		{"quantised, which method full cannot be", 9, func(c *configs.Config) int64 {
			if c.Model.Quantize == "int8" && c.Method == "lora" {
				return 9
			}
			return 10
		}, "train.gradient_checkpointing: true, train.batch_size: 1, train.gradient_accumulation_steps: 24, model.dtype: bfloat16, " +
			"method: lora, model.quantize: int8"},
		{"length", 200, func(c *configs.Config) int64 { return int64(c.Data.MaxLength) }, "data.max_length: 128"},
		{"rank", 10, func(c *configs.Config) int64 { return int64(c.LoRA.Rank) }, "lora.rank: 8"},
		{"nothing", 10, func(*configs.Config) int64 { return 11 }, ""},
	} {
		cfg := configs.Default()
		cfg.Train.BatchSize, cfg.Train.GradientAccumulationSteps = 12, 2
		if tc.name == "method" || strings.Contains(tc.name, "method full") {
			cfg.Method = "full"
		}
		before, _ := cfg.YAML()
		got, err := Cheapest(cfg, tc.limit, func(c *configs.Config) (int64, error) { return tc.bytes(c), nil })
		if err != nil || strings.Join(got, ", ") != tc.want {
			t.Errorf("%s: %q, %v, want %q", tc.name, got, err, tc.want)
		}
		if after, _ := cfg.YAML(); !slices.Equal(before, after) {
			t.Errorf("%s: the caller's config has changed", tc.name)
		}
	}
	broken := errors.New("broken")
	if _, err := Cheapest(configs.Default(), 1, func(*configs.Config) (int64, error) { return 0, broken }); err != broken {
		t.Errorf("%v", err)
	}
}

// TestSeconds: twice the work takes longer, but a small batch waits for its operators.
func TestSeconds(t *testing.T) {
	in := inputs(large(), nil)
	if got := in.Seconds(45e9, 1e11); math.Abs(got-1) > 1e-9 {
		t.Errorf("composed: %g s, want 1", got)
	}
	in.Fused = true
	if got, want := in.Seconds(85e9, 1e11), 1+18*3e-3; math.Abs(got-want) > 1e-9 {
		t.Errorf("float32 by the kernels: %g s, want %g", got, want)
	}
	in.ElementSize = 2
	if got, want := in.Seconds(45e9, 1e11), 1+18*3e-3; math.Abs(got-want) > 1e-9 {
		t.Errorf("bfloat16 by the kernels: %g s, want %g", got, want)
	}
	in.Config.LoRA.Dropout, in.Config.Train.GradientCheckpointing = 0.1, true
	if got, want := in.Seconds(0, 1e11), 18*12e-3; math.Abs(got-want) > 1e-9 {
		t.Errorf("dropout and checkpointing, nothing to compute: %g s, want %g", got, want)
	}
}
