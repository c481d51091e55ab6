package report

import (
	"bytes"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"tune/internal/chart"
	"tune/internal/runstore"
	"tune/internal/web"
)

// view is what the page is filled with.
type view struct {
	Title, Lead, Made, Foot string
	Policy                  string
	Style                   template.CSS
	Script                  template.JS
	Data                    template.JS // []*curves, a run each
	Several                 bool
	Runs                    []runView
	Comparison              *comparisonView
}

// runView is a run as the page shows it.
type runView struct {
	Index             int
	Deep              bool   // one of several
	ID, Name, Label   string // Label tells it from the others
	Status, Mood      string
	Sentence, Note    string
	Tags              []string
	Notices           []notice
	Cards             []card
	Drawn             bool // there is a step to plot
	Thinned           string
	Figure            pictures
	Phases            []phase
	Prompts           []promptView
	Config            []configLine
	ConfigText        string
	Marked            int
	Environment, Data []section
	Files             []fileView
	Events            []eventView
	Commands          []string
	Cautions          []string
}

// notice is something that must not be missed.
type notice struct{ Mood, Title, Text, Do string }

// card is a number with its name.
type card struct{ Name, Value, Note, Mood string }

// phase is a part of the wall time.
type phase struct {
	Name, Class, Time string
	X, Width          float64 // percent of the bar
}

// section is a table of names and values, with a histogram where there is one.
type section struct {
	Title     string
	Facts     []fact
	Histogram *histogram
	Problem   string
}

type fact struct {
	Name, Value string
	Code        bool // a path or a hash
}

type fileView struct {
	Kind, Path, Size, Sum string
	Missing               bool
}

type eventView struct {
	Level, Mood, Step, Kind, Message, At string
}

// pictures are one picture for each background.
type pictures struct{ Light, Dark template.HTML }

// newView makes the page of a report.
func newView(r *Report) (*view, error) {
	names := labels(r.Runs)
	v := &view{Title: clean(r.Title), Made: moment(r.Made), Policy: policy(), Style: template.CSS(style),
		Script: template.JS(script), Several: len(r.Runs) > 1,
		Foot: "uPlot " + web.Version + " draws the plots."}
	points := max(200, min(maxPoints, 12_000/len(r.Runs))) // many runs share what one file should hold
	var all []*curves
	for i := range r.Runs {
		run := &r.Runs[i]
		c := newCurves(run, names[i], points)
		all = append(all, c)
		shown, err := newRunView(run, i, names[i], v.Several)
		if err != nil {
			return nil, err
		}
		if len(run.Steps) > points {
			shown.Thinned = fmt.Sprintf("The plots show %s of %s steps: of each part of the run the lowest and the highest values.",
				thousands(int64(len(c.Step))), thousands(int64(len(run.Steps))))
		}
		v.Runs = append(v.Runs, shown)
	}
	var err error
	if v.Data, err = jsonFor(all); err != nil {
		return nil, err
	}
	if !v.Several {
		v.Lead = v.Runs[0].Sentence
		v.Title = firstOf(v.Title, v.Runs[0].Name, v.Runs[0].ID)
		return v, nil
	}
	if v.Comparison, err = newComparisonView(r, names); err != nil {
		return nil, err
	}
	v.Lead = v.Comparison.lead
	if r.Sweep != nil {
		v.Title = firstOf(v.Title, "Sweep "+clean(r.Sweep.Name))
	}
	v.Title = firstOf(v.Title, fmt.Sprintf("%d runs", len(r.Runs)))
	return v, nil
}

// firstOf returns the first text that is not empty.
func firstOf(texts ...string) string {
	for _, t := range texts {
		if strings.TrimSpace(t) != "" {
			return t
		}
	}
	return ""
}

func newRunView(r *Run, index int, label string, deep bool) (runView, error) {
	v := runView{Index: index, Deep: deep, ID: clean(r.ID), Name: clean(r.Name), Label: label, Status: r.status(), Mood: r.mood(),
		Sentence: r.sentence(), Note: clean(r.Note), Notices: r.notices(), Cards: r.cards(), Drawn: len(r.Steps) > 0,
		Phases: phasesOf(r), Prompts: promptsOf(r.Samples), Config: configLines(clean(r.Config), r.Defaults),
		ConfigText: clean(r.Config), Environment: r.environment(), Data: r.data(), Commands: r.commands(), Cautions: r.cautions()}
	for _, tag := range r.Tags {
		v.Tags = append(v.Tags, clean(tag))
	}
	for _, line := range v.Config {
		if line.Marked && line.Default != "" {
			v.Marked++
		}
	}
	for _, a := range r.Artifacts {
		v.Files = append(v.Files, fileView{clean(a.Kind), clean(a.Path), size(a.Bytes), clean(a.SHA256), r.Missing[a.Path]})
	}
	v.Events = eventViews(r.Events)
	if !v.Drawn {
		return v, nil
	}
	var err error
	v.Figure, err = picture(func(w *bytes.Buffer, dark bool) error {
		return chart.Figure(w, chart.SVG, []chart.Run{drawn(r, label)}, chart.Options{Dark: dark})
	})
	return v, err
}

// picture draws an SVG for light and for dark pages.
func picture(draw func(w *bytes.Buffer, dark bool) error) (pictures, error) {
	var out [2]template.HTML
	for i, dark := range []bool{false, true} {
		var svg bytes.Buffer
		if err := draw(&svg, dark); err != nil {
			return pictures{}, err
		}
		text := svg.String()
		text = text[max(0, strings.Index(text, "<svg")):] // inside HTML there is no XML declaration
		text = strings.Replace(text, ` xmlns:xlink="http://www.w3.org/1999/xlink"`, "", 1)
		out[i] = template.HTML(text) // internal/chart escapes names
	}
	return pictures{out[0], out[1]}, nil
}

// stoppedBySweep begins the error of a trial that its sweep gave up in favour of others.
const stoppedBySweep = "stopped by its sweep"

// notices say what a reader must know first: how a run ended that is not done, and what to do about it.
func (r *Run) notices() []notice {
	var out []notice
	reason := clean(r.Error)
	resume := "tune resume " + clean(r.ID)
	switch {
	case r.Stale:
		out = append(out, notice{"warning", "This run seems to have died.",
			fmt.Sprintf("It is recorded as running, but nothing has been heard of it since %s. What is shown is what it had reached.", moment(r.LastSeenAt)),
			resume + " goes on from its last checkpoint."})
	case r.RunSummary.Status == runstore.Running:
		out = append(out, notice{"muted", "This run was still going on when the report was written.",
			fmt.Sprintf("It had made %s of %s. The numbers are those up to there.", countOf(r.StepsDone, "step"), thousands(r.TotalSteps)),
			"tune report " + clean(r.ID) + " writes the report anew."})
	case r.RunSummary.Status == runstore.Queued:
		out = append(out, notice{"muted", "This run had not begun to train when the report was written.", "", ""})
	case r.RunSummary.Status == runstore.Failed:
		do := "Correct the cause, then run it again."
		if r.Checkpoint != "" {
			do = "When the cause is gone, " + resume + " goes on from its last checkpoint."
		}
		out = append(out, notice{"bad", "This run failed " + r.reached() + ".", reason, do})
	case r.RunSummary.Status == runstore.Diverged:
		do := "Try a smaller train.learning_rate"
		if r.LearningRate > 0 {
			do += fmt.Sprintf(", such as %.2g instead of %.2g", float64(r.LearningRate)/3, float64(r.LearningRate))
		}
		out = append(out, notice{"bad", "This run diverged " + r.reached() + ".", reason, do + ", or a longer warm-up."})
	case r.RunSummary.Status == runstore.Interrupted:
		do := resume + " goes on from its last checkpoint."
		if r.Checkpoint == "" {
			do = "It has no checkpoint: " + r.commands()[len(r.commands())-1] + " begins it anew, with the config below."
		}
		if strings.HasPrefix(r.Error, stoppedBySweep) {
			do = "That is how a sweep saves time: its other trials were better at that step."
		}
		out = append(out, notice{"warning", "This run was interrupted " + r.reached() + ".", reason, do})
	}
	step, best := r.best()
	if last := r.LastValidationLoss; r.RunSummary.Status == runstore.Done && step < r.StepsDone && float64(last) > float64(best)*1.005 {
		out = append(out, notice{"warning", "The end is not the best of this run.",
			fmt.Sprintf("Validation loss was lowest %s, %s, and %s at the end.", afterStep(step), loss(best), loss(last)),
			"Fewer steps, a smaller learning rate or more data may do better."})
	}
	return out
}

// reached is how far a run came.
func (r *Run) reached() string {
	if r.StepsDone == 0 {
		return "before its first step"
	}
	if r.TotalSteps == 0 {
		return "after step " + thousands(r.StepsDone)
	}
	return fmt.Sprintf("after step %s of %s", thousands(r.StepsDone), thousands(r.TotalSteps))
}

// cards are the numbers that everybody looks for.
func (r *Run) cards() []card {
	steps := thousands(r.StepsDone)
	if r.TotalSteps > 0 {
		steps += " of " + thousands(r.TotalSteps)
	}
	out := []card{
		{"Status", r.status(), steps + " steps", r.mood()},
		{"Training loss", loss(r.LastLoss), "", ""},
	}
	if r.StepsDone > 1 {
		out[1].Note = from(r.FirstLoss, r.LastLoss)
	}
	if step, best := r.best(); r.evaluated() > 0 {
		note := from(r.FirstValidationLoss, r.LastValidationLoss)
		switch {
		case step == 0 && r.evaluated() == 1:
			note = "before training"
		case step == 0:
			note += ", best before training"
		case step < r.StepsDone:
			note = fmt.Sprintf("best %s after step %s", loss(best), thousands(step))
		}
		out = append(out, card{"Validation loss", loss(r.LastValidationLoss), note, ""})
	}
	out = append(out, card{"Wall time", duration(r.Took), against("training", duration(float64(r.trained())), float64(r.PredictedSeconds), float64(r.trained()), duration), ""})
	if r.TokensPerSecond.Finite() {
		out = append(out, card{"Tokens per second", thousands(int64(r.TokensPerSecond + 0.5)),
			duration(float64(r.StepSeconds)/float64(max(1, r.StepsDone))) + " a step", ""})
	}
	if r.PeakMemoryBytes > 0 {
		predicted := 0.0
		if r.PredictedPeakMemoryBytes > 0 {
			predicted = float64(r.PredictedPeakMemoryBytes)
		}
		tensors := ""
		if r.DevicePeakMemoryBytes > 0 {
			tensors = size(r.DevicePeakMemoryBytes)
		}
		out = append(out, card{"Peak memory", size(r.PeakMemoryBytes),
			against("in tensors", tensors, predicted, float64(r.PeakMemoryBytes), chart.FormatBytes), ""})
	}
	if r.EnergyJoules.Finite() {
		out = append(out, card{"Energy", energy(float64(r.EnergyJoules)), clean(r.EnergySource), ""})
	}
	return out
}

// from says where a loss began.
func from(first, last runstore.Real) string {
	if !first.Finite() {
		return ""
	}
	change := percent(float64(first), float64(last))
	if change != "" {
		change = " (" + change + ")"
	}
	return "from " + loss(first) + change
}

// against holds what was measured against what was predicted.
func against(what, measured string, predicted, value float64, text func(float64) string) string {
	var parts []string
	if measured != "" && measured != "–" {
		parts = append(parts, what+" "+measured)
		if what == "in tensors" {
			parts[0] = measured + " " + what
		}
	}
	if predicted > 0 && value > 0 {
		parts = append(parts, fmt.Sprintf("predicted %s", text(predicted)))
	}
	return strings.Join(parts, ", ")
}

// phasesOf is where the wall time went.
func phasesOf(r *Run) []phase {
	parts := []struct {
		name    string
		seconds runstore.Real
	}{{"load", r.LoadSeconds}, {"train", r.trained()}, {"evaluate", r.EvaluateSeconds}, {"save", r.SaveSeconds}}
	sum := 0.0
	for _, p := range parts {
		if p.seconds > 0 && p.seconds.Finite() {
			sum += float64(p.seconds)
		}
	}
	whole := sum
	if r.Took > sum {
		whole = r.Took
	}
	if !(whole > 0) {
		return nil
	}
	var out []phase
	x := 0.0
	add := func(name string, seconds float64) {
		if !(seconds > 0.002*whole) { // too thin to see
			return
		}
		width := 100 * seconds / whole
		out = append(out, phase{name, "phase-" + name, duration(seconds), x, width})
		x += width
	}
	for _, p := range parts {
		add(p.name, float64(p.seconds))
	}
	if rest := whole - sum; rest > 0.01*whole {
		add("other", rest)
	}
	return out
}

// eventViews puts errors and warnings first.
func eventViews(events []runstore.Event) []eventView {
	rank := map[runstore.Level]int{runstore.LevelError: 0, runstore.LevelWarning: 1, runstore.LevelInfo: 2}
	mood := map[runstore.Level]string{runstore.LevelError: "bad", runstore.LevelWarning: "warning", runstore.LevelInfo: "muted"}
	sorted := slices.Clone(events)
	slices.SortStableFunc(sorted, func(a, b runstore.Event) int { return rank[a.Level] - rank[b.Level] })
	var out []eventView
	for _, e := range sorted {
		step := ""
		if e.Step > 0 {
			step = thousands(e.Step)
		}
		out = append(out, eventView{clean(string(e.Level)), mood[e.Level], step, clean(e.Kind), clean(e.Message), moment(e.At)})
	}
	return out
}
