package gguf

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"tune/internal/adapterfile"
	"tune/internal/checkpoint"
)

// The keys of an adapter file.
const (
	keyArchitecture = "general.architecture"
	keyType         = "general.type"
	keyName         = "general.name"
	keyAdapterType  = "adapter.type"
	keyAlpha        = "adapter.lora.alpha"
)

// ErrDoRA tells that an adapter is DoRA's.
var ErrDoRA = errors.New("llama.cpp computes no DoRA: the file has no place for magnitudes, and leaving them out " +
	"would give another model")

// WriteAdapter writes a LoRA adapter for a model with config c, its tensors as f32 or f16.
//
// llama.cpp multiplies B·A by alpha/rank with one alpha for the whole file and the rank of each tensor. So alpha is
// chosen for the scale that most modules have, for rsLoRA alpha·√rank, and what a module has beyond that is folded
// into its B, as is the factor that WriteModel multiplies into the queries.
//
// Errors: ErrDoRA; a module that the model does not have. The file appears whole or not at all.
// Source: ggml-org/llama.cpp, convert_lora_to_gguf.py and src/llama-adapter.h, get_scale.
func WriteAdapter(path string, a *adapterfile.Adapter, c *checkpoint.Config, to Type) error {
	if err := writeAdapter(path, a, c, to); err != nil {
		return fmt.Errorf("write a GGUF adapter: %w", err)
	}
	return nil
}

func writeAdapter(path string, a *adapterfile.Adapter, c *checkpoint.Config, to Type) error {
	if to != F32 && to != F16 {
		return fmt.Errorf("an adapter is written as f32 or f16, not as %s", to)
	}
	if len(a.Modules) == 0 {
		return errors.New("the adapter has no modules")
	}
	alpha := commonAlpha(a.Modules)
	var tensors []Tensor
	for _, m := range a.Modules {
		if a.UseDoRA || m.Magnitude != nil {
			return ErrDoRA
		}
		name, err := adapterTensor(m.Name, c)
		if err != nil {
			return err
		}
		fold := m.Scale / (alpha / float64(m.Rank)) // into B
		if math.Abs(fold-1) < 1e-6 {
			fold = 1 // the file's alpha is a float32: what it rounds away is no scale of its own
		}
		fold *= queryFactor(c, m.Name+".weight") // the weight that B·A is added to has it too
		tensors = append(tensors,
			Tensor{Name: name + ".lora_a", Type: to, Shape: []int64{int64(m.Rank), int64(m.In)}, Data: scaled(m.A, 1)},
			Tensor{Name: name + ".lora_b", Type: to, Shape: []int64{int64(m.Out), int64(m.Rank)}, Data: scaled(m.B, fold)})
	}
	metadata := []KV{{keyArchitecture, string(c.Family)}, {keyType, "adapter"}, {keyAdapterType, "lora"}, {keyAlpha, float32(alpha)}}
	if a.Base != "" {
		metadata = append(metadata, KV{"general.base_model.count", uint32(1)}, KV{"general.base_model.0.name", a.Base})
	}
	return Write(path, metadata, tensors)
}

// commonAlpha returns the alpha that gives most modules their scale. 0 would mean a scale of 1 to llama.cpp, so
// modules that add nothing get a B of zeros instead.
func commonAlpha(modules []adapterfile.Module) float64 {
	count := map[float32]int{}
	for _, m := range modules {
		if alpha := float32(m.Scale * float64(m.Rank)); alpha != 0 {
			count[alpha]++
		}
	}
	best := float32(1)
	for alpha, n := range count {
		if n > count[best] || n == count[best] && alpha > best {
			best = alpha
		}
	}
	return float64(best)
}

// scaled passes on values times a factor.
func scaled(values []float32, factor float64) func(func([]float32) error) error {
	return func(each func([]float32) error) error {
		if factor == 1 {
			return each(values)
		}
		out := make([]float32, len(values))
		for i, v := range values {
			out[i] = float32(float64(v) * factor)
		}
		return each(out)
	}
}

// adapterTensor returns what llama.cpp calls the weight of a module, which must be a linear one of the model.
func adapterTensor(module string, c *checkpoint.Config) (string, error) {
	for layer := range c.NumHiddenLayers {
		for _, linear := range checkpoint.LinearModules() {
			if checkpoint.LinearName(layer, linear) == module {
				return TensorName(module+".weight", c.Family)
			}
		}
	}
	if strings.Contains(module, "lm_head") || strings.Contains(module, "embed_tokens") {
		return "", fmt.Errorf("%s: in Gemma the head is the embedding, and llama.cpp adapts neither: train without it", module)
	}
	return "", fmt.Errorf("%s is no linear module of a %s with %d layers", module, c.Name(), c.NumHiddenLayers)
}

// ReadAdapter reads a LoRA adapter for a model with config c. Its scale becomes that of its own alpha and ranks,
// without rsLoRA.
//
// Errors name the file, and the key or tensor: another kind of file, one for another architecture, an A without its
// B, sizes that are not the model's.
func ReadAdapter(path string, c *checkpoint.Config) (*adapterfile.Adapter, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if kind := f.Metadata[keyType]; kind != "adapter" {
		return nil, fmt.Errorf("%s: %s: want adapter, got %v", path, keyType, kind)
	}
	if kind := f.Metadata[keyAdapterType]; kind != "lora" {
		return nil, fmt.Errorf("%s: %s: want lora, got %v", path, keyAdapterType, kind)
	}
	if arch := f.Metadata[keyArchitecture]; arch != string(c.Family) {
		return nil, fmt.Errorf("%s: is an adapter for %v, the model is a %s", path, arch, c.Family)
	}
	alpha, ok := f.Metadata[keyAlpha].(float64)
	if !ok || math.IsNaN(alpha) || math.IsInf(alpha, 0) {
		return nil, fmt.Errorf("%s: %s: want a number, got %v", path, keyAlpha, f.Metadata[keyAlpha])
	}
	a := &adapterfile.Adapter{Multimodal: c.Multimodal, NumHiddenLayers: c.NumHiddenLayers}
	if base, ok := f.Metadata["general.base_model.0.name"].(string); ok {
		a.Base = base
	}
	left := map[string]bool{}
	for _, t := range f.Tensors {
		left[t.Name] = true
	}
	for layer := range c.NumHiddenLayers {
		for _, linear := range checkpoint.LinearModules() {
			m, err := readModule(f, c, layer, linear, alpha, left)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			if m != nil {
				a.Modules = append(a.Modules, *m)
				if !slices.Contains(a.TargetModules, linear) {
					a.TargetModules = append(a.TargetModules, linear)
				}
			}
		}
	}
	for name := range left {
		return nil, fmt.Errorf("%s: tensor %s belongs to no linear module of a %s with %d layers", path, name, c.Name(), c.NumHiddenLayers)
	}
	if len(a.Modules) == 0 {
		return nil, fmt.Errorf("%s: holds no tensor", path)
	}
	setRanks(a, alpha)
	return a, nil
}

// setRanks says in PEFT's words which rank and alpha the modules have: the most common rank, and patterns for others.
func setRanks(a *adapterfile.Adapter, alpha float64) {
	count := map[int]int{}
	for _, m := range a.Modules {
		count[m.Rank]++
	}
	for rank, n := range count {
		if n > count[a.Rank] || n == count[a.Rank] && rank > a.Rank {
			a.Rank = rank
		}
	}
	a.Alpha = alpha
	if alpha == 0 {
		a.Alpha = float64(a.Rank)
	}
	for _, m := range a.Modules {
		if m.Rank == a.Rank {
			continue
		}
		if a.RankPattern == nil {
			a.RankPattern, a.AlphaPattern = map[string]int{}, map[string]float64{}
		}
		a.RankPattern[m.Name] = m.Rank
		if alpha == 0 {
			a.AlphaPattern[m.Name] = float64(m.Rank)
		}
	}
}

// readModule returns the adapter of one module, nil where the file has none, and strikes its tensors off left.
func readModule(f *File, c *checkpoint.Config, layer int, linear string, alpha float64, left map[string]bool) (*adapterfile.Module, error) {
	m := &adapterfile.Module{Name: checkpoint.LinearName(layer, linear)}
	name, err := TensorName(m.Name+".weight", c.Family)
	if err != nil {
		return nil, err
	}
	a, hasA := f.Find(name + ".lora_a")
	b, hasB := f.Find(name + ".lora_b")
	if !hasA && !hasB {
		return nil, nil
	}
	if hasA != hasB {
		return nil, fmt.Errorf("tensor %s has only one of lora_a and lora_b", name)
	}
	delete(left, a.Name)
	delete(left, b.Name)
	out, in := c.LinearShape(linear)
	if len(a.Shape) != 2 || len(b.Shape) != 2 || a.Shape[1] != in || b.Shape[0] != out || a.Shape[0] != b.Shape[1] {
		return nil, fmt.Errorf("tensor %s: lora_a %v and lora_b %v do not fit a weight of [%d %d]", name, a.Shape, b.Shape, out, in)
	}
	m.Rank, m.In, m.Out = int(a.Shape[0]), int(in), int(out)
	m.Scale = 1 // what llama.cpp makes of an alpha of 0
	if alpha != 0 {
		m.Scale = alpha / float64(m.Rank)
	}
	if m.A, err = f.Floats(a.Name); err != nil {
		return nil, err
	}
	if m.B, err = f.Floats(b.Name); err != nil {
		return nil, err
	}
	if factor := queryFactor(c, m.Name+".weight"); factor != 1 {
		for i, v := range m.B {
			m.B[i] = float32(float64(v) / factor)
		}
	}
	return m, nil
}
