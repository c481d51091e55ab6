package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/golden"
	"tune/internal/safetensors"
)

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := ParseConfig([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return c
}

func TestReadConfigRefuses(t *testing.T) {
	for _, tc := range []struct{ name, config, want string }{
		{"another model", `{"model_type": "llama"}`, `model_type: unsupported model "llama" (known: gemma, gemma2, gemma3_text, gemma3)`},
		{"no model type", `{}`, `model_type: unsupported model ""`},
		{"multimodal without text", `{"model_type": "gemma3"}`, "text_config: missing"},
		{"not yet", `{"model_type": "gemma3n_text"}`, `unsupported model "gemma3n_text" (known:`},
		{"soft cap", `{"model_type": "gemma2", "final_logit_softcapping": -1}`, "final_logit_softcapping: must be above 0 or null"},
		{"window", `{"model_type": "gemma2", "sliding_window": 0}`, "sliding_window: must be from 1"},
		{"exact GELU", `{"model_type": "gemma", "hidden_activation": "gelu"}`, "hidden_activation gelu"},
		{"rope of Gemma 2", `{"model_type": "gemma2", "rope_parameters": {"rope_type": "llama3"}}`, `type "llama3"`},
		{"layer type of Gemma 2", `{"model_type": "gemma2", "num_hidden_layers": 1, "layer_types": ["chunked"]}`, `layer_types[0]: unknown "chunked"`},
		{"untied", `{"model_type": "gemma3_text", "tie_word_embeddings": false}`, "tie_word_embeddings false"},
		{"embedding model", `{"model_type": "gemma3_text", "use_bidirectional_attention": true}`, "use_bidirectional_attention"},
		{"heads whose product overflows", `{"model_type": "gemma2", "num_attention_heads": 16777216, "num_key_value_heads": 1,
			"head_dim": 16777216}`, "are 281474976710656 numbers together, at most 16777216"},
		{"heads", `{"model_type": "gemma3_text", "num_attention_heads": 5, "num_key_value_heads": 2}`, "no multiple"},
		{"layer types", `{"model_type": "gemma3_text", "num_hidden_layers": 2, "layer_types": ["full_attention"]}`, "1 entries for 2 layers"},
		{"layer type", `{"model_type": "gemma3_text", "num_hidden_layers": 1, "layer_types": ["chunked"]}`, `layer_types[0]: unknown "chunked"`},
		{"size", `{"model_type": "gemma3_text", "hidden_size": 0}`, "hidden_size: must be from 1"},
		{"huge", `{"model_type": "gemma3_text", "num_hidden_layers": 100000}`, "num_hidden_layers: must be from 1 to 1000"},
		{"rope", `{"model_type": "gemma3_text", "rope_scaling": {"rope_type": "yarn", "factor": 2}}`, `type "yarn"`},
		{"pattern", `{"model_type": "gemma3_text", "sliding_window_pattern": 0}`, "sliding_window_pattern: must be at least 1"},
		{"activation", `{"model_type": "gemma3_text", "hidden_activation": "relu"}`, "hidden_activation relu"},
		{"no JSON", `{`, "unexpected end"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(tc.config), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := ReadConfig(dir)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "config.json") {
				t.Errorf("got %v, want config.json and %q", err, tc.want)
			}
		})
	}
	if _, err := ReadConfig(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder without config.json: got %v", err)
	}
}

func TestMultimodalConfigHasClassDefaults(t *testing.T) {
	// What google/gemma-3-4b-it's config.json leaves to its class, filled from transformers' Gemma3TextConfig.
	c, err := ParseConfig([]byte(`{"model_type": "gemma3", "text_config": {"hidden_size": 2560, "intermediate_size": 10240,
		"model_type": "gemma3_text", "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
		"sliding_window": 1024}, "eos_token_id": [1, 106]}`))
	if err != nil {
		t.Fatal(err)
	}
	if c.NumAttentionHeads != 8 || c.NumKeyValueHeads != 4 || c.HeadDim != 256 || c.VocabSize != 262208 || c.QueryPreAttnScalar != 256 ||
		c.Rope[FullAttention] != (Rope{1e6, 8}) || c.Rope[SlidingAttention] != (Rope{1e4, 1}) || !slices.Equal(c.EOSTokenIDs, []int64{1, 106}) {
		t.Errorf("got %+v", c)
	}
	for i, kind := range c.LayerTypes {
		want := SlidingAttention
		if (i+1)%6 == 0 {
			want = FullAttention
		}
		if kind != want {
			t.Errorf("layer %d is %s, want %s", i, kind, want)
		}
	}
}

func TestGoldenConfigSpellings(t *testing.T) {
	for _, dir := range golden.Cases(t, "gemma") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			old, err := ReadConfig(filepath.Join(dir, "model"))
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(dir, "config_v5.json"))
			if err != nil {
				t.Fatal(err)
			}
			v5 := parse(t, string(b))
			old.Raw, v5.Raw = nil, nil
			if a, b := fmt.Sprintf("%+v", *old), fmt.Sprintf("%+v", *v5); a != b {
				t.Errorf("config.json and config_v5.json differ:\n%s\n%s", a, b)
			}
		})
	}
}

// The sizes of the published models, and the number of their weights as their model cards and technical reports
// round it. A family's defaults are one of its models.
func TestPublishedModels(t *testing.T) {
	for _, tc := range []struct {
		name, config string
		millions     int64
		scale        float64 // query_pre_attn_scalar
		full         []int   // the first global layers
	}{
		{"Gemma 1 2B", `{"model_type": "gemma", "hidden_act": "gelu", "hidden_activation": null, "hidden_size": 2048, "intermediate_size": 16384,
			"num_hidden_layers": 18, "num_attention_heads": 8, "num_key_value_heads": 1}`, 2506, 256, []int{0, 1, 2}},
		{"Gemma 1 7B", `{"model_type": "gemma"}`, 8537, 256, []int{0, 1, 2}},
		{"Gemma 2 2B", `{"model_type": "gemma2"}`, 2614, 256, []int{1, 3, 5}},
		{"Gemma 2 9B", `{"model_type": "gemma2", "hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42,
			"num_attention_heads": 16, "num_key_value_heads": 8}`, 9241, 256, []int{1, 3, 5}},
		{"Gemma 2 27B", `{"model_type": "gemma2", "hidden_size": 4608, "intermediate_size": 36864, "num_hidden_layers": 46,
			"num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128, "query_pre_attn_scalar": 144}`, 27227, 144, []int{1, 3, 5}},
		{"Gemma 3 270M", `{"model_type": "gemma3_text", "hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18,
			"num_attention_heads": 4, "num_key_value_heads": 1, "vocab_size": 262144, "sliding_window": 512}`, 268, 256, []int{5, 11, 17}},
		{"Gemma 3 1B", `{"model_type": "gemma3_text", "hidden_size": 1152, "intermediate_size": 6912, "num_hidden_layers": 26,
			"num_attention_heads": 4, "num_key_value_heads": 1, "vocab_size": 262144, "sliding_window": 512}`, 999, 256, []int{5, 11, 17, 23}},
		{"Gemma 3 4B", `{"model_type": "gemma3", "text_config": {"hidden_size": 2560, "intermediate_size": 10240,
			"num_hidden_layers": 34, "sliding_window": 1024}}`, 3880, 256, []int{5, 11, 17, 23, 29}},
		{"Gemma 3 12B", `{"model_type": "gemma3", "text_config": {"hidden_size": 3840, "intermediate_size": 15360, "num_hidden_layers": 48,
			"num_attention_heads": 16, "num_key_value_heads": 8, "sliding_window": 1024}}`, 11766, 256, []int{5, 11, 17, 23, 29, 35, 41, 47}},
		{"Gemma 3 27B", `{"model_type": "gemma3", "text_config": {"hidden_size": 5376, "intermediate_size": 21504, "num_hidden_layers": 62,
			"num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128, "query_pre_attn_scalar": 168}}`, 27009, 168, []int{5, 11}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := parse(t, tc.config)
			if got := c.Count() / 1e6; got != tc.millions {
				t.Errorf("%d million weights, want %d", got, tc.millions)
			}
			if c.QueryPreAttnScalar != tc.scale {
				t.Errorf("query_pre_attn_scalar %g, want %g", c.QueryPreAttnScalar, tc.scale)
			}
			var full []int
			for i, kind := range c.LayerTypes {
				if kind == FullAttention {
					full = append(full, i)
				}
			}
			if !slices.Equal(full[:len(tc.full)], tc.full) {
				t.Errorf("global layers %v, want %v", full, tc.full)
			}
		})
	}
}

func TestSoftCaps(t *testing.T) {
	for _, tc := range []struct {
		config          string
		attention, head float64
	}{
		{`{"model_type": "gemma2"}`, 50, 30}, // the class defaults
		{`{"model_type": "gemma2", "attn_logit_softcapping": null, "final_logit_softcapping": 20}`, 0, 20},
		{`{"model_type": "gemma3_text"}`, 0, 0},
		{`{"model_type": "gemma3_text", "attn_logit_softcapping": 10}`, 10, 0},
		{`{"model_type": "gemma", "final_logit_softcapping": 30}`, 0, 0}, // Gemma 1's class has no such field
	} {
		if c := parse(t, tc.config); c.AttnLogitSoftcapping != tc.attention || c.FinalLogitSoftcapping != tc.head {
			t.Errorf("%s: caps %g and %g, want %g and %g", tc.config, c.AttnLogitSoftcapping, c.FinalLogitSoftcapping, tc.attention, tc.head)
		}
	}
}

// The weights that a config asks for are those of the reference checkpoints, in name and shape.
func TestWeightsOfReferenceCheckpoints(t *testing.T) {
	for _, dir := range golden.Cases(t, "gemma") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			dir := filepath.Join(dir, "model")
			c, err := ReadConfig(dir)
			if err != nil {
				t.Fatal(err)
			}
			set, err := safetensors.OpenDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer set.Close()
			stored := map[string]string{}
			for _, name := range set.Names() {
				if plain, text := PlainName(name); text {
					info, _ := set.Info(name)
					stored[plain] = fmt.Sprint(info.Shape)
				}
			}
			for _, w := range c.Weights() {
				if got := stored[w.Name]; got != fmt.Sprint(w.Shape) {
					t.Errorf("%s: shape %s in the file, %v by the config", w.Name, got, w.Shape)
				}
				delete(stored, w.Name)
			}
			for name := range stored {
				t.Errorf("%s is in the file and not in Weights", name)
			}
		})
	}
}
