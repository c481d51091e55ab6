package model

import "tune/internal/torch"

// gemma3Layer is a decoder layer of Gemma 3: as Gemma 2's, with a norm on each head's queries and keys in place of
// the cap, and a rotary base for each kind of layer.
// Source: Gemma 3 technical report, arXiv:2503.19786; transformers, models/gemma3/modular_gemma3.py.
func gemma3Layer(s *torch.Scope, m *Model, i int, x torch.Tensor, p *Pass) torch.Tensor {
	l := m.Layers[i]
	h := s.Local(func(s *torch.Scope) torch.Tensor {
		return m.attend(s, i, m.norm(s, x, l.InputLayernorm), p)
	})
	x = m.addNorm(s, x, h, l.PostAttentionLayernorm)

	h = l.MLP.Forward(s, m.norm(s, x, l.PreFeedforwardLayernorm))
	return m.addNorm(s, x, h, l.PostFeedforwardLayernorm)
}
