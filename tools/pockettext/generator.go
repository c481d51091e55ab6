package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
)

// A Row is one line of the JSONL files: a conversation or a plain text.
type Row struct {
	Messages []Message `json:"messages,omitempty"`
	Text     string    `json:"text,omitempty"`
}

// A Message is one turn.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// A Split says which rows a Generator may make.
type Split int

// The training rows, and the validation rows that must differ from them.
const (
	Train Split = iota
	Valid
)

// heldOutOneIn is the share of fact and question combinations that only validation rows join.
const heldOutOneIn = 20

// heldOut says whether a combination of fact and question is kept from training.
func heldOut(key string) bool {
	h := fnv.New32a()
	h.Write([]byte(key))
	// The low bits of FNV follow the last letters of the key; the high ones have seen all of it.
	return (h.Sum32()>>12)%heldOutOneIn == 0
}

// A Generator makes rows. It remembers a hash of each, so that hardly any row comes twice and no validation
// row repeats a training row.
type Generator struct {
	content *Content
	rng     *rand.Rand
	split   Split
	seen    map[uint64]bool
	made    int
	total   float64
	tables  []float64 // running sums of table weights
	// Repeats counts drawn rows that had been made before, whether or not another draw replaced them.
	Repeats int
}

// newGenerator returns the generator of one split. seen is shared between splits, train first.
func newGenerator(c *Content, seed uint64, split Split, seen map[uint64]bool) *Generator {
	g := &Generator{content: c, split: split, seen: seen,
		rng: rand.New(rand.NewPCG(seed, uint64(split)+1))}
	for _, t := range c.Tables {
		// The square root keeps a long table from crowding out the short ones.
		g.total += math.Sqrt(float64(len(t.Rows) * len(t.Topics)))
		g.tables = append(g.tables, g.total)
	}
	return g
}

// drawsPerRow bounds the search for a row that is new and belongs to the split.
const drawsPerRow = 400

// Next returns the next row. Errors: content that cannot make a new row any more, or a broken template.
func (g *Generator) Next() (Row, error) {
	wantHeldOut := g.split == Valid && g.made%2 == 0
	for range drawsPerRow {
		row, keys, err := g.draw()
		if errors.Is(err, errEmptySlot) {
			continue
		}
		if err != nil {
			return Row{}, err
		}
		held := false
		for _, k := range keys {
			held = held || heldOut(k)
		}
		if held != wantHeldOut {
			continue
		}
		h := row.hash()
		if g.seen[h] {
			g.Repeats++
			continue
		}
		g.seen[h] = true
		g.made++
		return row, nil
	}
	return Row{}, fmt.Errorf("row %d: no new row in %d draws", g.made+1, drawsPerRow)
}

// hash covers the row's letters: case and the question mark are dropped, so that two rows which differ only
// in a careless question count as one.
func (r Row) hash() uint64 {
	h := fnv.New64a()
	h.Write([]byte(strings.ToLower(r.Text)))
	for _, m := range r.Messages {
		h.Write([]byte(strings.TrimRight(strings.ToLower(m.Content), "?. ")))
		h.Write([]byte{0})
	}
	return h.Sum64()
}

// The mix, in parts of the sum of all.
const (
	topicParts     = 28
	tableParts     = 18
	sumParts       = 5
	storyParts     = 9
	narrativeParts = 45
)

func (g *Generator) draw() (Row, []string, error) {
	switch n := g.rng.IntN(topicParts + tableParts + sumParts + storyParts + narrativeParts); {
	case n < storyParts:
		return g.story()
	case n >= storyParts+sumParts+topicParts+tableParts:
		return g.narrative()
	case n < storyParts+sumParts && g.rng.IntN(4) > 0:
		f, err := sums[g.rng.IntN(len(sums))](g.scene())
		if err != nil {
			return Row{}, nil, err
		}
		return Row{Messages: turn(sloppy(g.rng, tidy(wrapQuestion(g.rng, f.question))), tidy(f.answer))},
			[]string{f.key}, nil
	}
	q, a, key, again, err := g.exchange()
	if err != nil {
		return Row{}, nil, err
	}
	if g.rng.IntN(16) == 0 { // the passage without a question
		return Row{Text: a}, nil, nil
	}
	row, keys := Row{Messages: turn(q, a)}, []string{key}
	// One conversation in twelve goes on, at times about the same thing.
	for turns := 1; turns < 3 && g.rng.IntN(12) == 0; turns++ {
		next := g.exchange
		if again != nil && g.rng.IntN(3) > 0 {
			next = again
		}
		q, a, key, _, err := next()
		if err != nil {
			return Row{}, nil, err
		}
		row.Messages = append(row.Messages, turn(oneOf(g.rng, "", "", "Thank you. ", "Thanks! ", "I see. ",
			"And another question. ", "That is interesting. ", "Okay. ")+q, a)...)
		keys = append(keys, key)
	}
	return row, keys, nil
}

func (g *Generator) scene() *Scene { return newScene(g.rng, g.content.Lists) }

func turn(question, answer string) []Message {
	return []Message{{"user", question}, {"assistant", answer}}
}

type exchange func() (q, a, key string, again exchange, err error)

// exchange draws a question and its answer from the topics or the tables. again asks something else about the
// same row of the table.
func (g *Generator) exchange() (q, a, key string, again exchange, err error) {
	if g.rng.IntN(topicParts+tableParts) < topicParts || len(g.tables) == 0 {
		t := g.content.Topics[g.rng.IntN(len(g.content.Topics))]
		q, a, which, err := pair(t, g.scene())
		if len(t.Questions) < 2 {
			which = "only" // a topic with one question would otherwise be held out whole
		}
		return q, a, t.Name + "/" + which, nil, err
	}
	at := g.rng.Float64() * g.total
	table := g.content.Tables[len(g.content.Tables)-1]
	for i, sum := range g.tables {
		if at < sum {
			table = g.content.Tables[i]
			break
		}
	}
	row := table.Rows[g.rng.IntN(len(table.Rows))]
	about := func() (string, string, string, exchange, error) {
		i := g.rng.IntN(len(table.Topics))
		s := g.scene()
		for name, v := range row {
			s.bound[name] = v
		}
		q, a, _, err := pair(table.Topics[i], s)
		return q, a, fmt.Sprintf("%s/%s/%d", table.Name, row[table.Columns[0]], i), nil, err
	}
	q, a, key, _, err = about()
	return q, a, key, about, err
}

func pair(t Topic, s *Scene) (q, a, which string, err error) {
	if q, which, err = t.ask(s); err != nil {
		return "", "", "", err
	}
	a, err = t.answer(s, which)
	return q, a, which, err
}

// story tells a plot, as a plain text or to somebody who asked for it.
func (g *Generator) story() (Row, []string, error) {
	t := g.content.Plots[g.rng.IntN(len(g.content.Plots))]
	s := g.scene()
	text, err := t.tell(s)
	if err != nil {
		return Row{}, nil, err
	}
	keys := []string{t.Name + "/" + s.bound["place"] + "/" + s.bound["hero"]}
	if t.Subject == nil || g.rng.IntN(4) > 0 {
		return Row{Text: text}, keys, nil
	}
	subject, err := s.Expand(*t.Subject)
	if err != nil {
		return Row{}, nil, err
	}
	form := storyForms[g.rng.IntN(len(storyForms))]
	ask := tidy(strings.ReplaceAll(form, "%", subject))
	return Row{Messages: turn(sloppy(g.rng, ask), text)}, keys, nil
}

// marshal returns the row as one JSON line.
func (r Row) marshal() ([]byte, error) {
	line, err := json.Marshal(r)
	return append(line, '\n'), err
}
