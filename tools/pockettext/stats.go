package main

import "strings"

// wordStats counts the words of rows, for the summary line and the tests.
type wordStats struct {
	words    int
	distinct map[string]int
}

func (w *wordStats) add(r Row) {
	texts := []string{r.Text}
	for _, m := range r.Messages {
		texts = append(texts, m.Content)
	}
	for _, t := range texts {
		for _, word := range strings.FieldsFunc(strings.ToLower(t), func(c rune) bool {
			return (c < 'a' || c > 'z') && c != '\''
		}) {
			w.words++
			w.distinct[word]++
		}
	}
}
