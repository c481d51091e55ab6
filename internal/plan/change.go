package plan

import (
	"fmt"
	"slices"

	"tune/configs"
)

// changes go from what costs least to what costs most: time, then nothing but more steps in one, then precision, then
// what is learned.
var changes = []func(c *configs.Config) (set []string, ok bool){
	func(c *configs.Config) ([]string, bool) {
		was := c.Train.GradientCheckpointing
		c.Train.GradientCheckpointing = true
		return []string{"train.gradient_checkpointing: true"}, !was
	},
	func(c *configs.Config) ([]string, bool) {
		was := c.Train.BatchSize
		for to := was - 1; to >= 1; to-- { // the same rows a step, in more batches
			if was%to == 0 {
				c.Train.BatchSize, c.Train.GradientAccumulationSteps = to, c.Train.GradientAccumulationSteps*(was/to)
				return []string{fmt.Sprintf("train.batch_size: %d", to),
					fmt.Sprintf("train.gradient_accumulation_steps: %d", c.Train.GradientAccumulationSteps)}, true
			}
		}
		return nil, false
	},
	func(c *configs.Config) ([]string, bool) {
		was := c.Model.DType
		c.Model.DType = "bfloat16"
		return []string{"model.dtype: bfloat16"}, was != "bfloat16"
	},
	func(c *configs.Config) ([]string, bool) {
		if c.Method != "full" {
			return nil, false
		}
		c.Method = "lora"
		return []string{"method: lora"}, true
	},
	func(c *configs.Config) ([]string, bool) { // behind method: lora, which it needs
		if c.Model.QuantizeBits() != 0 || c.Method == "full" {
			return nil, false
		}
		c.Model.Quantize = "int8"
		return []string{"model.quantize: int8"}, true
	},
	func(c *configs.Config) ([]string, bool) {
		if c.Data.MaxLength <= 128 {
			return nil, false
		}
		c.Data.MaxLength /= 2
		return []string{fmt.Sprintf("data.max_length: %d", c.Data.MaxLength)}, true
	},
	func(c *configs.Config) ([]string, bool) {
		if c.Method == "full" || c.LoRA.From != "" || c.LoRA.Rank <= 4 {
			return nil, false
		}
		c.LoRA.Rank /= 2
		return []string{fmt.Sprintf("lora.rank: %d", c.LoRA.Rank)}, true
	},
}

// Cheapest returns the settings that make a run fit into limit bytes at the least cost: the first single change that
// does, tried in the order of their cost, or else the first few together. It is nil when all together do not: then only
// a smaller model fits. predict is asked for the memory of each configuration that is tried.
func Cheapest(c configs.Config, limit int64, predict func(*configs.Config) (int64, error)) ([]string, error) {
	try := func(changed configs.Config, sets []string) ([]string, error) {
		bytes, err := predict(&changed)
		if err != nil || bytes > limit {
			return nil, err
		}
		return sets, nil
	}
	together, all := clone(c), []string(nil)
	for _, change := range changes {
		alone, sets := clone(c), []string(nil)
		for { // a change such as a smaller batch may be made again
			set, ok := change(&alone)
			if !ok {
				break
			}
			sets = latest(sets, set)
			if fits, err := try(alone, sets); fits != nil || err != nil {
				return fits, err
			}
		}
	}
	for _, change := range changes {
		for {
			set, ok := change(&together)
			if !ok {
				break
			}
			all = latest(all, set)
			if fits, err := try(together, all); fits != nil || err != nil {
				return fits, err
			}
		}
	}
	return nil, nil
}

// latest puts settings over those of the same keys.
func latest(sets, newer []string) []string {
	key := func(set string) string {
		for i := range set {
			if set[i] == ':' {
				return set[:i]
			}
		}
		return set
	}
	sets = slices.DeleteFunc(slices.Clone(sets), func(old string) bool {
		return slices.ContainsFunc(newer, func(set string) bool { return key(set) == key(old) })
	})
	return append(sets, newer...)
}

// clone copies what the changes touch.
func clone(c configs.Config) configs.Config {
	c.LoRA.TargetModules = slices.Clone(c.LoRA.TargetModules)
	return c
}
