package adapters

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tune/configs"
	"tune/internal/checkpoint"
	"tune/internal/files"
	"tune/internal/model"
	"tune/internal/safetensors"
	"tune/internal/torch"
)

// The names of PEFT's two files.
const (
	configFile  = "adapter_config.json"
	weightsFile = "adapter_model.safetensors"
)

// prefix stands before a module's path in PEFT's keys: the path through its own wrapper classes.
const prefix = "base_model.model."

// peftConfig is adapter_config.json as PEFT 0.17 writes it. PEFT drops keys it does not know and fills those
// that are absent, so older and newer versions read it too.
type peftConfig struct {
	AlphaPattern        map[string]float64 `json:"alpha_pattern"`
	AutoMapping         any                `json:"auto_mapping"`
	BaseModelNameOrPath string             `json:"base_model_name_or_path"`
	Bias                string             `json:"bias"`
	FanInFanOut         bool               `json:"fan_in_fan_out"`
	InferenceMode       bool               `json:"inference_mode"`
	InitLoRAWeights     any                `json:"init_lora_weights"`
	LayerReplication    any                `json:"layer_replication"`
	LayersPattern       any                `json:"layers_pattern"`
	LayersToTransform   []int              `json:"layers_to_transform"`
	LoRAAlpha           float64            `json:"lora_alpha"`
	LoRABias            bool               `json:"lora_bias"`
	LoRADropout         float64            `json:"lora_dropout"`
	ModulesToSave       []string           `json:"modules_to_save"`
	PEFTType            string             `json:"peft_type"`
	R                   int                `json:"r"`
	RankPattern         map[string]int     `json:"rank_pattern"`
	Revision            any                `json:"revision"`
	TargetModules       any                `json:"target_modules"` // a list of names, or a regular expression
	TaskType            string             `json:"task_type"`
	UseDoRA             bool               `json:"use_dora"`
	UseRSLoRA           bool               `json:"use_rslora"`
}

// Save writes the adapter to dir as PEFT does: adapter_config.json and adapter_model.safetensors in float32.
// The folder appears whole or not at all, in the place of one that was there. base is what
// base_model_name_or_path will say.
func (a *Adapter) Save(s *torch.Scope, dir, base string) error {
	return files.ReplaceDir(dir, func(dir string) error {
		var tensors []safetensors.Tensor
		add := func(name string, t torch.Tensor) {
			tensors = append(tensors, safetensors.Tensor{Name: prefix + name, DType: safetensors.F32, Shape: t.Shape(),
				Data: func(w io.Writer) error {
					b := s.ReadBytes(t)
					if err := s.Err(); err != nil {
						return err
					}
					_, err := w.Write(b)
					return err
				}})
		}
		for _, l := range a.Modules {
			add(l.Base.Name+".lora_A.weight", l.A)
			add(l.Base.Name+".lora_B.weight", l.B)
			if l.Magnitude.Defined() {
				add(l.Base.Name+".lora_magnitude_vector", l.Magnitude) // PEFT writes no .weight here
			}
		}
		if err := safetensors.Write(filepath.Join(dir, weightsFile), tensors, map[string]string{"format": "pt"}); err != nil {
			return err
		}
		b, err := json.MarshalIndent(a.peftConfig(base), "", "  ")
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, configFile), append(b, '\n'), 0o644)
	})
}

func (a *Adapter) peftConfig(base string) peftConfig {
	c := a.Config
	names := slices.Clone(c.TargetModules)
	if len(names) == 1 && names[0] == "all-linear" {
		names = nil
		for _, l := range a.Modules {
			if module := l.Base.Name[strings.LastIndex(l.Base.Name, ".")+1:]; !slices.Contains(names, module) {
				names = append(names, module)
			}
		}
	}
	slices.Sort(names)
	return peftConfig{
		AlphaPattern: map[string]float64{}, RankPattern: map[string]int{}, BaseModelNameOrPath: base, Bias: "none",
		InferenceMode: true, InitLoRAWeights: true, LayersToTransform: c.LayersToTransform, LoRAAlpha: c.Alpha,
		LoRADropout: c.Dropout, PEFTType: "LORA", R: c.Rank, TargetModules: names, TaskType: "CAUSAL_LM",
		UseDoRA: c.UseDoRA, UseRSLoRA: c.UseRSLoRA,
	}
}

// Load puts the adapter in dir on the model. Which modules it adapts follows from its weights, under the names
// of either the text class or the multimodal one. The tensors belong to s.
//
// Errors name the file, the key or the tensor: settings that change the result and are not computed here, a
// tensor of the wrong shape, one that belongs to no module, an A without its B.
func Load(s *torch.Scope, m *model.Model, dir string) (*Adapter, error) {
	config, err := readConfig(filepath.Join(dir, configFile))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, weightsFile)
	file, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()

	stored := map[string]string{} // module path and part → key in the file
	modules := map[string]bool{}
	known := map[string]model.Projection{}
	for _, p := range m.Projections() {
		known[p.Name] = p
	}
	for _, key := range file.Names() {
		name, ok := strings.CutPrefix(key, prefix)
		if plain, text := checkpoint.PlainName(name); ok && text {
			name = plain
		}
		module := name
		for _, part := range []string{".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"} {
			module = strings.TrimSuffix(module, part)
		}
		if _, exists := known[module]; !ok || !exists || module == name {
			return nil, fmt.Errorf("%s: tensor %s belongs to no module of %s", path, key, m.Config.Name())
		}
		stored[name] = key
		modules[module] = true
	}
	var names []string
	for _, p := range m.Projections() {
		if modules[p.Name] {
			names = append(names, p.Name)
			if !slices.Contains(config.TargetModules, p.Module) {
				config.TargetModules = append(config.TargetModules, p.Module)
			}
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: holds no tensor", path)
	}

	a := place(s, m, *config, names)
	for _, l := range a.Modules {
		parts := []struct {
			suffix string
			into   torch.Tensor
		}{{".lora_A.weight", l.A}, {".lora_B.weight", l.B}}
		if config.UseDoRA {
			parts = append(parts, struct {
				suffix string
				into   torch.Tensor
			}{".lora_magnitude_vector", l.Magnitude})
		}
		for _, part := range parts {
			if err := fill(s, file, stored[l.Base.Name+part.suffix], l.Base.Name+part.suffix, part.into); err != nil {
				return nil, err
			}
			delete(stored, l.Base.Name+part.suffix)
		}
	}
	for _, key := range stored {
		return nil, fmt.Errorf("%s: tensor %s is not part of an adapter with use_dora %v", path, key, config.UseDoRA)
	}
	return a, s.Err()
}

// fill copies a stored tensor into its place.
func fill(s *torch.Scope, file *safetensors.File, key, name string, into torch.Tensor) error {
	info, ok := file.Info(key)
	if !ok {
		return fmt.Errorf("%s: tensor %s%s is missing", file.Path(), prefix, name)
	}
	if !slices.Equal(info.Shape, into.Shape()) {
		return fmt.Errorf("%s: tensor %s has shape %v, the model and %s want %v", file.Path(), key, info.Shape, configFile, into.Shape())
	}
	dtype, ok := model.FloatType(info.DType)
	if !ok {
		return fmt.Errorf("%s: tensor %s has dtype %s (want F32, BF16 or F16)", file.Path(), key, info.DType)
	}
	data, _ := file.Bytes(key)
	return s.Nest(func(s *torch.Scope) error {
		s.Copy(into, s.Bytes(data, dtype, info.Shape, torch.Float32, into.Device()))
		return s.Err()
	})
}

// readConfig reads adapter_config.json and refuses what would silently give other numbers.
func readConfig(path string) (*configs.LoRA, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := peftConfig{R: 8, LoRAAlpha: 8, Bias: "none"} // PEFT's defaults
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var problems []error
	refuse := func(wrong bool, format string, a ...any) {
		if wrong {
			problems = append(problems, fmt.Errorf("%s: "+format, append([]any{path}, a...)...))
		}
	}
	refuse(c.PEFTType != "LORA", "peft_type: want LORA, got %q", c.PEFTType)
	refuse(c.R < 1, "r: must be at least 1, got %d", c.R)
	refuse(math.IsNaN(c.LoRAAlpha) || math.IsInf(c.LoRAAlpha, 0), "lora_alpha: must be a number, got %g", c.LoRAAlpha)
	refuse(c.LoRADropout < 0 || c.LoRADropout >= 1, "lora_dropout: must be from 0 to below 1, got %g", c.LoRADropout)
	refuse(c.Bias != "none" && c.Bias != "", "bias: want none, got %q", c.Bias)
	refuse(c.LoRABias, "lora_bias: not supported")
	refuse(c.FanInFanOut, "fan_in_fan_out: not supported")
	refuse(len(c.ModulesToSave) > 0, "modules_to_save: not supported, has %s", strings.Join(c.ModulesToSave, ", "))
	refuse(len(c.RankPattern) > 0, "rank_pattern: not supported")
	refuse(len(c.AlphaPattern) > 0, "alpha_pattern: not supported")
	refuse(c.LayerReplication != nil, "layer_replication: not supported")
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return &configs.LoRA{Rank: c.R, Alpha: c.LoRAAlpha, Dropout: c.LoRADropout, UseRSLoRA: c.UseRSLoRA, UseDoRA: c.UseDoRA,
		LayersToTransform: c.LayersToTransform}, nil
}
