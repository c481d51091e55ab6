package model

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Sampler chooses tokens. Its settings come in the order and with the definitions of transformers' logits processors
// (generation/logits_process.py): repetition penalty, temperature, top-k, top-p, min-p.
type Sampler struct {
	o      GenerateOptions
	random *rand.Rand
	seen   map[int64]bool
	heap   []float32
	likely []candidate
}

// candidate is a token that may be drawn, with its probability relative to that of the likeliest.
type candidate struct {
	id     int
	weight float64
}

// NewSampler returns a sampler with the settings of o. One seed draws the same numbers on every platform.
func NewSampler(o GenerateOptions) *Sampler {
	return &Sampler{o: o, random: rand.New(rand.NewPCG(uint64(o.Seed), 0x73616d706c65)), seen: map[int64]bool{}}
}

// Saw tells the sampler of tokens in the text so far, the prompt's and those chosen, for the repetition penalty.
func (p *Sampler) Saw(ids ...int64) {
	if p.penalises() {
		for _, id := range ids {
			p.seen[id] = true
		}
	}
}

func (p *Sampler) penalises() bool { return p.o.RepetitionPenalty != 0 && p.o.RepetitionPenalty != 1 }

// Pick chooses a token by its logits (V), which it may change. Errors: a logit that is NaN or +Inf; none that is
// finite.
func (p *Sampler) Pick(logits []float32) (int64, error) {
	p.penalise(logits)
	best := 0
	for i, v := range logits {
		if v != v || v > math.MaxFloat32 {
			return 0, fmt.Errorf("model: generate: logit of token %d is %v", i, v)
		}
		if v > logits[best] {
			best = i
		}
	}
	if len(logits) == 0 || logits[best] < -math.MaxFloat32 {
		return 0, fmt.Errorf("model: generate: no token of %d has a finite logit", len(logits))
	}
	if p.o.Temperature <= 0 {
		return int64(best), nil
	}
	likely := p.candidates(logits, logits[best])
	var total float64
	for _, c := range likely {
		total += c.weight
	}
	at := p.random.Float64() * total
	for _, c := range likely {
		if at -= c.weight; at < 0 {
			return int64(c.id), nil
		}
	}
	return int64(best), nil // the rounding of the sums has left a rest
}

// penalise divides positive logits of seen tokens by the penalty and multiplies the others by it.
// Source: Keskar et al. 2019, arXiv:1909.05858, section 4.1, in the form of transformers, which keeps the sign.
func (p *Sampler) penalise(logits []float32) {
	penalty := float32(p.o.RepetitionPenalty)
	for id := range p.seen {
		switch {
		case id < 0 || id >= int64(len(logits)):
		case logits[id] < 0:
			logits[id] *= penalty
		default:
			logits[id] /= penalty
		}
	}
}

// candidates returns the tokens that may be drawn. Their weights are taken from the highest logit, best.
func (p *Sampler) candidates(logits []float32, best float32) []candidate {
	lowest := float32(math.Inf(-1))
	if p.o.TopK > 0 && p.o.TopK < len(logits) {
		lowest = p.highest(logits, p.o.TopK) // tokens as likely as the last of the K stay too
	}
	// What certainly falls to top-p or min-p below need not be kept, nor computed where no sum wants it.
	topP := p.o.TopP > 0 && p.o.TopP < 1
	light, farthest := 0.0, -745.0 // behind exp(-745) a float64 is 0
	switch {
	case topP:
		// All tokens lighter than this together weigh less than (1-p)·total, for the total is at least 1, the likeliest's.
		light = (1 - p.o.TopP) / float64(len(logits))
	case p.o.MinP > 0:
		farthest = max(farthest, math.Log(p.o.MinP)-1e-6) // the exact comparison follows
	}
	all, total := p.likely[:0], 0.0
	for i, v := range logits {
		if v < lowest {
			continue
		}
		x := (float64(v) - float64(best)) / p.o.Temperature
		if x < farthest {
			continue
		}
		w := math.Exp(x)
		total += w
		if w > 0 && w >= light {
			all = append(all, candidate{i, w})
		}
	}
	p.likely = all
	if topP {
		all = nucleus(all, p.o.TopP*total)
	}
	if p.o.MinP > 0 {
		all = slices.DeleteFunc(all, func(c candidate) bool { return c.weight < p.o.MinP }) // the likeliest weighs 1
	}
	return all
}

// highest returns the k-th highest logit. It keeps the k highest so far in a heap with the lowest on top: with few of
// many, nearly every logit costs one comparison.
func (p *Sampler) highest(logits []float32, k int) float32 {
	heap := append(p.heap[:0], logits[:k]...)
	p.heap = heap
	sink := func(i int) {
		for {
			child := 2*i + 1
			if child >= k {
				return
			}
			if child+1 < k && heap[child+1] < heap[child] {
				child++
			}
			if heap[i] <= heap[child] {
				return
			}
			heap[i], heap[child] = heap[child], heap[i]
			i = child
		}
	}
	for i := k/2 - 1; i >= 0; i-- {
		sink(i)
	}
	for _, v := range logits[k:] {
		if v > heap[0] {
			heap[0] = v
			sink(0)
		}
	}
	return heap[0]
}

// nucleus returns the fewest tokens, likeliest first, that weigh enough together: those that come before it is
// reached. Of equally likely ones the lower id comes first.
func nucleus(all []candidate, enough float64) []candidate {
	// Only the heaviest need sorting. Weights are at most 1, and counted here by their power of two; one power more than
	// is needed is taken, for these sums round differently from those below.
	var masses [1024]float64
	power := func(c candidate) int { return max(0, 1023-int(math.Float64bits(c.weight)>>52)) }
	for _, c := range all {
		masses[power(c)] += c.weight
	}
	last, sum := 0, 0.0
	for ; last < len(masses) && sum < enough; last++ {
		sum += masses[last]
	}
	all = slices.DeleteFunc(all, func(c candidate) bool { return power(c) > last })

	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.id, b.id))
	})
	var before float64
	for i, c := range all {
		if before >= enough {
			return all[:i]
		}
		before += c.weight
	}
	return all
}
