package checkpoint

// gemma2Defaults are those of transformers' Gemma2Config: the 2B model.
// Source: Gemma 2 technical report, arXiv:2408.00118; transformers, models/gemma2/modular_gemma2.py.
func gemma2Defaults() Config {
	return Config{HiddenSize: 2304, IntermediateSize: 9216, NumHiddenLayers: 26, NumAttentionHeads: 8,
		NumKeyValueHeads: 4, HeadDim: 256, VocabSize: 256000, RMSNormEps: 1e-6, MaxPositionEmbeddings: 8192,
		InitializerRange: 0.02, QueryPreAttnScalar: 256, SlidingWindow: 4096, AttnLogitSoftcapping: 50,
		FinalLogitSoftcapping: 30}
}

// finishGemma2: local and global layers take turns, a local one first.
func finishGemma2(c *Config, r *rawConfig) (err error) {
	if c.LayerTypes == nil {
		if c.LayerTypes, err = alternate(c.NumHiddenLayers, 2); err != nil {
			return err
		}
	}
	return oneRope(c, r, 10000)
}
