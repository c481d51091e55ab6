package gguf

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"tune/internal/checkpoint"
	"tune/internal/tokenizer"
)

// Source gives the weights of a text model by their own names, such as model.norm.weight: each is called with their
// numbers in order, in pieces of any length.
type Source interface {
	Read(ctx context.Context, name string, each func([]float32) error) error
}

// ModelOptions says how to write a model.
type ModelOptions struct {
	Name string // general.name; "" leaves it out
	Type Type   // of the matrices; norms are always f32
}

// WriteModel writes the text model of Gemma 1, 2 or 3 with its tokenizer. What comes back are the names of the
// tensors that were written as f16 because their rows are no multiple of Q8_0's blocks, as llama.cpp's converter does.
//
// Norms are stored as 1+w, which is what llama.cpp multiplies by. Where the scores' divisor is not the one that
// llama.cpp computes from the sizes, the difference goes into the weights of the queries.
//
// Errors: a config that llama.cpp would compute otherwise, with the field; a weight that the source lacks. The file
// appears whole or not at all.
func WriteModel(ctx context.Context, path string, c *checkpoint.Config, tok *tokenizer.Tokenizer, src Source, o ModelOptions) ([]string, error) {
	if err := representable(c); err != nil {
		return nil, fmt.Errorf("write a GGUF model: %w", err)
	}
	vocab, err := vocabulary(tok, c.VocabSize)
	if err != nil {
		return nil, fmt.Errorf("write a GGUF model: %w", err)
	}
	var fallbacks []string
	var tensors []Tensor
	for _, w := range c.Weights() {
		name, err := TensorName(w.Name, c.Family)
		if err != nil {
			return nil, err
		}
		t := Tensor{Name: name, Type: o.Type, Shape: w.Shape, Data: func(each func([]float32) error) error {
			return src.Read(ctx, w.Name, each)
		}}
		add, factor := 0.0, queryFactor(c, w.Name)
		switch {
		case len(w.Shape) == 1:
			t.Type, add = F32, 1
		case o.Type == Q8_0 && w.Shape[1]%blockQ8 != 0:
			t.Type, fallbacks = F16, append(fallbacks, name)
		}
		if add != 0 || factor != 1 {
			data := t.Data
			t.Data = func(each func([]float32) error) error {
				return data(func(values []float32) error {
					for i, v := range values {
						values[i] = float32((float64(v) + add) * factor)
					}
					return each(values)
				})
			}
		}
		tensors = append(tensors, t)
	}
	return fallbacks, Write(path, append(describe(c, o), vocab...), tensors)
}

// representable refuses what llama.cpp has no key for or takes for granted.
// Source: ggml-org/llama.cpp, src/models/gemma.cpp, gemma2.cpp and gemma3.cpp.
func representable(c *checkpoint.Config) error {
	pattern, ropes := map[checkpoint.Family]int{checkpoint.Gemma2: 2, checkpoint.Gemma3: 6}[c.Family], c.Rope
	for i, kind := range c.LayerTypes {
		want := checkpoint.FullAttention
		if pattern > 0 && (i+1)%pattern != 0 {
			want = checkpoint.SlidingAttention
		}
		if kind != want {
			return fmt.Errorf("layer_types[%d]: is %s, llama.cpp takes every layer but each %d. of a %s for a sliding one",
				i, kind, pattern, c.Family)
		}
	}
	local, global := ropes[checkpoint.SlidingAttention], ropes[checkpoint.FullAttention]
	switch {
	case c.Family == checkpoint.Gemma2 && (c.AttnLogitSoftcapping == 0 || c.FinalLogitSoftcapping == 0):
		return errors.New("attn_logit_softcapping, final_logit_softcapping: llama.cpp caps every Gemma 2, and one here is null")
	case c.Family == checkpoint.Gemma3 && (c.AttnLogitSoftcapping != 0 || c.FinalLogitSoftcapping != 0):
		return errors.New("attn_logit_softcapping, final_logit_softcapping: llama.cpp caps no Gemma 3, and one here is set")
	case c.Family == checkpoint.Gemma3 && local != (checkpoint.Rope{Theta: 10000, Factor: 1}):
		return fmt.Errorf("rope_local_base_freq: llama.cpp takes 10000 for granted in a Gemma 3, here it is %g", local.Theta)
	case c.Family != checkpoint.Gemma3 && global.Factor != 1:
		return fmt.Errorf("rope_scaling: a %s has none in llama.cpp", c.Family)
	}
	return nil
}

// queryFactor is what a weight of the queries is multiplied by so that llama.cpp's divisor of the scores gives
// what query_pre_attn_scalar asks for. It is 1 for every published model.
func queryFactor(c *checkpoint.Config, weight string) float64 {
	into := ".q_proj.weight"
	if c.Family == checkpoint.Gemma3 { // a norm stands in between
		into = ".q_norm.weight"
	}
	taken := float64(c.HeadDim)
	if c.Family == checkpoint.Gemma2 && c.NumHiddenLayers == 46 || c.Family == checkpoint.Gemma3 && c.NumHiddenLayers == 62 {
		taken = float64(c.HiddenSize / c.NumAttentionHeads) // the 27B models, told by their layers
	}
	if !strings.HasSuffix(weight, into) || taken == c.QueryPreAttnScalar {
		return 1
	}
	return math.Sqrt(taken / c.QueryPreAttnScalar)
}

// describe returns the keys of the architecture.
func describe(c *checkpoint.Config, o ModelOptions) []KV {
	arch := string(c.Family)
	metadata := []KV{{keyArchitecture, arch}, {keyType, "model"}}
	if o.Name != "" {
		metadata = append(metadata, KV{keyName, o.Name})
	}
	metadata = append(metadata, KV{"general.file_type", types[o.Type].modelFileType}, KV{"general.quantization_version", uint32(2)},
		KV{"general.alignment", uint32(alignment)})
	add := func(key string, value any) { metadata = append(metadata, KV{arch + "." + key, value}) }
	add("context_length", uint32(c.MaxPositionEmbeddings))
	add("embedding_length", uint32(c.HiddenSize))
	add("block_count", uint32(c.NumHiddenLayers))
	add("feed_forward_length", uint32(c.IntermediateSize))
	add("attention.head_count", uint32(c.NumAttentionHeads))
	add("attention.head_count_kv", uint32(c.NumKeyValueHeads))
	add("attention.key_length", uint32(c.HeadDim))
	add("attention.value_length", uint32(c.HeadDim))
	add("attention.layer_norm_rms_epsilon", float32(c.RMSNormEps))
	global := c.Rope[checkpoint.FullAttention]
	add("rope.freq_base", float32(global.Theta))
	if global.Factor != 1 {
		add("rope.scaling.type", "linear")
		add("rope.scaling.factor", float32(global.Factor))
	}
	if c.SlidingWindow > 0 {
		add("attention.sliding_window", uint32(c.SlidingWindow))
	}
	if c.Family == checkpoint.Gemma2 {
		add("attn_logit_softcapping", float32(c.AttnLogitSoftcapping))
		add("final_logit_softcapping", float32(c.FinalLogitSoftcapping))
	}
	add("vocab_size", uint32(c.VocabSize))
	return metadata
}
