package adapters

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"tune/configs"
	"tune/internal/adapterfile"
	"tune/internal/checkpoint"
)

// plan says how one module is adapted.
type plan struct {
	name  string // model.layers.0.self_attn.q_proj
	rank  int
	scale float64
}

// Check returns what New refuses of config for a model with c as its config.json, without its weights. from is the
// adapter that config.From names, nil without one.
func Check(c *checkpoint.Config, config configs.LoRA, from *adapterfile.Adapter) error {
	if from == nil {
		_, err := plansOf(c, config)
		return err
	}
	if problems := contradictions(config, from); len(problems) > 0 {
		return errors.Join(problems...)
	}
	if err := Fits(from, c); err != nil {
		return fmt.Errorf("%s: %w", config.From, err)
	}
	return nil
}

// plansOf returns how config adapts the model's modules.
func plansOf(c *checkpoint.Config, config configs.LoRA) ([]plan, error) {
	names, err := targets(c, config)
	if err != nil {
		return nil, err
	}
	ranks, err := valuesOf("rank_pattern", config.RankPattern, config.Rank, names)
	if err != nil {
		return nil, err
	}
	alphas, err := valuesOf("alpha_pattern", config.AlphaPattern, config.Alpha, names)
	if err != nil {
		return nil, err
	}
	plans := make([]plan, len(names))
	for i, name := range names {
		plans[i] = plan{name, ranks[i], adapterfile.Scale(alphas[i], ranks[i], config.UseRSLoRA)}
	}
	return plans, nil
}

// targets returns the full names of the modules that config chooses.
func targets(c *checkpoint.Config, config configs.LoRA) ([]string, error) {
	modules := checkpoint.LinearModules()
	wanted := config.TargetModules
	if len(wanted) == 1 && wanted[0] == "all-linear" { // PEFT's word
		wanted = modules
	}
	for _, name := range wanted {
		if !slices.Contains(modules, name) {
			return nil, fmt.Errorf("adapters: target module %q matches no module of %s (have %s)", name,
				c.Name(), strings.Join(modules, ", "))
		}
	}
	for _, layer := range config.LayersToTransform {
		if layer < 0 || layer >= c.NumHiddenLayers {
			return nil, fmt.Errorf("adapters: layers_to_transform: layer %d, the model has 0 to %d", layer, c.NumHiddenLayers-1)
		}
	}
	var names []string
	for layer := range c.NumHiddenLayers {
		if len(config.LayersToTransform) > 0 && !slices.Contains(config.LayersToTransform, layer) {
			continue
		}
		for _, module := range modules {
			if slices.Contains(wanted, module) {
				names = append(names, checkpoint.LinearName(layer, module))
			}
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("adapters: no target module: target_modules is empty")
	}
	return names, nil
}

// valuesOf returns the value of each module: that of the first key that matches its name, or otherwise. A key that
// matches none of them is an error: what it was meant for would silently keep the value of all.
func valuesOf[V int | float64](key string, p configs.Pattern[V], otherwise V, names []string) ([]V, error) {
	values := make([]V, len(names))
	given := make([]bool, len(names))
	for i := range values {
		values[i] = otherwise
	}
	for _, line := range p {
		matched := false
		for i, name := range names {
			ok, err := adapterfile.MatchPattern(line.Key, name)
			if err != nil {
				return nil, fmt.Errorf("adapters: %s: %w", key, err)
			}
			if ok && !given[i] {
				values[i], given[i] = line.Value, true
			}
			matched = matched || ok
		}
		if !matched {
			return nil, fmt.Errorf("adapters: %s: %q matches none of the %d adapted modules%s", key, line.Key, len(names),
				near(line.Key, names))
		}
	}
	return values, nil
}

// near suggests what a key that matches nothing may have meant: an end of a module's name.
func near(key string, names []string) string {
	var ends []string
	for _, name := range names {
		for end := name; ; {
			if !slices.Contains(ends, end) {
				ends = append(ends, end)
			}
			_, after, more := strings.Cut(end, ".")
			if !more {
				break
			}
			end = after
		}
	}
	if word := configs.Nearest(key, ends); word != "" {
		return fmt.Sprintf(", did you mean %q?", word)
	}
	return fmt.Sprintf(", such as %q", names[0])
}

// contradictions returns an error for every key of config that says something else than the adapter it starts from.
func contradictions(config configs.LoRA, file *adapterfile.Adapter) (problems []error) {
	differ := func(key string, ours, theirs any) {
		problems = append(problems, fmt.Errorf("lora.%s is %v in the configuration, in the adapter of lora.from (%s) it is %v",
			key, ours, config.From, theirs))
	}
	if config.Rank != 0 && config.Rank != file.Rank {
		differ("rank", config.Rank, file.Rank)
	}
	// As scales: the alpha of MLX's files is a product, and may differ from what was meant in its last bit.
	scale := func(alpha float64) float64 { return adapterfile.Scale(alpha, file.Rank, file.UseRSLoRA) }
	if config.Alpha != 0 && scale(config.Alpha) != scale(file.Alpha) {
		differ("alpha", config.Alpha, file.Alpha)
	}
	if config.UseRSLoRA && !file.UseRSLoRA {
		differ("use_rslora", true, false)
	}
	if config.UseDoRA && !file.UseDoRA {
		differ("use_dora", true, false)
	}
	if wanted := config.TargetModules; len(wanted) > 0 {
		if len(wanted) == 1 && wanted[0] == "all-linear" {
			wanted = checkpoint.LinearModules()
		}
		if !sameSet(wanted, file.TargetModules) {
			differ("target_modules", config.TargetModules, file.TargetModules)
		}
	}
	var names []string
	var layers []int
	for _, m := range file.Modules {
		names = append(names, m.Name)
		var layer int
		if _, err := fmt.Sscanf(m.Name, "model.layers.%d.", &layer); err == nil && !slices.Contains(layers, layer) {
			layers = append(layers, layer)
		}
	}
	if len(config.LayersToTransform) > 0 && !sameSet(config.LayersToTransform, layers) {
		differ("layers_to_transform", config.LayersToTransform, layers)
	}
	wrong := patternContradictions(config, file, names, differ)
	return append(problems, wrong...)
}

// patternContradictions compares what patterns give each module with what the adapter has there.
// It calls differ for the first module of each that is not the same, and returns what is wrong with the patterns.
func patternContradictions(config configs.LoRA, file *adapterfile.Adapter, names []string,
	differ func(key string, ours, theirs any)) []error {
	if len(config.RankPattern) > 0 {
		ranks, err := valuesOf("rank_pattern", config.RankPattern, file.Rank, names)
		if err != nil {
			return []error{err}
		}
		for i, m := range file.Modules {
			if ranks[i] != m.Rank {
				differ("rank_pattern", fmt.Sprintf("%d for %s", ranks[i], m.Name), m.Rank)
				break // one tells
			}
		}
	}
	if len(config.AlphaPattern) > 0 {
		alphas, err := valuesOf("alpha_pattern", config.AlphaPattern, file.Alpha, names)
		if err != nil {
			return []error{err}
		}
		for i, m := range file.Modules {
			if want := adapterfile.Scale(alphas[i], m.Rank, file.UseRSLoRA); want != m.Scale {
				differ("alpha_pattern", fmt.Sprintf("%g for %s, a scale of %g", alphas[i], m.Name, want), m.Scale)
				break
			}
		}
	}
	return nil
}

// sameSet reports whether two lists hold the same items, in whatever order.
func sameSet[T comparable](a, b []T) bool {
	within := func(a, b []T) bool {
		return !slices.ContainsFunc(a, func(item T) bool { return !slices.Contains(b, item) })
	}
	return within(a, b) && within(b, a)
}
