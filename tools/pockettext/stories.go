package main

import (
	"errors"
	"strings"
)

// animalHeroes may carry a story as well as children do.
const animalHeroOneIn = 4

// cast binds the hero, the friend and their pronouns.
func (s *Scene) cast() error {
	for _, role := range []struct{ name, prefix string }{{"hero", ""}, {"friend", "f"}} {
		list, he, him, his, himself := "boy", "he", "him", "his", "himself"
		if s.rng.IntN(2) == 0 {
			list, he, him, his, himself = "girl", "she", "her", "her", "herself"
		}
		kind := list
		if s.rng.IntN(animalHeroOneIn) == 0 {
			k, err := s.value("storyanimal")
			if err != nil {
				return err
			}
			delete(s.bound, "storyanimal")
			kind = k
		}
		names := s.lists[list]
		if len(names) == 0 {
			return errors.New("no list of names: " + list)
		}
		name := names[s.rng.IntN(len(names))]
		for s.bound["hero"] == name {
			name = names[s.rng.IntN(len(names))]
		}
		s.bound[role.name] = name
		s.bound[role.prefix+"he"], s.bound[role.prefix+"him"] = he, him
		s.bound[role.prefix+"his"] = his
		if role.prefix == "" {
			s.bound["himself"], s.bound["kind"] = himself, kind
		}
	}
	return nil
}

// tell expands a plot: every line in order, those marked ~ half of the time, one opening and one closing.
func (t Topic) tell(s *Scene) (string, error) {
	if err := s.cast(); err != nil {
		return "", err
	}
	var told []string
	if len(t.Openings) > 0 {
		opening, err := pickSentence(s, t.Openings)
		if err != nil {
			return "", err
		}
		told = append(told, opening)
	}
	for _, line := range t.Body {
		if line.Maybe && s.rng.IntN(2) == 0 {
			continue
		}
		sentence, err := s.Expand(line.Template)
		if err != nil {
			return "", err
		}
		told = append(told, sentence)
	}
	if len(t.Closings) > 0 {
		closing, err := pickSentence(s, t.Closings)
		if err != nil {
			return "", err
		}
		told = append(told, closing)
	}
	return tidy(strings.Join(told, " ")), nil
}

var storyForms = []string{
	"tell me a story about %.", "can you tell me a story about %?", "please tell a short story about %.",
	"I want to hear a story about %.", "write a little story about %.", "do you know a story about %?",
	"make up a story about %.", "could you write a story about %?", "read me a story about %.",
}
