package configs

import (
	"reflect"

	"tune/internal/checkpoint"
)

// allLinear is PEFT's word for every linear module but the output layer.
const allLinear = "all-linear"

// expandAllLinear writes out the list [all-linear] and leaves every other as it is.
func expandAllLinear(modules []string) []string {
	if len(modules) == 1 && modules[0] == allLinear {
		return checkpoint.LinearModules()
	}
	return modules
}

// adapterKeys are the keys of lora that the adapter of lora.from decides.
var adapterKeys = []string{"lora.rank", "lora.alpha", "lora.target_modules", "lora.use_rslora", "lora.use_dora",
	"lora.layers_to_transform", "lora.rank_pattern", "lora.alpha_pattern"}

// leftToAdapter returns the keys that lora.from leaves to its adapter: those that say nothing themselves.
func (c *Config) leftToAdapter() []string {
	if c.LoRA.From == "" {
		return nil
	}
	var left []string
	for _, key := range adapterKeys {
		if v, ok := lookup(reflect.ValueOf(*c), key); ok && v.IsZero() {
			left = append(left, key)
		}
	}
	return left
}

// startFromAdapter takes the defaults out of the keys that the adapter of lora.from decides. A key that is given stays,
// to be compared with the adapter; one that is given as nothing could not be told from an absent one.
func (b *binder) startFromAdapter(cfg *Config) {
	if cfg.LoRA.From == "" {
		return
	}
	for _, key := range adapterKeys {
		v, _ := lookup(reflect.ValueOf(cfg).Elem(), key)
		switch at, given := b.origins[key]; {
		case !given:
			v.SetZero()
		case v.IsZero() && v.Kind() != reflect.Slice && !b.unread(key):
			b.problems = append(b.problems, at.problem(b.file, key,
				"with lora.from the adapter decides: leave the key out, or say what the adapter has"))
		}
	}
}
