package checkpoint

import (
	"encoding/json"
	"fmt"
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
	scaling := map[string]*ropeScaling{FullAttention: r.RopeScaling}
	if present(r.RopeParameters) {
		scaling = nil
		if err := json.Unmarshal(r.RopeParameters, &scaling); err != nil {
			return fmt.Errorf("rope_parameters: want one entry a layer type: %w", err)
		}
	}
	ropes := map[string]Rope{
		SlidingAttention: {or(r.RopeLocalBaseFreq, 1e4), 1},
		FullAttention:    {or(r.RopeTheta, 1e6), 1},
	}
	for kind, p := range scaling {
		rope, known := ropes[kind]
		if !known {
			return fmt.Errorf("rope_parameters: unknown layer type %q", kind)
		}
		if ropes[kind], err = rope.scaled(p); err != nil {
			return err
		}
	}
	c.Rope = ropes
	return nil
}
