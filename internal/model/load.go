package model

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"unsafe"

	"tune/internal/checkpoint"
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
	// QuantizeBits is 8 or 4 to keep the weights of the linear modules quantised, with so many bits a number, frozen; 0
	// keeps them in DType.
	QuantizeBits int
}

// Parameter is one weight of a model and the field that it fills.
type Parameter struct {
	checkpoint.Weight
	Field *torch.Tensor // none in a linear module that is quantised

	linear *Dense // whose weight it is
}

// Load reads the model in dir: config.json and its safetensors files. The weights belong to s.
//
// Errors: checkpoint.ErrUnsupported for another architecture; a weight that is missing, extra, of the wrong shape or of a
// dtype that is no float is named, with its file.
func Load(s *torch.Scope, dir string, o Options) (*Model, error) {
	config, err := checkpoint.ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	m := &Model{Config: *config, DType: o.DType, Device: o.Device, Bucket: Bucket(o.Device, o.DType), layer: layerFuncs[config.Family], chunkRows: chunkRows(config.VocabSize, o.Device)}
	m.build()
	m.quantizeBits = o.QuantizeBits
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
func (m *Model) build() {
	for _, kind := range m.Config.LayerTypes {
		m.Layers = append(m.Layers, &Layer{kind: kind})
	}
	for _, p := range m.Projections() {
		*p.Linear = &Dense{Name: p.Name}
	}
}

// Parameters returns every weight of the base model, in the order of the forward pass. Once an adapter wraps
// a projection its base weight is found below the adapter, so call this before.
func (m *Model) Parameters() []Parameter {
	linears := map[string]*Dense{}
	fields := map[string]*torch.Tensor{checkpoint.EmbedTokens: &m.EmbedTokens, checkpoint.Norm: &m.Norm}
	for _, p := range m.Projections() {
		if dense, ok := (*p.Linear).(*Dense); ok {
			fields[p.Name+".weight"], linears[p.Name+".weight"] = &dense.Weight, dense
		}
	}
	for i, l := range m.Layers {
		for name, field := range l.norms() {
			fields[checkpoint.NormName(i, name)+".weight"] = field
		}
	}
	var all []Parameter
	for _, w := range m.Config.Weights() {
		if field, ok := fields[w.Name]; ok {
			all = append(all, Parameter{w, field, linears[w.Name]})
		}
	}
	return all
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
func (m *Model) read(s *torch.Scope, files *safetensors.Set, dir string) error {
	var problems []error
	stored := map[string]string{} // plain name → name in the file
	for _, name := range files.Names() {
		plain, ours := checkpoint.PlainName(name)
		if !ours && m.Config.Multimodal {
			continue
		}
		if !ours {
			plain = name // left over, as nothing asks for it
		}
		if first, twice := stored[plain]; twice {
			problems = append(problems, fmt.Errorf("%s: weight %s and %s of %s are both %s", files.File(name), name,
				first, files.File(first), plain))
			continue
		}
		stored[plain] = name
	}
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
		m.fill(s, p, data, from, safetensors.Release)
		if err := s.Err(); err != nil {
			return fmt.Errorf("%s: weight %s: %w", files.File(name), name, err)
		}
	}
	if name, ok := stored["lm_head.weight"]; ok && m.headIsTied(files, name) {
		delete(stored, "lm_head.weight") // some converters write the tied head out
	}
	for _, name := range slices.Sorted(maps.Values(stored)) {
		problems = append(problems, fmt.Errorf("%s: weight %s is not part of a %s with %d layers", files.File(name), name,
			m.Config.ModelType, m.Config.NumHiddenLayers))
	}
	if len(problems) > 10 {
		problems = append(problems[:10], fmt.Errorf("and %d more", len(problems)-10))
	}
	return errors.Join(problems...)
}

// fill gives a parameter its numbers, the bytes of elements of type from, and calls copied as [torch.Scope.Bytes] does.
func (m *Model) fill(s *torch.Scope, p Parameter, data []byte, from torch.DType, copied func(piece []byte)) {
	if p.linear != nil && m.quantizeBits != 0 {
		p.linear.Quantised = s.Quantise(data, from, p.Shape, m.quantizeBits, m.Device, copied)
		return
	}
	*p.Field = s.Bytes(data, from, p.Shape, m.weightType(p, from), m.Device, copied)
}

// weightType returns the dtype that a weight stored as from is kept in: that of the activations, or bfloat16 beside float32
// where the device multiplies the two and nothing is lost by it.
func (m *Model) weightType(p Parameter, from torch.DType) torch.DType {
	if m.DType == torch.Float32 && from == torch.BFloat16 && m.Device.KeepsBFloat16(p.Shape) {
		return torch.BFloat16
	}
	return m.DType
}

// headIsTied reports whether a written-out head holds the embedding's very bytes.
func (m *Model) headIsTied(files *safetensors.Set, head string) bool {
	a, _ := files.Bytes(head)
	for _, prefix := range []string{"model.", "language_model.model.", "model.language_model."} {
		b, ok := files.Bytes(prefix + "embed_tokens.weight")
		if !ok {
			continue
		}
		if len(a) != len(b) {
			return false
		}
		const piece = 16 << 20 // both are read once and not kept
		for at := 0; at < len(a); at += piece {
			end := min(at+piece, len(a))
			same := bytes.Equal(a[at:end], b[at:end])
			safetensors.Release(a[at:end])
			safetensors.Release(b[at:end])
			if !same {
				return false
			}
		}
		return true
	}
	return false
}

// randomise fills the weights as transformers initialises a Gemma. The numbers come from Go's generator,
// so they are the same on every platform and device.
func (m *Model) randomise(s *torch.Scope, seed int64) {
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
		m.fill(s, p, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), 4*len(values)), torch.Float32, nil)
	}
}

// Trainable moves every weight into one flat float32 buffer that an optimizer can update, for training them
// all. Activations stay in m.DType. A quantised model cannot be trained so.
func (m *Model) Trainable(s *torch.Scope) *torch.Flat {
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

// Save writes the text model to dir, which must exist: config.json with the new dtype, and model.safetensors. A quantised
// model is refused: what it lost would be saved as if it were the model's own.
func (m *Model) Save(s *torch.Scope, dir string, dtype torch.DType) error {
	if m.quantizeBits != 0 {
		return fmt.Errorf("model: its weights are quantised to int%d, and cannot be saved", m.quantizeBits)
	}
	stored := map[torch.DType]safetensors.DType{torch.BFloat16: safetensors.BF16, torch.Float32: safetensors.F32}[dtype]
	var tensors []safetensors.Tensor
	for _, p := range m.Parameters() {
		tensors = append(tensors, safetensors.Tensor{Name: p.Name, DType: stored, Shape: p.Shape, Data: func(w io.Writer) error {
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

	b, err := m.Config.TextJSON(dtype.String())
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), b, 0o644)
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
