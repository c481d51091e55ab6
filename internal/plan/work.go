package plan

// Work returns the floating-point operations of training on a batch, matrix products only: forward, the gradient of
// every input, with method full also that of every weight, and with gradient checkpointing the layers' forward pass a
// second time. A product of (N, in) and (in, out) takes 2·N·in·out.
func (in *Inputs) Work(b Batch) float64 {
	c := in.Model
	var layers float64 // of one token, forward
	for _, w := range c.LayerWeights(0) {
		if len(w.Shape) == 2 {
			layers += 2 * float64(w.Len())
		}
	}
	layers *= float64(c.NumHiddenLayers)
	attention := 4 * float64(b.Rows*b.Longest*b.Longest*c.NumAttentionHeads*c.HeadDim) * float64(c.NumHiddenLayers)
	var adapters float64
	for name, rank := range in.Modules {
		out, inner := c.LinearShape(lastPart(name))
		adapters += 2 * float64(rank*(out+inner))
	}
	head := 2 * float64(b.Targets*c.VocabSize*c.HiddenSize)
	forward := float64(b.Tokens)*layers + attention

	total := 2*forward + attention + 2*head + 3*float64(b.Tokens)*adapters
	if in.Config.Method == "full" {
		total += float64(b.Tokens)*layers + head
	}
	if in.Config.Train.GradientCheckpointing {
		total += forward
	}
	return total
}

// Seconds predicts the time of a micro-batch of so many operations where matrix products reach a rate in operations a
// second. It is a guide, good to about a factor of two; the constants are those of docs/plan.md's runs.
func (in *Inputs) Seconds(work, rate float64) float64 {
	share := 0.45 // of the rate that a step reaches; the rest is element-wise work
	layer := 0.0  // seconds of each layer's operators, however little there is to compute
	if in.Fused {
		layer = 3e-3
		switch composed := in.Config.Method == "lora" && (in.Config.LoRA.UseDoRA || in.Config.LoRA.Dropout > 0); {
		case composed: // of libtorch's operators
			layer = 9e-3
		case in.HalfWeights && in.Config.Method == "lora":
			share = 0.65
		case in.ElementSize == float && in.Config.Method == "lora":
			share = 0.85 // the products are slow and a faster kind of them is used
		}
	}
	if in.Config.Train.GradientCheckpointing {
		layer *= 4.0 / 3
	}
	return work/(rate*share) + layer*float64(in.Model.NumHiddenLayers)
}
