package checkpoint

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// The two kinds of attention layer, spelled as in layer_types.
const (
	SlidingAttention = "sliding_attention"
	FullAttention    = "full_attention"
)

// Config is what the forward pass needs of config.json, with the defaults of transformers' config classes filled
// in where a file leaves a field out.
type Config struct {
	Family                Family
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
	QueryPreAttnScalar    float64  // the scores are divided by its square root
	AttnLogitSoftcapping  float64  // scores become cap·tanh(score/cap) before the mask; 0 means no cap
	FinalLogitSoftcapping float64  // the same for logits
	SlidingWindow         int64    // tokens that a sliding_attention layer sees, its own included; 0 where none slides
	LayerTypes            []string // one a layer: sliding_attention or full_attention
	MaxPositionEmbeddings int64
	InitializerRange      float64
	Rope                  map[string]Rope // by layer type
	EOSTokenIDs           []int64
	TorchDType            string // of the stored weights, such as bfloat16; "" where the file does not say
	Multimodal            bool   // the text model of a checkpoint that also has an image tower

	Raw []byte // the file, so that a saved model keeps the fields that are not read
}

// Rope is the rotary embedding of one kind of layer.
type Rope struct {
	Theta  float64 // rope_theta, the base
	Factor float64 // linear scaling divides positions by it; 1 means none
}

// scaled applies what a field says: rope_scaling, or an entry of rope_parameters.
func (r Rope) scaled(field string, p *ropeScaling) (Rope, error) {
	if p != nil {
		r.Theta = or(p.RopeTheta, r.Theta)
		switch name := cmp.Or(p.RopeType, p.Type); {
		case name == "" && p.Factor != nil:
			return r, fmt.Errorf("%s.rope_type: missing, wanted beside factor %g (linear or default)", field, *p.Factor)
		case name == "default", name == "":
		case name == "linear" && p.Factor == nil:
			return r, fmt.Errorf("%s.factor: missing, wanted in a scaling of type linear", field)
		case name == "linear":
			r.Factor = *p.Factor
		default:
			return r, fmt.Errorf("%s: %w: type %q (want linear or default)", field, ErrUnsupported, name)
		}
	}
	if !(r.Theta > 0) || !(r.Factor > 0) {
		return r, fmt.Errorf("%s: base %g and factor %g must be above 0", field, r.Theta, r.Factor)
	}
	return r, nil
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
	HiddenAct             string           `json:"hidden_act"`
	HiddenActivation      string           `json:"hidden_activation"`
	AttentionBias         bool             `json:"attention_bias"`
	AttnLogitSoftcapping  json.RawMessage  `json:"attn_logit_softcapping"` // null turns the class default off
	FinalLogitSoftcapping json.RawMessage  `json:"final_logit_softcapping"`
	Bidirectional         bool             `json:"use_bidirectional_attention"`
	TieWordEmbeddings     *bool            `json:"tie_word_embeddings"`
	EOSTokenID            *json.RawMessage `json:"eos_token_id"`
	TorchDType            string           `json:"torch_dtype"`
	DType                 string           `json:"dtype"` // transformers 5's spelling
}

type ropeScaling struct {
	RopeType  string   `json:"rope_type"`
	Type      string   `json:"type"` // the older spelling
	Factor    *float64 `json:"factor"`
	RopeTheta *float64 `json:"rope_theta"`
}

const geluTanh = "gelu_pytorch_tanh"

// ReadConfig reads config.json in dir. Errors name the file and the field.
func ReadConfig(dir string) (*Config, error) {
	path := filepath.Join(dir, "config.json")
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("model folder %s: %w", dir, err)
	}
	c, err := ParseConfig(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// ParseConfig reads the text of a config.json. Errors name the field.
func ParseConfig(b []byte) (*Config, error) {
	var outer rawConfig
	if err := json.Unmarshal(b, &outer); err != nil {
		return nil, err
	}
	a, err := find(outer.ModelType)
	if err != nil {
		return nil, err
	}
	r := &outer
	if a.nested {
		if outer.TextConfig == nil {
			return nil, fmt.Errorf("text_config: missing, wanted in a model of type %s", outer.ModelType)
		}
		r = outer.TextConfig
	}
	c := a.defaults()
	c.Family, c.ModelType, c.Multimodal, c.Raw = a.family, outer.ModelType, a.nested, b
	if err := c.fill(r, &outer); err != nil {
		return nil, err
	}
	if err := c.checkSizes(); err != nil {
		return nil, err
	}
	if err := a.finish(&c, r); err != nil {
		return nil, err
	}
	return &c, c.check(r, &outer)
}

// fill takes what the file says over the defaults.
func (c *Config) fill(r, outer *rawConfig) (err error) {
	for _, f := range []struct {
		to   *int64
		from *int64
	}{
		{&c.HiddenSize, r.HiddenSize}, {&c.IntermediateSize, r.IntermediateSize},
		{&c.NumAttentionHeads, r.NumAttentionHeads}, {&c.NumKeyValueHeads, r.NumKeyValueHeads}, {&c.HeadDim, r.HeadDim},
		{&c.VocabSize, r.VocabSize}, {&c.MaxPositionEmbeddings, r.MaxPositionEmbeddings},
	} {
		*f.to = or(f.from, *f.to)
	}
	if c.SlidingWindow > 0 { // only where the family has one
		c.SlidingWindow = or(r.SlidingWindow, c.SlidingWindow)
	}
	layers := or(r.NumHiddenLayers, int64(c.NumHiddenLayers))
	if layers < 1 || layers > 1000 {
		return fmt.Errorf("num_hidden_layers: must be from 1 to 1000, got %d", layers)
	}
	c.NumHiddenLayers = int(layers)
	c.RMSNormEps = or(r.RMSNormEps, c.RMSNormEps)
	c.QueryPreAttnScalar = or(r.QueryPreAttnScalar, c.QueryPreAttnScalar)
	c.InitializerRange = or(r.InitializerRange, c.InitializerRange)
	c.LayerTypes = r.LayerTypes
	c.TorchDType = cmp.Or(outer.TorchDType, outer.DType, r.TorchDType, r.DType)
	if len(outer.Architectures) > 0 {
		c.Architecture = outer.Architectures[0]
	}
	if c.Family != Gemma1 { // its class has no caps
		if c.AttnLogitSoftcapping, err = cap("attn_logit_softcapping", r.AttnLogitSoftcapping, c.AttnLogitSoftcapping); err != nil {
			return err
		}
		if c.FinalLogitSoftcapping, err = cap("final_logit_softcapping", r.FinalLogitSoftcapping, c.FinalLogitSoftcapping); err != nil {
			return err
		}
	}
	for _, eos := range []*json.RawMessage{r.EOSTokenID, outer.EOSTokenID} {
		if eos == nil {
			continue
		}
		if c.EOSTokenIDs, err = oneOrMany(*eos); err != nil { // the outer one, read last, wins: it lists the turn's end too
			return fmt.Errorf("eos_token_id: %w", err)
		}
	}
	return nil
}

// cap reads a soft cap: absent leaves the class default, null means none.
func cap(field string, b json.RawMessage, otherwise float64) (float64, error) {
	if len(b) == 0 {
		return otherwise, nil
	}
	var v *float64
	if err := json.Unmarshal(b, &v); err != nil {
		return 0, fmt.Errorf("%s: %w", field, err)
	}
	if v == nil {
		return 0, nil
	}
	if !(*v > 0) {
		return 0, fmt.Errorf("%s: must be above 0 or null, got %g", field, *v)
	}
	return *v, nil
}

func present(b json.RawMessage) bool { return len(b) > 0 && string(b) != "null" }

// checkSizes refuses sizes that no model has.
func (c *Config) checkSizes() error {
	for _, size := range []struct {
		name  string
		value int64
	}{
		{"hidden_size", c.HiddenSize}, {"intermediate_size", c.IntermediateSize},
		{"num_attention_heads", c.NumAttentionHeads}, {"num_key_value_heads", c.NumKeyValueHeads}, {"head_dim", c.HeadDim},
		{"vocab_size", c.VocabSize}, {"max_position_embeddings", c.MaxPositionEmbeddings},
	} {
		if size.value < 1 || size.value > 1<<24 {
			return fmt.Errorf("%s: must be from 1 to %d, got %d", size.name, 1<<24, size.value)
		}
	}
	if c.Family != Gemma1 && (c.SlidingWindow < 1 || c.SlidingWindow > 1<<24) {
		return fmt.Errorf("sliding_window: must be from 1 to %d, got %d", 1<<24, c.SlidingWindow)
	}
	if c.NumAttentionHeads%c.NumKeyValueHeads != 0 {
		return fmt.Errorf("num_attention_heads: %d is no multiple of num_key_value_heads %d", c.NumAttentionHeads, c.NumKeyValueHeads)
	}
	if heads := c.NumAttentionHeads * c.HeadDim; heads > 1<<24 { // a side of q_proj; with hidden_size it would overflow
		return fmt.Errorf("num_attention_heads: %d of head_dim %d are %d numbers together, at most %d are read",
			c.NumAttentionHeads, c.HeadDim, heads, 1<<24)
	}
	if c.HeadDim%2 != 0 {
		return fmt.Errorf("head_dim: must be even for rotary positions, got %d", c.HeadDim)
	}
	return nil
}

// check refuses what the forward pass would compute wrongly.
func (c *Config) check(r, outer *rawConfig) error {
	if !(c.QueryPreAttnScalar > 0) || !(c.RMSNormEps > 0) {
		return fmt.Errorf("query_pre_attn_scalar %g and rms_norm_eps %g must be above 0", c.QueryPreAttnScalar, c.RMSNormEps)
	}
	if len(c.LayerTypes) != c.NumHiddenLayers {
		return fmt.Errorf("layer_types: has %d entries for %d layers", len(c.LayerTypes), c.NumHiddenLayers)
	}
	for i, kind := range c.LayerTypes {
		if kind != SlidingAttention && kind != FullAttention {
			return fmt.Errorf("layer_types[%d]: unknown %q (want %s or %s)", i, kind, SlidingAttention, FullAttention)
		}
	}
	for _, refuse := range []struct {
		wrong bool
		what  string
	}{
		{r.AttentionBias, "attention_bias true"},
		{r.Bidirectional, "use_bidirectional_attention true"},
		{r.TieWordEmbeddings != nil && !*r.TieWordEmbeddings, "tie_word_embeddings false"},
		{outer.TieWordEmbeddings != nil && !*outer.TieWordEmbeddings, "tie_word_embeddings false"},
		{r.HiddenActivation != "" && r.HiddenActivation != geluTanh, "hidden_activation " + r.HiddenActivation},
		// The first files of Gemma 1 say gelu and mean its tanh form.
		{r.HiddenActivation == "" && r.HiddenAct != "" && r.HiddenAct != geluTanh && r.HiddenAct != "gelu", "hidden_act " + r.HiddenAct},
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
