package model

import (
	"math"

	"tune/internal/checkpoint"
	"tune/internal/torch"
)

// Model is the text model of a Gemma checkpoint. What the families share is in this file; the forward pass of a
// layer is in one file a family.
type Model struct {
	Config      checkpoint.Config
	EmbedTokens torch.Tensor // (V, D), also the LM head
	Layers      []*Layer
	Norm        torch.Tensor // (D)

	DType  torch.DType  // of activations; weights are kept in it or as weightType says, in float32 when they are trained
	Device torch.Device // of weights and activations
	// Bucket is the multiple that lengths are filled up to; see the function.
	Bucket int64

	layer        layerFunc // the family's
	ropes        ropeTables
	chunkRows    int64 // target rows that the head takes at a time
	quantizeBits int   // of the linear modules' weights; 0 keeps them in DType
}

// Bucket returns the multiple that lengths are filled up to. On MPS each new shape compiles and keeps a kernel, so a
// growing set of shapes leaks memory. On the CPU oneDNN compiles a product of bfloat16 matrices for each shape, in a
// millisecond or two, and keeps it as well.
func Bucket(device torch.Device, dtype torch.DType) int64 {
	switch {
	case device == torch.MPS:
		return 64
	case device == torch.CPU && dtype == torch.BFloat16:
		return 16
	}
	return 1
}

// layerFunc runs decoder layer i of a family on x (N, D).
type layerFunc func(s *torch.Scope, m *Model, i int, x torch.Tensor, p *Pass) torch.Tensor

var layerFuncs = map[checkpoint.Family]layerFunc{
	checkpoint.Gemma1: gemma1Layer,
	checkpoint.Gemma2: gemma2Layer,
	checkpoint.Gemma3: gemma3Layer,
}

// Layer is one decoder layer, its fields named as in the weight files. Those that a family lacks are none.
type Layer struct {
	InputLayernorm           torch.Tensor // (D)
	SelfAttn                 SelfAttention
	PostAttentionLayernorm   torch.Tensor // (D)
	PreFeedforwardLayernorm  torch.Tensor // (D), from Gemma 2 on
	MLP                      MLP
	PostFeedforwardLayernorm torch.Tensor // (D), from Gemma 2 on

	kind string // its entry in layer_types
}

// SelfAttention holds grouped-query attention.
type SelfAttention struct {
	QProj, KProj, VProj, OProj Linear
	QNorm, KNorm               torch.Tensor // (E), Gemma 3 only
}

// MLP is the gated feed-forward network.
type MLP struct{ GateProj, UpProj, DownProj Linear }

// Linear is a projection: the model's own weight, or that with an adapter beside it.
type Linear interface {
	// Forward maps x (N, in) to (N, out) in x's dtype.
	Forward(s *torch.Scope, x torch.Tensor) torch.Tensor
}

// Joined is a Linear that can do its work together with others that read the same input, in fewer operators.
type Joined interface {
	Linear
	// ForwardJoined returns what Forward of each layer, of which it is one, would return for x.
	ForwardJoined(s *torch.Scope, x torch.Tensor, layers []Linear) []torch.Tensor
}

// forwardAll returns what each of several projections makes of the same x.
func forwardAll(s *torch.Scope, x torch.Tensor, layers ...Linear) []torch.Tensor {
	for _, l := range layers {
		if joined, ok := l.(Joined); ok {
			return joined.ForwardJoined(s, x, layers)
		}
	}
	out := make([]torch.Tensor, len(layers))
	for i, l := range layers {
		out[i] = l.Forward(s, x)
	}
	return out
}

// Dense is a linear layer without bias, as the base model has them.
type Dense struct {
	Name      string          // such as model.layers.0.self_attn.q_proj
	Weight    torch.Tensor    // (out, in); none when it is quantised
	Quantised torch.Quantised // (out, in), with model.quantize
}

// Forward returns x·Wᵀ. A trained weight is kept in float32 and rounded to x's dtype for the product.
func (d *Dense) Forward(s *torch.Scope, x torch.Tensor) torch.Tensor {
	if d.Quantised.Defined() {
		return s.QuantisedLinear(x, d.Quantised)
	}
	return linear(s, x, d.Weight)
}

// linear returns x·Wᵀ for a weight in any of the dtypes that weights are kept in.
func linear(s *torch.Scope, x, w torch.Tensor) torch.Tensor {
	if x.DType() == torch.Float32 && w.DType() == torch.BFloat16 {
		return s.FrozenLinear(x, w)
	}
	return s.Linear(x, s.Cast(w, x.DType()))
}

// Whole returns the weight in dtype, (out, in): a quantised one newly made.
func (d *Dense) Whole(s *torch.Scope, dtype torch.DType) torch.Tensor {
	if d.Quantised.Defined() {
		return s.Dequantise(d.Quantised, dtype)
	}
	return s.Cast(d.Weight, dtype)
}

// Hidden returns the output of the last layer, before the final norm: (N, D).
func (m *Model) Hidden(s *torch.Scope, p *Pass) torch.Tensor {
	x := m.Embed(s, p)
	for i := range m.Layers {
		x = m.Layer(s, i, x, p)
	}
	return x
}

// Embed returns the scaled embeddings of the batch's tokens: (N, D).
func (m *Model) Embed(s *torch.Scope, p *Pass) torch.Tensor {
	return s.Local(func(s *torch.Scope) torch.Tensor {
		x := s.Cast(s.Embedding(m.EmbedTokens, p.ids), m.DType)
		return s.Scale(x, m.embedScale())
	})
}

// embedScale is √D rounded to the dtype of the weights, as the reference's buffer is.
func (m *Model) embedScale() float64 {
	scale := float32(math.Sqrt(float64(m.Config.HiddenSize)))
	if m.DType == torch.BFloat16 {
		bits := math.Float32bits(scale)
		scale = math.Float32frombits((bits + 0x7fff + bits>>16&1) &^ 0xffff)
	}
	return float64(scale)
}

// Layer runs decoder layer i on x (N, D).
func (m *Model) Layer(s *torch.Scope, i int, x torch.Tensor, p *Pass) torch.Tensor {
	return s.Local(func(s *torch.Scope) torch.Tensor { return m.layer(s, m, i, x, p) })
}

// norm is the model's RMSNorm over the last dimension of x.
func (m *Model) norm(s *torch.Scope, x, w torch.Tensor) torch.Tensor {
	return s.RMSNorm(x, w, m.Config.RMSNormEps)
}

// addNorm returns residual + norm(x).
func (m *Model) addNorm(s *torch.Scope, residual, x, w torch.Tensor) torch.Tensor {
	return s.AddRMSNorm(residual, x, w, m.Config.RMSNormEps)
}

// attend is layer i's attention within each sequence of the batch, on x (N, D) behind its norm: (N, D). Where the family
// norms each head's queries and keys it does so before their rotation.
func (m *Model) attend(s *torch.Scope, i int, x torch.Tensor, p *Pass) torch.Tensor {
	c, l := &m.Config, m.Layers[i]
	a, n := &l.SelfAttn, x.Dim(0)
	projected := forwardAll(s, x, a.QProj, a.KProj, a.VProj)
	q := s.View(projected[0], n, c.NumAttentionHeads, c.HeadDim)
	k := s.View(projected[1], n, c.NumKeyValueHeads, c.HeadDim)
	v := s.View(projected[2], n, c.NumKeyValueHeads, c.HeadDim)

	turn := p.kinds[l.kind]
	if a.QNorm.Defined() {
		q = s.RMSNormRotate(q, a.QNorm, turn.cos, turn.sin, c.RMSNormEps)
		k = s.RMSNormRotate(k, a.KNorm, turn.cos, turn.sin, c.RMSNormEps)
	} else {
		q, k = s.Rotate(q, turn.cos, turn.sin), s.Rotate(k, turn.cos, turn.sin)
	}
	scale := 1 / math.Sqrt(c.QueryPreAttnScalar)
	if p.cache == nil {
		if o, ok := s.FlatAttention(q, k, v, p.starts, p.width, m.window(l.kind), scale, c.AttnLogitSoftcapping); ok {
			return a.OProj.Forward(s, o)
		}
	}
	q, k, v = p.lineUp(s, q), p.lineUp(s, k), p.lineUp(s, v) // (B, H or K, T, E)
	if p.cache != nil {
		k, v = p.cache.extend(s, i, k, v, p.real) // (1, K, S, E)
	}
	o := s.Attention(q, k, v, p.mask(s, m, l.kind), scale, c.AttnLogitSoftcapping)
	return a.OProj.Forward(s, p.flatten(s, o))
}

// Forward returns down(gelu(gate(x))·up(x)).
func (f *MLP) Forward(s *torch.Scope, x torch.Tensor) torch.Tensor {
	return s.Local(func(s *torch.Scope) torch.Tensor {
		gateUp := forwardAll(s, x, f.GateProj, f.UpProj)
		return f.DownProj.Forward(s, s.GatedGELU(gateUp[0], gateUp[1]))
	})
}

// Projection is one of a model's linear modules, by its full name; Linear points at the field, so that an
// adapter can put itself there.
type Projection struct {
	Name   string // model.layers.0.self_attn.q_proj
	Module string // q_proj
	Layer  int
	Linear *Linear
}

// Projections returns every linear module, layer by layer, in the order of the forward pass.
func (m *Model) Projections() []Projection {
	var all []Projection
	for i, l := range m.Layers {
		for _, module := range checkpoint.LinearModules() {
			all = append(all, Projection{checkpoint.LinearName(i, module), module, i, l.linear(module)})
		}
	}
	return all
}

// linear returns the field of a linear module.
func (l *Layer) linear(module string) *Linear {
	switch module {
	case "q_proj":
		return &l.SelfAttn.QProj
	case "k_proj":
		return &l.SelfAttn.KProj
	case "v_proj":
		return &l.SelfAttn.VProj
	case "o_proj":
		return &l.SelfAttn.OProj
	case "gate_proj":
		return &l.MLP.GateProj
	case "up_proj":
		return &l.MLP.UpProj
	}
	return &l.MLP.DownProj
}

// norms returns the fields of the layer's norms by the name of their module.
func (l *Layer) norms() map[string]*torch.Tensor {
	return map[string]*torch.Tensor{
		"input_layernorm": &l.InputLayernorm, "post_attention_layernorm": &l.PostAttentionLayernorm,
		"pre_feedforward_layernorm": &l.PreFeedforwardLayernorm, "post_feedforward_layernorm": &l.PostFeedforwardLayernorm,
		"q_norm": &l.SelfAttn.QNorm, "k_norm": &l.SelfAttn.KNorm,
	}
}

// Shape returns the (out, in) sizes of a linear module, which follow from the config.
func (m *Model) Shape(module string) (out, in int64) { return m.Config.LinearShape(module) }
