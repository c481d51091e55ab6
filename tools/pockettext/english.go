package main

import (
	"strconv"
	"strings"
	"unicode"
)

// article returns "a" or "an", whichever the word that begins phrase wants.
func article(phrase string) string {
	w := strings.ToLower(phrase)
	for _, silent := range []string{"hour", "honest", "heir"} {
		if strings.HasPrefix(w, silent) {
			return "an"
		}
	}
	// A vowel on paper that is said with a y or a w: a uniform, a one-way street.
	for _, said := range []string{"uni", "use", "usu", "eu", "one", "once", "ufo", "ute"} {
		if strings.HasPrefix(w, said) && !strings.HasPrefix(w, "unin") && !strings.HasPrefix(w, "unim") {
			return "a"
		}
	}
	// Numbers that begin with a vowel sound: an 8, an 11, an 18.
	if strings.HasPrefix(w, "8") || w == "11" || w == "18" ||
		strings.HasPrefix(w, "11 ") || strings.HasPrefix(w, "18 ") {
		return "an"
	}
	if w != "" && strings.ContainsRune("aeiou", rune(w[0])) {
		return "an"
	}
	return "a"
}

var irregularPlurals = map[string]string{
	"child": "children", "man": "men", "woman": "women", "person": "people", "foot": "feet", "tooth": "teeth",
	"goose": "geese", "mouse": "mice", "ox": "oxen", "sheep": "sheep", "fish": "fish", "deer": "deer",
	"moose": "moose", "wolf": "wolves", "leaf": "leaves", "loaf": "loaves", "knife": "knives", "wife": "wives",
	"life": "lives", "half": "halves", "shelf": "shelves", "calf": "calves", "scarf": "scarves",
	"thief": "thieves", "elf": "elves", "potato": "potatoes", "tomato": "tomatoes", "hero": "heroes",
	"echo": "echoes", "volcano": "volcanoes", "mango": "mangoes", "squid": "squid", "salmon": "salmon",
	"reindeer": "reindeer", "scissors": "scissors", "trousers": "trousers", "binoculars": "binoculars",
	"buffalo": "buffalo", "cactus": "cacti", "octopus": "octopuses", "bus": "buses", "spaceship": "spaceships",
	"aircraft": "aircraft", "firefighter": "firefighters", "passer-by": "passers-by", "quiz": "quizzes",
	"postman": "postmen", "snowman": "snowmen", "dragonfly": "dragonflies", "glasses": "glasses",
	"jellyfish": "jellyfish", "starfish": "starfish", "goldfish": "goldfish", "mosquito": "mosquitoes",
}

// plural returns the plural of a noun phrase, whose last word carries it: "fire engine", "fire engines".
func plural(phrase string) string {
	head, w := "", phrase
	if i := strings.LastIndexByte(phrase, ' '); i >= 0 {
		head, w = phrase[:i+1], phrase[i+1:]
	}
	if p, ok := irregularPlurals[w]; ok {
		return head + p
	}
	last := byte(0)
	if w != "" {
		last = w[len(w)-1]
	}
	switch {
	case strings.HasSuffix(w, "man") && w != "human" && w != "German" && w != "Roman":
		return head + w[:len(w)-3] + "men"
	case strings.HasSuffix(w, "ch") && w != "stomach", strings.HasSuffix(w, "sh"),
		last == 's', last == 'x', last == 'z':
		return head + w + "es"
	case last == 'y' && len(w) > 1 && !strings.ContainsRune("aeiou", rune(w[len(w)-2])):
		return head + w[:len(w)-1] + "ies"
	}
	return head + w + "s"
}

// capital returns s with its first letter in upper case.
func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// tidy turns expanded templates into clean text: single spaces, none before a full stop or comma, "an" where
// "a" would be wrong, and a capital at the start of every sentence.
func tidy(s string) string {
	words := strings.Fields(s)
	for i, w := range words {
		if i+1 < len(words) && (w == "a" || w == "A" || w == `"A` || w == `"a` || w == "an" || w == "An") {
			next := strings.TrimLeft(words[i+1], `"'(`)
			lead := strings.TrimRight(w, "aAnN")
			a := article(strings.TrimRight(next, ".,!?;:"))
			if strings.ContainsRune(w, 'A') {
				a = capital(a)
			}
			words[i] = lead + a
		}
	}
	s = strings.Join(words, " ")
	s = strings.NewReplacer(" .", ".", " ,", ",", " ?", "?", " !", "!", " ;", ";", " :", ":").Replace(s)
	b := []byte(s)
	start := true
	for i := range b {
		c := rune(b[i])
		switch {
		case unicode.IsLetter(c):
			if start {
				b[i] = byte(unicode.ToUpper(c))
			}
			start = false
		case unicode.IsDigit(c):
			start = false
		case c == ' ' && i > 0 && strings.ContainsRune(".!?", rune(b[i-1])):
			start = true
		}
	}
	return string(b)
}

// wordCount counts words as the statistics of the puppy rows do: by spaces.
func wordCount(s string) int { return len(strings.Fields(s)) }

var smallNumbers = []string{"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
	"ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"}

var tens = []string{"", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"}

// numberWords spells 0 to 999 in words and leaves other numbers as digits.
func numberWords(n int) string {
	switch {
	case n < 0 || n > 999:
		return strconv.Itoa(n)
	case n < 20:
		return smallNumbers[n]
	case n < 100 && n%10 == 0:
		return tens[n/10]
	case n < 100:
		return tens[n/10] + "-" + smallNumbers[n%10]
	case n%100 == 0:
		return smallNumbers[n/100] + " hundred"
	}
	return smallNumbers[n/100] + " hundred and " + numberWords(n%100)
}

// listWords joins words as a sentence does: "one, two and three".
func listWords(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// count gives a number of things in agreement: "one apple", "three apples".
func count(n int, noun string) string {
	if n == 1 {
		return "one " + noun
	}
	return numberWords(n) + " " + plural(noun)
}
