package adapters

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"tune/configs"
	"tune/internal/model"
	"tune/internal/torch"
)

// Adapter is a model's LoRA adapter. Its modules stand in the model's projections.
type Adapter struct {
	Config  configs.LoRA
	Modules []*Linear
	// Flat holds every A and B, and every magnitude. The A of modules that read the same input lie behind each other, so
	// that one product serves them all; with LoRA+ all of A come first.
	Flat *torch.Flat

	sizeA    int64 // elements of Flat that are A's, with LoRA+
	training bool
	off      bool
	model    *model.Model
}

// New puts an adapter on the model. It is fresh: A uniform in ±1/√in, B zero, so that it changes nothing yet; the
// numbers come from Go's generator, so a seed gives the same ones on every platform. With config.From it is that
// folder's adapter, PEFT's or MLX's, and the seed is not used. The tensors belong to s.
//
// Errors: a target, or a key of a pattern, that matches no module, and a layer that the model does not have, with
// what there is; keys of config that the adapter of config.From contradicts, with both values.
// Source: PEFT's reset_lora_parameters, kaiming_uniform_ with a = √5.
func New(s *torch.Scope, m *model.Model, config configs.LoRA, seed int64) (*Adapter, error) {
	if config.From != "" {
		return startFrom(s, m, config)
	}
	plans, err := plansOf(&m.Config, config)
	if err != nil {
		return nil, err
	}
	a := place(s, m, config, plans)
	r := rand.New(rand.NewPCG(uint64(seed), 0x6c6f7261)) // a stream of its own beside data order and sampling
	for _, l := range a.Modules {
		shape := l.A.Shape()
		bound := 1 / math.Sqrt(float64(shape[1]))
		values := make([]float32, shape[0]*shape[1])
		for i := range values {
			values[i] = float32((2*r.Float64() - 1) * bound)
		}
		s.Copy(l.A, s.Float32s(values, shape...))
		if l.Magnitude.Defined() { // DoRA starts from the rows' own norms: nothing changes
			s.Copy(l.Magnitude, l.rowNorms(s))
		}
		if err := s.Err(); err != nil {
			return nil, err
		}
	}
	return a, s.Err()
}

// place wraps the planned modules with A and B of zeros.
func place(s *torch.Scope, m *model.Model, config configs.LoRA, plans []plan) *Adapter {
	a := &Adapter{Config: config, model: m}
	planned := map[string]plan{}
	for _, p := range plans {
		planned[p.name] = p
	}
	type leaf struct {
		field *torch.Tensor
		shape []int64
	}
	var first, rest, behind []leaf // behind: what follows the A of one input
	input := ""
	for _, p := range m.Projections() {
		plan, ok := planned[p.Name]
		if !ok {
			continue
		}
		l := &Linear{Base: (*p.Linear).(*model.Dense), Scale: plan.scale, adapter: a}
		rank := int64(plan.rank)
		out, in := m.Shape(p.Module)
		if read := fmt.Sprint(p.Layer, inputOf(p.Module)); read != input {
			input, rest, behind = read, append(rest, behind...), nil
		}
		if a.loraPlus() { // A and the others learn at rates of their own: a stretch of the buffer for each
			first = append(first, leaf{&l.A, []int64{rank, in}})
			a.sizeA += rank * in
		} else {
			rest = append(rest, leaf{&l.A, []int64{rank, in}})
		}
		behind = append(behind, leaf{&l.B, []int64{out, rank}})
		if config.UseDoRA {
			behind = append(behind, leaf{&l.Magnitude, []int64{out}})
		}
		a.Modules = append(a.Modules, l)
		*p.Linear = l
	}
	all := slices.Concat(first, rest, behind)
	shapes := make([][]int64, len(all))
	for i := range all {
		shapes[i] = all[i].shape
	}
	a.Flat = s.NewFlat(m.Device, shapes)
	for i := range min(len(all), len(a.Flat.Leaves)) { // fewer after an error, which s keeps
		*all[i].field = a.Flat.Leaves[i]
	}
	return a
}

// inputOf tells modules of a layer apart by what they read.
func inputOf(module string) string {
	switch module {
	case "q_proj", "k_proj", "v_proj":
		return "attention"
	case "gate_proj", "up_proj":
		return "mlp"
	}
	return module
}

// loraPlus reports whether A and the others learn at different rates.
func (a *Adapter) loraPlus() bool {
	return a.Config.LoRAPlusLRRatio != 0 && a.Config.LoRAPlusLRRatio != 1
}

// Parts returns the stretches of Flat that learn at rates of their own when A learns at lr: with LoRA+ all of A, then
// B and the magnitudes; otherwise nil, one rate for all.
//
// Source: arXiv:2402.12354, section 4; PEFT's create_loraplus_optimizer, which puts parameters of one dimension, so
// DoRA's magnitudes, in B's group, and decays both.
func (a *Adapter) Parts(lr float64) []torch.Part {
	if !a.loraPlus() {
		return nil
	}
	return []torch.Part{{Len: a.sizeA, LR: lr}, {Len: a.Flat.Data.Len() - a.sizeA, LR: lr * a.Config.LoRAPlusLRRatio}}
}

// Train turns dropout on or off; it is off at first.
func (a *Adapter) Train(on bool) { a.training = on }

// Enable turns the adapter on or off: off, the model gives what its base gives.
func (a *Adapter) Enable(on bool) { a.off = !on }

// Parameters counts the numbers that are trained: Σ rank·(in+out).
func (a *Adapter) Parameters() int64 { return a.Flat.Data.Len() }

// LowestLayer returns the first layer that has an adapted module: below it nothing is trained.
func (a *Adapter) LowestLayer() int {
	lowest := len(a.model.Layers)
	for _, p := range a.model.Projections() {
		if _, adapted := (*p.Linear).(*Linear); adapted {
			lowest = min(lowest, p.Layer)
		}
	}
	return lowest
}

// Merge writes W + Scale·B·A into the model's weights and takes the adapter out of the model. The adapter can
// still be saved.
//
// Errors: a quantised base, which has no room for an update as small as an adapter's: load the model without
// model.quantize, or export the adapter with tune export --to merged, which reads the model's own files.
func (a *Adapter) Merge(s *torch.Scope) error {
	for _, l := range a.Modules {
		if l.Base.Quantised.Defined() {
			return fmt.Errorf("adapters: merge %s: its weight is quantised to int%d (load the model without model.quantize)", l.Base.Name,
				l.Base.Quantised.Bits())
		}
	}
	for _, p := range a.model.Projections() {
		l, ok := (*p.Linear).(*Linear)
		if !ok {
			continue
		}
		err := s.Nest(func(inner *torch.Scope) error {
			merged := l.merged(inner)
			if merged.DType() == l.Base.Weight.DType() {
				inner.Copy(l.Base.Weight, merged)
			} else { // kept in bfloat16, which the sum does not fit
				s.Drop(l.Base.Weight)
				l.Base.Weight = inner.MoveTo(s, merged)
			}
			return inner.Err()
		})
		if err != nil {
			return fmt.Errorf("adapters: merge %s: %w", p.Name, err)
		}
		*p.Linear = l.Base
	}
	return nil
}
