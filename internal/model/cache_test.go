package model

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/golden"
	"tune/internal/torch"
)

// sameLogits is the largest difference between logits with a cache and without: float32, logits of about 3, other
// orders of summation.
const sameLogits = 2e-5

// text returns n ids of the model's vocabulary.
func text(m *Model, n int, seed uint64) []int64 {
	r := rand.New(rand.NewPCG(seed, 0))
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = r.Int64N(m.Config.VocabSize)
	}
	return ids
}

// whole returns the logits of every position of a text, computed at once without a cache.
func whole(s *torch.Scope, m *Model, ids []int64) ([]float32, error) {
	bucket := m.Bucket
	m.Bucket = 1
	defer func() { m.Bucket = bucket }()
	p, err := m.NewPass(s, Sequence(ids), nil)
	if err != nil {
		return nil, err
	}
	return s.ReadFloat32s(m.Logits(s, m.Hidden(s, p))), s.Err()
}

// pieces returns the logits of every position of pieces of a text that follow the cache.
func pieces(t *testing.T, s *torch.Scope, m *Model, c *Cache, ids []int64, size func(at int) int) []float32 {
	t.Helper()
	var all []float32
	for at := 0; at < len(ids); {
		n := min(size(at), len(ids)-at)
		err := s.Nest(func(s *torch.Scope) error {
			x, err := m.pass(s, c, ids[at:at+n])
			if err != nil {
				return err
			}
			all = append(all, s.ReadFloat32s(s.Narrow(m.Logits(s, x), 0, 0, int64(n)))...)
			return s.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		at += n
	}
	return all
}

// ringsOf makes the rings of an empty cache so many slots longer than their windows, instead of rollback: so that short
// texts go round.
func ringsOf(c *Cache, longer int64) *Cache {
	for _, st := range c.stores {
		if st.ring > 0 {
			st.ring = st.window + longer
		}
	}
	return c
}

func eachFamily(t *testing.T, f func(t *testing.T, s *torch.Scope, m *Model)) {
	for _, dir := range golden.Cases(t, "gemma") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			inScope(t, func(s *torch.Scope) error {
				m, err := load(s, filepath.Join(dir, "model"))
				if err == nil {
					f(t, s, m)
				}
				return err
			})
		})
	}
}

// The prompt ends before, at and behind the window, in chunks shorter, as long and longer than it; then token by
// token, until the ring has gone round.
func TestCacheChangesNoLogits(t *testing.T) {
	eachFamily(t, func(t *testing.T, s *torch.Scope, m *Model) {
		window := max(12, int(m.Config.SlidingWindow))
		ids := text(m, 3*window+5, 1)
		want, err := whole(s, m, ids)
		if err != nil {
			t.Fatal(err)
		}
		for _, bucket := range []int64{1, 64} {
			for _, prompt := range []int{1, window - 1, window, window + 1, 2*window + 3, len(ids)} {
				for _, chunk := range []int{5, window, window + 1, 512} {
					for _, longer := range []int64{0, 5} {
						m.Bucket = bucket
						got := pieces(t, s, m, ringsOf(m.NewCache(s), longer), ids, func(at int) int {
							if at >= prompt {
								return 1
							}
							return min(chunk, prompt-at)
						})
						golden.Near(t, fmt.Sprintf("bucket %d, prompt %d in chunks of %d, rings %d longer", bucket, prompt, chunk, longer),
							got, want, sameLogits)
					}
				}
			}
		}
	})
}

// Long enough that the buffers of full attention grow twice, and those of a window wider than the first ones as well.
func TestCacheGrows(t *testing.T) {
	for _, name := range []string{"gemma", "gemma3"} {
		t.Run(name, func(t *testing.T) {
			inScope(t, func(s *torch.Scope) error {
				m, err := load(s, filepath.Join(golden.Dir(t), name, "model"))
				if err != nil {
					return err
				}
				if m.Config.SlidingWindow > 0 {
					m.Config.SlidingWindow = 300
				}
				ids := text(m, 620, 2)
				want, err := whole(s, m, ids)
				if err != nil {
					return err
				}
				for _, bucket := range []int64{1, 64} {
					m.Bucket = bucket
					// Around 256, where the first buffers end, and 300 one at a time; in chunks elsewhere.
					got := pieces(t, s, m, m.NewCache(s), ids, func(at int) int {
						if at >= 250 && at < 310 {
							return 1
						}
						return min(50, max(1, 250-at), 620-at)
					})
					golden.Near(t, fmt.Sprint("bucket ", bucket), got, want, 2*sameLogits) // sums over more tokens
				}
				return nil
			})
		})
	}
}

func TestLocalLayersKeepOnlyTheirWindow(t *testing.T) {
	for _, bucket := range []int64{1, 64} {
		eachFamily(t, func(t *testing.T, s *torch.Scope, m *Model) {
			m.Bucket = bucket
			const prompt, tokens = 70, 300
			c := m.NewCache(s)
			_, err := m.Generate(t.Context(), s, text(m, prompt, 3), GenerateOptions{MaxNewTokens: tokens, Cache: c},
				func(int64) bool { return true })
			if err != nil {
				t.Fatal(err)
			}
			if c.Len() != prompt+tokens-1 {
				t.Errorf("the cache holds %d tokens, want the prompt and all new ones but the last", c.Len())
			}
			for i, l := range m.Layers {
				slots, limit := c.k[i].Dim(2), int64(prompt+tokens+cacheStep)+bucket
				if w := m.window(l.kind); w > 0 {
					limit = w + rollback + bucket
				}
				if slots > limit || slots != c.v[i].Dim(2) {
					t.Errorf("layer %d (%s): %d slots, want at most %d", i, l.kind, slots, limit)
				}
			}
		})
	}
}

// Within the buffers' steps a token leaves no tensor behind.
func TestTokensLeaveNoTensors(t *testing.T) {
	inScope(t, func(s *torch.Scope) error {
		m, err := load(s, filepath.Join(golden.Dir(t), "gemma3", "model"))
		if err != nil {
			return err
		}
		c := m.NewCache(s)
		var live []int64
		for range 40 {
			if _, err := m.Extend(t.Context(), s, c, []int64{5}); err != nil {
				return err
			}
			live = append(live, torch.Live())
		}
		if live[39] != live[0] {
			t.Errorf("%d tensors after the first token, %d after 40", live[0], live[39])
		}
		// Nor does a turn, nor what is cut away for it.
		turns, ids := m.NewCache(s), text(m, 30, 23)
		live = nil
		for i := range 4 {
			ids[20+i]++
			o := GenerateOptions{MaxNewTokens: 5, Cache: turns}
			if _, err := m.Generate(t.Context(), s, ids[turns.Reuse(s, ids):], o, func(int64) bool { return true }); err != nil {
				return err
			}
			live = append(live, torch.Live())
		}
		if live[3] != live[0] {
			t.Errorf("%d tensors after the first turn, %d after 4", live[0], live[3])
		}
		return nil
	})
}

func TestCutThenGoOnEqualsAFreshText(t *testing.T) {
	eachFamily(t, func(t *testing.T, s *torch.Scope, m *Model) {
		window := int(m.Config.SlidingWindow)
		for _, bucket := range []int64{1, 64} {
			for _, tc := range []struct{ longer, first, keep, then int }{
				{0, 10, 0, 20}, {0, 10, 4, 20}, {0, 10, 9, 3}, {0, 10, 10, 5},
				{0, 40, 0, 30}, {0, 40, 38, 30}, {0, 40, 39, 30}, {0, 40, 40, 1},
				{0, 40, 20, 30}, // only full attention still has what position 20 looks back at
				{7, 40, 33, 30}, {7, 40, 32, 30}, {7, 40, 31, 30}, {7, window + 8, 1, 30}, {7, window + 7, 1, 30},
				{rollback, 100, 40, 30}, {rollback, 170, 106, 30}, {rollback, 170, 105, 90}, {rollback, 170, 104, 9},
			} {
				m.Bucket = bucket
				old := text(m, tc.first, 4)
				kept := append(slices.Clone(old[:tc.keep]), text(m, tc.then, 5)...)
				c := ringsOf(m.NewCache(s), int64(tc.longer))
				pieces(t, s, m, c, old, func(at int) int { return 1 + at%7 })
				// Position keep looks back at keep-window+1; a ring that went round begins at first-window-longer.
				fits := window == 0 || tc.keep == 0 || tc.keep == tc.first || tc.first <= window+tc.longer ||
					tc.keep-window+1 >= tc.first-window-tc.longer
				if ok := c.Cut(s, tc.keep); ok != fits {
					t.Fatalf("%+v, window %d: Cut is %v, want %v", tc, window, ok, fits)
				}
				if !fits {
					if !slices.Equal(c.IDs(), old) {
						t.Errorf("a cut that cannot be changed the cache")
					}
					continue
				}
				want, err := whole(s, m, kept)
				if err != nil {
					t.Fatal(err)
				}
				want = want[tc.keep*int(m.Config.VocabSize):]
				got := pieces(t, s, m, c, kept[tc.keep:], func(int) int { return 1 })
				golden.Near(t, fmt.Sprintf("bucket %d, %+v, token by token", bucket, tc), got, want, sameLogits)
				if !slices.Equal(c.IDs(), kept) {
					t.Errorf("the cache says %v, want %v", c.IDs(), kept)
				}
				if c.Cut(s, tc.keep) { // the same once more, in chunks
					got = pieces(t, s, m, c, kept[tc.keep:], func(int) int { return 6 })
					golden.Near(t, fmt.Sprintf("bucket %d, %+v, in pieces", bucket, tc), got, want, sameLogits)
				}
			}
		}
	})
}

// What a ring has lost stays lost: each of the cuts alone would do.
func TestCutsOneAfterTheOther(t *testing.T) {
	eachFamily(t, func(t *testing.T, s *torch.Scope, m *Model) {
		window := int(m.Config.SlidingWindow)
		c := ringsOf(m.NewCache(s), 4) // of 50 tokens it has the last window+4, and a query sees window-1 before itself
		pieces(t, s, m, c, text(m, 50, 12), func(int) int { return 50 })
		for _, cut := range []struct {
			to   int
			fits bool
		}{{48, true}, {45, true}, {44, window == 0}} {
			if ok := c.Cut(s, cut.to); ok != cut.fits {
				t.Fatalf("Cut(%d) is %v, want %v", cut.to, ok, cut.fits)
			}
			pieces(t, s, m, c, []int64{7}, func(int) int { return 1 })
		}
		ids := append(c.IDs(), text(m, 20, 13)...)
		want, err := whole(s, m, ids)
		if err != nil {
			t.Fatal(err)
		}
		from := c.Len()
		got := pieces(t, s, m, c, ids[from:], func(at int) int { return 1 + 3*(at%2) })
		golden.Near(t, "after the cuts", got, want[from*int(m.Config.VocabSize):], sameLogits)

		// From nothing on nothing is lost.
		c.Cut(s, 0)
		pieces(t, s, m, c, ids[:14], func(int) int { return 1 })
		if !c.Cut(s, 3) {
			t.Error("after a new beginning the ring has all of 14 tokens")
		}
		got = pieces(t, s, m, c, ids[3:], func(int) int { return 5 })
		golden.Near(t, "after a new beginning", got, want[3*int(m.Config.VocabSize):], sameLogits)
	})
}

// Three turns on one cache come out as each does from nothing, and cost what is new; then a turn is taken back.
func TestACacheOfManyTurnsEqualsFreshTexts(t *testing.T) {
	eachFamily(t, func(t *testing.T, s *torch.Scope, m *Model) {
		for _, bucket := range []int64{1, 64} {
			m.Bucket = bucket
			c := m.NewCache(s)
			turn := func(ids []int64, seed int64, reused int) []int64 {
				t.Helper()
				var got, want []int64
				o := GenerateOptions{MaxNewTokens: 30, Temperature: 1.2, TopK: 50, RepetitionPenalty: 1.2, Seed: seed}
				held := c.Reuse(s, ids)
				cached := o
				cached.Cache = c
				w, err := m.Generate(t.Context(), s, ids[held:], cached, func(id int64) bool { got = append(got, id); return true })
				if err == nil {
					_, err = m.Generate(t.Context(), s, ids, o, func(id int64) bool { want = append(want, id); return true })
				}
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, want) {
					t.Errorf("bucket %d, %d tokens: on the cache %v, fresh %v", bucket, len(ids), got, want)
				}
				if held != reused || len(got) != 30 || w.Stopped != StopLength || w.FirstToken <= 0 || w.Decode <= 0 {
					t.Errorf("bucket %d, %d tokens: %d reused, want %d; %+v", bucket, len(ids), held, reused, w)
				}
				return append(slices.Clone(ids), got...)
			}
			first := turn(text(m, 40, 14), 1, 0)
			// The last token of a reply was never computed.
			second := turn(append(first, text(m, 15, 15)...), 2, len(first)-1)
			third := turn(append(second, text(m, 9, 16)...), 3, len(second)-1)
			// The third question again, otherwise: its two first tokens and the cached reply before them stay.
			other := append(slices.Clone(third[:len(second)+2]), text(m, 5, 17)...)
			turn(other, 4, len(second)+2)
			turn(other, 4, len(other)-1) // once more: only the last token is computed
			// So far back that rings have lost what it looks at, though not everything has.
			far := append(slices.Clone(first[:30]), text(m, 3, 18)...)
			kept := 30
			if m.Config.SlidingWindow > 0 {
				kept = 0
			}
			turn(far, 5, kept)
			turn(text(m, 8, 19), 6, 0)
		}
	})
}

// A second turn on the cache of the first is the same text as both turns at once.
func TestGenerateGoesOnFromItsCache(t *testing.T) {
	eachFamily(t, func(t *testing.T, s *torch.Scope, m *Model) {
		write := func(prompt []int64, c *Cache) (ids []int64) {
			_, err := m.Generate(t.Context(), s, prompt, GenerateOptions{MaxNewTokens: 12, Cache: c, RepetitionPenalty: 1.3},
				func(id int64) bool { ids = append(ids, id); return true })
			if err != nil {
				t.Fatal(err)
			}
			return ids
		}
		c := m.NewCache(s)
		first, question := text(m, 20, 6), text(m, 9, 7)
		reply := write(first, c)
		more := append([]int64{reply[len(reply)-1]}, question...) // the last token is not in the cache yet
		got := write(more, c)
		want := write(slices.Concat(first, reply, question), nil)
		if !slices.Equal(got, want) {
			t.Errorf("on the cache %v, at once %v", got, want)
		}
	})
}

func TestPromptsAreComputedInChunks(t *testing.T) {
	eachFamily(t, func(t *testing.T, s *torch.Scope, m *Model) {
		ids := text(m, 50, 8)
		want, err := whole(s, m, ids)
		if err != nil {
			t.Fatal(err)
		}
		want = want[len(want)-int(m.Config.VocabSize):]
		for _, chunk := range []int{1, 7, 25, 49, 50, 51} {
			c := m.NewCache(s)
			c.chunk = chunk
			got, err := m.Extend(t.Context(), s, c, ids)
			if err != nil {
				t.Fatal(err)
			}
			golden.Near(t, fmt.Sprint("chunks of ", chunk), got, want, sameLogits)
		}
	})
}

func TestAnInterruptedPromptLeavesACacheThatCanGoOn(t *testing.T) {
	inScope(t, func(s *torch.Scope) error {
		m, err := load(s, filepath.Join(golden.Dir(t), "gemma3", "model"))
		if err != nil {
			return err
		}
		ids := text(m, 30, 9)
		want, err := whole(s, m, ids)
		if err != nil {
			return err
		}
		c := m.NewCache(s)
		if _, err := m.Extend(t.Context(), s, c, ids[:17]); err != nil {
			return err
		}
		ended, end := context.WithCancel(t.Context())
		end()
		w, err := m.Generate(ended, s, ids[17:], GenerateOptions{MaxNewTokens: 3, Cache: c}, func(int64) bool {
			t.Error("a token came")
			return true
		})
		if err != nil || w.Stopped != StopCaller || w.NewTokens != 0 {
			t.Errorf("%+v, %v, want interrupted without a token", w, err)
		}
		got, err := m.Extend(t.Context(), s, c, ids[c.Len():])
		golden.Near(t, "logits", got, want[len(want)-int(m.Config.VocabSize):], sameLogits)
		return err
	})
}

func TestGenerateEndsWhereThePositionsDo(t *testing.T) {
	inScope(t, func(s *torch.Scope) error {
		m, err := load(s, filepath.Join(golden.Dir(t), "gemma3", "model"))
		if err != nil {
			return err
		}
		m.Config.MaxPositionEmbeddings = 20
		for _, tc := range []struct {
			prompt, want int
			stopped      string
		}{{15, 6, StopContext}, {20, 1, StopContext}, {21, 0, StopContext}, {5, 8, StopLength}} {
			w, err := m.Generate(t.Context(), s, text(m, tc.prompt, 10), GenerateOptions{MaxNewTokens: 8}, func(int64) bool { return true })
			if err != nil || w.NewTokens != tc.want || w.Stopped != tc.stopped {
				t.Errorf("prompt of %d: %+v, %v, want %d tokens, %s", tc.prompt, w, err, tc.want, tc.stopped)
			}
		}
		c := m.NewCache(s)
		if _, err := m.NewPass(s, Input{IDs: []int64{1}, Positions: []int64{3}, Starts: []int{0, 1}}, c); err == nil ||
			!strings.Contains(err.Error(), "position 3, the cache ends at 0") {
			t.Errorf("a pass beside the cache: %v", err)
		}
		return nil
	})
}

func TestWrittenCountsAndTimes(t *testing.T) {
	inScope(t, func(s *torch.Scope) error {
		m, err := load(s, filepath.Join(golden.Dir(t), "gemma3", "model"))
		if err != nil {
			return err
		}
		var ids []int64
		o := GenerateOptions{MaxNewTokens: 10}
		w, err := m.Generate(t.Context(), s, text(m, 7, 11), o, func(id int64) bool { ids = append(ids, id); return true })
		if err != nil {
			return err
		}
		if w.PromptTokens != 7 || w.NewTokens != 10 || w.FirstToken <= 0 || w.Decode <= 0 ||
			w.PrefillTokensPerSecond() <= 0 || w.DecodeTokensPerSecond() <= 0 {
			t.Errorf("%+v", w)
		}
		at := slices.IndexFunc(ids, func(id int64) bool { return id != ids[0] })
		o.Stop = []int64{ids[at]}
		var passed int
		w, err = m.Generate(t.Context(), s, text(m, 7, 11), o, func(int64) bool { passed++; return true })
		if err != nil || w.Stopped != StopToken || w.NewTokens != at+1 || passed != at {
			t.Errorf("%+v, %v, %d passed on, want the end at token %d, which is not passed on", w, err, passed, at+1)
		}
		if one := (Written{NewTokens: 1, FirstToken: 1}); one.DecodeTokensPerSecond() != 0 || (Written{}).PrefillTokensPerSecond() != 0 {
			t.Error("a rate of nothing must be 0")
		}
		return nil
	})
}
