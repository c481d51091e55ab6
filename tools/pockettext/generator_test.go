package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func drawRows(t testing.TB, seed uint64, split Split, n int, seen map[uint64]bool) []Row {
	t.Helper()
	g := newGenerator(testContent(t), seed, split, seen)
	rows := make([]Row, n)
	for i := range rows {
		row, err := g.Next()
		if err != nil {
			t.Fatalf("row %d: %v", i+1, err)
		}
		rows[i] = row
	}
	return rows
}

func (r Row) texts() []string {
	if r.Text != "" {
		return []string{r.Text}
	}
	var all []string
	for _, m := range r.Messages {
		all = append(all, m.Content)
	}
	return all
}

var (
	wrongA    = regexp.MustCompile(`\b[Aa] ([aio]\w+|e[^u]\w+)\b`)
	wrongAn   = regexp.MustCompile(`\b[Aa]n ([bcdfgjklmnpqrstvwxyz]\w+)\b`)
	wrongVerb = regexp.MustCompile(`\b([Hh]e|[Ss]he|[Ii]t) (are|have|do|were|go)\b|\b([Tt]hey|[Ww]e) (is|has|was|does)\b`)
	twice     = regexp.MustCompile(`\b(the the|a a|of of|to to|is is|and and|in in)\b`)
	leftover  = regexp.MustCompile(`[{}\[\]|_<>%~#]| / |  | [.,!?]|\.\.`)
	lowStart  = regexp.MustCompile(`[.!?] [a-z]`)
)

func TestRowsAreCleanEnglish(t *testing.T) {
	for i, row := range drawRows(t, 3, Train, 10000, map[uint64]bool{}) {
		for k, text := range row.texts() {
			for what, re := range map[string]*regexp.Regexp{"template mark or space": leftover, "word twice": twice,
				"article": wrongA, "article an": wrongAn, "agreement": wrongVerb, "sentence start": lowStart} {
				if m := re.FindString(text); m != "" {
					if what == "article" && regexp.MustCompile(`^[Aa] (one|once)`).MatchString(m) {
						continue
					}
					if what == "agreement" && regexp.MustCompile(`(?i)(do|does|did|can|could|must|will|should) `+m).MatchString(text) {
						continue // "does it have": the verb belongs to does
					}
					if k%2 == 0 && row.Text == "" && what == "sentence start" {
						continue // a careless question
					}
					t.Errorf("row %d: %s: %q in %q", i+1, what, m, text)
				}
			}
			if k%2 == 1 || row.Text != "" {
				if end := text[len(text)-1]; !strings.ContainsRune(`.!?"`, rune(end)) {
					t.Errorf("row %d: no end of sentence: %q", i+1, text)
				}
			}
			for _, c := range text {
				if c < ' ' || c > '~' {
					t.Errorf("row %d: %q is not printable ASCII in %q", i+1, c, text)
				}
			}
		}
		for k, m := range row.Messages {
			if want := []string{"user", "assistant"}[k%2]; m.Role != want || m.Content == "" {
				t.Errorf("row %d: turn %d: role %q, want %q; content %q", i+1, k, m.Role, want, m.Content)
			}
		}
		if len(row.Messages)%2 != 0 || (row.Text == "") == (len(row.Messages) == 0) {
			t.Errorf("row %d: want turns in pairs or a text, got %+v", i+1, row)
		}
	}
}

func TestSameSeedSameBytesOtherSeedOtherBytes(t *testing.T) {
	files := func(seed uint64) []byte {
		dir := t.TempDir()
		if err := run(300, 50, seed, dir); err != nil {
			t.Fatal(err)
		}
		var all []byte
		for _, name := range []string{"train.jsonl", "valid.jsonl"} {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, data...)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); left != nil {
			t.Errorf("temporary files stayed: %v", left)
		}
		return all
	}
	a, b, c := files(5), files(5), files(6)
	if !bytes.Equal(a, b) {
		t.Error("the same seed gave different files")
	}
	if bytes.Equal(a, c) {
		t.Error("different seeds gave the same files")
	}
	if n := bytes.Count(a, []byte("\n")); n != 350 {
		t.Errorf("%d lines, want 350", n)
	}
	var row Row
	if err := json.Unmarshal(a[:bytes.IndexByte(a, '\n')], &row); err != nil {
		t.Errorf("first line is not a row: %v", err)
	}
}

func TestFewRowsComeTwice(t *testing.T) {
	const n = 40000
	g := newGenerator(testContent(t), 1, Train, map[uint64]bool{})
	seen, repeated := map[string]bool{}, 0
	stats := wordStats{distinct: map[string]int{}}
	for range n {
		row, err := g.Next()
		if err != nil {
			t.Fatal(err)
		}
		line, err := row.marshal()
		if err != nil {
			t.Fatal(err)
		}
		if seen[string(line)] {
			repeated++
		}
		seen[string(line)] = true
		stats.add(row)
	}
	if share := float64(repeated) / n; share >= 0.02 {
		t.Errorf("%.2f%% of %d rows came twice, want under 2%%", 100*share, n)
	}
	if len(stats.distinct) < 3000 {
		t.Errorf("%d distinct words, want at least 3000", len(stats.distinct))
	}
	t.Logf("%d words, %d distinct, %d repeated rows, %d redrawn", stats.words, len(stats.distinct), repeated, g.Repeats)
}

func TestValidationNeverRepeatsTrainingAndHoldsCombinationsOut(t *testing.T) {
	content, seen := testContent(t), map[uint64]bool{}
	train := newGenerator(content, 1, Train, seen)
	lines := map[string]bool{}
	for range 5000 {
		row, err := train.Next()
		if err != nil {
			t.Fatal(err)
		}
		lines[strings.Join(row.texts(), "\n")] = true
	}
	for i, row := range drawRows(t, 1, Valid, 300, seen) {
		if lines[strings.Join(row.texts(), "\n")] {
			t.Errorf("validation row %d is a training row: %v", i+1, row)
		}
	}
	// The draws themselves know their keys: none that is held out may reach a training row.
	held, n := 0, 0
	for range 5000 {
		_, keys, err := train.draw()
		if err != nil {
			continue
		}
		for _, k := range keys {
			n++
			if heldOut(k) {
				held++
			}
		}
	}
	if share := float64(held) / float64(n); share < 0.02 || share > 0.10 {
		t.Errorf("%.3f of combinations are held out, want about 1 in %d", share, heldOutOneIn)
	}
}

var (
	sumLine     = regexp.MustCompile(`^(\d+) (plus|minus|times|divided by) (\d+) is (\d+)\.`)
	doubleLine  = regexp.MustCompile(`^Double (\d+) is (\d+)\.`)
	biggerLine  = regexp.MustCompile(`^(?:Yes, )?(\d+) is (?:more|bigger) than (\d+)\.`)
	smallerLine = regexp.MustCompile(`^(?:No, )?(\d+) is smaller than (\d+)\.`)
)

func TestSumsAreRight(t *testing.T) {
	content := testContent(t)
	g := newGenerator(content, 9, Train, map[uint64]bool{})
	checked := map[string]int{}
	num := func(s string) int { n, _ := strconv.Atoi(s); return n }
	for i := range 10000 {
		f, err := sums[i%len(sums)](g.scene())
		if err != nil {
			t.Fatal(err)
		}
		a := tidy(f.answer)
		if m := sumLine.FindStringSubmatch(a); m != nil {
			x, y, z := num(m[1]), num(m[3]), num(m[4])
			right := map[string]bool{"plus": x+y == z, "minus": x-y == z, "times": x*y == z, "divided by": y*z == x}
			if !right[m[2]] {
				t.Errorf("wrong sum: %s", a)
			}
			checked[m[2]]++
		}
		if m := doubleLine.FindStringSubmatch(a); m != nil {
			if 2*num(m[1]) != num(m[2]) {
				t.Errorf("wrong double: %s", a)
			}
			checked["double"]++
		}
		if m := biggerLine.FindStringSubmatch(a); m != nil {
			if num(m[1]) <= num(m[2]) {
				t.Errorf("wrong comparison: %s", a)
			}
			checked["bigger"]++
		}
		if m := smallerLine.FindStringSubmatch(a); m != nil {
			if num(m[1]) >= num(m[2]) {
				t.Errorf("wrong comparison: %s", a)
			}
			checked["smaller"]++
		}
	}
	for _, what := range []string{"plus", "minus", "times", "divided by", "double", "bigger", "smaller"} {
		if checked[what] < 50 {
			t.Errorf("only %d answers with %q were checked", checked[what], what)
		}
	}
}

func TestStoryPronounsFollowTheHero(t *testing.T) {
	content := testContent(t)
	boys := map[string]bool{}
	for _, name := range content.Lists["boy"] {
		boys[name] = true
	}
	for _, name := range content.Lists["girl"] {
		if boys[name] {
			t.Errorf("%s is in both lists of names", name)
		}
	}
	g := newGenerator(content, 4, Train, map[uint64]bool{})
	for range 500 {
		s := g.scene()
		if err := s.cast(); err != nil {
			t.Fatal(err)
		}
		want := "she"
		if boys[s.bound["hero"]] {
			want = "he"
		}
		if s.bound["he"] != want {
			t.Fatalf("%s is %q, want %q", s.bound["hero"], s.bound["he"], want)
		}
		if s.bound["hero"] == s.bound["friend"] {
			t.Fatalf("hero and friend are both %s", s.bound["hero"])
		}
	}
}

func TestPlainTextNamesFileAndLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	rows := `{"text":"one"}` + "\n" + `{"messages":[{"role":"user","content":"two"}]}` + "\n{\n"
	if err := os.WriteFile(path, []byte(rows), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := plainText(&out, []string{path})
	if err == nil || !strings.Contains(err.Error(), "rows.jsonl:3") {
		t.Errorf("error %v, want one that names line 3", err)
	}
}
