package adapterfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
)

// peftConfig is what matters here of adapter_config.json.
type peftConfig struct {
	Adapter
	targets []string  // target_modules where it is a list: names that modules must end with
	ranks   []pattern // rank_pattern and alpha_pattern in the order of the file
	alphas  []pattern
}

// refused are settings that change what an adapter computes, or that put more than LoRA's A and B into its files,
// with the reason why they are not read. Settings that only matter while training, or when it starts, are passed over.
// Source: PEFT, src/peft/tuners/lora/config.py, 0.3 to 0.20.
var refused = []struct{ key, reason string }{
	{"modules_to_save", "keeps whole modules that were trained beside the adapter. Gemma's head is its embedding, so a " +
		"trained copy of either no longer fits the other, and it makes an adapter of megabytes one of gigabytes: train " +
		"linear modules only, or all weights (method full)"},
	{"trainable_token_indices", "changes rows of the embedding, which in Gemma is the head too"},
	{"target_parameters", "adapts parameters of mixtures of experts, which these models do not have"},
	{"layer_replication", "repeats layers of the base: the adapter is for another model"},
	{"lora_bias", "adds a bias to linear modules, and Gemma's have none"},
	{"fan_in_fan_out", "is for weights stored the other way round (GPT-2's Conv1D), and Gemma has none"},
	{"use_qalora", "pools the adapter's input to fit a quantized base"},
	{"use_bdlora", "cuts A or B into blocks"},
	{"alora_invocation_tokens", "turns the adapter on in the middle of a text (aLoRA)"},
	{"arrow_config", "chooses between several adapters for each token (Arrow)"},
	{"monteclora_config", "draws the adapter's weights at random (MonteCLoRA)"},
	{"megatron_config", "is for Megatron's parallel layers, each of which holds a part of A and B"},
}

// changesBase are the values of init_lora_weights that take the first B·A out of the base's weights.
var changesBase = []string{"pissa", "olora", "corda", "lora_ga"}

// readPEFTConfig reads adapter_config.json of any version of PEFT: keys that are absent have PEFT's defaults, those
// that are unknown are passed over, as PEFT does. Only peft_type must be there.
func readPEFTConfig(path string) (*peftConfig, error) {
	fields, err := readObject(path)
	if err != nil {
		return nil, err
	}
	o := &object{path: path, fields: fields}
	c := &peftConfig{Adapter: Adapter{Rank: 8, Alpha: 8}}

	kind := "nothing"
	if o.get("peft_type", `"LORA"`, &kind); kind != "LORA" {
		o.bad("peft_type", "want LORA, got %q", kind)
	}
	o.get("base_model_name_or_path", "a text", &c.Base)
	o.get("revision", "a text", &c.Revision)
	o.whole("r", &c.Rank)
	o.get("lora_alpha", "a number", &c.Alpha)
	o.get("lora_dropout", "a number", &c.Dropout)
	o.get("use_rslora", "true or false", &c.UseRSLoRA)
	o.get("use_dora", "true or false", &c.UseDoRA)
	c.LayersToTransform = o.layers()
	c.checkNumbers(o)
	c.readPatterns(o)
	if list, one := o.strings("target_modules"); !one {
		c.targets = list
	}
	refuse(o)
	return c, errors.Join(o.problems...)
}

// layers reads layers_to_transform: a list of numbers, one number, or nothing.
func (o *object) layers() []int {
	const key = "layers_to_transform"
	raw, ok := o.fields[key]
	if !ok || isNull(raw) {
		return nil
	}
	var one int
	if json.Unmarshal(raw, &one) == nil {
		return []int{one}
	}
	var list []int
	o.get(key, "a list of whole numbers", &list)
	return list
}

func (c *peftConfig) checkNumbers(o *object) {
	if c.Rank < 1 || c.Rank > maxRank {
		o.bad("r", "must be from 1 to %d, got %d", maxRank, c.Rank)
	}
	if !finite(c.Alpha) {
		o.bad("lora_alpha", "must be a finite number, got %g", c.Alpha)
	}
	if !(c.Dropout >= 0 && c.Dropout < 1) {
		o.bad("lora_dropout", "must be from 0 to below 1, got %g", c.Dropout)
	}
}

func (c *peftConfig) readPatterns(o *object) {
	c.ranks, c.alphas = o.patterns("rank_pattern"), o.patterns("alpha_pattern")
	for _, p := range c.ranks {
		if p.value != math.Trunc(p.value) || p.value < 1 || p.value > maxRank {
			o.bad("rank_pattern", "%q: must be a whole number from 1 to %d, got %g", p.key, maxRank, p.value)
			continue
		}
		if c.RankPattern == nil {
			c.RankPattern = map[string]int{}
		}
		c.RankPattern[p.key] = int(p.value)
	}
	for _, p := range c.alphas {
		if !finite(p.value) {
			o.bad("alpha_pattern", "%q: must be a finite number, got %g", p.key, p.value)
			continue
		}
		if c.AlphaPattern == nil {
			c.AlphaPattern = map[string]float64{}
		}
		c.AlphaPattern[p.key] = p.value
	}
}

// refuse reports the settings that would silently give other numbers.
func refuse(o *object) {
	for _, r := range refused {
		if o.isSet(r.key) {
			o.bad(r.key, "not supported, has %s: it %s", short(o.fields[r.key]), r.reason)
		}
	}
	bias := "none"
	if o.get("bias", "a text", &bias); bias != "none" && bias != "" {
		o.bad("bias", "want none, got %q: Gemma's linear modules have no bias to train", bias)
	}
	var init string
	if json.Unmarshal(o.fields["init_lora_weights"], &init) != nil {
		return // true, false or absent
	}
	if slices.ContainsFunc(changesBase, func(name string) bool { return strings.HasPrefix(init, name) }) {
		o.bad("init_lora_weights", "not supported, has %q: it took the adapter's start out of the base's weights, so the "+
			"adapter is for that base only. PEFT's save_pretrained with path_initial_model_for_weight_conversion writes "+
			"one for the base as it was", init)
	}
}

// written is adapter_config.json as PEFT 0.17 writes it. PEFT drops keys that it does not know and fills those that
// are absent, so older and newer versions read it too.
type written struct {
	AlphaPattern          map[string]float64 `json:"alpha_pattern"`
	AutoMapping           any                `json:"auto_mapping"`
	BaseModelNameOrPath   string             `json:"base_model_name_or_path"`
	Bias                  string             `json:"bias"`
	CordaConfig           any                `json:"corda_config"`
	EvaConfig             any                `json:"eva_config"`
	ExcludeModules        any                `json:"exclude_modules"`
	FanInFanOut           bool               `json:"fan_in_fan_out"`
	InferenceMode         bool               `json:"inference_mode"`
	InitLoRAWeights       bool               `json:"init_lora_weights"`
	LayerReplication      any                `json:"layer_replication"`
	LayersPattern         any                `json:"layers_pattern"`
	LayersToTransform     []int              `json:"layers_to_transform"`
	LoftQConfig           struct{}           `json:"loftq_config"`
	LoRAAlpha             float64            `json:"lora_alpha"`
	LoRABias              bool               `json:"lora_bias"`
	LoRADropout           float64            `json:"lora_dropout"`
	MegatronConfig        any                `json:"megatron_config"`
	MegatronCore          string             `json:"megatron_core"`
	ModulesToSave         any                `json:"modules_to_save"`
	PEFTType              string             `json:"peft_type"`
	QALoRAGroupSize       int                `json:"qalora_group_size"`
	R                     int                `json:"r"`
	RankPattern           map[string]int     `json:"rank_pattern"`
	Revision              *string            `json:"revision"`
	TargetModules         any                `json:"target_modules"` // a list of names, or a regular expression
	TargetParameters      any                `json:"target_parameters"`
	TaskType              string             `json:"task_type"`
	TrainableTokenIndices any                `json:"trainable_token_indices"`
	UseDoRA               bool               `json:"use_dora"`
	UseQALoRA             bool               `json:"use_qalora"`
	UseRSLoRA             bool               `json:"use_rslora"`
}

// peftConfig returns the settings that make PEFT put exactly these modules, with these ranks and scales, on the base.
func (a *Adapter) peftConfig(o PEFTOptions) written {
	w := written{AlphaPattern: map[string]float64{}, RankPattern: map[string]int{}, BaseModelNameOrPath: a.Base,
		Bias: "none", InferenceMode: true, InitLoRAWeights: true, LoRAAlpha: a.Alpha, LoRADropout: a.Dropout,
		MegatronCore: "megatron.core", PEFTType: "LORA", QALoRAGroupSize: 16, R: a.Rank, TaskType: "CAUSAL_LM",
		UseDoRA: a.UseDoRA, UseRSLoRA: a.UseRSLoRA}
	if a.Revision != "" {
		w.Revision = &a.Revision
	}
	w.TargetModules, w.LayersToTransform = a.targets(o)
	a.writePatterns(&w, o)
	return w
}

// targets returns target_modules and layers_to_transform: short names where every adapted layer has the same modules,
// full names elsewhere. The multimodal class has projections of the same names in its image tower, so there it is a
// regular expression that matches the text model only; PEFT allows no layers_to_transform beside one.
func (a *Adapter) targets(o PEFTOptions) (targets any, layersToTransform []int) {
	modules, layers := a.modules(), a.layers()
	same := len(a.Modules) == len(modules)*len(layers)
	some := a.LayersToTransform != nil || layers[len(layers)-1]+1 != len(layers)
	switch {
	case !same:
		names := make([]string, len(a.Modules))
		for i, m := range a.Modules {
			names[i] = o.name(m.Name)
		}
		slices.Sort(names)
		return names, nil
	case o.Multimodal && some:
		numbers := strings.Trim(strings.ReplaceAll(fmt.Sprint(layers), " ", "|"), "[]")
		return fmt.Sprintf(`.*language_model.*\.layers\.(%s)\..*\.(%s)`, numbers, strings.Join(modules, "|")), nil
	case o.Multimodal:
		return fmt.Sprintf(`.*language_model.*\.(%s)`, strings.Join(modules, "|")), nil
	}
	slices.Sort(modules)
	if some {
		return modules, layers
	}
	return modules, nil
}

// writePatterns fills rank_pattern and alpha_pattern: the adapter's own where they say what its modules are in
// whatever order they are read, and one entry a module elsewhere.
func (a *Adapter) writePatterns(w *written, o PEFTOptions) {
	ranks, alphas := map[string]int{}, map[string]float64{}
	for _, m := range a.Modules {
		if m.Rank != a.Rank {
			ranks[o.name(m.Name)] = m.Rank
		}
		if m.Scale != Scale(a.Alpha, m.Rank, a.UseRSLoRA) {
			alphas[o.name(m.Name)] = alphaOf(m.Scale, m.Rank, a.UseRSLoRA)
		}
	}
	own := make(map[string]float64, len(a.RankPattern))
	for key, rank := range a.RankPattern {
		own[key] = float64(rank)
	}
	if a.says(own, float64(a.Rank), o, func(m Module) float64 { return float64(m.Rank) }) {
		ranks = a.RankPattern
	}
	alpha := func(m Module) float64 {
		if m.Scale == Scale(a.Alpha, m.Rank, a.UseRSLoRA) {
			return a.Alpha
		}
		return alphaOf(m.Scale, m.Rank, a.UseRSLoRA)
	}
	if a.says(a.AlphaPattern, a.Alpha, o, alpha) {
		alphas = a.AlphaPattern
	}
	if len(ranks) > 0 {
		w.RankPattern = ranks
	}
	if len(alphas) > 0 {
		w.AlphaPattern = alphas
	}
}

// says reports whether patterns give every module its value: all that match one must agree, since a map has no order.
func (a *Adapter) says(patterns map[string]float64, otherwise float64, o PEFTOptions, value func(Module) float64) bool {
	for _, m := range a.Modules {
		want, matched := value(m), false
		for key, v := range patterns {
			ok, err := MatchPattern(key, o.name(m.Name))
			if err != nil || ok && v != want {
				return false
			}
			matched = matched || ok
		}
		if !matched && want != otherwise {
			return false
		}
	}
	return true
}

// configPath is for messages.
func configPath(dir string) string { return filepath.Join(dir, configFile) }
