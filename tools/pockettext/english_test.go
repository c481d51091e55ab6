package main

import "testing"

func TestArticle(t *testing.T) {
	for phrase, want := range map[string]string{
		"apple": "an", "dog": "a", "hour": "an", "house": "a", "umbrella": "an", "uniform": "a", "unicorn": "a",
		"unhappy child": "an", "unusual day": "an", "European": "a", "one-way street": "a", "onion": "an",
		"8": "an", "18": "an", "11": "an", "12": "a", "honest man": "an", "used car": "a", "old key": "an", "": "a",
	} {
		if got := article(phrase); got != want {
			t.Errorf("article(%q) = %q, want %q", phrase, got, want)
		}
	}
}

func TestPlural(t *testing.T) {
	for one, want := range map[string]string{
		"dog": "dogs", "fox": "foxes", "child": "children", "fire engine": "fire engines", "berry": "berries",
		"monkey": "monkeys", "bench": "benches", "brush": "brushes", "mouse": "mice", "leaf": "leaves",
		"bus": "buses", "polar bear": "polar bears", "sheep": "sheep",
		"tooth": "teeth", "loose tooth": "loose teeth", "police officer": "police officers", "knife": "knives",
		"potato": "potatoes", "piano": "pianos", "kangaroo": "kangaroos", "fisherman": "fishermen",
	} {
		if got := plural(one); got != want {
			t.Errorf("plural(%q) = %q, want %q", one, got, want)
		}
	}
}

func TestTidy(t *testing.T) {
	for in, want := range map[string]string{
		"a  apple , and an dog . it is a owl":      "An apple, and a dog. It is an owl",
		`"look at me!" said Tom. he ran .`:         `"Look at me!" said Tom. He ran.`,
		"what is 2 plus 2? 4 is right.":            "What is 2 plus 2? 4 is right.",
		"A hour later a unicorn came":              "An hour later a unicorn came",
		`"a egg?" asked Mia`:                       `"An egg?" asked Mia`,
		"it weighs 3.5 kilograms. a eagle is big.": "It weighs 3.5 kilograms. An eagle is big.",
	} {
		if got := tidy(in); got != want {
			t.Errorf("tidy(%q)\n got %q\nwant %q", in, got, want)
		}
	}
}

func TestNumbersInWords(t *testing.T) {
	for n, want := range map[int]string{0: "zero", 7: "seven", 13: "thirteen", 20: "twenty", 42: "forty-two",
		100: "one hundred", 105: "one hundred and five", 999: "nine hundred and ninety-nine", 1000: "1000"} {
		if got := numberWords(n); got != want {
			t.Errorf("numberWords(%d) = %q, want %q", n, got, want)
		}
	}
	if got := count(1, "mouse"); got != "one mouse" {
		t.Errorf("count(1, mouse) = %q", got)
	}
	if got := count(3, "mouse"); got != "three mice" {
		t.Errorf("count(3, mouse) = %q", got)
	}
	if got := listWords([]string{"a", "b", "c"}); got != "a, b and c" {
		t.Errorf("listWords = %q", got)
	}
}
