package model

import "tune/internal/torch"

// gemma2Layer is a decoder layer of Gemma 2: a norm before and after each branch, and scores that are capped
// (Config.AttnLogitSoftcapping, in attend). Layers take turns in seeing a window and everything.
// Source: Gemma 2 technical report, arXiv:2408.00118; transformers, models/gemma2/modular_gemma2.py.
func gemma2Layer(s *torch.Scope, m *Model, i int, x torch.Tensor, p *Pass) torch.Tensor {
	l := m.Layers[i]
	h := s.Local(func(s *torch.Scope) torch.Tensor {
		return m.attend(s, i, m.norm(s, x, l.InputLayernorm), p)
	})
	x = m.addNorm(s, x, h, l.PostAttentionLayernorm)

	h = l.MLP.Forward(s, m.norm(s, x, l.PreFeedforwardLayernorm))
	return m.addNorm(s, x, h, l.PostFeedforwardLayernorm)
}
