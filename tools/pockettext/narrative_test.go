package main

import (
	"regexp"
	"strings"
	"testing"
)

func narratives(t testing.TB, n int) []string {
	t.Helper()
	g := newGenerator(testContent(t), 11, Train, map[uint64]bool{})
	texts := make([]string, n)
	for i := range texts {
		row, _, err := g.narrative()
		if err != nil {
			t.Fatalf("row %d: %v", i+1, err)
		}
		texts[i] = row.Text
	}
	return texts
}

var (
	sentenceEnd = regexp.MustCompile(`[.!?]"? `)
	// Disagreement of a pronoun at the start of a sentence with its verb, tested where nothing stands before.
	disagrees = regexp.MustCompile(`(^|[.!?] )(I (is|are|were|has|does|doesn't|isn't|aren't|weren't)|` +
		`(He|She|It) (am|are|were|have|don't|aren't|weren't)|` +
		`(We|They|You) (am|is|was|has|does|doesn't|isn't|wasn't))\b`)
	afterModal = regexp.MustCompile(`\b(don't|doesn't|didn't|couldn't|can't) (is|are|was|has|had|went|ran|saw|gets|goes)\b`)
	anyMark    = regexp.MustCompile(`[{}\[\]|_<>%~#*=/]|  | [.,!?:]|\.\.|,,|\?\.|!\.`)
)

func TestNarrativesAgreeAndHoldNoMarks(t *testing.T) {
	for i, text := range narratives(t, 3000) {
		for what, re := range map[string]*regexp.Regexp{
			"agreement": disagrees, "verb after not": afterModal, "mark": anyMark} {
			if m := re.FindString(text); m != "" {
				t.Errorf("row %d: %s: %q in %q", i+1, what, m, text)
			}
		}
		if n := wordCount(text); n < narrativeMin || n > narrativeMax {
			t.Errorf("row %d: %d words, want %d to %d", i+1, n, narrativeMin, narrativeMax)
		}
	}
}

func TestNarrativeSentencesHardlyRepeat(t *testing.T) {
	seen, all, again := map[string]bool{}, 0, 0
	for _, text := range narratives(t, 3000) {
		for _, s := range sentenceEnd.Split(text, -1) {
			all++
			if s = strings.ToLower(s); seen[s] {
				again++
			}
			seen[s] = true
		}
	}
	if share := float64(again) / float64(all); share >= 0.05 {
		t.Errorf("%.1f%% of %d sentences had come before, want under 5%%", 100*share, all)
	} else {
		t.Logf("%.2f%% of %d sentences had come before", 100*share, all)
	}
}

func TestShareOfRowKinds(t *testing.T) {
	g := newGenerator(testContent(t), 4, Train, map[uint64]bool{})
	const n = 4000
	told, chats := 0, 0
	for range n {
		_, keys, err := g.draw()
		if err != nil {
			continue
		}
		if len(keys) > 0 && strings.HasPrefix(keys[0], "narrative/") {
			told++
		} else if len(keys) > 0 && !strings.HasPrefix(keys[0], "stories_") {
			chats++
		}
	}
	for what, share := range map[string]float64{"narratives": float64(told) / n, "chats": float64(chats) / n} {
		if share < 0.38 || share > 0.52 {
			t.Errorf("%.2f of the draws are %s, want about 0.45", share, what)
		}
	}
	t.Logf("narratives %d, chats %d of %d", told, chats, n)
}

func TestConjugate(t *testing.T) {
	for _, c := range []struct {
		entry       string
		form        verbForm
		past, third bool
		want        string
	}{
		{"run/ran/running", Finite, true, true, "ran"},
		{"run/ran/running", Gerund, true, true, "running"},
		{"run/ran/running", Base, true, true, "run"},
		{"hug/hugged", Gerund, false, false, "hugging"},
		{"carry", Finite, false, true, "carries"},
		{"carry", Finite, true, true, "carried"},
		{"play", Finite, false, true, "plays"},
		{"wash", Finite, false, true, "washes"},
		{"lie/lay", Gerund, false, false, "lying"},
		{"see/saw", Gerund, false, false, "seeing"},
		{"hide/hid", Gerund, false, false, "hiding"},
		{"have/had", Finite, false, true, "has"},
		{"have/had", Finite, false, false, "have"},
		{"fall over/fell over/falling over", Finite, false, true, "falls over"},
		{"go/went", Finite, false, true, "goes"},
	} {
		if got := conjugate(c.entry, c.form, c.past, c.third); got != c.want {
			t.Errorf("conjugate(%q, %v, past %v, third %v) = %q, want %q", c.entry, c.form, c.past, c.third, got, c.want)
		}
	}
}
