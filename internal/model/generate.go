package model

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tune/internal/torch"
)

// GenerateOptions says how to write. The zero value of each setting of the sampler turns it off.
type GenerateOptions struct {
	MaxNewTokens int
	Stop         []int64 // ids that end the text; not passed on
	// Cache, when given, holds the text so far; the prompt follows it. It then also holds all that was computed: the
	// prompt and the new tokens but for the last.
	Cache *Cache

	Temperature       float64 // 0 takes the likeliest token each time
	TopK              int     // draw from the K likeliest
	TopP              float64 // draw from the fewest that have this probability together, in (0, 1]
	MinP              float64 // draw from those at least this share as likely as the likeliest, in [0, 1]
	RepetitionPenalty float64 // above 1 makes tokens of the text so far less likely
	Seed              int64   // fixes what is drawn
}

// Why a text ended.
const (
	StopToken   = "stop"        // the model wrote one of Stop
	StopLength  = "length"      // MaxNewTokens was reached
	StopContext = "context"     // the model's last position was reached
	StopCaller  = "interrupted" // each returned false, or the context ended
)

// Written says how a text came about. Every time ends with a token on the host, so the device has done its work.
type Written struct {
	Stopped      string        // why it ended: one of the Stop constants
	PromptTokens int           // computed for it; what its cache held already is not among them
	NewTokens    int           // chosen, the one that stopped it included
	FirstToken   time.Duration // until the first of them was chosen
	Decode       time.Duration // from then until the last was
}

// PrefillTokensPerSecond is the prompt's tokens over the time to the first token, 0 without one.
func (w Written) PrefillTokensPerSecond() float64 { return perSecond(w.PromptTokens, w.FirstToken) }

// DecodeTokensPerSecond is the tokens after the first over the time from the first to the last, 0 without any.
func (w Written) DecodeTokensPerSecond() float64 { return perSecond(w.NewTokens-1, w.Decode) }

func perSecond(n int, d time.Duration) float64 {
	if n < 1 || d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// Generate writes on from prompt and passes each new token to each, which may return false to end.
//
// Errors: an empty prompt, a token that the vocabulary does not have, logits that are not numbers. A text that the
// model has no positions for is none: it ends with StopContext.
func (m *Model) Generate(ctx context.Context, s *torch.Scope, prompt []int64, o GenerateOptions, each func(id int64) bool) (Written, error) {
	w := Written{Stopped: StopLength, PromptTokens: len(prompt)}
	if len(prompt) == 0 {
		return w, fmt.Errorf("model: generate: the prompt has no tokens")
	}
	err := s.Nest(func(s *torch.Scope) error {
		cache := o.Cache
		if cache == nil {
			cache = m.NewCache(s)
		}
		sampler := NewSampler(o)
		sampler.Saw(cache.IDs()...)
		next, began := prompt, time.Now()
		for w.NewTokens < o.MaxNewTokens {
			if int64(cache.Len()+len(next)) > m.Config.MaxPositionEmbeddings {
				w.Stopped = StopContext
				return nil
			}
			logits, err := m.Extend(ctx, s, cache, next)
			if err != nil && errors.Is(err, ctx.Err()) {
				w.Stopped = StopCaller
				return nil
			}
			if err != nil {
				return err
			}
			sampler.Saw(next...)
			id, err := sampler.Pick(logits)
			if err != nil {
				return err
			}
			if w.NewTokens++; w.NewTokens == 1 {
				w.FirstToken = time.Since(began)
			}
			w.Decode = time.Since(began) - w.FirstToken
			if slices.Contains(o.Stop, id) {
				w.Stopped = StopToken
				return nil
			}
			next = []int64{id}
			if !each(id) || ctx.Err() != nil {
				w.Stopped = StopCaller
				return nil
			}
		}
		return nil
	})
	return w, err
}

// Extend computes tokens that follow the cache, adds them to it, and returns the logits behind the last one: (V), on
// the host. A long text is computed in chunks; when ctx ends between two of them its error is returned, and the cache
// holds those that were done.
func (m *Model) Extend(ctx context.Context, s *torch.Scope, cache *Cache, ids []int64) (logits []float32, err error) {
	for len(ids) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n := min(len(ids), cache.chunk)
		last := n == len(ids)
		err := s.Nest(func(s *torch.Scope) error {
			x, err := m.pass(s, cache, ids[:n])
			if err == nil && last {
				logits = s.ReadFloat32s(m.Logits(s, s.Narrow(x, 0, int64(n)-1, 1)))
			}
			return errors.Join(err, s.Err())
		})
		if err != nil {
			return nil, err
		}
		ids = ids[n:]
	}
	return logits, nil
}

// pass runs the layers on tokens that follow the cache and adds them to it: (T, D), T at least their number.
func (m *Model) pass(s *torch.Scope, cache *Cache, ids []int64) (torch.Tensor, error) {
	in := Sequence(ids)
	for i := range in.Positions {
		in.Positions[i] += int64(cache.Len())
	}
	p, err := m.NewPass(s, in, cache)
	if err != nil {
		return torch.Tensor{}, err
	}
	x := m.Hidden(s, p)
	cache.advance(ids)
	return x, s.Err()
}
