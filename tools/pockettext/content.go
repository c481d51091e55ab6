package main

import (
	"embed"
	"fmt"
	"io/fs"
	"sort"
	"strings"
)

//go:embed content/*.txt
var contentFiles embed.FS

// Content is everything the generator may say.
type Content struct {
	Lists  map[string][]string   // word lists, by slot name
	Topics []Topic               // what topics_*.txt and chat_*.txt hold
	Tables []Table               // what table_*.txt hold
	Plots  []Topic               // what stories_*.txt hold
	Rules  map[string][]Template // what rules_*.txt hold: the grammar of the free narratives
}

// A Topic is one thing to ask about. In a file it is a block:
//
//	# the colour of the sky        its subject, as in "tell me about ..."; "-" for none
//	? why is the sky blue          questions; a question mark is added unless the line ends in punctuation
//	= Sunlight is a mixture ...    opening sentences, of which an answer takes one
//	Blue light bounces ...         further sentences, any of which may be left out but not reordered
//	> So the sky looks blue ...    closing sentences, of which an answer takes one or none
//
// Lines that begin with ; are comments. In a story, every line is told except those that begin with ~.
type Topic struct {
	Name      string // file and line, for held-out keys and error messages
	Subject   *Template
	Questions []Template
	Openings  []Template
	Body      []Line
	Closings  []Template
	Chat      bool // talk rather than a question: no "please explain" around it
}

// A Line is a sentence of a topic or story.
type Line struct {
	Template
	Maybe bool
}

// A Table holds things of one kind and the topics that can be asked about each.
type Table struct {
	Name    string
	Columns []string
	Rows    []map[string]string
	Topics  []Topic
}

// loadContent reads and checks the embedded files. Errors name file and line.
func loadContent() (*Content, error) {
	names, err := fs.Glob(contentFiles, "content/*.txt")
	if err != nil {
		return nil, err
	}
	sort.Strings(names)
	c := &Content{Lists: map[string][]string{}, Rules: map[string][]Template{}}
	for _, path := range names {
		data, err := contentFiles.ReadFile(path)
		if err != nil {
			return nil, err
		}
		file := strings.TrimPrefix(path, "content/")
		if err := c.add(file, string(data)); err != nil {
			return nil, err
		}
	}
	c.listTables()
	return c, c.check()
}

// add reads one file, whose name says what it holds.
func (c *Content) add(file, data string) error {
	for i, line := range strings.Split(data, "\n") {
		for _, r := range line {
			if r > 126 || r < 32 {
				return fmt.Errorf("%s:%d: character %q is not printable ASCII", file, i+1, r)
			}
		}
	}
	kind, _, _ := strings.Cut(file, "_")
	switch kind {
	case "words.txt", "lists":
		return c.addLists(file, data)
	case "rules":
		return c.addRules(file, data)
	case "table":
		head, rows, found := strings.Cut(data, "\n---\n")
		if !found {
			return fmt.Errorf("%s: no --- line between topics and rows", file)
		}
		topics, err := parseTopics(file, head)
		if err != nil {
			return err
		}
		t := Table{Name: strings.TrimSuffix(strings.TrimPrefix(file, "table_"), ".txt"), Topics: topics}
		if err := t.parseRows(file, strings.Count(head, "\n")+3, rows); err != nil {
			return err
		}
		c.Tables = append(c.Tables, t)
		return nil
	}
	topics, err := parseTopics(file, data)
	if err != nil {
		return err
	}
	switch kind {
	case "topics":
		c.Topics = append(c.Topics, topics...)
	case "chat":
		for i := range topics {
			topics[i].Chat = true
		}
		c.Topics = append(c.Topics, topics...)
	case "stories":
		c.Plots = append(c.Plots, topics...)
	default:
		return fmt.Errorf("%s: unknown kind of content file %q", file, kind)
	}
	return nil
}

// addLists reads "name: one, two, three" lines; a name may come again to add more.
func (c *Content) addLists(file, data string) error {
	for i, line := range strings.Split(data, "\n") {
		if line == "" || line[0] == ';' {
			continue
		}
		name, words, found := strings.Cut(line, ":")
		if !found {
			return fmt.Errorf("%s:%d: want \"name: word, word\", got %q", file, i+1, line)
		}
		for _, w := range strings.Split(words, ",") {
			if w = strings.TrimSpace(w); w != "" {
				c.Lists[name] = append(c.Lists[name], w)
			}
		}
	}
	return nil
}

// parseTopics reads the blocks of a file.
func parseTopics(file, data string) ([]Topic, error) {
	var topics []Topic
	for i, line := range strings.Split(data, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == ';' {
			continue
		}
		mark, text := byte(0), line
		if len(line) > 2 && line[1] == ' ' && strings.IndexByte("#?=>~", line[0]) >= 0 {
			mark, text = line[0], line[2:]
		}
		tmpl, err := parseTemplate(text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
		if mark == '#' {
			t := Topic{Name: fmt.Sprintf("%s/%s", file, text)}
			if text != "-" {
				t.Subject = &tmpl
			} else {
				t.Name = fmt.Sprintf("%s/%d", file, len(topics))
			}
			topics = append(topics, t)
			continue
		}
		if len(topics) == 0 {
			return nil, fmt.Errorf("%s:%d: a line before the first # subject", file, i+1)
		}
		t := &topics[len(topics)-1]
		switch mark {
		case '?':
			t.Questions = append(t.Questions, tmpl)
		case '=':
			t.Openings = append(t.Openings, tmpl)
		case '>':
			t.Closings = append(t.Closings, tmpl)
		default:
			t.Body = append(t.Body, Line{Template: tmpl, Maybe: mark == '~'})
		}
	}
	return topics, nil
}

// parseRows reads "a | b | c" lines under a header of column names. In a column named facts, sentences are
// parted by " / " and become fact1, fact2, ...; rows may leave columns at the end away.
func (t *Table) parseRows(file string, firstLine int, data string) error {
	for i, line := range strings.Split(data, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == ';' {
			continue
		}
		cells := strings.Split(line, "|")
		for k := range cells {
			cells[k] = strings.TrimSpace(cells[k])
		}
		if t.Columns == nil {
			t.Columns = cells
			continue
		}
		if len(cells) > len(t.Columns) {
			return fmt.Errorf("%s:%d: %d cells for %d columns", file, firstLine+i, len(cells), len(t.Columns))
		}
		row := map[string]string{}
		for k, column := range t.Columns {
			cell := ""
			if k < len(cells) {
				cell = cells[k]
			}
			row[column] = cell
			if column == "facts" {
				facts := strings.Split(cell, " / ")
				for n := range maxFacts {
					fact := ""
					if n < len(facts) {
						fact = strings.TrimSpace(facts[n])
					}
					row[fmt.Sprintf("fact%d", n+1)] = fact
				}
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return nil
}

const maxFacts = 5 // sentences a table row may carry in its facts column

// storySlots are bound by the story teller rather than drawn from a list.
var storySlots = map[string]bool{
	"hero": true, "he": true, "him": true, "his": true, "himself": true, "kind": true,
	"friend": true, "fhe": true, "fhim": true, "fhis": true,
}

// check reports the first template that names an unknown slot, and topics that cannot make a row.
func (c *Content) check() error {
	known := func(t Topic, extra map[string]bool) error {
		var bad error
		visit := func(tmpl Template) {
			tmpl.slots(func(name string) {
				if !extra[name] && len(c.Lists[listName(name)]) == 0 && bad == nil {
					bad = fmt.Errorf("%s: template %q: unknown slot [%s]", t.Name, tmpl.source, name)
				}
			})
		}
		for _, group := range [][]Template{t.Questions, t.Openings, t.Closings} {
			for _, tmpl := range group {
				visit(tmpl)
			}
		}
		for _, l := range t.Body {
			visit(l.Template)
		}
		if t.Subject != nil {
			visit(*t.Subject)
		}
		return bad
	}
	for _, t := range c.Topics {
		if len(t.Questions) == 0 || len(t.Openings) == 0 {
			return fmt.Errorf("%s: wants at least one question and one opening", t.Name)
		}
		if err := known(t, nil); err != nil {
			return err
		}
	}
	for _, table := range c.Tables {
		columns := map[string]bool{}
		for _, row := range table.Rows {
			for name := range row {
				columns[name] = true
			}
		}
		for _, t := range table.Topics {
			if len(t.Questions) == 0 || len(t.Openings) == 0 {
				return fmt.Errorf("%s: wants at least one question and one opening", t.Name)
			}
			if err := known(t, columns); err != nil {
				return err
			}
		}
	}
	for _, t := range c.Plots {
		if err := known(t, storySlots); err != nil {
			return err
		}
	}
	return c.checkRules()
}
