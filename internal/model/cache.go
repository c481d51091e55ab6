package model

import (
	"math"
	"slices"

	"tune/internal/checkpoint"
	"tune/internal/torch"
)

// prefillChunk is how many tokens of a prompt are computed at a time: a longer prompt needs no more memory than its
// keys and values, and a matrix product of so many rows keeps a device busy already.
const prefillChunk = 512

// cacheStep is the multiple that a buffer's slots are made in, so that hardly any token makes one grow.
const cacheStep = 256

// rollback is how many tokens behind its window a ring keeps, so that a conversation may go on otherwise than the reply
// was written: a template trims its ends, and the tokens of its text may be others than those that wrote it.
const rollback = 64

// Cache holds the keys and values of the tokens so far, so that each token is computed once.
//
// A layer of full attention keeps every token, at the slot that its position names. A layer of sliding attention
// keeps those in its window and the [rollback] before them, in a ring: position p lies at slot p mod (window+rollback).
// Keys carry their rotation already, so the order of the slots means nothing; a mask says which of them a query may
// look at.
//
// The buffers are written in place through views. copy_ is the operator for it that every device has: index_copy_
// came to MPS late, slow and wrong (pytorch#166237).
type Cache struct {
	model  *Model
	scope  *torch.Scope // owns the tensors
	ids    []int64
	k, v   []torch.Tensor    // by layer, (1, K, C, E), where C is the capacity of the layer's kind
	stores map[string]*store // by kind of layer
	hidden torch.Tensor      // (1, 1) float32, -inf
	chunk  int               // prefillChunk, but for tests
}

// store is what the layers of one kind share.
type store struct {
	window   int64        // 0 for full attention
	ring     int64        // slots that take turns, window+rollback; 0 for full attention
	oldest   int64        // the first position that the ring still has: a cut does not bring back what was written over
	capacity int64        // C
	seen     torch.Tensor // (1, C) float32, the newest token's row of a mask: 0 where it looks, -inf elsewhere
}

// NewCache makes an empty cache whose tensors belong to s.
func (m *Model) NewCache(s *torch.Scope) *Cache {
	c := &Cache{model: m, scope: s, k: make([]torch.Tensor, len(m.Layers)), v: make([]torch.Tensor, len(m.Layers)),
		stores: map[string]*store{}, chunk: prefillChunk}
	c.hidden = s.Local(func(s *torch.Scope) torch.Tensor {
		return s.To(s.Float32s([]float32{float32(math.Inf(-1))}, 1, 1), torch.Float32, m.Device)
	})
	for kind := range m.Config.Rope {
		st := &store{window: m.window(kind)}
		if st.window > 0 {
			st.ring = st.window + rollback
		}
		c.stores[kind] = st
	}
	return c
}

// window returns how many tokens a layer of this kind sees, itself included; 0 for all.
func (m *Model) window(kind string) int64 {
	if kind == checkpoint.SlidingAttention {
		return m.Config.SlidingWindow
	}
	return 0
}

// IDs returns a copy of the tokens that the cache holds.
func (c *Cache) IDs() []int64 { return slices.Clone(c.ids) }

// Len returns how many tokens the cache holds.
func (c *Cache) Len() int { return len(c.ids) }

// Cut forgets the tokens from position n on. It reports false, and leaves all as it is, where a ring no longer has
// the tokens that position n looks back at; 0 always works.
func (c *Cache) Cut(s *torch.Scope, n int) bool {
	if n >= c.Len() {
		return true
	}
	for _, st := range c.stores {
		if n > 0 && st.oldest > max(0, int64(n)-st.window+1) {
			return false
		}
	}
	c.ids = c.ids[:n]
	for _, st := range c.stores {
		if n == 0 {
			st.oldest = 0
		}
		if st.capacity > 0 {
			// s may live as long as the cache; what a cut needs on the way does not.
			_ = s.Nest(func(s *torch.Scope) error {
				s.Copy(st.seen, st.row(s, int64(n), c.model.Device))
				return nil
			})
		}
	}
	return true
}

// Reuse cuts the cache down to what it has in common with a text and returns how many tokens that are: 0 where it
// cannot be cut there. The last token of the text is never among them, for its logits are wanted.
func (c *Cache) Reuse(s *torch.Scope, ids []int64) int {
	n := 0
	for n < min(len(c.ids), len(ids)-1) && c.ids[n] == ids[n] {
		n++
	}
	if !c.Cut(s, n) {
		n = 0
		c.Cut(s, n)
	}
	return n
}

// row makes the newest token's row of the mask for a cache of length tokens.
func (st *store) row(s *torch.Scope, length int64, device torch.Device) torch.Tensor {
	row := make([]float32, st.capacity)
	for slot := range st.capacity {
		if !st.sees(length-1, st.holds(slot, length)) {
			row[slot] = float32(math.Inf(-1))
		}
	}
	return s.To(s.Float32s(row, 1, st.capacity), torch.Float32, device)
}

// sees reports whether the query at a position may look at the key of another.
func (st *store) sees(query, key int64) bool {
	return key <= query && (st.window == 0 || key > query-st.window)
}

// slot returns where the token of a position lies.
func (st *store) slot(position int64) int64 {
	if st.ring > 0 {
		return position % st.ring
	}
	return position
}

// used returns how many slots are in use when the cache has length tokens.
func (st *store) used(length int64) int64 {
	if st.ring > 0 {
		return min(length, st.ring)
	}
	return length
}

// holds returns the position of the token in a slot when the cache has length tokens; one that no query has reached
// when the slot is empty.
func (st *store) holds(slot, length int64) int64 {
	switch {
	case slot >= st.used(length):
		return math.MaxInt64
	case st.ring == 0:
		return slot
	}
	last := length - 1
	return last - (last-slot)%st.ring // slot is at most last
}

// run is a stretch of new tokens, from index from on, that goes to neighbouring slots.
type run struct{ from, slot, n int64 }

// runs returns where n new tokens go behind length others: of a ring at most two stretches, and only the tokens
// that stay.
func (st *store) runs(length, n int64) []run {
	if st.ring == 0 {
		return []run{{0, length, n}}
	}
	stay := min(n, st.ring)
	from := n - stay
	slot := (length + from) % st.ring
	first := min(stay, st.ring-slot)
	if first == stay {
		return []run{{from, slot, stay}}
	}
	return []run{{from, slot, first}, {from + first, 0, stay - first}}
}

// prepare makes room for n tokens in a batch of the given width and returns the mask of each kind of layer.
func (c *Cache) prepare(s *torch.Scope, n, width int64) map[string]torch.Tensor {
	masks := map[string]torch.Tensor{}
	length := int64(c.Len())
	for kind, st := range c.stores {
		need := st.used(length + width)
		if need > st.capacity {
			c.grow(s, kind, st, need)
		}
		if width == 1 {
			masks[kind] = c.step(s, st)
		} else {
			masks[kind] = c.mask(s, st, width)
			s.Copy(st.seen, st.row(s, length+n, c.model.Device))
		}
	}
	return masks
}

// step makes the mask of a single token: the row of the token before it, but for two slots.
func (c *Cache) step(s *torch.Scope, st *store) torch.Tensor {
	at := int64(c.Len())
	if st.window > 0 && at >= st.window {
		s.Copy(s.Narrow(st.seen, 1, st.slot(at-st.window), 1), c.hidden)
	}
	s.Zero(s.Narrow(st.seen, 1, st.slot(at), 1))
	return s.Narrow(st.seen, 1, 0, c.span(st, at+1))
}

// span returns how many slots are looked at when length tokens are there: a multiple of the bucket, so that few
// shapes occur.
func (c *Cache) span(st *store, length int64) int64 { return up(st.used(length), c.model.Bucket) }

// grow gives the layers of a kind buffers of at least need slots. They grow by a quarter, so that copying costs each
// token a constant; zeros, because a mask cannot hide a NaN that lay in the memory.
func (c *Cache) grow(s *torch.Scope, kind string, st *store, need int64) {
	m := c.model
	capacity := up(up(max(need, st.capacity+st.capacity/4), cacheStep), m.Bucket)
	if st.ring > 0 {
		capacity = min(capacity, up(st.ring, m.Bucket))
	}
	bigger := func(old torch.Tensor) torch.Tensor {
		t := s.MoveTo(c.scope, s.Zeros(m.DType, m.Device, 1, m.Config.NumKeyValueHeads, capacity, m.Config.HeadDim))
		if old.Defined() {
			s.Copy(s.Narrow(t, 2, 0, st.capacity), old)
			c.scope.Drop(old)
		}
		return t
	}
	for i, l := range m.Layers {
		if l.kind == kind {
			c.k[i], c.v[i] = bigger(c.k[i]), bigger(c.v[i])
		}
	}
	c.scope.Drop(st.seen)
	st.capacity = capacity
	st.seen = s.MoveTo(c.scope, st.row(s, int64(c.Len()), m.Device))
}

// mask makes the mask of several tokens: (T, S). For full attention the keys are the slots, the new ones among them;
// for sliding attention they are the ring as it was and then the new ones.
//
// The tokens that fill the bucket stand behind the real ones, which therefore never see them.
func (c *Cache) mask(s *torch.Scope, st *store, width int64) torch.Tensor {
	length, device := int64(c.Len()), c.model.Device
	var keys []int64 // by position
	fresh := width
	if st.ring > 0 {
		for slot := range c.span(st, length) {
			keys = append(keys, st.holds(slot, length))
		}
	} else {
		fresh = c.span(st, length+width) - length
	}
	for i := range fresh {
		keys = append(keys, length+i)
	}
	rows, hidden := make([]float32, width*int64(len(keys))), float32(math.Inf(-1))
	for i := range width {
		row := rows[i*int64(len(keys)):]
		for j, key := range keys {
			if !st.sees(length+i, key) {
				row[j] = hidden
			}
		}
	}
	mask := s.To(s.Float32s(rows, width, int64(len(keys))), torch.Float32, device)
	if st.ring == 0 && length > 0 { // all see what was there: the host's work does not grow with the text
		mask = s.Cat(1, s.Zeros(torch.Float32, device, width, length), mask)
	}
	return mask
}

// extend adds a layer's new keys and values (1, K, T, E), of which n are of real tokens, and returns those that the
// new tokens look at: (1, K, S, E), S as in the mask.
func (c *Cache) extend(s *torch.Scope, layer int, k, v torch.Tensor, n int64) (keys, values torch.Tensor) {
	st, length, width := c.stores[c.model.Layers[layer].kind], int64(c.Len()), k.Dim(2)
	if st.window == 0 || width == 1 {
		// What fills the bucket is written too, behind the real tokens: the next ones overwrite it.
		c.write(s, layer, k, v, st.runs(length, width))
		span := c.span(st, length+width)
		return s.Narrow(c.k[layer], 2, 0, span), s.Narrow(c.v[layer], 2, 0, span)
	}
	// The first of the new tokens see what the last of them push out of the ring.
	keys, values = k, v
	if old := c.span(st, length); old > 0 {
		keys = s.Cat(2, s.Narrow(c.k[layer], 2, 0, old), k)
		values = s.Cat(2, s.Narrow(c.v[layer], 2, 0, old), v)
	}
	c.write(s, layer, k, v, st.runs(length, n))
	return keys, values
}

// write copies new keys and values to their slots.
func (c *Cache) write(s *torch.Scope, layer int, k, v torch.Tensor, runs []run) {
	for _, r := range runs {
		s.Copy(s.Narrow(c.k[layer], 2, r.slot, r.n), s.Narrow(k, 2, r.from, r.n))
		s.Copy(s.Narrow(c.v[layer], 2, r.slot, r.n), s.Narrow(v, 2, r.from, r.n))
	}
}

// advance takes the tokens of a finished pass over.
func (c *Cache) advance(ids []int64) {
	c.ids = append(c.ids, ids...)
	for _, st := range c.stores {
		if st.ring > 0 {
			st.oldest = max(st.oldest, int64(c.Len())-st.ring)
		}
	}
}
