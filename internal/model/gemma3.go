package model

import (
	"math"

	"tune/internal/torch"
)

// Gemma3 is the text model of Gemma 3.
// Source: Gemma 3 Technical Report, arXiv:2503.19786; transformers, models/gemma3/modular_gemma3.py.
type Gemma3 struct {
	Config      Config
	EmbedTokens torch.Tensor // (V, D), also the LM head
	Layers      []*Layer
	Norm        torch.Tensor // (D)

	DType  torch.DType  // of activations; weights are kept in it, or in float32 when they are trained
	Device torch.Device // of weights and activations
	// Bucket is the multiple that lengths are filled up to. On MPS each new shape compiles and keeps a kernel,
	// so a growing set of shapes leaks memory; elsewhere it is 1.
	Bucket int64

	ropes     ropeTables
	chunkRows int64 // target rows whose logits exist at a time
}

// Layer is one decoder layer, its fields named as in the weight files.
type Layer struct {
	InputLayernorm           torch.Tensor // (D)
	SelfAttn                 SelfAttention
	PostAttentionLayernorm   torch.Tensor // (D)
	PreFeedforwardLayernorm  torch.Tensor // (D)
	MLP                      MLP
	PostFeedforwardLayernorm torch.Tensor // (D)

	kind string // its entry in layer_types
}

// SelfAttention holds grouped-query attention with norms on queries and keys.
type SelfAttention struct {
	QProj, KProj, VProj, OProj Linear
	QNorm, KNorm               torch.Tensor // (E)
}

// MLP is the gated feed-forward network.
type MLP struct{ GateProj, UpProj, DownProj Linear }

// Linear is a projection: the model's own weight, or that with an adapter beside it.
type Linear interface {
	// Forward maps x (N, in) to (N, out) in x's dtype.
	Forward(s *torch.Scope, x torch.Tensor) torch.Tensor
}

// Dense is a linear layer without bias, as the base model has them.
type Dense struct {
	Name   string       // such as model.layers.0.self_attn.q_proj
	Weight torch.Tensor // (out, in)
}

// Forward returns x·Wᵀ. A trained weight is kept in float32 and rounded to x's dtype for the product.
func (d *Dense) Forward(s *torch.Scope, x torch.Tensor) torch.Tensor {
	return s.Linear(x, s.Cast(d.Weight, x.DType()))
}

// Hidden returns the output of the last layer, before the final norm: (N, D).
func (m *Gemma3) Hidden(s *torch.Scope, p *Pass) torch.Tensor {
	x := m.Embed(s, p)
	for i := range m.Layers {
		x = m.Layer(s, i, x, p)
	}
	return x
}

// Embed returns the scaled embeddings of the batch's tokens: (N, D).
func (m *Gemma3) Embed(s *torch.Scope, p *Pass) torch.Tensor {
	return s.Local(func(s *torch.Scope) torch.Tensor {
		x := s.Cast(s.Embedding(m.EmbedTokens, p.ids), m.DType)
		return s.Scale(x, m.embedScale())
	})
}

// embedScale is √D rounded to the dtype of the weights, as the reference's buffer is.
func (m *Gemma3) embedScale() float64 {
	scale := float32(math.Sqrt(float64(m.Config.HiddenSize)))
	if m.DType == torch.BFloat16 {
		bits := math.Float32bits(scale)
		scale = math.Float32frombits((bits + 0x7fff + bits>>16&1) &^ 0xffff)
	}
	return float64(scale)
}

// Layer runs decoder layer i on x (N, D).
func (m *Gemma3) Layer(s *torch.Scope, i int, x torch.Tensor, p *Pass) torch.Tensor {
	l, eps := m.Layers[i], m.Config.RMSNormEps
	return s.Local(func(s *torch.Scope) torch.Tensor {
		h := m.attend(s, i, s.RMSNorm(x, l.InputLayernorm, eps), p)
		x := s.Add(x, s.RMSNorm(h, l.PostAttentionLayernorm, eps))

		h = l.MLP.Forward(s, s.RMSNorm(x, l.PreFeedforwardLayernorm, eps))
		return s.Add(x, s.RMSNorm(h, l.PostFeedforwardLayernorm, eps))
	})
}

// attend is layer i's self-attention of x (N, D), within each sequence of the batch.
func (m *Gemma3) attend(s *torch.Scope, i int, x torch.Tensor, p *Pass) torch.Tensor {
	c, l := &m.Config, m.Layers[i]
	a, turn := &l.SelfAttn, p.kinds[l.kind]
	return s.Local(func(s *torch.Scope) torch.Tensor {
		n := x.Dim(0)
		q := s.View(a.QProj.Forward(s, x), n, c.NumAttentionHeads, c.HeadDim) // (N, H, E)
		k := s.View(a.KProj.Forward(s, x), n, c.NumKeyValueHeads, c.HeadDim)  // (N, K, E)
		v := s.View(a.VProj.Forward(s, x), n, c.NumKeyValueHeads, c.HeadDim)

		q = s.Rotate(s.RMSNorm(q, a.QNorm, c.RMSNormEps), turn.cos, turn.sin)
		k = s.Rotate(s.RMSNorm(k, a.KNorm, c.RMSNormEps), turn.cos, turn.sin)

		q, k, v = p.lineUp(s, q), p.lineUp(s, k), p.lineUp(s, v) // (B, H or K, T, E)
		if p.cache != nil {
			k, v = p.cache.append(s, i, k, v) // (1, K, S, E)
		}
		o := s.Attention(q, k, v, turn.mask, 1/math.Sqrt(c.QueryPreAttnScalar))
		return a.OProj.Forward(s, p.flatten(s, o)) // (N, D)
	})
}

// Forward returns down(gelu(gate(x))·up(x)).
func (f *MLP) Forward(s *torch.Scope, x torch.Tensor) torch.Tensor {
	return s.Local(func(s *torch.Scope) torch.Tensor {
		return f.DownProj.Forward(s, s.Mul(s.GELU(f.GateProj.Forward(s, x)), f.UpProj.Forward(s, x)))
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
func (m *Gemma3) Projections() []Projection {
	var all []Projection
	for i, l := range m.Layers {
		for _, p := range []struct {
			part, module string
			linear       *Linear
		}{
			{"self_attn", "q_proj", &l.SelfAttn.QProj}, {"self_attn", "k_proj", &l.SelfAttn.KProj},
			{"self_attn", "v_proj", &l.SelfAttn.VProj}, {"self_attn", "o_proj", &l.SelfAttn.OProj},
			{"mlp", "gate_proj", &l.MLP.GateProj}, {"mlp", "up_proj", &l.MLP.UpProj}, {"mlp", "down_proj", &l.MLP.DownProj},
		} {
			all = append(all, Projection{layerName(i) + p.part + "." + p.module, p.module, i, p.linear})
		}
	}
	return all
}

// Shape returns the (out, in) sizes of a linear module, which follow from the config.
func (m *Gemma3) Shape(module string) (out, in int64) {
	c := &m.Config
	d, f, e := c.HiddenSize, c.IntermediateSize, c.HeadDim
	switch module {
	case "q_proj":
		return c.NumAttentionHeads * e, d
	case "k_proj", "v_proj":
		return c.NumKeyValueHeads * e, d
	case "o_proj":
		return d, c.NumAttentionHeads * e
	case "gate_proj", "up_proj":
		return f, d
	case "down_proj":
		return d, f
	}
	return 0, 0
}
