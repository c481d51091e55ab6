package datasets

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Summary describes a set of numbers; all zero for none. Median and P95 are members of the set (nearest rank:
// the smallest that at least half, or 95 %, of the set do not exceed).
type Summary struct {
	Min    int `json:"min"`
	Median int `json:"median"`
	P95    int `json:"p95"`
	Max    int `json:"max"`
}

// Stats describes a Dataset. Rows that were dropped count in Dropped and nowhere else.
type Stats struct {
	Path         string `json:"path"`
	SHA256       string `json:"sha256"`
	Rows         int    `json:"rows"`
	Tokens       int    `json:"tokens"`
	TargetTokens int    `json:"target_tokens"`
	// Length of a row in tokens.
	Length Summary `json:"length"`
	// Turns are user and assistant messages.
	Turns int `json:"turns"`
	// Replies are assistant messages and completions, before any cut; ReplyWords are their lengths in words.
	Replies         int     `json:"replies"`
	ReplyWords      Summary `json:"reply_words"`
	Truncated       int     `json:"truncated"`
	TruncatedTokens int     `json:"truncated_tokens"`
	Dropped         int     `json:"dropped"`
}

// Stats counts everything that can be counted.
func (d *Dataset) Stats() Stats {
	s := Stats{Path: d.Path, SHA256: d.SHA256, Rows: len(d.Samples), Turns: d.turns, Replies: len(d.replyWords),
		ReplyWords: summarize(d.replyWords), Truncated: d.Truncated, TruncatedTokens: d.TruncatedTokens,
		Dropped: d.Dropped}
	lengths := make([]int, len(d.Samples))
	for i, sample := range d.Samples {
		lengths[i] = len(sample.InputIDs)
		s.Tokens += lengths[i]
		s.TargetTokens += sample.TargetTokens()
	}
	s.Length = summarize(lengths)
	return s
}

// Write prints the statistics as a table for people.
func (s Stats) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintln(t, visible(s.Path))
	row("rows", "%s", thousands(s.Rows))
	row("tokens", "%s, %s of them learned (%.0f %%)", thousands(s.Tokens), thousands(s.TargetTokens),
		100*float64(s.TargetTokens)/float64(max(s.Tokens, 1)))
	row("row length", "%s tokens", s.Length)
	if s.Turns > 0 {
		row("turns", "%s", thousands(s.Turns))
	}
	if s.Replies > 0 {
		row("replies", "%s", thousands(s.Replies))
		row("reply length", "%s words", s.ReplyWords)
	}
	if s.Truncated > 0 {
		row("cut", "%s rows, which lost %s tokens", thousands(s.Truncated), thousands(s.TruncatedTokens))
	}
	if s.Dropped > 0 {
		row("dropped", "%s rows with nothing left to learn after the cut", thousands(s.Dropped))
	}
	row("sha256", "%s", s.SHA256)
	return t.Flush()
}

// String is "min 52, median 63, 95 % up to 74, max 76".
func (s Summary) String() string {
	return fmt.Sprintf("min %s, median %s, 95 %% up to %s, max %s",
		thousands(s.Min), thousands(s.Median), thousands(s.P95), thousands(s.Max))
}

func summarize(values []int) Summary {
	if len(values) == 0 {
		return Summary{}
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	rank := func(percent int) int { return sorted[(n*percent+99)/100-1] } // ceil(n*p/100), from 1
	return Summary{Min: sorted[0], Median: rank(50), P95: rank(95), Max: sorted[n-1]}
}

// thousands writes a count with commas: 11,655.
func thousands(n int) string {
	digits := strconv.Itoa(n)
	var groups []string
	for len(digits) > 3 {
		groups = append(groups, digits[len(digits)-3:])
		digits = digits[:len(digits)-3]
	}
	groups = append(groups, digits)
	slices.Reverse(groups)
	return strings.Join(groups, ",")
}
