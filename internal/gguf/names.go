package gguf

import (
	"fmt"
	"strings"

	"tune/internal/checkpoint"
)

// The names of modules in llama.cpp, below blk.N; what stands behind post_attention_layernorm depends on the family.
var moduleNames = map[string]string{
	"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
	"gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
	"input_layernorm": "attn_norm", "q_norm": "attn_q_norm", "k_norm": "attn_k_norm",
	"pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
}

// TensorName returns what llama.cpp calls a weight of the text model.
// Errors: a name that is no weight of a text model.
// Source: ggml-org/llama.cpp, gguf-py/gguf/tensor_mapping.py.
func TensorName(name string, family checkpoint.Family) (string, error) {
	switch name {
	case checkpoint.EmbedTokens:
		return "token_embd.weight", nil
	case checkpoint.Norm:
		return "output_norm.weight", nil
	}
	parts := strings.Split(strings.TrimSuffix(name, ".weight"), ".")
	if len(parts) < 4 || parts[1] != "layers" {
		return "", fmt.Errorf("weight %s has no name in a GGUF file", name)
	}
	module := parts[len(parts)-1]
	short := moduleNames[module]
	if module == "post_attention_layernorm" {
		short = "post_attention_norm"
		if family == checkpoint.Gemma1 { // there it is the norm before the feed-forward network
			short = "ffn_norm"
		}
	}
	if short == "" {
		return "", fmt.Errorf("weight %s has no name in a GGUF file", name)
	}
	return "blk." + parts[2] + "." + short + ".weight", nil
}
