package report

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tune/internal/runstore"
)

// dataOf returns what the page plots.
func dataOf(t *testing.T, page string) []map[string]any {
	t.Helper()
	_, rest, ok := strings.Cut(page, `<script type="application/json" id="data">`)
	text, _, closed := strings.Cut(rest, "</script>")
	if !ok || !closed {
		t.Fatal("the page has no data")
	}
	var data []map[string]any
	if err := json.Unmarshal([]byte(text), &data); err != nil {
		t.Fatalf("%v in %.300s", err, text)
	}
	return data
}

// checkMarkup fails where elements are not closed as they were opened, or ids repeat.
func checkMarkup(t *testing.T, page string) {
	t.Helper()
	page = regexp.MustCompile(`(?s)<(script|style)\b[^>]*>.*?</(script|style)>`).ReplaceAllString(page, "")
	empty := []string{"meta", "link", "input", "br", "path", "!doctype"}
	var open []string
	for _, tag := range regexp.MustCompile(`<(/?)([a-zA-Z!][a-zA-Z0-9]*)((?:"[^"]*"|'[^']*'|[^>"'])*?)(/?)>`).FindAllStringSubmatch(page, -1) {
		name := strings.ToLower(tag[2])
		switch {
		case tag[4] == "/", tag[1] == "" && slices.Contains(empty, name):
		case tag[1] == "":
			open = append(open, name)
		case len(open) == 0 || open[len(open)-1] != name:
			t.Fatalf("</%s> closes %v", name, open)
		default:
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Errorf("not closed: %v", open)
	}
	seen := map[string]bool{}
	for _, id := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if seen[id[1]] {
			t.Errorf("id %s is there twice", id[1])
		}
		seen[id[1]] = true
	}
	for _, to := range regexp.MustCompile(` (?:href="#|aria-labelledby="|data-from=")([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if !seen[to[1]] {
			t.Errorf("nothing has the id %s", to[1])
		}
	}
}

// checkOffline fails where a page could ask the network for something.
func checkOffline(t *testing.T, page string) {
	t.Helper()
	for _, at := range regexp.MustCompile(`(?i)(src|href|srcset|action|poster|data)\s*=\s*["']?\s*(https?:|//|ftp:)[^"' >]*|@import|url\(\s*["']?(https?:|//)`).FindAllString(page, -1) {
		t.Errorf("the page refers to the network: %s", at)
	}
	if !strings.Contains(page, `http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;; script-src &#39;sha256-`) {
		t.Error("the page has no policy that forbids the network")
	}
}

func TestPageOfOneRun(t *testing.T) {
	page := written(t, &Report{Made: noon, Runs: []Run{newRun("20261121-120000-bluey-k3f", 84)}})
	checkMarkup(t, page)
	checkOffline(t, page)
	text := html.UnescapeString(page)
	for _, want := range []string{
		"<h1 dir=\"auto\">bluey</h1>",
		"LoRA rank 8 on models/pocket, 84 steps in 12.3 s on Apple M4 Max; validation loss 8.200 → 4.840, best after step 84.",
		"84 of 84 steps", "4,375", "288 MB", "80.0 MB in tensors, predicted 290 MB", "training 9.6 s, predicted 9.0 s", "321 J",
		"Why do stars twinkle?", "before training", "after step 84", "All 4 replies",
		`<mark>0 </mark>times.`, `<mark>3 </mark>times.`,
		`<mark data-default="[]">  target_modules:</mark>`, "<mark>    - v_proj</mark>", `<mark data-default="0.0002">  learning_rate: 0.012</mark>`, "\n  rank: 8\n",
		"16 (12 performance, 4 efficiency), 12 threads used", "142,000 of 2,260,000 trained (6.28 %)", "0123abc with changes",
		"111", "6,000, 4,000 of them with loss (67 %)", "52 to 76 tokens, median 61", "6 rows of 52 to 76 tokens, 61 in the middle",
		"Lengths of rows are not shown: the file is not where it was.", "1.3 on average",
		"git checkout 0123abc\ntune run 20261121-120000-bluey-k3f.yaml --fresh", "changes that are not in the commit",
		"b8fa12a72cfd", "<noscript><figure",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if first, second := strings.Index(page, "loss_spike"), strings.Index(page, "checkpointing"); first > second {
		t.Error("warnings do not come first")
	}
	d := dataOf(t, page)[0]
	steps, validation := d["step"].([]any), d["validation"].([]any)
	if len(steps) != 85 || steps[0] != 0.0 || validation[0] != 8.2 || validation[84] != 4.84 || validation[1] != nil || d["loss"].([]any)[0] != nil {
		t.Errorf("%d steps, validation %v", len(steps), validation)
	}
	if seconds := d["seconds"].([]any); seconds[84] != 9.24 {
		t.Errorf("%v seconds", seconds[84])
	}
}

func TestPolicyAllowsTheScriptOfThePage(t *testing.T) {
	page := written(t, &Report{Runs: []Run{newRun("a", 3)}})
	_, rest, _ := strings.Cut(page, "</script>\n<script>")
	script, _, ok := strings.Cut(rest, "</script>")
	sum := sha256.Sum256([]byte(script))
	if want := base64.StdEncoding.EncodeToString(sum[:]); !ok || !strings.Contains(html.UnescapeString(page), "script-src 'sha256-"+want+"'") {
		t.Error("the policy has another hash than the script")
	}
}

// hostile is what a user may have written, to break a page.
const hostile = `</script><script>alert(1)</script><img src=x onerror=alert(1)> "' --> <!-- ` + "\x00\x1b[31m 🦘 \u202eabc\u2029 &amp; ]]> </style> {{.}} \xff"

func TestWordsOfUsersAreNeverMarkup(t *testing.T) {
	run := newRun("x-y-"+hostile, 6)
	run.Name, run.Note, run.Tags, run.Error = hostile, hostile, []string{hostile}, hostile
	run.RunSummary.Status = runstore.Failed
	run.ModelPath, run.DataTrain, run.Config, run.Chip, run.DeviceName = hostile, hostile, "a: "+hostile+"\n"+hostile, hostile, hostile
	run.Samples = []runstore.Sample{{Prompt: hostile, Reply: hostile}, {Step: 3, Prompt: hostile, Reply: hostile + " more"}, {Step: 6, Prompt: hostile, Reply: hostile}}
	run.Artifacts = []runstore.Artifact{{Kind: hostile, Path: hostile, SHA256: hostile}}
	run.Events = []runstore.Event{{Level: runstore.LevelError, Kind: hostile, Message: hostile}}
	run.Defaults = map[string]string{"a": hostile}
	run.Data = []Data{{Use: "train", Path: hostile, Problem: hostile}}
	run.SlowedBy, run.SweepID, run.SweepSettings = []string{hostile}, hostile, `{"`+`</script>`+`": "</script>"}`
	for name, r := range map[string]*Report{
		"one": {Title: hostile, Runs: []Run{run}},
		"several": {Title: hostile, Runs: []Run{run, run}, Comparison: &Comparison{Warnings: []string{hostile},
			Settings: []Row{{Name: hostile, Cells: []Cell{{Text: hostile}, {Text: hostile}}}}}, Sweep: &Sweep{Sweep: runstore.Sweep{Name: hostile, Error: hostile, Goal: hostile}, Ranking: []Trial{{RunID: run.ID, Place: 1}}}},
	} {
		t.Run(name, func(t *testing.T) {
			page := written(t, r)
			checkOffline(t, page)
			if n := strings.Count(page, "<script"); n != 2 {
				t.Errorf("%d scripts, want 2", n)
			}
			if strings.Contains(page, "<img") || strings.Contains(page, "alert(1)</script>") || strings.ContainsAny(page, "\x00\x1b") {
				t.Error("words of users are markup")
			}
			if len(regexp.MustCompile(`(?i)<[^>"']* onerror=`).FindAllString(page, -1)) > 0 {
				t.Error("a tag has a handler")
			}
			dataOf(t, page)
		})
	}
}

func TestRunThatIsNotDoneIsToldTruthfully(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(r *Run)
		want   []string
	}{
		{"failed", func(r *Run) {
			r.RunSummary.Status, r.Error, r.StepsDone = runstore.Failed, "step 41: out of memory", 40
		},
			[]string{"This run failed after step 40 of 84.", "step 41: out of memory", "Correct the cause", "40 of 84 steps in 12.3 s"}},
		{"failed with a checkpoint", func(r *Run) { r.RunSummary.Status, r.Checkpoint = runstore.Failed, "runs/a/checkpoints/40" },
			[]string{"tune resume a goes on"}},
		{"diverged", func(r *Run) { r.RunSummary.Status, r.Error = runstore.Diverged, "step 3: loss is NaN" },
			[]string{"This run diverged", "step 3: loss is NaN", "such as 0.004 instead of 0.012"}},
		{"interrupted", func(r *Run) { r.RunSummary.Status, r.Checkpoint = runstore.Interrupted, "c" },
			[]string{"This run was interrupted after step 84 of 84.", "tune resume a goes on"}},
		{"stopped by its sweep", func(r *Run) {
			r.RunSummary.Status, r.Error = runstore.Interrupted, "stopped by its sweep: place 3 of 4"
		},
			[]string{"place 3 of 4", "its other trials were better"}},
		{"running", func(r *Run) { r.RunSummary.Status, r.StepsDone = runstore.Running, 12 },
			[]string{"still going on when the report was written", "It had made 12 steps of 84"}},
		{"died", func(r *Run) { r.RunSummary.Status, r.Stale = runstore.Running, true }, []string{"seems to have died", "interrupted?"}},
		{"queued", func(r *Run) {
			*r = Run{RunSummary: runstore.RunSummary{Run: runstore.Run{ID: "a", Status: runstore.Queued}}, Took: math.NaN()}
		}, []string{"had not begun to train"}},
		{"worse at its end", func(r *Run) {
			r.Evaluations[2].Loss, r.LastValidationLoss, r.BestValidationLoss = 4, 4.84, 4
		}, []string{"The end is not the best of this run.", "lowest after step 56, 4.000, and 4.840 at the end"}},
		{"best before training", func(r *Run) {
			r.Evaluations[0].Loss, r.FirstValidationLoss, r.LastValidationLoss = 4, 4, 4.84
		}, []string{"lowest before training, 4.000, and 4.840 at the end", "from 4.000 (+21 %), best before training"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run := newRun("a", 84)
			tc.change(&run)
			page := written(t, &Report{Runs: []Run{run}})
			checkMarkup(t, page)
			for _, want := range tc.want {
				if !strings.Contains(html.UnescapeString(page), want) {
					t.Errorf("the page lacks %q", want)
				}
			}
		})
	}
	if page := written(t, &Report{Runs: []Run{newRun("a", 84)}}); strings.Contains(page, `class="notice`) {
		t.Error("a run that is done and fine has a notice")
	}
}

func TestNumbersThatAreNone(t *testing.T) {
	run := newRun("a", 5)
	nan, inf := runstore.Real(math.NaN()), runstore.Real(math.Inf(1))
	for i := range run.Steps {
		run.Steps[i].Loss, run.Steps[i].GradNorm, run.Steps[i].Seconds = nan, inf, nan
	}
	run.Evaluations[1].Loss = inf
	run.FirstLoss, run.LastLoss, run.LastValidationLoss, run.BestValidationLoss = nan, inf, nan, nan
	run.TokensPerSecond, run.StepSeconds, run.TrainSeconds, run.LoadSeconds, run.Took = nan, nan, nan, nan, math.NaN()
	page := written(t, &Report{Runs: []Run{run}})
	checkMarkup(t, page)
	d := dataOf(t, page)[0]
	if loss := d["loss"].([]any); slices.ContainsFunc(loss, func(v any) bool { return v != nil }) {
		t.Errorf("losses %v, want only null", loss)
	}
	shown := page[strings.Index(page, "<body"):strings.Index(page, "<script")]
	for _, bad := range []string{"NaN", "+Inf", "%!"} {
		if strings.Contains(shown, bad) {
			t.Errorf("the page says %s: ...%.100s", bad, shown[strings.Index(shown, bad)-50:])
		}
	}
}

func TestRunOfManyStepsKeepsItsPeaks(t *testing.T) {
	run := newRun("a", 10_000)
	run.Steps[1234].Loss, run.Steps[5678].GradNorm, run.Steps[7777].Loss = 99, 1e4, runstore.Real(math.NaN())
	page := written(t, &Report{Runs: []Run{run}})
	if len(page) > 1_000_000 {
		t.Errorf("the page has %d bytes, want at most a megabyte", len(page))
	}
	d := dataOf(t, page)[0]
	steps := d["step"].([]any)
	if len(steps) > 2*maxPoints || len(steps) < buckets {
		t.Errorf("%d steps stay", len(steps))
	}
	at := func(step float64) int { return slices.Index(steps, any(step)) }
	for _, step := range []float64{0, 1, 1235, 3333, 5679, 6666, 7778, 10_000} { // with evaluations after 3333 and 6666
		if at(step) < 0 {
			t.Errorf("step %v is gone", step)
		}
	}
	if d["loss"].([]any)[at(1235)] != 99.0 || d["grad_norm"].([]any)[at(5679)] != 1e4 || d["loss"].([]any)[at(7778)] != nil {
		t.Error("a peak is gone")
	}
	if want := fmt.Sprintf("The plots show %s of 10,000 steps", thousands(int64(len(steps)))); !strings.Contains(page, want) {
		t.Errorf("the page does not say %q", want)
	}
}

func TestRunsBesideEachOther(t *testing.T) {
	page := written(t, fourRuns())
	checkMarkup(t, page)
	checkOffline(t, page)
	for _, want := range []string{"4 runs beside each other. They differ in lora.rank. The lowest validation loss is 4.540, of bluey-aa3.",
		`<td class="number best"><bdi>4.540</bdi> <span class="hidden">(best)</span></td>`, "Replies at the end", `<bdi>bluey-aa2</bdi>`, `id="r3-config"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := len(dataOf(t, page)); n != 4 {
		t.Errorf("curves of %d runs", n)
	}
	if n := strings.Count(page, "<details class=\"run\""); n != 4 {
		t.Errorf("%d runs are folded", n)
	}
}

func TestTrialsOfASweepAreRanked(t *testing.T) {
	r := fourRuns()
	r.Sweep = &Sweep{Sweep: runstore.Sweep{ID: "s", Name: "ranks", Status: runstore.Done, Trials: 5, Goal: "validation_loss"},
		Ranking: []Trial{{r.Runs[2].ID, 1, 4.64}, {"of another report", 2, 4.7}, {r.Runs[0].ID, 3, 4.84}, {r.Runs[1].ID, 0, runstore.Real(math.NaN())}, {r.Runs[3].ID, 4, 9}}}
	page := written(t, r)
	checkMarkup(t, page)
	var got string
	for _, m := range regexp.MustCompile(`<a href="#run-(\d)">`).FindAllStringSubmatch(page, -1) {
		got += m[1]
	}
	if got != "2013" {
		t.Errorf("the trials are ranked %s, want 2013", got)
	}
	for _, want := range []string{"Sweep ranks", "4 of 5 trials here", "compared by validation loss. The best is 4.640, of bluey-aa2.",
		`<td class="number best">4.640`, `<th scope="col" class="number">lora.rank</th><th scope="col" class="number">train.lr_scheduler_type</th>`,
		`<td class="number"><bdi>16</bdi></td><td class="number"><bdi>cosine</bdi></td>`, "Every trial as a line"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Count(page, "<figure aria-label=\"Every trial") != 1 || strings.Contains(page, "of another report") {
		t.Error("the ranking is not that of the runs")
	}
}

func TestManyRunsShareAFile(t *testing.T) {
	r := &Report{}
	for i := range 70 { // more than internal/chart draws in one figure
		r.Runs = append(r.Runs, newRun(fmt.Sprintf("r%d", i), 2000))
	}
	r.Comparison = &Comparison{Results: []Row{{Name: "steps", Cells: make([]Cell, 70)}}}
	page := written(t, r)
	checkMarkup(t, page)
	if n := strings.Count(page, "Results, the best marked (runs "); n != 2*70/tableRuns { // in the caption and for those who hear it
		t.Errorf("%d tables of 70 runs", n/2)
	}
	if each := len(page) / 70; each > 300_000 {
		t.Errorf("%d bytes a run", each)
	}
}

func TestNothingIsWrittenWithoutRuns(t *testing.T) {
	if err := Write(failing{t}, &Report{}); err == nil {
		t.Error("no error without runs")
	}
	if err := Write(full{}, &Report{Runs: []Run{newRun("a", 2)}}); !errors.Is(err, errFull) {
		t.Errorf("error %v, want that of the writer", err)
	}
}

var errFull = errors.New("full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

type failing struct{ t *testing.T }

func (f failing) Write([]byte) (int, error) { f.t.Error("something is written"); return 0, nil }

func TestChangesOfWords(t *testing.T) {
	show := func(pieces []piece) (out string) {
		for _, p := range pieces {
			if p.Changed {
				out += "[" + p.Text + "]"
			} else {
				out += p.Text
			}
		}
		return out
	}
	for _, tc := range []struct{ before, after, was, is string }{
		{"the cat sat", "the dog sat", "the [cat ]sat", "the [dog ]sat"},
		{"a  b\nc d", "a  b\nc d e f", "a  b\nc d", "a  b\nc d [e f]"}, // a word counts without the space around it
		{"same", "same", "same", "same"},
		{"all other words here", "nothing in common at all", "all other words here", "nothing in common at all"},
		{"", "new", "", "new"},
		{strings.Repeat("w ", 700), strings.Repeat("w ", 701), strings.Repeat("w ", 700), strings.Repeat("w ", 701)},
	} {
		was, is := changes(tc.before, tc.after)
		if show(was) != tc.was || show(is) != tc.is {
			t.Errorf("%.40q to %.40q: %.60q and %.60q, want %.60q and %.60q", tc.before, tc.after, show(was), show(is), tc.was, tc.is)
		}
	}
}

func TestHistogramCountsEveryRow(t *testing.T) {
	for _, lengths := range [][]int{{7}, {5, 5, 5}, {1, 2}, {1, 24}, {1, 25}, {3, 1000, 500, 501}} {
		h := newHistogram(lengths)
		if len(h.Bars) > maxBars || len(h.Bars) == 0 {
			t.Errorf("%v: %d bars", lengths, len(h.Bars))
		}
		rows, last := 0, h.Bars[len(h.Bars)-1]
		for _, b := range h.Bars {
			var n int
			if _, err := fmt.Sscanf(b.Title[strings.LastIndex(b.Title, ":")+1:], "%d", &n); err != nil {
				t.Fatal(err)
			}
			rows += n
		}
		if rows != len(lengths) || last.X+last.Width > 100 {
			t.Errorf("%v: %d rows, the last bar ends at %g", lengths, rows, last.X+last.Width)
		}
	}
	if newHistogram(nil) != nil {
		t.Error("a histogram of nothing")
	}
}

func TestConfigLinesKeepTheText(t *testing.T) {
	var back strings.Builder
	marked := ""
	for _, line := range configLines(someConfig, map[string]string{"sample.prompts": "[]", "lora.rank": "16", "name": ""}) {
		back.WriteString(line.Text + "\n")
		if line.Marked {
			marked += strings.TrimSpace(line.Text) + "|" + line.Default + ";"
		}
	}
	if back.String() != someConfig {
		t.Errorf("the config has become %q", back.String())
	}
	if want := "rank: 8|16;prompts:|[];- |-|;Why do stars|;twinkle?|;"; marked != want {
		t.Errorf("marked are %q, want %q", marked, want)
	}
}
