package checkpoint

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What config.json leaves out is what transformers' config classes say: all of it, for each model_type.
// Source: transformers 4.56 and 5.0, configuration_gemma.py, configuration_gemma2.py and configuration_gemma3.py. Their
// eos_token_id of 1 is left to the tokenizer, which says the same.
func TestClassDefaults(t *testing.T) {
	gemma2Types := slices.Repeat([]string{SlidingAttention, FullAttention}, 13)
	gemma3Types := slices.Repeat([]string{SlidingAttention}, 26)
	for _, i := range []int{5, 11, 17, 23} {
		gemma3Types[i] = FullAttention
	}
	gemma3 := Config{Family: Gemma3, ModelType: "gemma3_text", HiddenSize: 2304, IntermediateSize: 9216, NumHiddenLayers: 26,
		NumAttentionHeads: 8, NumKeyValueHeads: 4, HeadDim: 256, VocabSize: 262208, RMSNormEps: 1e-6, QueryPreAttnScalar: 256,
		SlidingWindow: 4096, LayerTypes: gemma3Types, MaxPositionEmbeddings: 131072, InitializerRange: 0.02,
		Rope: map[string]Rope{SlidingAttention: {1e4, 1}, FullAttention: {1e6, 1}}}
	multimodal := gemma3
	multimodal.ModelType, multimodal.Multimodal = "gemma3", true
	for text, want := range map[string]Config{
		`{"model_type": "gemma"}`: {Family: Gemma1, ModelType: "gemma", HiddenSize: 3072, IntermediateSize: 24576, NumHiddenLayers: 28,
			NumAttentionHeads: 16, NumKeyValueHeads: 16, HeadDim: 256, VocabSize: 256000, RMSNormEps: 1e-6, QueryPreAttnScalar: 256,
			LayerTypes: slices.Repeat([]string{FullAttention}, 28), MaxPositionEmbeddings: 8192, InitializerRange: 0.02,
			Rope: map[string]Rope{FullAttention: {1e4, 1}}},
		`{"model_type": "gemma2"}`: {Family: Gemma2, ModelType: "gemma2", HiddenSize: 2304, IntermediateSize: 9216, NumHiddenLayers: 26,
			NumAttentionHeads: 8, NumKeyValueHeads: 4, HeadDim: 256, VocabSize: 256000, RMSNormEps: 1e-6, QueryPreAttnScalar: 256,
			AttnLogitSoftcapping: 50, FinalLogitSoftcapping: 30, SlidingWindow: 4096, LayerTypes: gemma2Types,
			MaxPositionEmbeddings: 8192, InitializerRange: 0.02,
			Rope: map[string]Rope{SlidingAttention: {1e4, 1}, FullAttention: {1e4, 1}}},
		`{"model_type": "gemma3_text"}`:               {},
		`{"model_type": "gemma3", "text_config": {}}`: multimodal,
	} {
		if want.Family == "" {
			want = gemma3
		}
		got := *parse(t, text)
		got.Raw = nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// Every field that is read counts, in each spelling, with a value that is no default.
func TestEveryFieldIsRead(t *testing.T) {
	ropes := func(c *Config) any { return []Rope{c.Rope[SlidingAttention], c.Rope[FullAttention]} }
	fields := map[string]func(c *Config) any{
		"hidden_size":             func(c *Config) any { return c.HiddenSize },
		"intermediate_size":       func(c *Config) any { return c.IntermediateSize },
		"num_hidden_layers":       func(c *Config) any { return int64(c.NumHiddenLayers) },
		"num_attention_heads":     func(c *Config) any { return c.NumAttentionHeads },
		"num_key_value_heads":     func(c *Config) any { return c.NumKeyValueHeads },
		"head_dim":                func(c *Config) any { return c.HeadDim },
		"vocab_size":              func(c *Config) any { return c.VocabSize },
		"rms_norm_eps":            func(c *Config) any { return c.RMSNormEps },
		"query_pre_attn_scalar":   func(c *Config) any { return c.QueryPreAttnScalar },
		"attn_logit_softcapping":  func(c *Config) any { return c.AttnLogitSoftcapping },
		"final_logit_softcapping": func(c *Config) any { return c.FinalLogitSoftcapping },
		"sliding_window":          func(c *Config) any { return c.SlidingWindow },
		"max_position_embeddings": func(c *Config) any { return c.MaxPositionEmbeddings },
		"initializer_range":       func(c *Config) any { return c.InitializerRange },
		"layers":                  func(c *Config) any { return strings.Join(c.LayerTypes, " ") },
		"rope":                    ropes,
		"eos_token_id":            func(c *Config) any { return c.EOSTokenIDs },
		"dtype":                   func(c *Config) any { return c.TorchDType },
		"architectures":           func(c *Config) any { return c.Architecture },
		"head_dim as scale":       func(c *Config) any { return c.QueryPreAttnScalar },
	}
	const full, sliding = FullAttention, SlidingAttention
	for _, tc := range []struct {
		modelType, text, field string
		want                   any
	}{
		{"gemma3_text", `"hidden_size": 96`, "hidden_size", int64(96)},
		{"gemma3_text", `"intermediate_size": 97`, "intermediate_size", int64(97)},
		{"gemma3_text", `"num_hidden_layers": 3`, "num_hidden_layers", int64(3)},
		{"gemma3_text", `"num_attention_heads": 12`, "num_attention_heads", int64(12)},
		{"gemma3_text", `"num_key_value_heads": 2`, "num_key_value_heads", int64(2)},
		{"gemma3_text", `"head_dim": 48`, "head_dim", int64(48)},
		{"gemma3_text", `"vocab_size": 99`, "vocab_size", int64(99)},
		{"gemma3_text", `"rms_norm_eps": 1e-5`, "rms_norm_eps", 1e-5},
		{"gemma3_text", `"query_pre_attn_scalar": 168`, "query_pre_attn_scalar", 168.0},
		{"gemma", `"head_dim": 48, "query_pre_attn_scalar": 168`, "head_dim as scale", 48.0}, // Gemma 1's class has no such field
		{"gemma3_text", `"attn_logit_softcapping": 7`, "attn_logit_softcapping", 7.0},
		{"gemma2", `"final_logit_softcapping": 8`, "final_logit_softcapping", 8.0},
		{"gemma2", `"sliding_window": 77`, "sliding_window", int64(77)},
		{"gemma3_text", `"sliding_window": 77`, "sliding_window", int64(77)},
		{"gemma", `"sliding_window": 77`, "sliding_window", int64(0)}, // none of its layers slides
		{"gemma3_text", `"max_position_embeddings": 7777`, "max_position_embeddings", int64(7777)},
		{"gemma3_text", `"initializer_range": 0.03`, "initializer_range", 0.03},
		{"gemma3_text", `"eos_token_id": 5`, "eos_token_id", []int64{5}},
		{"gemma3_text", `"eos_token_id": [5, 6]`, "eos_token_id", []int64{5, 6}},
		{"gemma3_text", `"torch_dtype": "bfloat16"`, "dtype", "bfloat16"},
		{"gemma3_text", `"dtype": "bfloat16"`, "dtype", "bfloat16"},
		{"gemma3_text", `"architectures": ["A", "B"]`, "architectures", "A"},

		{"gemma3_text", `"num_hidden_layers": 3, "sliding_window_pattern": 2`, "layers", sliding + " " + full + " " + sliding},
		{"gemma3_text", `"num_hidden_layers": 3, "_sliding_window_pattern": 2`, "layers", sliding + " " + full + " " + sliding},
		{"gemma3_text", `"num_hidden_layers": 2, "layer_types": ["full_attention", "sliding_attention"]`, "layers", full + " " + sliding},
		{"gemma3_text", `"num_hidden_layers": 2, "_sliding_window_pattern": 1, "layer_types": ["full_attention", "sliding_attention"]`, "layers", full + " " + sliding},
		{"gemma2", `"num_hidden_layers": 3`, "layers", sliding + " " + full + " " + sliding},
		{"gemma2", `"num_hidden_layers": 2, "layer_types": ["full_attention", "sliding_attention"]`, "layers", full + " " + sliding},

		{"gemma", `"rope_theta": 5e4`, "rope", []Rope{{}, {5e4, 1}}},
		{"gemma2", `"rope_theta": 5e4`, "rope", []Rope{{5e4, 1}, {5e4, 1}}},
		{"gemma2", `"rope_scaling": {"type": "linear", "factor": 2}`, "rope", []Rope{{1e4, 2}, {1e4, 2}}},
		{"gemma2", `"rope_parameters": {"rope_type": "linear", "factor": 2, "rope_theta": 5e4}`, "rope", []Rope{{5e4, 2}, {5e4, 2}}},
		{"gemma2", `"rope_parameters": {"rope_theta": 5e4}`, "rope", []Rope{{5e4, 1}, {5e4, 1}}},
		{"gemma2", `"rope_parameters": {}, "rope_scaling": {"type": "linear", "factor": 2}`, "rope", []Rope{{1e4, 2}, {1e4, 2}}},
		{"gemma3_text", `"rope_theta": 5e4`, "rope", []Rope{{1e4, 1}, {5e4, 1}}},
		{"gemma3_text", `"rope_local_base_freq": 5e4`, "rope", []Rope{{5e4, 1}, {1e6, 1}}},
		{"gemma3_text", `"rope_scaling": {"rope_type": "linear", "factor": 8}`, "rope", []Rope{{1e4, 1}, {1e6, 8}}},
		{"gemma3_text", `"rope_scaling": {"type": "linear", "factor": 8}`, "rope", []Rope{{1e4, 1}, {1e6, 8}}},
		{"gemma3_text", `"rope_scaling": {"rope_type": "default"}`, "rope", []Rope{{1e4, 1}, {1e6, 1}}},
		{"gemma3_text", `"rope_scaling": null`, "rope", []Rope{{1e4, 1}, {1e6, 1}}},
		{"gemma3_text", `"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8, "rope_theta": 2e6},
			"sliding_attention": {"rope_type": "default", "rope_theta": 2e4}}`, "rope", []Rope{{2e4, 1}, {2e6, 8}}},
		{"gemma3_text", `"rope_parameters": {"full_attention": {"rope_theta": 2e6}}, "rope_local_base_freq": 5e4`, "rope", []Rope{{5e4, 1}, {2e6, 1}}},
		{"gemma3_text", `"rope_parameters": {}, "rope_scaling": {"rope_type": "linear", "factor": 8}`, "rope", []Rope{{1e4, 1}, {1e6, 8}}},
		{"gemma3_text", `"rope_parameters": null, "rope_scaling": {"rope_type": "linear", "factor": 8}`, "rope", []Rope{{1e4, 1}, {1e6, 8}}},
	} {
		c := parse(t, `{"model_type": "`+tc.modelType+`", `+tc.text+`}`)
		if diff := cmp.Diff(tc.want, fields[tc.field](c)); diff != "" {
			t.Errorf("%s with %s: %s (-want +got):\n%s", tc.modelType, tc.text, tc.field, diff)
		}
	}
}

// What would change the numbers and is not computed is refused by the name of its field, and so is a rotary setting
// whose meaning is not clear.
func TestSettingsThatAreNotComputed(t *testing.T) {
	for _, tc := range []struct{ modelType, text, want string }{
		{"gemma3_text", `"attention_bias": true`, "attention_bias true: unsupported model of type gemma3_text"},
		{"gemma", `"hidden_act": "relu"`, "hidden_act relu: unsupported"},
		{"gemma", `"hidden_act": "gelu_new"`, "hidden_act gelu_new: unsupported"},
		{"gemma2", `"hidden_activation": "silu", "hidden_act": "gelu_pytorch_tanh"`, "hidden_activation silu: unsupported"},
		{"gemma3_text", `"rope_scaling": {"factor": 8}`, "rope_scaling.rope_type: missing, wanted beside factor 8 (linear or default)"},
		{"gemma3_text", `"rope_scaling": {"rope_type": "linear"}`, "rope_scaling.factor: missing, wanted in a scaling of type linear"},
		{"gemma3_text", `"rope_scaling": {"type": "linear", "factor": 0}`, "rope_scaling: base 1e+06 and factor 0 must be above 0"},
		{"gemma2", `"rope_scaling": {"factor": 8}`, "rope_scaling.rope_type: missing"},
		{"gemma", `"rope_parameters": {"rope_type": "linear"}`, "rope_parameters.factor: missing"},
		{"gemma", `"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8}}`,
			"rope_parameters.full_attention: unsupported model of type gemma: all its layers have one rotary embedding"},
		{"gemma2", `"rope_parameters": {"sliding_attention": {"rope_theta": 5}}`, "rope_parameters.sliding_attention: unsupported"},
		{"gemma2", `"rope_parameters": {"rope_theta": "x"}`, "rope_parameters: want rope_theta and rope_type: "},
		{"gemma2", `"rope_parameters": {"rope_theta": 5}, "rope_scaling": {"type": "linear", "factor": 2}`,
			"rope_scaling: stands beside rope_parameters, want one of the two"},
		{"gemma3_text", `"rope_parameters": {"full_attention": {"rope_theta": 5}}, "rope_scaling": {"rope_type": "linear", "factor": 8}`,
			"rope_scaling: stands beside rope_parameters, want one of the two"},
		{"gemma3_text", `"rope_parameters": {"full_attention": {"factor": 8}}`, "rope_parameters.full_attention.rope_type: missing"},
		{"gemma3_text", `"rope_parameters": {"full_attention": {"rope_type": "yarn"}}`, `rope_parameters.full_attention: unsupported model: type "yarn"`},
		{"gemma3_text", `"rope_parameters": {"rope_theta": 5}`, `rope_parameters: unknown layer type "rope_theta"`},
		{"gemma3_text", `"rope_parameters": {"full_attention": 5}`, "rope_parameters.full_attention: want rope_theta and rope_type: "},
		{"gemma3_text", `"rope_parameters": 5`, "rope_parameters: want an object: "},
	} {
		_, err := ParseConfig([]byte(`{"model_type": "` + tc.modelType + `", ` + tc.text + `}`))
		if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s with %s: got %v, want %q", tc.modelType, tc.text, err, tc.want)
		}
	}
	parse(t, `{"model_type": "gemma", "hidden_act": "gelu"}`) // the first files of Gemma 1 mean its tanh form
}
