package tokenizer

import "unicode/utf8"

// bpeSymbol is a stretch of the text that is being merged; the live ones form a list.
type bpeSymbol struct {
	id         int32 // -1: merged into its left neighbour
	prev, next int   // -1 at the ends
}

// bpeCandidate is a merge that was possible when it was found. It is out of date when one of its symbols has
// changed since.
type bpeCandidate struct {
	pair        pair
	left, right int
	merge       merge
}

// before orders candidates: the merge learned first, and of equal ones the leftmost.
func (c *bpeCandidate) before(d *bpeCandidate) bool {
	if c.merge.rank != d.merge.rank {
		return c.merge.rank < d.merge.rank
	}
	return c.left < d.left
}

// bpeHeap is a binary heap with the next merge on top. container/heap would allocate for every candidate.
type bpeHeap []bpeCandidate

func (h *bpeHeap) push(c bpeCandidate) {
	*h = append(*h, c)
	s := *h
	for i := len(s) - 1; i > 0; {
		parent := (i - 1) / 2
		if !s[i].before(&s[parent]) {
			return
		}
		s[i], s[parent] = s[parent], s[i]
		i = parent
	}
}

func (h *bpeHeap) pop() bpeCandidate {
	s := *h
	top, last := s[0], len(s)-1
	s[0] = s[last]
	s = s[:last]
	*h = s
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < last && s[child].before(&s[least]) {
				least = child
			}
		}
		if least == i {
			return top
		}
		s[i], s[least] = s[least], s[i]
		i = least
	}
}

// mergeText appends the ids of s, whose spaces have become ▁, after all merges. It takes n log n time for n
// characters, because a text without spaces is one long word.
func (v *vocabulary) mergeText(out []int64, s string) []int64 {
	var symbolBuffer [48]bpeSymbol // most words fit; then nothing is allocated
	var heapBuffer [48]bpeCandidate
	symbols, heap := v.split(symbolBuffer[:0], s), bpeHeap(heapBuffer[:0])
	if len(symbols) == 0 {
		return out
	}
	consider := func(left, right int) {
		if left < 0 || right < 0 {
			return
		}
		p := pair{symbols[left].id, symbols[right].id}
		if m, ok := v.merges[p]; ok {
			heap.push(bpeCandidate{p, left, right, m})
		}
	}
	for i := range len(symbols) - 1 {
		consider(i, i+1)
	}
	for len(heap) > 0 {
		c := heap.pop()
		left, right := &symbols[c.left], &symbols[c.right]
		if left.id != c.pair.left || right.id != c.pair.right {
			continue // out of date; two symbols that have not changed are still neighbours
		}
		left.id, right.id = c.merge.id, -1
		left.next = right.next
		if left.next >= 0 {
			symbols[left.next].prev = c.left
		}
		consider(left.prev, c.left)
		consider(c.left, left.next)
	}
	for i := 0; i >= 0; i = symbols[i].next {
		out = v.appendSymbol(out, symbols[i].id)
	}
	return out
}

// split appends the symbols of the characters of s, linked. Invalid UTF-8 reads as U+FFFD, a byte at a time.
func (v *vocabulary) split(symbols []bpeSymbol, s string) []bpeSymbol {
	add := func(id int32) {
		symbols = append(symbols, bpeSymbol{id: id, prev: len(symbols) - 1, next: len(symbols) + 1})
	}
	for _, r := range s {
		if id, ok := v.symbols[r]; ok {
			add(id)
			continue
		}
		var encoded [utf8.UTFMax]byte
		for _, b := range encoded[:utf8.EncodeRune(encoded[:], r)] {
			add(v.byteIDs[b])
		}
	}
	if len(symbols) > 0 {
		symbols[len(symbols)-1].next = -1
	}
	return symbols
}

// appendSymbol appends the id of a symbol, or the ids of its bytes when it is a character without a piece.
func (v *vocabulary) appendSymbol(out []int64, symbol int32) []int64 {
	loose := int(symbol) - len(v.pieces)
	if loose < 0 {
		return append(out, int64(symbol))
	}
	for _, b := range []byte(string(v.loose[loose])) {
		out = append(out, int64(v.byteIDs[b]))
	}
	return out
}
