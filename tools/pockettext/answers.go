package main

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
)

// Answers are meant to be as long as the replies of the puppy rows, so that a fine-tuned model changes its
// voice and not its length.
const (
	answerWordsMin = 38 // an answer is filled until it has a goal drawn between these two
	answerWordsMax = 66
	answerWordsCap = 76 // and never takes another sentence that would bring it past this
)

// answer composes an opening, some of the body in its order, and perhaps a closing.
// Sentences that share a word with the question come first in line for a place.
func (t Topic) answer(s *Scene, question string) (string, error) {
	goal := answerWordsMin + s.rng.IntN(answerWordsMax-answerWordsMin+1)
	opening, err := pickSentence(s, t.Openings)
	if err != nil {
		return "", err
	}
	closing := ""
	if len(t.Closings) > 0 && s.rng.IntN(2) == 0 {
		if closing, err = pickSentence(s, t.Closings); err != nil {
			return "", err
		}
	}
	words := wordCount(opening) + wordCount(closing)
	told := make([]string, len(t.Body))
	for _, i := range byRelevance(s, t.Body, question) {
		if words >= goal {
			break
		}
		sentence, err := s.Expand(t.Body[i].Template)
		if errors.Is(err, errEmptySlot) {
			continue
		}
		if err != nil {
			return "", err
		}
		if n := wordCount(sentence); words+n <= answerWordsCap {
			told[i], words = sentence, words+n
		}
	}
	return tidy(opening + " " + strings.Join(told, " ") + " " + closing), nil
}

// pickSentence expands one of the templates that fit the scene. Errors: errEmptySlot when none does.
func pickSentence(s *Scene, from []Template) (string, error) {
	var last error
	for _, i := range s.rng.Perm(len(from)) {
		sentence, err := s.Expand(from[i])
		if err == nil {
			return sentence, nil
		}
		if last = err; !errors.Is(err, errEmptySlot) {
			break
		}
	}
	return "", last
}

// byRelevance returns the order in which body lines are considered: those that share a word stem with the
// question first, the rest at random.
func byRelevance(s *Scene, body []Line, question string) []int {
	asked := map[string]bool{}
	for _, w := range stems(question) {
		asked[w] = true
	}
	order := s.rng.Perm(len(body))
	shared := func(i int) int {
		for _, w := range stems(body[i].source) {
			if asked[w] {
				return 0
			}
		}
		return 1
	}
	slices.SortStableFunc(order, func(a, b int) int { return shared(a) - shared(b) })
	return order
}

// Words of questions that say nothing about their subject.
var plainWords = map[string]bool{"what": true, "when": true, "where": true, "which": true, "does": true,
	"have": true, "should": true, "people": true, "with": true, "that": true, "this": true, "from": true,
	"them": true, "they": true, "your": true, "about": true, "tell": true, "need": true, "make": true,
	"made": true, "like": true, "look": true, "help": true, "helps": true, "their": true, "there": true,
	"some": true, "many": true, "more": true, "into": true, "come": true, "must": true, "words": true}

// stems gives the first letters of the words that matter in a sentence, a crude way to see that "sneezing" and
// "sneeze" belong together.
func stems(sentence string) []string {
	const stemLen = 5
	var found []string
	for _, w := range strings.FieldsFunc(strings.ToLower(sentence), func(c rune) bool { return c < 'a' || c > 'z' }) {
		if len(w) < 4 || plainWords[w] {
			continue
		}
		found = append(found, w[:min(len(w), stemLen)])
	}
	return found
}

var aboutForms = []string{
	"tell me about %.", "can you tell me about %?", "what can you tell me about %?",
	"explain % in simple words.", "what should I know about %?", "please tell me something about %.",
	"I want to learn about %.", "give me some facts about %.", "write a few sentences about %.",
	"what is important to know about %?", "could you explain %?", "I would like to know more about %.",
}

var askBefore = []string{
	"I have a question. ", "Hello! ", "Hi! ", "Hello, ", "Please tell me, ", "I was wondering, ", "Excuse me, ",
	"My sister asked me this: ", "My son wants to know: ", "Our teacher asked us: ", "Quick question: ",
	"Here is my question. ", "Do you know this? ", "I am curious. ", "For school, I need to know: ", "Hey, ",
	"Can you help me? ", "Tell me, ", "A friend asked me: ", "I always wanted to know: ", "So, ", "Good morning! ",
}

var askAfter = []string{
	" Please explain.", " Can you explain it simply?", " Please tell me.", " I would like to know.",
	" I do not understand it.", " Please use simple words.", " Thank you!", " Please help me.", " Do you know?",
	" A short answer is fine.", " We talked about it at school.", " Thanks.", " I forgot.",
}

// ask draws a question for the topic and says which one it was. Not everyone types with care: some questions
// lose their capital or their question mark.
func (t Topic) ask(s *Scene) (question, which string, err error) {
	about := t.Subject != nil && !t.Chat && s.rng.IntN(5) == 0
	if about {
		subject, err := s.Expand(*t.Subject)
		if err != nil {
			return "", "", err
		}
		form := aboutForms[s.rng.IntN(len(aboutForms))]
		return sloppy(s.rng, tidy(strings.ReplaceAll(form, "%", subject))), form, nil
	}
	chosen := t.Questions[s.rng.IntN(len(t.Questions))]
	q, err := s.Expand(chosen)
	if err != nil {
		return "", "", err
	}
	if q = strings.TrimSpace(q); q != "" && !strings.ContainsRune(".!?", rune(q[len(q)-1])) {
		q += "?"
	}
	if !t.Chat {
		q = wrapQuestion(s.rng, q)
	}
	return sloppy(s.rng, tidy(q)), chosen.source, nil
}

// wrapQuestion puts a few polite or curious words around a question, one time in four.
func wrapQuestion(rng *rand.Rand, q string) string {
	switch rng.IntN(8) {
	case 0:
		return askBefore[rng.IntN(len(askBefore))] + q
	case 1:
		return q + askAfter[rng.IntN(len(askAfter))]
	}
	return q
}

func sloppy(rng *rand.Rand, q string) string {
	switch rng.IntN(16) {
	case 0:
		return strings.ToLower(q[:1]) + q[1:]
	case 1:
		return strings.TrimRight(q, "?.")
	case 2:
		return strings.TrimRight(strings.ToLower(q[:1])+q[1:], "?.")
	}
	return q
}
