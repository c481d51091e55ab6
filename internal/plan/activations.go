package plan

import (
	"strings"

	"tune/internal/checkpoint"
)

// float is the size of a float32, in which norms, softmax, adapters and losses are computed.
const float = 4

const (
	// logitsBytes is internal/model's bound for one block of float32 logits.
	logitsBytes = 256 * 262144 * float
	// fusedRows and fusedBytes are the bounds of the kernel that keeps no logits: rows at a time, and a block of them.
	fusedRows  = 4096
	fusedBytes = 8 << 20
	// keptWidth is the longest sequence of which attention's kernel keeps the weights.
	keptWidth = 512
)

// needs is what one batch takes beyond what stays.
type needs struct {
	activations int64 // kept for the backward pass
	logits      int64 // of one block of target rows
	working     int64 // that operators make and drop
}

func (n needs) total() int64 { return n.activations + n.logits + n.working }

// step returns what training on a batch takes at its peak, which is either the head, with every activation kept, or
// the backward pass of the last layer.
func (in *Inputs) step(b Batch) needs {
	b = in.filled(b)
	c := in.Model
	var kept, largest int64
	for layer := range c.NumHiddenLayers {
		size := in.layer(layer, b)
		kept += size
		largest = max(largest, size)
	}
	if in.Config.Train.GradientCheckpointing {
		// One tensor (N, D) a layer, and one layer's activations at a time when its turn comes.
		kept = int64(c.NumHiddenLayers) * b.Tokens * c.HiddenSize * in.ElementSize
	}
	kept += b.Tokens*c.HiddenSize*in.ElementSize + in.shared(b)
	head := needs{activations: kept, logits: in.head(b, true)}
	back := needs{activations: kept, working: in.backward(b) + in.whole()}
	if in.Config.Train.GradientCheckpointing {
		back.activations += largest
	}
	if back.total() > head.total() {
		return back
	}
	return head
}

// evaluation returns what a forward pass alone takes at its peak.
func (in *Inputs) evaluation(b Batch) needs {
	b = in.filled(b)
	c := in.Model
	// A few tensors of the widest kind live at a time, and every layer's output until the pass is over.
	kept := int64(c.NumHiddenLayers+1)*b.Tokens*c.HiddenSize*in.ElementSize + in.shared(b)
	head := needs{activations: kept, logits: in.head(b, false)}
	size := int64(float)
	if in.Fused {
		size = in.ElementSize
	}
	wide := max(3*b.Tokens*c.IntermediateSize*size+in.whole(), in.scores(b))
	if layer := (needs{activations: kept, working: wide}); layer.total() > head.total() {
		return layer
	}
	return head
}

// filled is the batch with its lengths filled up to the bucket.
func (in *Inputs) filled(b Batch) Batch {
	up := func(n int64) int64 {
		if in.Bucket <= 1 {
			return n
		}
		return (n + in.Bucket - 1) / in.Bucket * in.Bucket
	}
	b.Tokens, b.Longest, b.Targets = up(b.Tokens), up(b.Longest), up(b.Targets)
	return b
}

// shared returns what the layers of a batch share: the rotary tables' rows for each kind of layer, and a mask (T, T) where
// attention takes one.
func (in *Inputs) shared(b Batch) int64 {
	kinds, mask := int64(len(in.Model.Rope)), b.Longest*b.Longest*float
	if in.Fused {
		mask = 0
	}
	return kinds * (mask + 2*b.Tokens*in.Model.HeadDim*in.ElementSize)
}

// layer returns the bytes that autograd keeps of one layer.
//
// A frozen weight needs no input in the backward pass; an adapter's A needs its input, its B (N, R). A norm keeps its
// input, gating the gate and the other branch, attention its operands, filled up to (B, T), and its weights. The kernels
// of internal/torch keep these as they are; libtorch's operators widen norms, softmax and what A reads to float32, in
// bfloat16 a copy each, and keep the GELU as well.
func (in *Inputs) layer(layer int, b Batch) int64 {
	c, e, n := in.Model, in.ElementSize, b.Tokens
	d, f := c.HiddenSize, c.IntermediateSize
	q, kv := c.NumAttentionHeads*c.HeadDim, c.NumKeyValueHeads*c.HeadDim
	places := b.Rows * b.Longest

	if layer < in.lowest() {
		return n * d * e // nothing is trained here: only the output stays, until the pass is over
	}
	norm := func(width int64) int64 {
		switch {
		case in.Fused:
			return n * width * e
		case in.MeanKeepsInput: // the squares as well
			return 2 * n * width * float
		}
		return n * width * float
	}
	total := norm(d) // input_layernorm, which reads the output of the layer below
	if !in.Fused && e != float {
		total += n * d * e // and widens it
	}
	total += in.inputs(layer, b, d, "q_proj", "k_proj", "v_proj")
	if c.Family == checkpoint.Gemma3 {
		total += norm(q) + norm(kv)
	}
	total += places * (q + 2*kv) * e
	if !in.Fused || b.Longest <= keptWidth {
		total += in.scores(b)
	}
	total += in.inputs(layer, b, q, "o_proj")
	if c.Family != checkpoint.Gemma1 {
		total += 2 * norm(d) // behind attention and behind the MLP
	}
	total += norm(d) // before the MLP: the sum in between
	total += in.inputs(layer, b, d, "gate_proj", "up_proj")
	total += 2 * n * f * e
	if !in.Fused {
		total += n * f * e
	}
	total += in.inputs(layer, b, f, "down_proj")
	return total
}

// inputs returns what the adapters of modules that read one tensor of a width keep; with method full, what the
// weights themselves keep.
func (in *Inputs) inputs(layer int, b Batch, width int64, modules ...string) int64 {
	if in.Config.Method == "full" {
		kept := b.Tokens * width * in.ElementSize
		if in.ElementSize != float { // and the weights, rounded for the product
			for _, module := range modules {
				out, inner := in.Model.LinearShape(module)
				kept += out * inner * in.ElementSize
			}
		}
		return kept
	}
	var kept, readers int64
	for _, module := range modules {
		rank, adapted := in.Modules[checkpoint.LinearName(layer, module)]
		if !adapted {
			continue
		}
		readers++
		out, _ := in.Model.LinearShape(module)
		kept += b.Tokens * rank * float
		if in.Config.LoRA.UseDoRA {
			kept += b.Tokens * out * float // what the magnitudes multiply
		}
		if in.Config.LoRA.Dropout > 0 {
			kept += b.Tokens * width * 2 * float // what dropout left, and its noise
			if in.Config.LoRA.UseDoRA {
				kept += b.Tokens * out * in.ElementSize // the base's product with what it left
			}
		}
	}
	if readers == 0 {
		return 0
	}
	if in.Fused && in.Config.LoRA.Dropout == 0 && !in.Config.LoRA.UseDoRA {
		return kept + b.Tokens*width*in.ElementSize // as it is, once
	}
	if in.ElementSize == float {
		readers = 1 // one tensor serves all
	}
	if in.Config.LoRA.Dropout == 0 {
		kept += readers * b.Tokens * width * float
	}
	return kept
}

// scores returns what attention keeps of its (T, T) weights: softmax's result in float32, and in bfloat16 the copy that
// the product with the values reads; with a cap also tanh's result.
func (in *Inputs) scores(b Batch) int64 {
	if in.FusedAttention && !in.Fused && in.Model.AttnLogitSoftcapping == 0 {
		return 0
	}
	each := int64(float)
	switch {
	case in.Fused:
		each = in.ElementSize
	case in.ElementSize != float:
		each += in.ElementSize
	}
	if in.Model.AttnLogitSoftcapping > 0 {
		each += in.ElementSize
	}
	return b.Rows * in.Model.NumAttentionHeads * b.Longest * b.Longest * each
}

// backward returns what the backward pass of a layer makes at a time: gradients of the gated branch, in float32 or beside
// a float32 copy of one, or of the scores.
func (in *Inputs) backward(b Batch) int64 {
	c, e := in.Model, in.ElementSize
	wide := b.Tokens * c.IntermediateSize
	scores := b.Rows * c.NumAttentionHeads * b.Longest * b.Longest
	if in.Fused {
		gated := 3 * wide * e
		if e != float {
			gated += wide * float
		}
		if b.Longest > keptWidth { // the weights are computed again
			scores += in.scores(b) / e
		}
		return max(gated, scores*e+4*b.Tokens*c.NumAttentionHeads*c.HeadDim*e)
	}
	if in.FusedAttention && c.AttnLogitSoftcapping == 0 {
		return 3 * wide * float
	}
	return 3 * float * max(wide, scores)
}

// head returns what the LM head takes: its input and gradient (M, D), and the logits of one block, of the vocabulary where
// a kernel keeps none, otherwise of rows in float32 with the temporary of their log-sum-exp, or what the soft cap makes in
// between.
func (in *Inputs) head(b Batch, training bool) int64 {
	c, e := in.Model, in.ElementSize
	total := int64(0)
	if in.Fused {
		rows := min(b.Targets, fusedRows)
		width := min(c.VocabSize, max(2048, fusedBytes/(max(1, rows)*e)/512*512))
		total = rows*width*e + b.Targets*c.HiddenSize*(3*e+float)
	} else {
		rows := min(b.Targets, max(1, logitsBytes/float/c.VocabSize))
		blocks := int64(2)
		if c.FinalLogitSoftcapping > 0 {
			blocks = 3
			if training {
				blocks = 4
			}
		}
		total = blocks*rows*c.VocabSize*float + 3*b.Targets*c.HiddenSize*float
	}
	if in.Config.Method == "full" && training {
		if !in.Fused {
			total += c.VocabSize * c.HiddenSize * float // the product that is added to the head's gradient
		}
		if e != float {
			total += c.VocabSize * c.HiddenSize * e // the head, rounded
		}
	}
	return total
}

// lowest returns the first layer that has something to train.
func (in *Inputs) lowest() int {
	if in.Config.Method == "full" {
		return 0
	}
	for layer := range in.Model.NumHiddenLayers {
		for _, module := range checkpoint.LinearModules() {
			if _, ok := in.Modules[checkpoint.LinearName(layer, module)]; ok {
				return layer
			}
		}
	}
	return in.Model.NumHiddenLayers
}

func lastPart(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }
