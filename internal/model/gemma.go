package model

import "tune/internal/torch"

// gemma1Layer is a decoder layer of Gemma 1: each branch reads through a norm and is added to the residual as it
// is. post_attention_layernorm stands, for all its name, before the feed-forward network.
// Source: Gemma technical report, arXiv:2403.08295; transformers, models/gemma/modular_gemma.py.
func gemma1Layer(s *torch.Scope, m *Model, i int, x torch.Tensor, p *Pass) torch.Tensor {
	l := m.Layers[i]
	h := s.Local(func(s *torch.Scope) torch.Tensor {
		return m.attend(s, i, m.norm(s, x, l.InputLayernorm), p)
	})
	x = s.Add(x, h)
	return s.Add(x, l.MLP.Forward(s, m.norm(s, x, l.PostAttentionLayernorm)))
}
