package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"tune/internal/chart"
	"tune/internal/runstore"
)

// comparisonView is several runs beside each other.
type comparisonView struct {
	lead              string
	Labels            []labelView
	Warnings          []string
	Settings, Results []tableView
	Bars              []timeBar
	Prompts           []promptComparison
	Sweep             *sweepView
	Figure            pictures // where there is no script
	Drawn             bool
}

type labelView struct {
	Index  int
	Text   string
	Status string
	Mood   string
}

// timeBar is the wall time of a run, as long as the longest is wide.
type timeBar struct {
	Label  string
	Time   string
	Phases []phase
}

// promptComparison is what every run answers to a prompt at its end.
type promptComparison struct {
	Prompt  string
	Replies []runReply
}

type runReply struct {
	Index       int
	Label, Step string
	Text        string
}

const maxFigureRuns = 60 // internal/chart draws no more

func newComparisonView(r *Report, names []string) (*comparisonView, error) {
	v := &comparisonView{}
	for i := range r.Runs {
		v.Labels = append(v.Labels, labelView{i, names[i], r.Runs[i].status(), r.Runs[i].mood()})
		v.Drawn = v.Drawn || len(r.Runs[i].Steps) > 0
	}
	if c := r.Comparison; c != nil {
		v.Settings = tablesOf("Settings that differ", v.Labels, cleanRows(c.Settings))
		v.Results = tablesOf("Results, the best marked", v.Labels, cleanRows(c.Results))
		for _, w := range c.Warnings {
			v.Warnings = append(v.Warnings, clean(w))
		}
	}
	v.Bars = timeBars(r.Runs, names)
	v.Prompts = promptComparisons(r.Runs, names)
	var err error
	if v.Drawn && len(r.Runs) <= maxFigureRuns {
		var runs []chart.Run
		for i := range r.Runs {
			runs = append(runs, drawn(&r.Runs[i], names[i]))
		}
		if v.Figure, err = picture(func(w *bytes.Buffer, dark bool) error {
			return chart.Figure(w, chart.SVG, runs, chart.Options{Dark: dark})
		}); err != nil {
			return nil, err
		}
	}
	if r.Sweep != nil {
		if v.Sweep, err = newSweepView(r, names); err != nil {
			return nil, err
		}
	}
	v.lead = comparisonLead(r, names, v.Sweep)
	return v, nil
}

// tableView is a table of runs with what stands above it.
type tableView struct {
	Caption string
	Labels  []labelView
	Rows    []Row
}

// tableRuns is how many runs stand beside each other: more would not fit on paper.
const tableRuns = 7

// tablesOf cuts a table into some that fit, below each other.
func tablesOf(caption string, labels []labelView, rows []Row) []tableView {
	if len(rows) == 0 {
		return nil
	}
	var out []tableView
	parts := (len(labels) + tableRuns - 1) / tableRuns
	for part := range parts {
		from, to := part*len(labels)/parts, (part+1)*len(labels)/parts
		t := tableView{Caption: caption, Labels: labels[from:to]}
		if parts > 1 {
			t.Caption += fmt.Sprintf(" (runs %d to %d of %d)", from+1, to, len(labels))
		}
		for _, row := range rows {
			t.Rows = append(t.Rows, Row{row.Name, row.Cells[min(from, len(row.Cells)):min(to, len(row.Cells))]})
		}
		out = append(out, t)
	}
	return out
}

func cleanRows(rows []Row) []Row {
	var out []Row
	for _, row := range rows {
		row.Name = clean(row.Name)
		row.Cells = slices.Clone(row.Cells)
		for i := range row.Cells {
			row.Cells[i].Text = clean(row.Cells[i].Text)
		}
		out = append(out, row)
	}
	return out
}

// comparisonLead says what the runs are and which came out best.
func comparisonLead(r *Report, names []string, sweep *sweepView) string {
	var out strings.Builder
	if sweep != nil {
		fmt.Fprintf(&out, "%s of the sweep %s, compared by %s.", countOf(int64(len(r.Runs)), "trial"), clean(r.Sweep.Name), sweep.Goal)
	} else {
		fmt.Fprintf(&out, "%s beside each other.", countOf(int64(len(r.Runs)), "run"))
		if c := r.Comparison; c != nil && len(c.Settings) > 0 {
			var keys []string
			for _, row := range c.Settings {
				keys = append(keys, clean(row.Name))
			}
			if n := len(keys); n > 4 {
				keys = append(keys[:3], fmt.Sprintf("%d more", n-3))
			}
			fmt.Fprintf(&out, " They differ in %s.", joined(keys))
		}
	}
	if sweep != nil {
		if t := sweep.Trials; len(t) > 0 && t[0].Place == 1 && t[0].result.Finite() {
			fmt.Fprintf(&out, " The best is %s, of %s.", t[0].Result, t[0].Label)
		}
		return out.String()
	}
	best, least := -1, math.Inf(1)
	for i := range r.Runs {
		if v := float64(r.Runs[i].BestValidationLoss); r.Runs[i].RunSummary.Status == runstore.Done && v < least {
			best, least = i, v
		}
	}
	if best >= 0 {
		fmt.Fprintf(&out, " The lowest validation loss is %s, of %s.", loss(runstore.Real(least)), names[best])
	}
	return out.String()
}

// joined writes a list in words.
func joined(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// timeBars are the wall times of all runs on one scale.
func timeBars(runs []Run, names []string) []timeBar {
	longest := 0.0
	for i := range runs {
		if runs[i].Took > longest && !math.IsInf(runs[i].Took, 0) {
			longest = runs[i].Took
		}
	}
	var out []timeBar
	for i := range runs {
		b := timeBar{Label: names[i], Time: duration(runs[i].Took), Phases: phasesOf(&runs[i])}
		if longest > 0 && runs[i].Took > 0 {
			for k := range b.Phases {
				b.Phases[k].X *= runs[i].Took / longest
				b.Phases[k].Width *= runs[i].Took / longest
			}
		}
		out = append(out, b)
	}
	return out
}

// promptComparisons put the last replies of all runs to one prompt together, in the order in which the prompts come.
func promptComparisons(runs []Run, names []string) []promptComparison {
	var out []promptComparison
	place := map[string]int{}
	for i := range runs {
		for _, of := range byPrompt(runs[i].Samples) {
			x := of[len(of)-1]
			at, ok := place[x.Prompt]
			if !ok {
				at = len(out)
				place[x.Prompt], out = at, append(out, promptComparison{Prompt: clean(x.Prompt)})
			}
			out[at].Replies = append(out[at].Replies, runReply{i, names[i], replyOf(x, nil).Step, shortened(replyText(x), maxReply/4)})
		}
	}
	return out
}

// sweepView is a ranking of trials.
type sweepView struct {
	Goal         string
	Keys         []string
	Trials       []trialView
	Status, Mood string
	Planned      int
	Error        string
	Figure       pictures
	Drawn        bool
}

type trialView struct {
	Place, Index        int // Place is 0 for one that has none
	Label, Status, Mood string
	Values              []string
	Result, Steps, Took string
	result              runstore.Real
	parallel            []chart.Value
}

func newSweepView(r *Report, names []string) (*sweepView, error) {
	s := r.Sweep
	v := &sweepView{Goal: strings.ReplaceAll(clean(s.Goal), "_", " "), Status: clean(string(s.Status)), Planned: s.Trials, Error: clean(s.Error)}
	v.Mood = (&Run{RunSummary: runstore.RunSummary{Run: runstore.Run{Status: s.Status}}}).mood()
	place := map[string]int{}
	for i := range r.Runs {
		place[r.Runs[i].ID] = i
		keys, _ := settingsOf(r.Runs[i].SweepSettings)
		for _, key := range keys {
			if !slices.Contains(v.Keys, key) {
				v.Keys = append(v.Keys, key)
			}
		}
	}
	for _, t := range s.Ranking {
		i, ok := place[t.RunID]
		if !ok { // not among the runs of this report
			continue
		}
		run := &r.Runs[i]
		x := trialView{Place: t.Place, Index: i, Label: names[i], Status: run.status(), Mood: run.mood(), Result: loss(t.Result), result: t.Result,
			Steps: thousands(run.StepsDone), Took: duration(run.Took)}
		x.read(v.Keys, run.SweepSettings)
		v.Trials = append(v.Trials, x)
	}
	if err := v.draw(); err != nil {
		return nil, err
	}
	for i := range v.Keys {
		v.Keys[i] = clean(v.Keys[i])
	}
	return v, nil
}

// settingsOf reads the values that a trial tries, with the keys in their order.
func settingsOf(text string) (keys []string, values map[string]json.RawMessage) {
	if json.Unmarshal([]byte(text), &values) != nil {
		return nil, nil
	}
	d := json.NewDecoder(strings.NewReader(text))
	if _, err := d.Token(); err != nil { // the brace
		return nil, nil
	}
	for d.More() {
		key, err := d.Token()
		var skipped json.RawMessage
		if name, ok := key.(string); err == nil && ok && d.Decode(&skipped) == nil {
			keys = append(keys, name)
			continue
		}
		return keys, values
	}
	return keys, values
}

// read fills in the values of the keys.
func (t *trialView) read(keys []string, settings string) {
	_, values := settingsOf(settings)
	for _, key := range keys {
		raw, ok := values[key]
		if !ok {
			t.Values, t.parallel = append(t.Values, "–"), append(t.parallel, chart.Number(math.NaN()))
			continue
		}
		var number float64
		var word string
		if json.Unmarshal(raw, &number) == nil {
			t.Values, t.parallel = append(t.Values, fmt.Sprintf("%g", number)), append(t.parallel, chart.Number(number))
			continue
		}
		if json.Unmarshal(raw, &word) != nil {
			word = string(raw)
		}
		t.Values, t.parallel = append(t.Values, clean(word)), append(t.parallel, chart.Word(word))
	}
}

// draw makes the parallel coordinates, where there are axes enough and not too many.
func (v *sweepView) draw() (err error) {
	const maxKeys, maxTrials = 19, 2000 // of chart.Parallel, which has the result as one axis more
	if len(v.Trials) == 0 || len(v.Keys) == 0 || len(v.Keys) > maxKeys || len(v.Trials) > maxTrials {
		return nil
	}
	var axes []chart.Axis
	for _, key := range v.Keys {
		axes = append(axes, chart.Axis{Name: key})
	}
	axes = append(axes, chart.Axis{Name: v.Goal})
	var lines []chart.Line
	for _, t := range v.Trials {
		lines = append(lines, chart.Line{Name: t.Label, Values: append(slices.Clone(t.parallel), chart.Number(float64(t.result)))})
	}
	v.Drawn = true
	v.Figure, err = picture(func(w *bytes.Buffer, dark bool) error {
		return chart.Parallel(w, chart.SVG, axes, lines, chart.Options{Dark: dark})
	})
	return err
}
