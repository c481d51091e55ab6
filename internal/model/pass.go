package model

import (
	"fmt"
	"math"

	"tune/internal/checkpoint"
	"tune/internal/torch"
)

// Input is a flat batch: the tokens of B sequences one after the other.
type Input struct {
	IDs       []int64 // (N)
	Positions []int64 // (N), of each token in its sequence
	Starts    []int   // (B+1), where each sequence starts; the last is N
}

// Sequence is the Input of one sequence that starts at position 0.
func Sequence(ids []int64) Input {
	in := Input{IDs: ids, Positions: make([]int64, len(ids)), Starts: []int{0, len(ids)}}
	for i := range ids {
		in.Positions[i] = int64(i)
	}
	return in
}

// Pass is what one batch shares between layers.
type Pass struct {
	ids   torch.Tensor // (N)
	kinds map[string]turn
	// Lining up: rows names for each of B·T places the token that goes there, back for each token its place. They are made
	// when a layer first asks, and never when the tokens already lie so.
	rows, back   torch.Tensor
	uneven       bool
	starts       []int64                 // (B+1)
	batch, width int64                   // B, T
	masks        map[string]torch.Tensor // of a pass without a cache, made when a layer first asks
	scope        *torch.Scope            // owns what is made when asked for
	cache        *Cache
	real         int64 // tokens that do not fill a bucket; of a pass with a cache
}

// turn is what the layers of one kind share.
type turn struct {
	cos, sin torch.Tensor // (N, 1, E)
}

// NewPass prepares a batch. The tensors belong to s. With a cache the batch is one sequence that goes on
// where the cache ends; [Model.Extend] runs it and adds its tokens to the cache.
func (m *Model) NewPass(s *torch.Scope, in Input, cache *Cache) (*Pass, error) {
	n := len(in.IDs)
	if n == 0 || len(in.Positions) != n || len(in.Starts) < 2 || in.Starts[0] != 0 || in.Starts[len(in.Starts)-1] != n {
		return nil, fmt.Errorf("model: batch of %d tokens, %d positions, starts %v", n, len(in.Positions), in.Starts)
	}
	if cache != nil && len(in.Starts) != 2 {
		return nil, fmt.Errorf("model: a cache holds one sequence, the batch has %d", len(in.Starts)-1)
	}
	if cache != nil && in.Positions[0] != int64(cache.Len()) {
		return nil, fmt.Errorf("model: the batch starts at position %d, the cache ends at %d", in.Positions[0], cache.Len())
	}
	var longest, last int64
	for b, start := range in.Starts[:len(in.Starts)-1] {
		longest = max(longest, int64(in.Starts[b+1]-start))
	}
	for i, id := range in.IDs {
		if id < 0 || id >= m.Config.VocabSize {
			return nil, fmt.Errorf("model: token id %d, the vocabulary has %d", id, m.Config.VocabSize)
		}
		last = max(last, in.Positions[i])
	}
	if last >= m.Config.MaxPositionEmbeddings {
		return nil, fmt.Errorf("model: position %d, the model reaches max_position_embeddings %d", last, m.Config.MaxPositionEmbeddings)
	}

	p := &Pass{batch: int64(len(in.Starts) - 1), width: longest, cache: cache, real: int64(n), kinds: map[string]turn{},
		masks: map[string]torch.Tensor{}, scope: s}
	for _, start := range in.Starts {
		p.starts = append(p.starts, int64(start))
	}
	// The tail that fills the bucket belongs to no sequence: no token attends to it, and it has no target.
	total := up(int64(n), m.Bucket)
	if cache != nil {
		if n == 1 { // a shape of its own, and the one that there is most of
			total = 1
		}
		p.width = total
		p.masks = cache.prepare(s, int64(n), total)
	} else {
		p.width = up(longest, m.Bucket)
		p.uneven = p.batch*p.width != total || longest*p.batch != int64(n)
	}
	ids, positions := fill(in.IDs, total), fill(in.Positions, total)
	p.ids = s.To(s.Int64s(ids), torch.Int64, m.Device)

	where := s.To(s.Int64s(positions), torch.Int64, m.Device)
	for kind, rope := range m.Config.Rope {
		cos, sin := m.ropes.at(s, kind, rope, m, last)
		p.kinds[kind] = turn{
			cos: s.View(s.Rows(cos, where), total, 1, m.Config.HeadDim),
			sin: s.View(s.Rows(sin, where), total, 1, m.Config.HeadDim),
		}
	}
	return p, s.Err()
}

// mask returns the (T, S) mask of the layers of one kind, S = T without a cache.
func (p *Pass) mask(s *torch.Scope, m *Model, kind string) torch.Tensor {
	if !p.masks[kind].Defined() {
		p.masks[kind] = s.MoveTo(p.scope, s.CausalMask(p.width, p.width, m.window(kind), m.Device))
	}
	return p.masks[kind]
}

// indexes makes the two indexes between N tokens and B·T places where there is need of them. A place behind a sequence's
// end shows the sequence's first token: the causal mask hides it from every real one.
func (p *Pass) indexes(s *torch.Scope) {
	if !p.uneven || p.rows.Defined() {
		return
	}
	rows := make([]int64, p.batch*p.width)
	back := make([]int64, p.ids.Len())
	for b := range p.batch {
		start, end := p.starts[b], p.starts[b+1]
		for t := range p.width {
			place := b*p.width + t
			if start+t < end {
				rows[place], back[start+t] = start+t, place
			} else {
				rows[place] = start
			}
		}
	}
	index := func(v []int64) torch.Tensor {
		return s.MoveTo(p.scope, s.To(s.Int64s(v), torch.Int64, p.ids.Device()))
	}
	p.rows, p.back = index(rows), index(back)
}

// lineUp turns x (N, H, E) into (B, H, T, E).
func (p *Pass) lineUp(s *torch.Scope, x torch.Tensor) torch.Tensor {
	heads, e := x.Dim(1), x.Dim(2)
	p.indexes(s)
	if p.rows.Defined() {
		x = s.Rows(x, p.rows)
	}
	return s.Transpose(s.View(x, p.batch, p.width, heads, e), 1, 2)
}

// flatten turns x (B, H, T, E) into (N, H·E).
func (p *Pass) flatten(s *torch.Scope, x torch.Tensor) torch.Tensor {
	heads, e := x.Dim(1), x.Dim(3)
	p.indexes(s)
	x = s.View(s.Transpose(x, 1, 2), p.batch*p.width, heads*e)
	if p.back.Defined() {
		x = s.Rows(x, p.back)
	}
	return x
}

func up(n, multiple int64) int64 {
	if multiple <= 1 {
		return n
	}
	return (n + multiple - 1) / multiple * multiple
}

func fill(v []int64, n int64) []int64 {
	if int64(len(v)) == n {
		return v
	}
	return append(append(make([]int64, 0, n), v...), make([]int64, n-int64(len(v)))...)
}

// ropeTables keeps the rotary tables of each kind of layer, as far as positions have reached.
type ropeTables struct {
	length   int64
	cos, sin map[string]torch.Tensor // (length, E)
}

// at returns the tables of one kind, for positions up to last.
func (t *ropeTables) at(s *torch.Scope, kind string, rope checkpoint.Rope, m *Model, last int64) (cos, sin torch.Tensor) {
	if t.cos == nil || last >= t.length {
		// In steps of doubling, so that a growing text makes few of them.
		length := max(256, t.length)
		for length <= last {
			length *= 2
		}
		t.length = min(length, m.Config.MaxPositionEmbeddings)
		t.cos, t.sin = map[string]torch.Tensor{}, map[string]torch.Tensor{}
	}
	if !t.cos[kind].Defined() {
		c, sn := ropeTable(rope, t.length, m.Config.HeadDim)
		t.cos[kind] = s.KeepOut(s.To(s.Float32s(c, t.length, m.Config.HeadDim), m.DType, m.Device))
		t.sin[kind] = s.KeepOut(s.To(s.Float32s(sn, t.length, m.Config.HeadDim), m.DType, m.Device))
	}
	return t.cos[kind], t.sin[kind]
}

// ropeTable computes cos and sin of position·θ^(-2i/E)/factor, in float32 as the reference does.
// Both halves of a head share their angles.
func ropeTable(rope checkpoint.Rope, length, headDim int64) (cos, sin []float32) {
	half := headDim / 2
	cos, sin = make([]float32, length*headDim), make([]float32, length*headDim)
	for i := range half {
		frequency := float32(1 / math.Pow(rope.Theta, float64(2*i)/float64(headDim)) / rope.Factor)
		for pos := range length {
			angle := float64(float32(pos) * frequency)
			c, sn := float32(math.Cos(angle)), float32(math.Sin(angle))
			at := pos*headDim + i
			cos[at], cos[at+half] = c, c
			sin[at], sin[at+half] = sn, sn
		}
	}
	return cos, sin
}
