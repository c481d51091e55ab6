package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"tune/internal/chart"
	"tune/internal/runstore"
)

// clean replaces control characters, which HTML has no place for. Newlines and tabs stay.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || r == 0xfffe || r == 0xffff {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// shortened cuts text that nobody reads to its end.
func shortened(text string, most int) string {
	letters := []rune(text)
	if len(letters) <= most {
		return text
	}
	return fmt.Sprintf("%s … (and %s more characters)", string(letters[:most]), thousands(int64(len(letters)-most)))
}

// loss writes a loss with the digits that anyone compares.
func loss(v runstore.Real) string {
	switch size := math.Abs(float64(v)); {
	case math.IsInf(float64(v), 0):
		return "infinite"
	case !v.Finite():
		return "–"
	case size >= 1000 || size < 0.001 && size > 0:
		return strconv.FormatFloat(float64(v), 'g', 3, 64)
	}
	return strconv.FormatFloat(float64(v), 'f', 3, 64)
}

func duration(seconds float64) string {
	if math.IsNaN(seconds) || math.IsInf(seconds, 0) {
		return "–"
	}
	return chart.FormatDuration(seconds)
}

// size writes bytes, of which 0 is unknown.
func size(bytes int64) string {
	if bytes <= 0 {
		return "–"
	}
	return chart.FormatBytes(float64(bytes))
}

// energy writes joules in a unit that people pay for, or joules where that is little.
func energy(joules float64) string {
	switch {
	case joules < 3600:
		return fmt.Sprintf("%.3g J", joules)
	case joules < 3.6e6:
		return fmt.Sprintf("%.3g Wh", joules/3600)
	}
	return fmt.Sprintf("%.3g kWh", joules/3.6e6)
}

// thousands writes a count with commas: 11,655.
func thousands(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

func countOf(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return thousands(n) + " " + what + "s"
}

// moment writes a time as it was where the report is made, with its zone: it may be read elsewhere.
func moment(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.Local().Format("2006-01-02 15:04:05 -07:00")
}

// percent says by how much b is more than a, as "+12 %".
func percent(a, b float64) string {
	if !(a > 0) || math.IsNaN(b) || math.IsInf(b, 0) {
		return ""
	}
	return fmt.Sprintf("%+.0f %%", 100*(b/a-1))
}

// status is that of the database, or a guess where that cannot be so.
func (r *Run) status() string {
	if r.Stale {
		return "interrupted?"
	}
	return string(r.RunSummary.Status)
}

// mood is how the status is coloured.
func (r *Run) mood() string {
	switch {
	case r.Stale, r.RunSummary.Status == runstore.Interrupted:
		return "warning"
	case r.RunSummary.Status == runstore.Done:
		return "good"
	case r.RunSummary.Status == runstore.Failed, r.RunSummary.Status == runstore.Diverged:
		return "bad"
	}
	return "muted"
}

// method says what was trained.
func (r *Run) method() string {
	switch {
	case r.Method == "full":
		return "all weights"
	case r.LoRARank > 0:
		return fmt.Sprintf("LoRA rank %d", r.LoRARank)
	}
	return r.Method
}

// sentence says in plain words what was done and what came of it.
func (r *Run) sentence() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s on %s, ", upperFirst(r.method()), clean(r.ModelPath))
	if r.TotalSteps > r.StepsDone {
		fmt.Fprintf(&out, "%s of %s", thousands(r.StepsDone), countOf(r.TotalSteps, "step"))
	} else {
		out.WriteString(countOf(r.StepsDone, "step"))
	}
	if r.Took > 0 {
		out.WriteString(" in " + duration(r.Took))
	}
	if device := r.deviceText(); device != "" {
		out.WriteString(" on " + device)
	}
	if what := r.outcome(); what != "" {
		out.WriteString("; " + what)
	}
	return out.String() + "."
}

// outcome is what became of the losses.
func (r *Run) outcome() string {
	first, last := r.FirstValidationLoss, r.LastValidationLoss
	switch {
	case first.Finite() && last.Finite() && r.evaluated() > 1:
		text := fmt.Sprintf("validation loss %s → %s", loss(first), loss(last))
		if step, best := r.best(); step > 0 && best.Finite() {
			if loss(best) != loss(last) {
				text += fmt.Sprintf(", best %s", loss(best))
			} else {
				text += ", best"
			}
			text += fmt.Sprintf(" after step %s", thousands(step))
		}
		return text
	case r.StepsDone > 1 && (r.FirstLoss.Finite() || r.LastLoss.Finite()):
		return fmt.Sprintf("training loss %s → %s", loss(r.FirstLoss), loss(r.LastLoss))
	}
	return ""
}

func (r *Run) evaluated() (n int) {
	for _, e := range r.Evaluations {
		if e.Split == runstore.Validation {
			n++
		}
	}
	return n
}

// best returns the step with the lowest validation loss; 0 where there is none behind a step.
func (r *Run) best() (step int64, best runstore.Real) {
	best = runstore.Real(math.NaN())
	for _, e := range r.Evaluations {
		if e.Split == runstore.Validation && e.Loss.Finite() && !(e.Loss >= best) {
			step, best = e.Step, e.Loss
		}
	}
	return step, best
}

func (r *Run) deviceText() string {
	switch {
	case r.DeviceName != "":
		return clean(r.DeviceName)
	case r.Chip != "":
		return clean(r.Chip)
	}
	return r.Device
}

func upperFirst(text string) string {
	r, n := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(r)) + text[n:]
}

// labels name runs where they stand beside each other: by their names, or by the ends of their ids where names repeat.
func labels(runs []Run) []string {
	names, ends := map[string]int{}, map[string]int{}
	end := func(r *Run) string { // without the time
		if parts := strings.SplitN(r.ID, "-", 3); len(parts) == 3 {
			return parts[2]
		}
		return r.ID
	}
	for i := range runs {
		names[runs[i].Name]++
		ends[end(&runs[i])]++
	}
	out := make([]string, len(runs))
	for i := range runs {
		switch r := &runs[i]; {
		case r.Name != "" && names[r.Name] == 1:
			out[i] = clean(r.Name)
		case ends[end(r)] == 1:
			out[i] = clean(end(r))
		default:
			out[i] = clean(r.ID)
		}
	}
	return out
}
