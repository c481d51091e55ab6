package model

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"tune/internal/torch"
)

// Cache holds the keys and values of the tokens so far, so that each new token is computed once.
type Cache struct {
	length int64
	k, v   []torch.Tensor // by layer, (1, K, length, E)
	scope  *torch.Scope   // owns them
}

// NewCache makes an empty cache whose tensors belong to s.
func (m *Model) NewCache(s *torch.Scope) *Cache {
	return &Cache{k: make([]torch.Tensor, len(m.Layers)), v: make([]torch.Tensor, len(m.Layers)), scope: s}
}

// append adds a layer's new keys and values and returns all of them.
func (c *Cache) append(s *torch.Scope, layer int, k, v torch.Tensor) (torch.Tensor, torch.Tensor) {
	if c.k[layer].Defined() {
		k, v = s.Cat(2, c.k[layer], k), s.Cat(2, c.v[layer], v)
		c.scope.Drop(c.k[layer])
		c.scope.Drop(c.v[layer])
	}
	c.k[layer], c.v[layer] = s.MoveTo(c.scope, k), s.MoveTo(c.scope, v)
	return k, v
}

// GenerateOptions says how to write.
type GenerateOptions struct {
	MaxNewTokens int
	Temperature  float64 // 0 takes the likeliest token each time
	Seed         int64
	Stop         []int64 // ids that end the text; not passed on
}

// Why a text ended.
const (
	StopToken  = "stop"        // the model wrote one of Stop
	StopLength = "length"      // MaxNewTokens, or the model's last position, was reached
	StopCaller = "interrupted" // each returned false, or the context ended
)

// Generate writes on from prompt and passes each new token to each, which may return false to end. It returns
// why the text ended.
func (m *Model) Generate(ctx context.Context, s *torch.Scope, prompt []int64, o GenerateOptions, each func(id int64) bool) (string, error) {
	if len(prompt) == 0 {
		return "", fmt.Errorf("model: generate: the prompt has no tokens")
	}
	random := rand.New(rand.NewPCG(uint64(o.Seed), 0x73616d706c65))
	stop, reason := false, StopLength
	err := s.Nest(func(s *torch.Scope) error {
		cache := m.NewCache(s)
		next, position := prompt, int64(0)
		for range o.MaxNewTokens {
			if position+int64(len(next)) > m.Config.MaxPositionEmbeddings {
				return nil
			}
			var id int64
			err := s.Nest(func(s *torch.Scope) error {
				logits, err := m.step(s, next, position, cache)
				if err != nil {
					return err
				}
				id, err = pick(logits, o.Temperature, random)
				return err
			})
			if err != nil {
				return err
			}
			if slices.Contains(o.Stop, id) {
				reason = StopToken
				return nil
			}
			position += int64(len(next))
			next = []int64{id}
			if stop = !each(id) || ctx.Err() != nil; stop {
				reason = StopCaller
				return nil
			}
		}
		return nil
	})
	return reason, err
}

// step computes tokens that follow the cache and returns the logits behind the last one: (V).
func (m *Model) step(s *torch.Scope, ids []int64, position int64, cache *Cache) ([]float32, error) {
	in := Sequence(ids)
	for i := range in.Positions {
		in.Positions[i] += position
	}
	p, err := m.NewPass(s, in, cache)
	if err != nil {
		return nil, err
	}
	x := m.Hidden(s, p)
	cache.length += int64(len(ids))
	logits := s.ReadFloat32s(m.Logits(s, s.Narrow(x, 0, int64(len(ids))-1, 1)))
	return logits, s.Err()
}

// pick chooses a token: the likeliest, or one drawn from softmax(logits/temperature).
func pick(logits []float32, temperature float64, random *rand.Rand) (int64, error) {
	best := 0
	for i, v := range logits {
		if math.IsNaN(float64(v)) {
			return 0, fmt.Errorf("model: generate: logit of token %d is NaN", i)
		}
		if v > logits[best] {
			best = i
		}
	}
	if temperature <= 0 {
		return int64(best), nil
	}
	var total float64
	weights := make([]float64, len(logits))
	for i, v := range logits {
		weights[i] = math.Exp(float64(v-logits[best]) / temperature)
		total += weights[i]
	}
	at := random.Float64() * total
	for i, w := range weights {
		if at -= w; at < 0 {
			return int64(i), nil
		}
	}
	return int64(best), nil
}
