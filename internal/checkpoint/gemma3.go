package checkpoint

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// gemma3Defaults are those of transformers' Gemma3TextConfig. The multimodal checkpoints rely on them.
// Source: Gemma 3 technical report, arXiv:2503.19786; transformers, models/gemma3/modular_gemma3.py.
func gemma3Defaults() Config {
	return Config{HiddenSize: 2304, IntermediateSize: 9216, NumHiddenLayers: 26, NumAttentionHeads: 8,
		NumKeyValueHeads: 4, HeadDim: 256, VocabSize: 262208, RMSNormEps: 1e-6, MaxPositionEmbeddings: 131072,
		InitializerRange: 0.02, QueryPreAttnScalar: 256, SlidingWindow: 4096}
}

// finishGemma3: five local layers, then a global one; each kind has a rotary base of its own. Scaling is for
// global layers only: local ones never look further than their window.
func finishGemma3(c *Config, r *rawConfig) (err error) {
	if c.LayerTypes == nil {
		pattern := or(r.SlidingWindowPattern, or(r.SlidingWindowPattern5, 6))
		if c.LayerTypes, err = alternate(c.NumHiddenLayers, pattern); err != nil {
			return err
		}
	}
	entries, err := ropeEntries(r)
	if err != nil {
		return err
	}
	ropes := map[string]Rope{
		SlidingAttention: {or(r.RopeLocalBaseFreq, 1e4), 1},
		FullAttention:    {or(r.RopeTheta, 1e6), 1},
	}
	if ropes[FullAttention], err = ropes[FullAttention].scaled("rope_scaling", r.RopeScaling); err != nil {
		return err
	}
	for _, kind := range slices.Sorted(maps.Keys(entries)) {
		rope, known := ropes[kind]
		if !known {
			return fmt.Errorf("rope_parameters: unknown layer type %q (want %s and %s)", kind, SlidingAttention, FullAttention)
		}
		var p *ropeScaling
		if err := json.Unmarshal(entries[kind], &p); err != nil {
			return fmt.Errorf("rope_parameters.%s: want rope_theta and rope_type: %w", kind, err)
		}
		if ropes[kind], err = rope.scaled("rope_parameters."+kind, p); err != nil {
			return err
		}
	}
	c.Rope = ropes
	return nil
}
