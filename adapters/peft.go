package adapters

import (
	"fmt"
	"maps"
	"slices"

	"tune/configs"
	"tune/internal/adapterfile"
	"tune/internal/model"
	"tune/internal/torch"
)

// Save writes the adapter to dir as PEFT does, in float32, with the names of the class that transformers loads the base
// as. The folder appears whole or not at all, in the place of one that was there. base is what
// base_model_name_or_path will say.
func (a *Adapter) Save(s *torch.Scope, dir, base string) error {
	file, err := a.File(s, base)
	if err != nil {
		return err
	}
	return file.WritePEFT(dir, adapterfile.PEFTOptions{Multimodal: a.model.Config.Multimodal})
}

// File returns the adapter as numbers, copied from the device. base is the name of its base model.
func (a *Adapter) File(s *torch.Scope, base string) (*adapterfile.Adapter, error) {
	c := a.Config
	file := &adapterfile.Adapter{Base: base, Rank: c.Rank, Alpha: c.Alpha, Dropout: c.Dropout, UseRSLoRA: c.UseRSLoRA,
		UseDoRA: c.UseDoRA, TargetModules: c.TargetModules, LayersToTransform: c.LayersToTransform,
		RankPattern: mapOf(c.RankPattern), AlphaPattern: mapOf(c.AlphaPattern),
		Multimodal: a.model.Config.Multimodal, NumHiddenLayers: a.model.Config.NumHiddenLayers}
	for _, l := range a.Modules {
		shapeA, shapeB := l.A.Shape(), l.B.Shape()
		m := adapterfile.Module{Name: l.Base.Name, Rank: int(shapeA[0]), In: int(shapeA[1]), Out: int(shapeB[0]), Scale: l.Scale,
			A: s.ReadFloat32s(l.A), B: s.ReadFloat32s(l.B)}
		if l.Magnitude.Defined() {
			m.Magnitude = s.ReadFloat32s(l.Magnitude)
		}
		if err := s.Err(); err != nil {
			return nil, err
		}
		file.Modules = append(file.Modules, m)
	}
	return file, nil
}

// Load puts the adapter in dir, PEFT's or MLX's, on the model. The tensors belong to s.
//
// Errors name the file, the key or the tensor: see [adapterfile.Read]; an adapter for another model is told by the
// module that does not fit.
func Load(s *torch.Scope, m *model.Model, dir string) (*Adapter, error) {
	file, err := adapterfile.Read(dir)
	if err != nil {
		return nil, err
	}
	return fromFile(s, m, file, configOf(file), dir)
}

// startFrom puts the adapter of config.From on the model, to be trained as config says.
func startFrom(s *torch.Scope, m *model.Model, config configs.LoRA) (*Adapter, error) {
	file, err := adapterfile.Read(config.From)
	if err != nil {
		return nil, fmt.Errorf("lora.from: %w", err)
	}
	if err := Check(&m.Config, config, file); err != nil {
		return nil, err
	}
	decided := configOf(file)
	decided.Dropout, decided.LoRAPlusLRRatio, decided.From = config.Dropout, config.LoRAPlusLRRatio, config.From
	return fromFile(s, m, file, decided, config.From)
}

// configOf returns the settings of an adapter that was read.
func configOf(file *adapterfile.Adapter) configs.LoRA {
	return configs.LoRA{Rank: file.Rank, Alpha: file.Alpha, Dropout: file.Dropout, TargetModules: file.TargetModules,
		UseRSLoRA: file.UseRSLoRA, UseDoRA: file.UseDoRA, LayersToTransform: file.LayersToTransform,
		RankPattern: patternOf(file.RankPattern), AlphaPattern: patternOf(file.AlphaPattern)}
}

// fromFile puts an adapter that was read from dir on the model.
func fromFile(s *torch.Scope, m *model.Model, file *adapterfile.Adapter, config configs.LoRA, dir string) (*Adapter, error) {
	if err := Fits(file, &m.Config); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	plans := make([]plan, len(file.Modules))
	numbers := map[string]*adapterfile.Module{}
	for i := range file.Modules {
		module := &file.Modules[i]
		plans[i] = plan{module.Name, module.Rank, module.Scale}
		numbers[module.Name] = module
	}
	a := place(s, m, config, plans)
	for _, l := range a.Modules {
		module := numbers[l.Base.Name]
		err := s.Nest(func(s *torch.Scope) error {
			s.Copy(l.A, s.Float32s(module.A, l.A.Shape()...))
			s.Copy(l.B, s.Float32s(module.B, l.B.Shape()...))
			if l.Magnitude.Defined() {
				s.Copy(l.Magnitude, s.Float32s(module.Magnitude))
			}
			return s.Err()
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", dir, module.Name, err)
		}
	}
	return a, s.Err()
}

// mapOf and patternOf turn a configuration's pattern into an adapter file's, and back. A map has no order: the writer
// sees to it that the modules' own values come out.
func mapOf[V int | float64](p configs.Pattern[V]) map[string]V {
	out := map[string]V{}
	for _, line := range p {
		out[line.Key] = line.Value
	}
	return out
}

func patternOf[V int | float64](m map[string]V) configs.Pattern[V] {
	var out configs.Pattern[V]
	for _, key := range slices.Sorted(maps.Keys(m)) {
		out = append(out, configs.PatternEntry[V]{Key: key, Value: m[key]})
	}
	return out
}
