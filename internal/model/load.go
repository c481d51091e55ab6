package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"tune/internal/safetensors"
	"tune/internal/torch"
)

// Options says how to load a model.
type Options struct {
	DType  torch.DType
	Device torch.Device
	// Random starts from N(0, initializer_range) and norms of zero instead of reading weights; Seed fixes it.
	Random bool
	Seed   int64
}

// Parameter is one weight of a model: its name in the file, its shape by the config, and the field it fills.
type Parameter struct {
	Name  string
	Shape []int64
	Field *torch.Tensor
}

// Load reads the model in dir: config.json and its safetensors files. The weights belong to s.
//
// Errors: ErrUnsupported for another architecture; a weight that is missing, extra, of the wrong shape or of a
// dtype that is no float is named, with its file.
func Load(s *torch.Scope, dir string, o Options) (*Gemma3, error) {
	config, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	m := &Gemma3{Config: *config, DType: o.DType, Device: o.Device, Bucket: 1, chunkRows: max(1, chunkBytes/4/config.VocabSize)}
	if o.Device == torch.MPS {
		m.Bucket = 64
	}
	m.build()
	if o.Random {
		m.randomise(s, o.Seed)
		return m, s.Err()
	}

	files, err := safetensors.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	defer files.Close()
	if err := m.read(s, files, dir); err != nil {
		return nil, err
	}
	return m, s.Err()
}

// build makes the layers, without their weights.
func (m *Gemma3) build() {
	for _, kind := range m.Config.LayerTypes {
		m.Layers = append(m.Layers, &Layer{kind: kind})
	}
	for _, p := range m.Projections() {
		*p.Linear = &Dense{Name: p.Name}
	}
}

// Parameters returns every weight of the base model, in the order of the forward pass. Once an adapter wraps
// a projection its base weight is found below the adapter, so call this before.
func (m *Gemma3) Parameters() []Parameter {
	c := &m.Config
	all := []Parameter{{"model.embed_tokens.weight", []int64{c.VocabSize, c.HiddenSize}, &m.EmbedTokens}}
	projections := m.Projections()
	for i, l := range m.Layers {
		prefix, d := layerName(i), []int64{c.HiddenSize}
		all = append(all, Parameter{prefix + "input_layernorm.weight", d, &l.InputLayernorm})
		for _, p := range projections[7*i : 7*i+7] {
			if dense, ok := (*p.Linear).(*Dense); ok {
				out, in := m.Shape(p.Module)
				all = append(all, Parameter{p.Name + ".weight", []int64{out, in}, &dense.Weight})
			}
		}
		all = append(all,
			Parameter{prefix + "self_attn.q_norm.weight", []int64{c.HeadDim}, &l.SelfAttn.QNorm},
			Parameter{prefix + "self_attn.k_norm.weight", []int64{c.HeadDim}, &l.SelfAttn.KNorm},
			Parameter{prefix + "post_attention_layernorm.weight", d, &l.PostAttentionLayernorm},
			Parameter{prefix + "pre_feedforward_layernorm.weight", d, &l.PreFeedforwardLayernorm},
			Parameter{prefix + "post_feedforward_layernorm.weight", d, &l.PostFeedforwardLayernorm})
	}
	return append(all, Parameter{"model.norm.weight", []int64{c.HiddenSize}, &m.Norm})
}

func layerName(i int) string { return fmt.Sprintf("model.layers.%d.", i) }

// PlainName returns the text model's name of a weight, and false for a weight of another part of a multimodal
// checkpoint. Files from the Hub say language_model.model., those that transformers 4.52 and later saved
// model.language_model..
func PlainName(name string) (string, bool) {
	for _, p := range []struct{ from, to string }{
		{"language_model.model.", "model."},
		{"model.language_model.", "model."},
		{"language_model.lm_head.", "lm_head."},
	} {
		if rest, ok := strings.CutPrefix(name, p.from); ok {
			return p.to + rest, true
		}
	}
	for _, other := range []string{"vision_tower.", "model.vision_tower.", "multi_modal_projector.", "model.multi_modal_projector."} {
		if strings.HasPrefix(name, other) {
			return "", false
		}
	}
	return name, true
}

// FloatType returns the torch dtype of a stored float tensor, and false for a dtype that weights cannot have.
func FloatType(dtype safetensors.DType) (torch.DType, bool) {
	switch dtype {
	case safetensors.BF16:
		return torch.BFloat16, true
	case safetensors.F32:
		return torch.Float32, true
	case safetensors.F16:
		return torch.Float16, true
	}
	return 0, false
}

// read fills the fields from the files and reports every weight that does not fit.
func (m *Gemma3) read(s *torch.Scope, files *safetensors.Set, dir string) error {
	stored := map[string]string{} // plain name → name in the file
	for _, name := range files.Names() {
		plain, ours := PlainName(name)
		if !ours && m.Config.ModelType == "gemma3" {
			continue
		}
		if plain == "" {
			plain = name
		}
		stored[plain] = name
	}

	var problems []error
	for _, p := range m.Parameters() {
		name, ok := stored[p.Name]
		if !ok {
			problems = append(problems, fmt.Errorf("%s: weight %s is missing", dir, p.Name))
			continue
		}
		delete(stored, p.Name)
		info, _ := files.Info(name)
		if !equal(info.Shape, p.Shape) {
			problems = append(problems, fmt.Errorf("%s: weight %s has shape %v, config.json says %v", files.File(name), name, info.Shape, p.Shape))
			continue
		}
		from, ok := FloatType(info.DType)
		if !ok {
			problems = append(problems, fmt.Errorf("%s: weight %s has dtype %s (want BF16, F32 or F16)", files.File(name), name, info.DType))
			continue
		}
		data, _ := files.Bytes(name)
		*p.Field = s.Bytes(data, from, p.Shape, m.DType, m.Device)
	}
	if name, ok := stored["lm_head.weight"]; ok && m.headIsTied(files, name) {
		delete(stored, "lm_head.weight") // some converters write the tied head out
	}
	for _, name := range files.Names() {
		if plain, _ := PlainName(name); stored[plain] == name {
			problems = append(problems, fmt.Errorf("%s: weight %s is not part of a %s with %d layers", files.File(name), name,
				m.Config.ModelType, m.Config.NumHiddenLayers))
		}
	}
	if len(problems) > 10 {
		problems = append(problems[:10], fmt.Errorf("and %d more", len(problems)-10))
	}
	return errors.Join(problems...)
}

// headIsTied reports whether a written-out head holds the embedding's very bytes.
func (m *Gemma3) headIsTied(files *safetensors.Set, head string) bool {
	a, _ := files.Bytes(head)
	for _, prefix := range []string{"model.", "language_model.model.", "model.language_model."} {
		if b, ok := files.Bytes(prefix + "embed_tokens.weight"); ok {
			return bytes.Equal(a, b)
		}
	}
	return false
}

// randomise fills the weights as transformers initialises a Gemma 3. The numbers come from Go's generator,
// so they are the same on every platform and device.
func (m *Gemma3) randomise(s *torch.Scope, seed int64) {
	r := rand.New(rand.NewPCG(uint64(seed), 0x67656d6d61)) // a stream of its own beside data order and adapters
	for _, p := range m.Parameters() {
		if len(p.Shape) == 1 { // norms multiply by 1+w
			*p.Field = s.Zeros(m.DType, m.Device, p.Shape...)
			continue
		}
		values := make([]float32, p.Shape[0]*p.Shape[1])
		for i := range values {
			values[i] = float32(r.NormFloat64() * m.Config.InitializerRange)
		}
		*p.Field = s.To(s.Float32s(values, p.Shape...), m.DType, m.Device)
	}
}

// Trainable moves every weight into one flat float32 buffer that an optimizer can update, for training them
// all. Activations stay in m.DType.
func (m *Gemma3) Trainable(s *torch.Scope) *torch.Flat {
	parameters := m.Parameters()
	shapes := make([][]int64, len(parameters))
	for i, p := range parameters {
		shapes[i] = p.Shape
	}
	flat := s.NewFlat(m.Device, shapes)
	if s.Err() != nil {
		return flat
	}
	for i, p := range parameters {
		s.Copy(flat.Leaves[i], *p.Field)
		s.Drop(*p.Field) // the buffer's pages fill as these empty: memory holds one model, not two
		*p.Field = flat.Leaves[i]
	}
	return flat
}

// Save writes the model to dir, which must exist: config.json with the new dtype, and model.safetensors.
func (m *Gemma3) Save(s *torch.Scope, dir string, dtype torch.DType) error {
	spelling := map[torch.DType]struct {
		file safetensors.DType
		json string
	}{torch.BFloat16: {safetensors.BF16, "bfloat16"}, torch.Float32: {safetensors.F32, "float32"}}[dtype]
	var tensors []safetensors.Tensor
	for _, p := range m.Parameters() {
		tensors = append(tensors, safetensors.Tensor{Name: p.Name, DType: spelling.file, Shape: p.Shape, Data: func(w io.Writer) error {
			return s.Nest(func(s *torch.Scope) error {
				b := s.ReadBytes(s.Cast(*p.Field, dtype))
				if err := s.Err(); err != nil {
					return err
				}
				_, err := w.Write(b)
				return err
			})
		}})
	}
	if err := safetensors.Write(filepath.Join(dir, "model.safetensors"), tensors, map[string]string{"format": "pt"}); err != nil {
		return err
	}

	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(m.Config.raw))
	decoder.UseNumber() // a float64 in between would respell 1000000.0
	if err := decoder.Decode(&fields); err != nil {
		return err
	}
	delete(fields, "dtype")
	fields["torch_dtype"] = spelling.json
	b, err := json.MarshalIndent(fields, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), append(b, '\n'), 0o644)
}

func equal(a, b []int64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// Count returns the number of weights, of which the head's are the embedding's.
func (m *Gemma3) Count() int64 {
	var n int64
	for _, p := range m.Parameters() {
		size := int64(1)
		for _, d := range p.Shape {
			size *= d
		}
		n += size
	}
	return n
}
