package checkpoint

import "slices"

// gemma1Defaults are those of transformers' GemmaConfig: the 7B model.
// Source: Gemma technical report, arXiv:2403.08295; transformers, models/gemma/configuration_gemma.py.
func gemma1Defaults() Config {
	return Config{HiddenSize: 3072, IntermediateSize: 24576, NumHiddenLayers: 28, NumAttentionHeads: 16,
		NumKeyValueHeads: 16, HeadDim: 256, VocabSize: 256000, RMSNormEps: 1e-6, MaxPositionEmbeddings: 8192,
		InitializerRange: 0.02}
}

// finishGemma1: every layer attends to everything, and the scores are divided by √head_dim.
func finishGemma1(c *Config, r *rawConfig) error {
	c.LayerTypes = slices.Repeat([]string{FullAttention}, c.NumHiddenLayers)
	c.QueryPreAttnScalar = float64(c.HeadDim)
	return oneRope(c, r, 10000)
}
