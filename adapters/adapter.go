package adapters

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"tune/configs"
	"tune/internal/model"
	"tune/internal/torch"
)

// Adapter is a model's LoRA adapter. Its modules stand in the model's projections.
type Adapter struct {
	Config  configs.LoRA
	Modules []*Linear
	// Flat holds every A and B, and every magnitude, in the order of Modules.
	Flat *torch.Flat

	training bool
	off      bool
	model    *model.Model
}

// New puts a fresh adapter on the model's target modules: A uniform in ±1/√in, B zero, so that it changes
// nothing yet. The numbers come from Go's generator, so a seed gives the same ones on every platform.
// The tensors belong to s.
//
// Errors: a target that matches no module, and a layer that the model does not have, with what there is.
// Source: PEFT's reset_lora_parameters, kaiming_uniform_ with a = √5.
func New(s *torch.Scope, m *model.Model, config configs.LoRA, seed int64) (*Adapter, error) {
	names, err := targets(m, config)
	if err != nil {
		return nil, err
	}
	a := place(s, m, config, names)
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

// targets returns the full names of the modules that config chooses.
func targets(m *model.Model, config configs.LoRA) ([]string, error) {
	projections := m.Projections()
	var modules []string
	for _, p := range projections {
		if !slices.Contains(modules, p.Module) {
			modules = append(modules, p.Module)
		}
	}
	wanted := config.TargetModules
	if len(wanted) == 1 && wanted[0] == "all-linear" { // PEFT's word
		wanted = modules
	}
	for _, name := range wanted {
		if !slices.Contains(modules, name) {
			return nil, fmt.Errorf("adapters: target module %q matches no module of %s (have %s)", name,
				m.Config.Name(), strings.Join(modules, ", "))
		}
	}
	for _, layer := range config.LayersToTransform {
		if layer < 0 || layer >= len(m.Layers) {
			return nil, fmt.Errorf("adapters: layers_to_transform: layer %d, the model has 0 to %d", layer, len(m.Layers)-1)
		}
	}
	var names []string
	for _, p := range projections {
		if slices.Contains(wanted, p.Module) && (len(config.LayersToTransform) == 0 || slices.Contains(config.LayersToTransform, p.Layer)) {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("adapters: no target module: target_modules is empty")
	}
	return names, nil
}

// place wraps the named modules with A and B of zeros.
func place(s *torch.Scope, m *model.Model, config configs.LoRA, names []string) *Adapter {
	a := &Adapter{Config: config, model: m}
	scale := config.Alpha / float64(config.Rank)
	if config.UseRSLoRA {
		scale = config.Alpha / math.Sqrt(float64(config.Rank))
	}
	rank := int64(config.Rank)
	var shapes [][]int64
	for _, p := range m.Projections() {
		if !slices.Contains(names, p.Name) {
			continue
		}
		l := &Linear{Base: (*p.Linear).(*model.Dense), Scale: scale, adapter: a}
		out, in := m.Shape(p.Module)
		shapes = append(shapes, []int64{rank, in}, []int64{out, rank})
		if config.UseDoRA {
			shapes = append(shapes, []int64{out})
		}
		a.Modules = append(a.Modules, l)
		*p.Linear = l
	}
	a.Flat = s.NewFlat(m.Device, shapes)
	leaves := a.Flat.Leaves
	for _, l := range a.Modules {
		l.A, l.B, leaves = leaves[0], leaves[1], leaves[2:]
		if config.UseDoRA {
			l.Magnitude, leaves = leaves[0], leaves[1:]
		}
	}
	return a
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
func (a *Adapter) Merge(s *torch.Scope) error {
	for _, p := range a.model.Projections() {
		l, ok := (*p.Linear).(*Linear)
		if !ok {
			continue
		}
		err := s.Nest(func(s *torch.Scope) error {
			s.Copy(l.Base.Weight, l.merged(s))
			return s.Err()
		})
		if err != nil {
			return fmt.Errorf("adapters: merge %s: %w", p.Name, err)
		}
		*p.Linear = l.Base
	}
	return nil
}
