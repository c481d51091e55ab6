package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
)

var saidAfter = regexp.MustCompile(`\."( [a-z])`)

// Words of a narrative row, as wordCount counts.
const (
	narrativeMin = 40
	narrativeMax = 90
	sentenceMax  = 30 // a longer sentence has nested too deeply to be followed
	maxDepth     = 14
)

// pronouns are the words that stand for a referent, and how its verbs agree.
type pronouns struct {
	he, him, his string
	third        bool // "goes" rather than "go"
}

var (
	pronounI    = pronouns{"I", "me", "my", false}
	pronounWe   = pronouns{"we", "us", "our", false}
	pronounYou  = pronouns{"you", "you", "your", false}
	pronounThey = pronouns{"they", "them", "their", false}
	pronounHe   = pronouns{"he", "him", "his", true}
	pronounShe  = pronouns{"she", "her", "her", true}
	pronounIt   = pronouns{"it", "it", "its", true}
	pronounAll  = pronouns{"they", "them", "their", true} // everybody does, but their
)

var pronounsOf = map[string]pronouns{"he": pronounHe, "she": pronounShe, "they": pronounThey, "all": pronounAll}

// A referent is somebody or something that a sentence can be about.
type referent struct {
	text string
	pronouns
}

// voice is what nested parts of a sentence may change for themselves only.
type voice struct {
	subject referent
	form    verbForm
	past    bool
}

// A narrator tells one row: who speaks, who and what comes back in it, and the state of the sentence it is in.
type narrator struct {
	rng     *rand.Rand
	content *Content
	self    referent
	cast    []referent
	things  []string
	last    referent // subject of the clause before, which a pronoun may stand for
	depth   int
	voice
}

// narrative returns a text row of the free grammar.
func (g *Generator) narrative() (Row, []string, error) {
	n := &narrator{rng: g.rng, content: g.content}
	if err := n.begin(); err != nil {
		return Row{}, nil, err
	}
	past := n.rng.IntN(3) > 0
	target := narrativeMin + n.rng.IntN(narrativeMax-narrativeMin-12)
	var told []string
	for words := 0; words < target; {
		n.voice = voice{subject: n.self, past: past}
		if n.rng.IntN(8) == 0 {
			n.past = !past
		}
		n.depth = 0
		s, err := n.rule("s")
		if errors.Is(err, errEmptySlot) {
			continue
		}
		if err != nil {
			return Row{}, nil, err
		}
		count := wordCount(s)
		if count > sentenceMax || words+count > narrativeMax {
			continue
		}
		words += count
		told = append(told, capital(strings.TrimSpace(s)))
	}
	text := tidy(strings.Join(told, " "))
	// A quotation that ends with a full stop has a comma there when "said Mum" follows.
	text = saidAfter.ReplaceAllString(text, `,"$1`)
	return Row{Text: text},
		[]string{"narrative/" + n.cast[0].text + "/" + n.things[0]}, nil
}

// begin draws the speaker, two or three people and three things of the row.
func (n *narrator) begin() error {
	switch i := n.rng.IntN(20); {
	case i < 13:
		n.self = referent{"I", pronounI}
	case i < 16:
		n.self = referent{"we", pronounWe}
	case i < 18:
		n.self = referent{oneOf(n.rng, n.content.Lists["boy"]...), pronounHe}
	default:
		n.self = referent{oneOf(n.rng, n.content.Lists["girl"]...), pronounShe}
	}
	for range 2 + n.rng.IntN(2) {
		n.cast = append(n.cast, n.anybody())
	}
	for range 3 {
		thing, err := n.rule("n_thing")
		if err != nil {
			return err
		}
		n.things = append(n.things, thing)
	}
	return nil
}

// anybody draws a person who is neither the speaker nor the subject.
func (n *narrator) anybody() referent {
	for {
		var r referent
		if n.rng.IntN(6) == 0 {
			r = referent{oneOf(n.rng, n.content.Lists["boy"]...), pronounHe}
			if n.rng.IntN(2) == 0 {
				r = referent{oneOf(n.rng, n.content.Lists["girl"]...), pronounShe}
			}
		} else {
			text, who, _ := strings.Cut(oneOf(n.rng, n.content.Lists["n_person"]...), "=")
			r = referent{strings.ReplaceAll(text, "%", n.self.his), pronounsOf[who]}
		}
		if r.text != n.self.text && r.text != n.subject.text {
			return r
		}
	}
}

// somebody draws from the row's people twice in three times, and from all otherwise.
func (n *narrator) somebody() referent {
	if len(n.cast) > 0 && n.rng.IntN(3) > 0 {
		if r := n.cast[n.rng.IntN(len(n.cast))]; r.text != n.subject.text {
			return r
		}
	}
	return n.anybody()
}

// one is somebody who is a single person: "says" and "'s" fit.
func (n *narrator) one() referent {
	for {
		if r := n.somebody(); r.pronouns == pronounHe || r.pronouns == pronounShe {
			return r
		}
	}
}

// keepsSubject are the rules whose subject goes on to count in the rule that used them.
var keepsSubject = map[string]bool{"plain": true}

// rule expands one template of a rule, within which subject, form and tense are its own.
func (n *narrator) rule(name string) (string, error) {
	if n.depth >= maxDepth {
		return "", errEmptySlot
	}
	before := n.voice
	n.depth++
	defer func() {
		n.depth--
		if keepsSubject[name] {
			before.subject = n.subject
		}
		n.voice = before
	}()
	templates := n.content.Rules[name]
	t := templates[n.rng.IntN(len(templates))]
	var b strings.Builder
	if err := n.expand(&b, t.nodes); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return strings.TrimSpace(b.String()), nil
}

func (n *narrator) expand(b *strings.Builder, nodes []node) error {
	for _, x := range nodes {
		switch {
		case x.choices != nil:
			if err := n.expand(b, x.choices[n.rng.IntN(len(x.choices))]); err != nil {
				return err
			}
		case x.slot != "":
			v, err := n.slot(x.slot)
			if err != nil {
				return err
			}
			switch x.mod {
			case "pl":
				v = plural(v)
			case "a":
				v = article(v) + " " + v
			}
			if x.capital {
				v = capital(v)
			}
			b.WriteString(v)
		default:
			b.WriteString(x.text)
		}
	}
	return nil
}

// slot returns the text of a slot: what builtins make, a rule, a verb in its form, or a word of a list.
func (n *narrator) slot(name string) (string, error) {
	if f, ok := builtins[name]; ok {
		return f(n), nil
	}
	form := n.form
	defer func() { n.form = form }()
	name, n.form = wantedForm(name, n.form)
	if n.content.Rules[name] != nil {
		return n.rule(name)
	}
	list := n.content.Lists[name]
	if len(list) == 0 {
		return "", fmt.Errorf("unknown slot [%s]", name)
	}
	word := list[n.rng.IntN(len(list))]
	if strings.HasPrefix(name, "v_") {
		word = conjugate(word, n.form, n.past, n.subject.third)
	}
	return word, nil
}

// wantedForm takes the form off a slot's name.
func wantedForm(name string, form verbForm) (string, verbForm) {
	if base, ok := strings.CutSuffix(name, "_base"); ok {
		return base, Base
	}
	if base, ok := strings.CutSuffix(name, "_ing"); ok && base != "v" {
		return base, Gerund
	}
	return name, form
}

// become makes r the subject of the verbs that follow and returns its text.
func (n *narrator) become(r referent) string {
	n.subject, n.last, n.form = r, r, Finite
	return r.text
}

// sets returns a builtin that changes the subject and writes nothing.
func sets(p pronouns) func(n *narrator) string {
	return func(n *narrator) string {
		n.subject = referent{p.he, p}
		return ""
	}
}

// builtins are the slots that look at or change the state of the sentence.
var builtins map[string]func(n *narrator) string

func init() { // in init, because builtins lead back to builtins
	builtins = map[string]func(n *narrator) string{
		"subj":       (*narrator).drawSubject,
		"self":       func(n *narrator) string { return n.become(n.self) },
		"person":     (*narrator).object,
		"person2":    func(n *narrator) string { return n.one().text },
		"onesubj":    func(n *narrator) string { return n.become(n.one()) },
		"thing":      func(n *narrator) string { return "the " + n.things[n.rng.IntN(len(n.things))] },
		"thingsubj":  (*narrator).drawThing,
		"animalsubj": (*narrator).drawAnimal,
		"plsubj": func(n *narrator) string {
			return n.become(referent{"the " + plural(oneOf(n.rng, n.content.Lists["n_animal"]...)), pronounThey})
		},
		"pair": func(n *narrator) string {
			with := n.one().text
			if n.self.he == "I" || n.self.he == "we" {
				return n.become(referent{with + " and I", pronounWe})
			}
			return n.become(referent{n.self.text + " and " + with, pronounThey})
		},
		"mysubj": func(n *narrator) string {
			body := oneOf(n.rng, n.content.Lists["n_body"]...)
			return n.become(referent{n.self.his + " " + body, pronounIt})
		},
		"i": sets(pronounI), "you": sets(pronounYou), "we": sets(pronounWe), "they": sets(pronounThey),
		"it":      sets(pronounIt),
		"he":      func(n *narrator) string { return n.subject.he },
		"my":      func(n *narrator) string { return n.subject.his },
		"was":     (*narrator).be,
		"itwas":   func(n *narrator) string { return n.tense("is", "was") },
		"itis":    func(n *narrator) string { return n.tense("is", "was") },
		"wasnt":   (*narrator).beNot,
		"dont":    (*narrator).doNot,
		"didnt":   (*narrator).doNot,
		"can":     func(n *narrator) string { return n.tense("can", "could") },
		"couldnt": func(n *narrator) string { return n.tense("can't", "couldn't") },
		"had":     func(n *narrator) string { return conjugate("have/had", Finite, n.past, n.subject.third) },
		"now":     func(n *narrator) string { n.past = false; return "" },
	}
}

func (n *narrator) tense(present, past string) string {
	if n.past {
		return past
	}
	return present
}

func (n *narrator) be() string {
	switch {
	case n.form == Base:
		return "be"
	case n.form == Gerund:
		return "being"
	case n.subject.third:
		return n.tense("is", "was")
	case n.subject.he == "I":
		return n.tense("am", "was")
	}
	return n.tense("are", "were")
}

func (n *narrator) beNot() string {
	be := n.be()
	if n.form == Finite && be != "am" {
		return be + "n't"
	}
	return be + " not"
}

func (n *narrator) doNot() string {
	if n.subject.third {
		return n.tense("doesn't", "didn't")
	}
	return n.tense("don't", "didn't")
}

// drawSubject takes the speaker, somebody of the row, or a pronoun for whom the clause before was about.
func (n *narrator) drawSubject() string {
	switch i := n.rng.IntN(20); {
	case i < 8:
		return n.become(n.self)
	case i < 12 && n.last.third && n.last.pronouns != pronounAll:
		n.become(n.last) // with its name, so that it is not its own object
		return n.last.he
	case i < 17:
		return n.become(n.somebody())
	case i == 17:
		return n.drawAnimal()
	case i == 18:
		return n.become(referent{"we", pronounWe})
	}
	return n.become(referent{"they", pronounThey})
}

func (n *narrator) drawAnimal() string {
	lead := oneOf(n.rng, "the ", "the ", n.self.his+" ", "a ", "the little ", "one ", "that ")
	return n.become(referent{lead + oneOf(n.rng, n.content.Lists["n_animal"]...), pronounIt})
}

func (n *narrator) drawThing() string {
	thing := "the " + n.things[n.rng.IntN(len(n.things))]
	if n.rng.IntN(2) == 0 {
		list := oneOf(n.rng, "n_toy", "n_home", "n_nature", "n_furn", "countable", "treasure", "t_things")
		thing = oneOf(n.rng, "the ", "the ", n.self.his+" ", "that ", "this ") + oneOf(n.rng, n.content.Lists[list]...)
	}
	return n.become(referent{thing, pronounIt})
}

// object is somebody to do something to: one of the row's people, or the speaker in the pronoun's other form.
func (n *narrator) object() string {
	if n.subject.he != n.self.he && n.rng.IntN(3) == 0 && n.subject.he != "we" && n.self.he != "we" {
		return n.self.him
	}
	return n.somebody().text
}

// listTables makes word lists of the names in the tables, [t_animals] and so on, for the narratives.
func (c *Content) listTables() {
	for _, t := range c.Tables {
		for _, row := range t.Rows {
			c.Lists["t_"+t.Name] = append(c.Lists["t_"+t.Name], row["name"])
		}
	}
}

// addRules reads "name = template" lines; name*3 counts a template three times. Errors name file and line.
func (c *Content) addRules(file, data string) error {
	for i, line := range strings.Split(data, "\n") {
		if line == "" || line[0] == ';' {
			continue
		}
		name, text, found := strings.Cut(line, " = ")
		if !found {
			return fmt.Errorf("%s:%d: want \"name = template\", got %q", file, i+1, line)
		}
		name, weight, weighted := strings.Cut(name, "*")
		times := 1
		if weighted {
			var err error
			if times, err = strconv.Atoi(weight); err != nil || times < 1 || times > 20 {
				return fmt.Errorf("%s:%d: weight %q of rule %s: want 1 to 20", file, i+1, weight, name)
			}
		}
		t, err := parseTemplate(text)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
		for range times {
			c.Rules[name] = append(c.Rules[name], t)
		}
	}
	return nil
}

// checkRules reports the first rule that names a slot which nothing fills.
func (c *Content) checkRules() error {
	for rule, templates := range c.Rules {
		for _, t := range templates {
			var bad error
			t.slots(func(name string) {
				base, _ := wantedForm(name, Finite)
				if builtins[name] == nil && c.Rules[base] == nil && len(c.Lists[base]) == 0 && bad == nil {
					bad = fmt.Errorf("rule %s: template %q: unknown slot [%s]", rule, t.source, name)
				}
			})
			if bad != nil {
				return bad
			}
		}
	}
	return nil
}
