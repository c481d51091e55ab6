package main

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"tune/internal/chart"
)

// printSummary says what the run came to and what to type next.
func (r *session) printSummary(wall time.Duration) {
	w, sum, s := r.out.out, &r.Summary, screenOf(r.out.out)
	line := func(name, format string, a ...any) { fmt.Fprintf(w, "  %-12s %s\n", name, fmt.Sprintf(format, a...)) }

	fmt.Fprintf(w, "\n%s\n", s.paint(bold, "run "+r.row.ID+" done"))
	line("wall time", "%s (load %s, train %s, evaluate %s, save %s)", duration(wall), duration(r.Loading), duration(sum.Training),
		duration(sum.Evaluating), duration(r.Saving+sum.Saving))
	line("loss", "%.4f %s %.4f in %d steps", sum.FirstLoss, s.arrow(), sum.LastLoss, sum.Steps)
	if n := len(sum.Validation); n > 0 {
		first, last := sum.Validation[0].Loss, sum.Validation[n-1].Loss
		line("validation", "%.4f %s %.4f (%+.0f %%)", first, s.arrow(), last, 100*(last/first-1))
	}
	if sum.StoppedEarly {
		line("stopped", "early: %d evaluations in a row were no better than the best", r.cfg.Train.Patience)
	}
	if best := sum.Best; best != nil && best.Step != sum.Steps {
		line("best", "%.4f in validation after step %d: %s", best.Loss, best.Step, checkpointsOf(r.dir).Path(best.Step))
	}
	if len(sum.FellBack) > 0 {
		line("on the CPU", "without a kernel for MPS: %s", strings.Join(sum.FellBack, ", "))
	}
	if t := sum.Training.Seconds(); t > 0 {
		line("speed", "%.0f tokens/s, %s a step", float64(sum.Tokens)/t, chart.FormatDuration(t/float64(max(1, sum.Steps))))
	}
	memory := chart.FormatBytes(float64(sum.PeakMemory)) + " peak"
	if sum.DevicePeak > 0 {
		memory += ", " + chart.FormatBytes(float64(sum.DevicePeak)) + " in tensors"
	}
	line("memory", "%s", memory)
	if joules := r.around.usage.EnergyJoules; joules.Finite() {
		line("energy", "%s (%s)", energyText(float64(joules)), r.around.usage.EnergySource)
	}
	if reasons := slowedBy(&r.around.row); len(reasons) > 0 {
		line("slowed by", "%s", strings.Join(reasons, "; "))
	}
	kind := "adapter"
	if r.cfg.Method == "full" {
		kind = "model"
	}
	line(kind, "%s", r.Artifact)
	r.printReplies(w, s)

	fmt.Fprintf(w, "\nnext\n")
	if len(r.cfg.Sample.Prompts) > 0 {
		fmt.Fprintf(w, "  tune generate --run %s %q\n", r.row.ID, r.cfg.Sample.Prompts[0])
	} else {
		fmt.Fprintf(w, "  tune generate --run %s \"Hello\"\n", r.row.ID)
	}
	fmt.Fprintf(w, "  tune chart %s\n  tune runs show %s\n", r.row.ID, r.row.ID)
}

func duration(d time.Duration) string { return chart.FormatDuration(d.Seconds()) }

// printReplies shows what each prompt got before the first step and after the last.
func (r *session) printReplies(w io.Writer, s screen) {
	var prompts []int
	for i := range r.before {
		prompts = append(prompts, i)
	}
	sort.Ints(prompts)
	width := max(20, min(s.columns, 112)-12)
	for _, i := range prompts {
		fmt.Fprintf(w, "\n  %s\n", r.before[i].Prompt)
		fmt.Fprintf(w, "    before: %s\n", wrapped(printable(r.before[i].Reply), width, "            "))
		fmt.Fprintf(w, "    after:  %s\n", wrapped(printable(r.after[i].Reply), width, "            "))
	}
}

// wrapped breaks text into lines of at most width characters; those after the first begin with indent.
func wrapped(text string, width int, indent string) string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n"+indent)
}
