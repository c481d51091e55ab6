package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ErrUnsupported is what errors.Is finds when a folder holds a model that is not computed here.
var ErrUnsupported = errors.New("unsupported model")

// A Family is a generation of Gemma: models that share a forward pass.
type Family string

// The families that are computed.
const (
	Gemma1 Family = "gemma"
	Gemma2 Family = "gemma2"
	Gemma3 Family = "gemma3"
)

// architecture is what one value of model_type in config.json means.
type architecture struct {
	modelType string
	family    Family
	nested    bool // the language model's part stands in text_config
	// defaults are those of transformers' config class, which files leave out.
	defaults func() Config
	// finish sets what follows from several fields: the kinds of the layers and their rotary embeddings.
	finish func(c *Config, r *rawConfig) error
}

var architectures = []architecture{
	{"gemma", Gemma1, false, gemma1Defaults, finishGemma1},
	{"gemma2", Gemma2, false, gemma2Defaults, finishGemma2},
	{"gemma3_text", Gemma3, false, gemma3Defaults, finishGemma3},
	{"gemma3", Gemma3, true, gemma3Defaults, finishGemma3},
}

// Known returns the values of model_type in config.json that are computed.
func Known() []string {
	names := make([]string, len(architectures))
	for i, a := range architectures {
		names[i] = a.modelType
	}
	return names
}

func find(modelType string) (*architecture, error) {
	for i := range architectures {
		if architectures[i].modelType == modelType {
			return &architectures[i], nil
		}
	}
	return nil, fmt.Errorf("model_type: %w %q (known: %s)", ErrUnsupported, modelType, strings.Join(Known(), ", "))
}

// alternate returns the kinds of n layers of which every pattern-th attends to everything, counted so that the
// last of each group does.
func alternate(n int, pattern int64) ([]string, error) {
	if pattern < 1 {
		return nil, fmt.Errorf("sliding_window_pattern: must be at least 1, got %d", pattern)
	}
	kinds := make([]string, n)
	for i := range kinds {
		kinds[i] = SlidingAttention
		if int64(i+1)%pattern == 0 {
			kinds[i] = FullAttention
		}
	}
	return kinds, nil
}

// ropeEntries reads rope_parameters, with which transformers 5 writes what rope_theta and rope_scaling said before. A
// file with both would have to mean one of them: which, it does not say. {} says nothing.
func ropeEntries(r *rawConfig) (map[string]json.RawMessage, error) {
	if !present(r.RopeParameters) {
		return nil, nil
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(r.RopeParameters, &entries); err != nil {
		return nil, fmt.Errorf("rope_parameters: want an object: %w", err)
	}
	if len(entries) > 0 && r.RopeScaling != nil {
		return nil, errors.New("rope_scaling: stands beside rope_parameters, want one of the two")
	}
	return entries, nil
}

// oneRope gives every kind of layer the same rotary embedding, as Gemma 1 and 2 have it. transformers 5 writes it
// as rope_parameters, without kinds.
func oneRope(c *Config, r *rawConfig, theta float64) error {
	entries, err := ropeEntries(r)
	if err != nil {
		return err
	}
	field, p := "rope_scaling", r.RopeScaling
	if len(entries) > 0 {
		for _, kind := range []string{FullAttention, SlidingAttention} {
			if _, split := entries[kind]; split {
				return fmt.Errorf("rope_parameters.%s: %w of type %s: all its layers have one rotary embedding", kind, ErrUnsupported, c.ModelType)
			}
		}
		field, p = "rope_parameters", &ropeScaling{}
		if err := json.Unmarshal(r.RopeParameters, p); err != nil {
			return fmt.Errorf("rope_parameters: want rope_theta and rope_type: %w", err)
		}
	}
	rope, err := Rope{or(r.RopeTheta, theta), 1}.scaled(field, p)
	if err != nil {
		return err
	}
	c.Rope = map[string]Rope{}
	for _, kind := range c.LayerTypes {
		c.Rope[kind] = rope
	}
	return nil
}
