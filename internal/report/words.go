package report

import (
	"strings"
	"unicode"
)

// piece is a stretch of text that is as it was, or was not there before.
type piece struct {
	Text    string
	Changed bool
}

const (
	// maxWords is up to how many words two texts are compared: the time grows with their product.
	maxWords = 600
	// likeness is from which share of words in common on changes are marked. Below it everything is new, and marks
	// would say nothing.
	likeness = 0.3
)

// changes marks in each of two texts the words that the other has not, as the longest common subsequence tells. Texts that
// have little in common, or are equal, are not marked.
func changes(before, after string) (was, is []piece) {
	a, b := words(before), words(after)
	plain := func(text string) []piece { return []piece{{Text: text}} }
	if before == after || len(a) > maxWords || len(b) > maxWords || len(a) == 0 || len(b) == 0 {
		return plain(before), plain(after)
	}
	inA, inB, common := commonWords(a, b)
	if float64(common) < likeness*float64(max(len(a), len(b))) {
		return plain(before), plain(after)
	}
	return pieces(a, inA), pieces(b, inB)
}

// words cuts text in front of each word: each part is a word with the white space behind it.
func words(text string) []string {
	var out []string
	start, space := 0, false
	for i, r := range text {
		if space && !unicode.IsSpace(r) && strings.TrimSpace(text[start:i]) != "" {
			out = append(out, text[start:i])
			start = i
		}
		space = unicode.IsSpace(r)
	}
	if start < len(text) {
		out = append(out, text[start:])
	}
	return out
}

// commonWords says which words of a and of b belong to their longest common subsequence.
func commonWords(a, b []string) (inA, inB []bool, common int) {
	same := func(i, k int) bool { return strings.TrimSpace(a[i]) == strings.TrimSpace(b[k]) }
	length := make([][]int, len(a)+1) // of the subsequence of a[i:] and b[k:]
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for k := len(b) - 1; k >= 0; k-- {
			if same(i, k) {
				length[i][k] = length[i+1][k+1] + 1
			} else {
				length[i][k] = max(length[i+1][k], length[i][k+1])
			}
		}
	}
	inA, inB = make([]bool, len(a)), make([]bool, len(b))
	for i, k := 0, 0; i < len(a) && k < len(b); {
		switch {
		case same(i, k):
			inA[i], inB[k] = true, true
			i, k = i+1, k+1
		case length[i+1][k] >= length[i][k+1]:
			i++
		default:
			k++
		}
	}
	return inA, inB, length[0][0]
}

// pieces joins neighbours of one kind.
func pieces(words []string, common []bool) []piece {
	var out []piece
	for i, word := range words {
		if n := len(out); n > 0 && out[n-1].Changed == !common[i] {
			out[n-1].Text += word
			continue
		}
		out = append(out, piece{word, !common[i]})
	}
	return out
}
