package plan

import (
	"slices"

	"tune/configs"
	"tune/internal/adapterfile"
	"tune/internal/checkpoint"
)

// Batch is one micro-batch of a run, as its sizes.
type Batch struct {
	Rows    int64 // sequences, B
	Tokens  int64 // in all of them, N
	Longest int64 // tokens of the longest, T
	Targets int64 // tokens that are learned
}

// Inputs is what a prediction follows from.
type Inputs struct {
	Model   *checkpoint.Config
	Config  *configs.Config
	Modules map[string]int64 // rank by the full name of each adapted module; empty with method full
	// Batches are the micro-batches that the run will see, or as many of them as decide.
	Batches []Batch
	// Evaluations are those of the validation rows.
	Evaluations []Batch

	ElementSize    int64 // bytes of an activation and of a frozen weight: 2 in bfloat16, 4 in float32
	HalfWeights    bool  // frozen weights stay in bfloat16 beside float32 activations
	Fused          bool  // the kernels of internal/torch, which keep and make less than libtorch's operators
	FusedAttention bool  // libtorch's kernel, which keeps no scores
	MeanKeepsInput bool  // as libtorch 1's: a norm then keeps the squares of its input as well
	Bucket         int64 // the multiple that lengths are filled up to
	ProcessBytes   int64 // what the process holds before the model is loaded: libtorch, the rows, the tokenizer
}

// Part is one share of the memory.
type Part struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// Prediction is the memory at the moment of a run that needs most.
type Prediction struct {
	Parts []Part `json:"parts"` // in the order in which they come to be
	Bytes int64  `json:"bytes"` // their sum
}

const (
	// operatorBytes is what a step adds to the process besides its tensors: the code of the operators, which the system
	// reads from libtorch's files when they are first called, and the buffers in which BLAS packs matrices.
	operatorBytes = 26 << 20
)

// Predict returns the peak memory of a run: what stays from the first step to the last, and on top of that what the
// neediest batch takes.
func Predict(in Inputs) Prediction {
	c, trained := in.Model, int64(0)
	weights := in.frozen()
	if in.Config.Method == "full" {
		trained = c.Count()
		weights = 4 * trained // kept in float32 and rounded at use
	}
	for name, rank := range in.Modules {
		out, inner := c.LinearShape(lastPart(name))
		trained += rank * (out + inner)
		if in.Config.LoRA.UseDoRA {
			trained += out
		}
	}
	adapter := int64(0)
	if in.Config.Method != "full" {
		adapter = 4 * trained
	}
	var most needs
	for _, b := range in.Batches {
		if n := in.step(b); n.total() > most.total() {
			most = n
		}
	}
	for _, b := range in.Evaluations {
		if n := in.evaluation(b); n.total() > most.total() {
			most = n
		}
	}
	// The update comes when the activations are gone; composed of operators it makes a temporary of the size of what is
	// trained.
	if update := (needs{working: 4 * trained}); !in.Fused && update.total() > most.total() {
		most = update
	}
	p := Prediction{Parts: []Part{
		{"process", in.ProcessBytes + operatorBytes}, {"weights", weights}, {"adapter", adapter}, {"gradients", 4 * trained},
		{"optimizer", 8 * trained}, {"activations", most.activations}, {"logits", most.logits}, {"working", most.working},
	}}
	for _, part := range p.Parts {
		p.Bytes += part.Bytes
	}
	return p
}

// frozen returns the bytes of a base model that is not trained.
func (in *Inputs) frozen() int64 {
	size := in.ElementSize
	if in.HalfWeights {
		size = 2
	}
	bytes := in.Model.Count() * size
	if in.Config.Model.QuantizeBits() == 0 {
		return bytes
	}
	for _, module := range checkpoint.LinearModules() {
		out, inner := in.Model.LinearShape(module)
		bytes += int64(in.Model.NumHiddenLayers) * (quantised(out, inner, in.Config.Model.QuantizeBits()) - out*inner*size)
	}
	return bytes
}

// quantised returns the bytes of a matrix whose numbers have 8 or 4 bits: internal/torch's groups of 64, each with a scale
// of 2 bytes and with 4 bits a zero of 1.
func quantised(out, inner int64, bits int) int64 {
	groups := (inner + 63) / 64
	beside := int64(2)
	if bits == 4 {
		beside = 3
	}
	return out * groups * (64*int64(bits)/8 + beside)
}

// whole returns what the largest quantised weight takes while it is used.
func (in *Inputs) whole() (most int64) {
	if in.Config.Model.QuantizeBits() == 0 {
		return 0
	}
	for _, module := range checkpoint.LinearModules() {
		out, inner := in.Model.LinearShape(module)
		most = max(most, out*inner*in.ElementSize)
	}
	return most
}

// ModulesOf returns the rank of each module that a fresh adapter sits on. Names and patterns that match nothing are
// left for the adapter itself to refuse.
func ModulesOf(c *checkpoint.Config, l configs.LoRA) map[string]int64 {
	ranks := map[string]int64{}
	for layer := range c.NumHiddenLayers {
		if len(l.LayersToTransform) > 0 && !slices.Contains(l.LayersToTransform, layer) {
			continue
		}
		for _, module := range checkpoint.LinearModules() {
			if !slices.Contains(l.TargetModules, module) && !slices.Contains(l.TargetModules, "all-linear") {
				continue
			}
			name, rank := checkpoint.LinearName(layer, module), l.Rank
			for _, entry := range l.RankPattern {
				if ok, err := adapterfile.MatchPattern(entry.Key, name); err == nil && ok {
					rank = entry.Value
					break
				}
			}
			ranks[name] = int64(rank)
		}
	}
	return ranks
}

// ModulesIn returns the rank of each module of an adapter that exists.
func ModulesIn(a *adapterfile.Adapter) map[string]int64 {
	ranks := map[string]int64{}
	for _, m := range a.Modules {
		ranks[m.Name] = int64(m.Rank)
	}
	return ranks
}
