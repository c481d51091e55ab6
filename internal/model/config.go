package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ErrUnsupported is what errors.Is finds when a folder holds a model that this package does not compute.
var ErrUnsupported = errors.New("unsupported model")

// Known lists the values of model_type in config.json that Load takes.
var Known = []string{"gemma3_text", "gemma3"}

// The two kinds of attention layer, spelled as in layer_types.
const (
	SlidingAttention = "sliding_attention"
	FullAttention    = "full_attention"
)

// Config is what the forward pass needs of config.json, with the defaults of transformers' Gemma3TextConfig
// filled in where a file leaves a field out.
type Config struct {
	ModelType             string
	Architecture          string // the first of architectures
	HiddenSize            int64
	IntermediateSize      int64
	NumHiddenLayers       int
	NumAttentionHeads     int64
	NumKeyValueHeads      int64
	HeadDim               int64
	VocabSize             int64
	RMSNormEps            float64
	QueryPreAttnScalar    float64 // the scores are divided by its square root
	SlidingWindow         int64
	LayerTypes            []string // one a layer: sliding_attention or full_attention
	MaxPositionEmbeddings int64
	InitializerRange      float64
	Rope                  map[string]Rope // by layer type
	EOSTokenIDs           []int64

	raw []byte // the file, so that a saved model keeps the fields that we do not read
}

// Rope is the rotary embedding of one kind of layer.
type Rope struct {
	Theta  float64 // rope_theta, the base
	Factor float64 // linear scaling divides positions by it; 1 means none
}

// rawConfig mirrors config.json; nil is a field that the file leaves out.
type rawConfig struct {
	Architectures         []string         `json:"architectures"`
	ModelType             string           `json:"model_type"`
	TextConfig            *rawConfig       `json:"text_config"`
	HiddenSize            *int64           `json:"hidden_size"`
	IntermediateSize      *int64           `json:"intermediate_size"`
	NumHiddenLayers       *int64           `json:"num_hidden_layers"`
	NumAttentionHeads     *int64           `json:"num_attention_heads"`
	NumKeyValueHeads      *int64           `json:"num_key_value_heads"`
	HeadDim               *int64           `json:"head_dim"`
	VocabSize             *int64           `json:"vocab_size"`
	RMSNormEps            *float64         `json:"rms_norm_eps"`
	QueryPreAttnScalar    *float64         `json:"query_pre_attn_scalar"`
	SlidingWindow         *int64           `json:"sliding_window"`
	SlidingWindowPattern  *int64           `json:"sliding_window_pattern"`
	SlidingWindowPattern5 *int64           `json:"_sliding_window_pattern"` // transformers 5's spelling
	LayerTypes            []string         `json:"layer_types"`
	MaxPositionEmbeddings *int64           `json:"max_position_embeddings"`
	InitializerRange      *float64         `json:"initializer_range"`
	RopeTheta             *float64         `json:"rope_theta"`
	RopeLocalBaseFreq     *float64         `json:"rope_local_base_freq"`
	RopeScaling           *ropeScaling     `json:"rope_scaling"`
	RopeParameters        json.RawMessage  `json:"rope_parameters"` // transformers 5: one entry a layer type
	HiddenActivation      string           `json:"hidden_activation"`
	AttentionBias         bool             `json:"attention_bias"`
	AttnLogitSoftcapping  *float64         `json:"attn_logit_softcapping"`
	FinalLogitSoftcapping *float64         `json:"final_logit_softcapping"`
	Bidirectional         bool             `json:"use_bidirectional_attention"`
	TieWordEmbeddings     *bool            `json:"tie_word_embeddings"`
	EOSTokenID            *json.RawMessage `json:"eos_token_id"`
}

type ropeScaling struct {
	RopeType  string   `json:"rope_type"`
	Type      string   `json:"type"` // the older spelling
	Factor    *float64 `json:"factor"`
	RopeTheta *float64 `json:"rope_theta"`
}

// ReadConfig reads config.json in dir. Errors name the file and the field.
func ReadConfig(dir string) (*Config, error) {
	path := filepath.Join(dir, "config.json")
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("model folder %s: %w", dir, err)
	}
	c, err := parseConfig(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func parseConfig(b []byte) (*Config, error) {
	var outer rawConfig
	if err := json.Unmarshal(b, &outer); err != nil {
		return nil, err
	}
	r := outer
	switch outer.ModelType {
	case "gemma3_text":
	case "gemma3": // a multimodal checkpoint: the language model's part is nested, and omits class defaults
		if outer.TextConfig == nil {
			return nil, errors.New("text_config: missing, wanted in a model of type gemma3")
		}
		r = *outer.TextConfig
	default:
		return nil, fmt.Errorf("model_type: %w %q (known: %s)", ErrUnsupported, outer.ModelType, strings.Join(Known, ", "))
	}

	c := &Config{
		ModelType:             outer.ModelType,
		HiddenSize:            or(r.HiddenSize, 2304),
		IntermediateSize:      or(r.IntermediateSize, 9216),
		NumHiddenLayers:       int(or(r.NumHiddenLayers, 26)),
		NumAttentionHeads:     or(r.NumAttentionHeads, 8),
		NumKeyValueHeads:      or(r.NumKeyValueHeads, 4),
		HeadDim:               or(r.HeadDim, 256),
		VocabSize:             or(r.VocabSize, 262208),
		RMSNormEps:            or(r.RMSNormEps, 1e-6),
		QueryPreAttnScalar:    or(r.QueryPreAttnScalar, 256),
		SlidingWindow:         or(r.SlidingWindow, 4096),
		MaxPositionEmbeddings: or(r.MaxPositionEmbeddings, 131072),
		InitializerRange:      or(r.InitializerRange, 0.02),
		LayerTypes:            r.LayerTypes,
		raw:                   b,
	}
	if len(outer.Architectures) > 0 {
		c.Architecture = outer.Architectures[0]
	}
	for _, eos := range []*json.RawMessage{r.EOSTokenID, outer.EOSTokenID} {
		if eos == nil {
			continue
		}
		ids, err := oneOrMany(*eos)
		if err != nil {
			return nil, fmt.Errorf("eos_token_id: %w", err)
		}
		c.EOSTokenIDs = ids // the outer one, read last, wins: it lists the turn's end too
	}
	if c.LayerTypes == nil {
		pattern := or(r.SlidingWindowPattern, or(r.SlidingWindowPattern5, 6))
		if pattern < 1 {
			return nil, fmt.Errorf("sliding_window_pattern: must be at least 1, got %d", pattern)
		}
		for i := range c.NumHiddenLayers {
			kind := SlidingAttention
			if int64(i+1)%pattern == 0 {
				kind = FullAttention
			}
			c.LayerTypes = append(c.LayerTypes, kind)
		}
	}
	var err error
	if c.Rope, err = readRope(&r); err != nil {
		return nil, err
	}
	return c, c.check(&r, &outer)
}

// readRope takes the bases and the scaling in either spelling. Scaling is for global layers only: local ones
// never look further than their window.
func readRope(r *rawConfig) (map[string]Rope, error) {
	global := Rope{or(r.RopeTheta, 1e6), 1}
	local := Rope{or(r.RopeLocalBaseFreq, 1e4), 1}
	scaling := map[string]*ropeScaling{FullAttention: r.RopeScaling}
	if len(r.RopeParameters) > 0 && string(r.RopeParameters) != "null" {
		var byType map[string]*ropeScaling
		if err := json.Unmarshal(r.RopeParameters, &byType); err != nil {
			return nil, fmt.Errorf("rope_parameters: want one entry a layer type: %w", err)
		}
		scaling = byType
		if p := byType[SlidingAttention]; p != nil {
			local.Theta = or(p.RopeTheta, local.Theta)
		}
		if p := byType[FullAttention]; p != nil {
			global.Theta = or(p.RopeTheta, global.Theta)
		}
	}
	ropes := map[string]Rope{SlidingAttention: local, FullAttention: global}
	for kind, p := range scaling {
		rope, known := ropes[kind]
		if !known {
			return nil, fmt.Errorf("rope_parameters: unknown layer type %q", kind)
		}
		if p == nil {
			continue
		}
		name := p.RopeType
		if name == "" {
			name = p.Type
		}
		switch name {
		case "default", "":
		case "linear":
			rope.Factor = or(p.Factor, 1)
			ropes[kind] = rope
		default:
			return nil, fmt.Errorf("rope_scaling: %w: type %q (want linear or default)", ErrUnsupported, name)
		}
	}
	for kind, rope := range ropes {
		if !(rope.Theta > 0) || !(rope.Factor > 0) {
			return nil, fmt.Errorf("rope of %s layers: base %g and factor %g must be above 0", kind, rope.Theta, rope.Factor)
		}
	}
	return ropes, nil
}

// check refuses what the forward pass would compute wrongly.
func (c *Config) check(r, outer *rawConfig) error {
	for _, size := range []struct {
		name  string
		value int64
	}{
		{"hidden_size", c.HiddenSize}, {"intermediate_size", c.IntermediateSize}, {"num_hidden_layers", int64(c.NumHiddenLayers)},
		{"num_attention_heads", c.NumAttentionHeads}, {"num_key_value_heads", c.NumKeyValueHeads}, {"head_dim", c.HeadDim},
		{"vocab_size", c.VocabSize}, {"sliding_window", c.SlidingWindow}, {"max_position_embeddings", c.MaxPositionEmbeddings},
	} {
		if size.value < 1 || size.value > 1<<24 {
			return fmt.Errorf("%s: must be from 1 to %d, got %d", size.name, 1<<24, size.value)
		}
	}
	if c.NumHiddenLayers > 1000 {
		return fmt.Errorf("num_hidden_layers: must be at most 1000, got %d", c.NumHiddenLayers)
	}
	if c.NumAttentionHeads%c.NumKeyValueHeads != 0 {
		return fmt.Errorf("num_attention_heads: %d is no multiple of num_key_value_heads %d", c.NumAttentionHeads, c.NumKeyValueHeads)
	}
	if c.HeadDim%2 != 0 {
		return fmt.Errorf("head_dim: must be even for rotary positions, got %d", c.HeadDim)
	}
	if !(c.QueryPreAttnScalar > 0) || !(c.RMSNormEps > 0) {
		return fmt.Errorf("query_pre_attn_scalar %g and rms_norm_eps %g must be above 0", c.QueryPreAttnScalar, c.RMSNormEps)
	}
	if len(c.LayerTypes) != c.NumHiddenLayers {
		return fmt.Errorf("layer_types: has %d entries for %d layers", len(c.LayerTypes), c.NumHiddenLayers)
	}
	for i, kind := range c.LayerTypes {
		if _, known := c.Rope[kind]; !known {
			return fmt.Errorf("layer_types[%d]: unknown %q (want %s or %s)", i, kind, SlidingAttention, FullAttention)
		}
	}
	for _, refuse := range []struct {
		wrong bool
		what  string
	}{
		{r.AttentionBias, "attention_bias true"},
		{r.AttnLogitSoftcapping != nil, "attn_logit_softcapping"},
		{r.FinalLogitSoftcapping != nil, "final_logit_softcapping"},
		{r.Bidirectional, "use_bidirectional_attention true"},
		{r.TieWordEmbeddings != nil && !*r.TieWordEmbeddings, "tie_word_embeddings false"},
		{outer.TieWordEmbeddings != nil && !*outer.TieWordEmbeddings, "tie_word_embeddings false"},
		{r.HiddenActivation != "" && r.HiddenActivation != "gelu_pytorch_tanh", "hidden_activation " + r.HiddenActivation},
	} {
		if refuse.wrong {
			return fmt.Errorf("%s: %w of type %s", refuse.what, ErrUnsupported, c.ModelType)
		}
	}
	return nil
}

// Name returns the architecture, or the model type where config.json names none.
func (c *Config) Name() string {
	if c.Architecture != "" {
		return c.Architecture
	}
	return c.ModelType
}

// or returns what the file says, or the class default.
func or[T any](v *T, otherwise T) T {
	if v == nil {
		return otherwise
	}
	return *v
}

func oneOrMany(b json.RawMessage) ([]int64, error) {
	if string(b) == "null" {
		return nil, nil
	}
	var one int64
	if json.Unmarshal(b, &one) == nil {
		return []int64{one}, nil
	}
	var many []int64
	err := json.Unmarshal(b, &many)
	return many, err
}
