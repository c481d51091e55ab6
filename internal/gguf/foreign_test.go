package gguf

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	parser "github.com/gpustack/gguf-parser-go"

	"tune/internal/checkpoint"
	"tune/internal/golden"
	"tune/internal/tokenizer"
)

// Our own reader could share a mistake with our writer, so another project's reads the files too.
func openForeign(t *testing.T, path string) *parser.GGUFFile {
	t.Helper()
	f, err := parser.ParseGGUFFile(path)
	if err != nil {
		t.Fatalf("the foreign reader: %v", err)
	}
	return f
}

func value(t *testing.T, f *parser.GGUFFile, key string) any {
	t.Helper()
	kv, ok := f.Header.MetadataKV.Get(key)
	if !ok {
		t.Fatalf("the foreign reader finds no key %s", key)
	}
	return kv.Value
}

// The keys, their types and values are those that llama.cpp's own converter writes for a Gemma 3.
func TestForeignReaderOfModel(t *testing.T) {
	for to, file := range map[Type]parser.GGMLType{F32: parser.GGMLTypeF32, F16: parser.GGMLTypeF16,
		BF16: parser.GGMLTypeBF16, Q8_0: parser.GGMLTypeQ8_0} {
		t.Run(to.String(), func(t *testing.T) {
			ours, c, tok, src := writePocket(t, to)
			f := openForeign(t, ours.Path())
			for key, want := range map[string]any{
				"general.architecture": "gemma3", "general.file_type": types[to].modelFileType,
				"gemma3.context_length": uint32(2048), "gemma3.embedding_length": uint32(160), "gemma3.block_count": uint32(6),
				"gemma3.feed_forward_length": uint32(480), "gemma3.attention.head_count": uint32(4),
				"gemma3.attention.head_count_kv": uint32(1), "gemma3.attention.key_length": uint32(40),
				"gemma3.attention.value_length": uint32(40), "gemma3.attention.layer_norm_rms_epsilon": float32(1e-6),
				"gemma3.attention.sliding_window": uint32(128), "gemma3.rope.freq_base": float32(1e6),
				"tokenizer.ggml.model": "llama", "tokenizer.ggml.bos_token_id": uint32(2), "tokenizer.ggml.eos_token_id": uint32(1),
				"tokenizer.ggml.unknown_token_id": uint32(3), "tokenizer.ggml.padding_token_id": uint32(0),
				"tokenizer.ggml.eot_token_id": uint32(tok.EndOfTurn()), "tokenizer.ggml.add_bos_token": true,
				"tokenizer.ggml.add_space_prefix": false,
			} {
				if got := value(t, f, key); got != want {
					t.Errorf("%s: %T %v, want %T %v", key, got, got, want, want)
				}
			}
			// Names and sizes as src/models/gemma3.cpp of llama.cpp asks for them; dimensions are reversed in the file.
			for name, dims := range map[string][]uint64{
				"token_embd.weight": {160, 3072}, "output_norm.weight": {160}, "blk.0.attn_norm.weight": {160},
				"blk.0.attn_q.weight": {160, 160}, "blk.0.attn_k.weight": {160, 40}, "blk.0.attn_v.weight": {160, 40},
				"blk.0.attn_output.weight": {160, 160}, "blk.0.attn_q_norm.weight": {40}, "blk.0.attn_k_norm.weight": {40},
				"blk.0.post_attention_norm.weight": {160}, "blk.0.ffn_norm.weight": {160}, "blk.0.post_ffw_norm.weight": {160},
				"blk.0.ffn_gate.weight": {160, 480}, "blk.0.ffn_up.weight": {160, 480}, "blk.5.ffn_down.weight": {480, 160},
			} {
				info, ok := f.TensorInfos.Get(name)
				kind := file
				if len(dims) == 1 {
					kind = parser.GGMLTypeF32
				}
				if !ok || !slices.Equal(info.Dimensions, dims) || info.Type != kind {
					t.Errorf("%s: found %v, %v %v, want %v %v", name, ok, info.Dimensions, info.Type, dims, kind)
				}
			}
			if len(f.TensorInfos) != len(c.Weights()) {
				t.Errorf("%d tensors, want %d", len(f.TensorInfos), len(c.Weights()))
			}
			compareBytes(t, ours.Path(), f, to, src)
		})
	}
}

// compareBytes reads a norm and the embedding where the foreign reader says that they are.
func compareBytes(t *testing.T, path string, f *parser.GGUFFile, to Type, src Source) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, plain := range map[string]string{"blk.3.attn_q_norm.weight": checkpoint.NormName(3, "q_norm") + ".weight",
		"token_embd.weight": checkpoint.EmbedTokens, "blk.5.ffn_down.weight": checkpoint.LinearName(5, "down_proj") + ".weight"} {
		info, _ := f.TensorInfos.Get(name)
		from, add := to, float32(0)
		if len(info.Dimensions) == 1 {
			from, add = F32, 1
		}
		start := f.TensorDataStartOffset + int64(info.Offset)
		got := decode(nil, raw[start:start+int64(info.Bytes())], from)
		err := src.Read(context.Background(), plain, func(want []float32) error {
			most := float32(0)
			for i := range want {
				want[i] += add
				most = max(most, want[i], -want[i])
			}
			golden.Near(t, name, got, want, float64(most)*map[Type]float64{F32: 0, BF16: 0, F16: math.Pow(2, -11),
				Q8_0: 0.5/127 + math.Pow(2, -11)}[from]+math.Pow(2, -25))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Gemma 1 and 2: the keys and names that differ from Gemma 3's.
func TestForeignReaderOfOtherFamilies(t *testing.T) {
	tok, err := tokenizer.Open(pocket)
	if err != nil {
		t.Fatal(err)
	}
	for config, want := range map[string]struct {
		values map[string]any
		norms  []string
	}{
		`{"model_type": "gemma", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2,
			"num_key_value_heads": 1, "head_dim": 32, "vocab_size": 3072}`: {map[string]any{"general.architecture": "gemma",
			"gemma.block_count": uint32(1), "gemma.attention.key_length": uint32(32)}, []string{"attn_norm", "ffn_norm"}},
		`{"model_type": "gemma2", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
			"num_key_value_heads": 1, "head_dim": 32, "query_pre_attn_scalar": 32, "vocab_size": 3072}`: {map[string]any{
			"general.architecture": "gemma2", "gemma2.attn_logit_softcapping": float32(50),
			"gemma2.final_logit_softcapping": float32(30), "gemma2.attention.sliding_window": uint32(4096)},
			[]string{"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"}},
	} {
		c, err := checkpoint.ParseConfig([]byte(config))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "x.gguf")
		if _, err := WriteModel(context.Background(), path, c, tok, waves{c}, ModelOptions{Type: F32}); err != nil {
			t.Fatal(err)
		}
		f := openForeign(t, path)
		for key, want := range want.values {
			if got := value(t, f, key); got != want {
				t.Errorf("%s: %T %v, want %T %v", key, got, got, want, want)
			}
		}
		norms := 0
		for _, info := range f.TensorInfos {
			if len(info.Dimensions) == 1 {
				norms++
			}
		}
		if norms != len(want.norms)*c.NumHiddenLayers+1 {
			t.Errorf("%s: %d norms", c.Family, norms)
		}
		for _, norm := range want.norms {
			if _, ok := f.TensorInfos.Get("blk.0." + norm + ".weight"); !ok {
				t.Errorf("%s: no norm %s", c.Family, norm)
			}
		}
	}
}

// waves is a Source of made-up numbers.
type waves struct{ config *checkpoint.Config }

func (s waves) Read(_ context.Context, name string, each func([]float32) error) error {
	for _, w := range s.config.Weights() {
		if w.Name == name {
			values := make([]float32, w.Len())
			for i := range values {
				values[i] = float32(math.Sin(float64(i)))
			}
			return each(values)
		}
	}
	return nil
}

func TestForeignReaderOfAdapter(t *testing.T) {
	a, c := adapter(t, "gemma2", 4, 4, 4)
	path := filepath.Join(t.TempDir(), "a.gguf")
	if err := WriteAdapter(path, a, c, F32); err != nil {
		t.Fatal(err)
	}
	f := openForeign(t, path)
	for key, want := range map[string]any{"general.type": "adapter", "adapter.type": "lora", "general.architecture": "gemma2",
		"adapter.lora.alpha": float32(16)} {
		if got := value(t, f, key); got != want {
			t.Errorf("%s: %T %v, want %T %v", key, got, got, want, want)
		}
	}
	out, in := c.LinearShape("v_proj")
	for name, dims := range map[string][]uint64{"blk.0.attn_v.weight.lora_a": {uint64(in), 4}, "blk.0.attn_v.weight.lora_b": {4, uint64(out)}} {
		if info, ok := f.TensorInfos.Get(name); !ok || !slices.Equal(info.Dimensions, dims) || info.Type != parser.GGMLTypeF32 {
			t.Errorf("%s: found %v, %v", name, ok, info.Dimensions)
		}
	}
}
