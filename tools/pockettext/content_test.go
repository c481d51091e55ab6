package main

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestContentErrorsNameFileAndLine(t *testing.T) {
	for _, tc := range []struct{ name, file, data, want string }{
		{"not ASCII", "topics_x.txt", "# a\n? caf\u00e9\n", "topics_x.txt:2: character"},
		{"line before subject", "topics_x.txt", "? why\n", "topics_x.txt:1: a line before the first # subject"},
		{"open brace", "topics_x.txt", "# a\n? why {is\n", "topics_x.txt:2: template"},
		{"too many cells", "table_x.txt", "# a\n? b\n= c\n---\nname | size\ndog | big | red\n",
			"table_x.txt:6: 3 cells for 2 columns"},
		{"no rows", "table_x.txt", "# a\n", "table_x.txt: no --- line"},
		{"list without name", "words.txt", "toy: ball\nball, kite\n", "words.txt:2: want"},
		{"unknown kind", "poems_x.txt", "# a\n", "unknown kind of content file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &Content{Lists: map[string][]string{}}
			err := c.add(tc.file, tc.data)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestUnknownSlotIsReported(t *testing.T) {
	c := &Content{Lists: map[string][]string{"toy": {"ball"}}}
	if err := c.add("topics_x.txt", "# a\n? why\n= the [toy2] and the [tyo]\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.check(); err == nil || !strings.Contains(err.Error(), "unknown slot [tyo]") {
		t.Errorf("error %v, want unknown slot [tyo]", err)
	}
}

// Every template of the content, in every table row, must expand: a choice that random rows seldom take is
// found here.
func TestEveryChoiceOfTheContentIsClean(t *testing.T) {
	c := testContent(t)
	n := 0
	for _, table := range c.Tables {
		for _, row := range table.Rows {
			for column, cell := range row {
				n++
				if strings.ContainsAny(cell, "{}[]|_<>") || strings.Contains(cell, " / ") && column != "facts" {
					t.Errorf("%s/%s: column %s: %q has a mark of the template language", table.Name,
						row[table.Columns[0]], column, cell)
				}
				if strings.HasPrefix(column, "fact") && column != "facts" && cell != "" && !strings.HasSuffix(cell, ".") {
					t.Errorf("%s/%s: fact %q does not end in a full stop", table.Name, row[table.Columns[0]], cell)
				}
			}
			for _, topic := range table.Topics {
				expandAll(t, c, topic, row)
			}
		}
	}
	for _, topic := range c.Topics {
		expandAll(t, c, topic, nil)
	}
	if n < 1000 {
		t.Fatalf("only %d cells were checked; is content/ empty?", n)
	}
}

// expandAll expands every sentence of a topic a few times, so that its rare choices come up too.
func expandAll(t *testing.T, c *Content, topic Topic, row map[string]string) {
	t.Helper()
	all := slices.Concat(topic.Questions, topic.Openings, topic.Closings)
	for _, l := range topic.Body {
		all = append(all, l.Template)
	}
	for _, tmpl := range all {
		for seed := range uint64(4) {
			s := newScene(rand.New(rand.NewPCG(seed, 0)), c.Lists)
			for name, v := range row {
				s.bound[name] = v
			}
			text, err := s.Expand(tmpl)
			if err != nil && !errors.Is(err, errEmptySlot) {
				t.Errorf("%s: %v", topic.Name, err)
			}
			if err == nil && strings.ContainsAny(text, "{}[]|") {
				t.Errorf("%s: %q has a mark of the template language", topic.Name, text)
			}
		}
	}
}

func testContent(t testing.TB) *Content {
	t.Helper()
	c, err := loadContent()
	if err != nil {
		t.Fatal(err)
	}
	return c
}
