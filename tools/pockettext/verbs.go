package main

import "strings"

// A verbForm is the shape a verb takes in its place of the sentence.
type verbForm int

// Finite agrees with its subject, Base follows "to" and "can", Gerund ends in -ing.
const (
	Finite verbForm = iota
	Base
	Gerund
)

// conjugate returns a verb of a word list, "base", "base/past" or "base/past/ing", in a form. past and third
// count for Finite only.
func conjugate(entry string, form verbForm, past, third bool) string {
	parts := strings.Split(entry, "/")
	base := parts[0]
	switch {
	case form == Base:
		return base
	case form == Gerund && len(parts) > 2:
		return parts[2]
	case form == Gerund:
		return gerund(base, parts[len(parts)-1])
	case past && len(parts) > 1:
		return parts[1]
	case past:
		return regularPast(base)
	case third:
		first, rest, more := strings.Cut(base, " ")
		if more {
			rest = " " + rest
		}
		return thirdPerson(first) + rest
	}
	return base
}

func regularPast(base string) string {
	switch {
	case strings.HasSuffix(base, "e"):
		return base + "d"
	case consonantY(base):
		return base[:len(base)-1] + "ied"
	}
	return base + "ed"
}

// gerund doubles the last letter where the past does: hug, hugged, hugging.
func gerund(base, past string) string {
	switch {
	case strings.HasSuffix(base, "ie"):
		return base[:len(base)-2] + "ying"
	case len(base) > 2 && strings.HasSuffix(base, "e") && !strings.HasSuffix(base, "ee"):
		return base[:len(base)-1] + "ing"
	case past == base+base[len(base)-1:]+"ed":
		return base + base[len(base)-1:] + "ing"
	}
	return base + "ing"
}

func thirdPerson(base string) string {
	switch {
	case base == "have":
		return "has"
	case base == "be":
		return "is"
	case consonantY(base):
		return base[:len(base)-1] + "ies"
	}
	for _, end := range []string{"s", "sh", "ch", "x", "z", "o"} {
		if strings.HasSuffix(base, end) {
			return base + "es"
		}
	}
	return base + "s"
}

func consonantY(w string) bool {
	return len(w) > 1 && w[len(w)-1] == 'y' && !strings.ContainsRune("aeiou", rune(w[len(w)-2]))
}
