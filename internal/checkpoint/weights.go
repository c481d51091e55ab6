package checkpoint

import (
	"fmt"
	"strings"
)

// Weight is one weight of a model: its name in the files of a text model, and its shape.
type Weight struct {
	Name  string
	Shape []int64
}

// Len returns the number of elements.
func (w Weight) Len() int64 {
	n := int64(1)
	for _, d := range w.Shape {
		n *= d
	}
	return n
}

// LinearModules are the linear modules of a layer, in the order of the forward pass.
func LinearModules() []string {
	return []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
}

// The names of weights outside the layers.
const (
	EmbedTokens = "model.embed_tokens.weight"
	Norm        = "model.norm.weight"
	LMHead      = "lm_head.weight" // absent where it is the embedding, as in every Gemma
)

// Weights returns every weight of the text model, in the order of the forward pass.
func (c *Config) Weights() []Weight {
	all := []Weight{{EmbedTokens, []int64{c.VocabSize, c.HiddenSize}}}
	for i := range c.NumHiddenLayers {
		all = append(all, c.LayerWeights(i)...)
	}
	return append(all, Weight{Norm, []int64{c.HiddenSize}})
}

// LayerWeights returns the weights of layer i, in the order of the forward pass.
func (c *Config) LayerWeights(i int) []Weight {
	var all []Weight
	norm := func(name string, size int64) {
		all = append(all, Weight{NormName(i, name) + ".weight", []int64{size}})
	}
	linear := func(modules ...string) {
		for _, module := range modules {
			out, in := c.LinearShape(module)
			all = append(all, Weight{LinearName(i, module) + ".weight", []int64{out, in}})
		}
	}
	norm("input_layernorm", c.HiddenSize)
	linear("q_proj", "k_proj", "v_proj", "o_proj")
	if c.Family == Gemma3 {
		norm("q_norm", c.HeadDim)
		norm("k_norm", c.HeadDim)
	}
	norm("post_attention_layernorm", c.HiddenSize)
	if c.Family != Gemma1 {
		norm("pre_feedforward_layernorm", c.HiddenSize)
	}
	linear("gate_proj", "up_proj", "down_proj")
	if c.Family != Gemma1 {
		norm("post_feedforward_layernorm", c.HiddenSize)
	}
	return all
}

// Count returns the number of weights; the head's are the embedding's.
func (c *Config) Count() int64 {
	var n int64
	for _, w := range c.Weights() {
		n += w.Len()
	}
	return n
}

// LinearShape returns the (out, in) sizes of a linear module; 0, 0 for a name that is none.
func (c *Config) LinearShape(module string) (out, in int64) {
	d, f, e := c.HiddenSize, c.IntermediateSize, c.HeadDim
	switch module {
	case "q_proj":
		return c.NumAttentionHeads * e, d
	case "k_proj", "v_proj":
		return c.NumKeyValueHeads * e, d
	case "o_proj":
		return d, c.NumAttentionHeads * e
	case "gate_proj", "up_proj":
		return f, d
	case "down_proj":
		return d, f
	}
	return 0, 0
}

// LinearName returns the full name of a linear module, such as model.layers.0.self_attn.q_proj.
func LinearName(layer int, module string) string {
	part := "self_attn."
	if module == "gate_proj" || module == "up_proj" || module == "down_proj" {
		part = "mlp."
	}
	return layerPrefix(layer) + part + module
}

// NormName returns the full name of a norm of a layer, such as model.layers.0.self_attn.q_norm.
func NormName(layer int, norm string) string {
	if norm == "q_norm" || norm == "k_norm" {
		norm = "self_attn." + norm
	}
	return layerPrefix(layer) + norm
}

func layerPrefix(i int) string { return fmt.Sprintf("model.layers.%d.", i) }

// PlainName returns the text model's name of a weight, and false for a weight of another part of a multimodal
// checkpoint. Files from the Hub say language_model.model., those that transformers 4.52 and later saved
// model.language_model..
func PlainName(name string) (string, bool) {
	for _, p := range []struct{ from, to string }{
		{"language_model.model.", "model."},
		{"model.language_model.", "model."},
		{"language_model.lm_head.", "lm_head."},
	} {
		if rest, ok := strings.CutPrefix(name, p.from); ok {
			return p.to + rest, true
		}
	}
	for _, other := range []string{"vision_tower.", "model.vision_tower.", "multi_modal_projector.", "model.multi_modal_projector."} {
		if strings.HasPrefix(name, other) {
			return "", false
		}
	}
	return name, true
}
