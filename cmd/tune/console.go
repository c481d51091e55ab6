package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"tune/internal/chart"
	"tune/internal/runstore"
	"tune/trainer"
)

// console shows a run while it trains: a progress bar when stderr is a terminal, plain lines elsewhere.
type console struct {
	out, err io.Writer
	screen   screen                   // what err can show
	bar      *progressbar.ProgressBar // nil without a terminal, and before the first step
	total    int64                    // steps
	recent   window
	printed  time.Time // of the last plain line, or of the bar
	last     trainer.StepMetrics
	trial    string // "trial 3": a sweep tells how it goes, and only its bar and its warnings are shown
	noBar    bool   // others write at the same time
}

// How often a run says how far it is, without a terminal and on one.
const (
	plainEvery = 5 * time.Second
	barEvery   = 50 * time.Millisecond
)

func newConsole(out, err io.Writer) *console {
	return &console{out: out, err: err, screen: screenOf(err)}
}

// start says what is about to be trained.
func (c *console) start(row *runstore.Run, plan *planReport) {
	c.total = row.TotalSteps
	if c.trial != "" {
		return
	}
	c.line("run %s", row.ID)
	device := row.Device
	if row.DeviceName != "" {
		device += " (" + row.DeviceName + ")"
	}
	c.line("%s on %s, %s, %d threads; libtorch %s", row.Chip, device, row.DType, row.Threads, row.LibtorchVersion)
	c.line("%s: %s of %s parameters trained (%s); %d rows, %d steps", row.ModelPath, count(row.TrainableParameters),
		count(row.TotalParameters), row.Method, row.TrainRows, row.TotalSteps)
	c.line("%s", plan.line())
	if text := plan.checkpointing(); text != "" {
		c.line("%s", text)
	}
}

// count writes a number of parameters: 1.87 M.
func count(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f B", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.2f M", float64(n)/1e6)
	case n >= 1e4:
		return fmt.Sprintf("%.0f k", float64(n)/1e3)
	}
	return fmt.Sprint(n)
}

// step shows a step's numbers.
func (c *console) step(m trainer.StepMetrics) {
	c.last = m
	c.recent.add(m)
	left := time.Duration(float64(c.total-int64(m.Step)) * c.recent.secondsPerStep() * float64(time.Second))
	every := plainEvery
	if c.screen.terminal {
		every = barEvery
	}
	now := time.Now()
	if m.Step != 1 && int64(m.Step) != c.total && now.Sub(c.printed) < every {
		return
	}
	c.printed = now
	switch {
	case c.screen.terminal && !c.noBar:
		c.showBar(m, left)
	case c.trial == "":
		c.line("step %d/%d  loss %.4f  lr %.2e  %.0f tok/s  %s  %s left", m.Step, c.total, m.Loss, m.LR,
			c.recent.tokensPerSecond(), chart.FormatBytes(float64(m.MemoryBytes)), chart.FormatDuration(left.Seconds()))
	}
}

func (c *console) showBar(m trainer.StepMetrics, left time.Duration) {
	if c.bar == nil {
		theme := progressbar.Theme{Saucer: "━", SaucerHead: "━", SaucerPadding: "─"}
		if !c.screen.unicode {
			theme = progressbar.Theme{Saucer: "=", SaucerHead: ">", SaucerPadding: " ", BarStart: "[", BarEnd: "]"}
		}
		// The library's own rate and time left are wrong for slow steps and resumed runs: ours stand in the text.
		// It is not told to wait between drawings either: it would drop the second of the two calls below, and
		// count one step too few.
		c.bar = progressbar.NewOptions64(c.total, progressbar.OptionSetWriter(c.err), progressbar.OptionSetPredictTime(false),
			progressbar.OptionShowCount(), progressbar.OptionSetWidth(24), progressbar.OptionThrottle(0),
			progressbar.OptionSetElapsedTime(false), progressbar.OptionSetTheme(theme))
	}
	trial := ""
	if c.trial != "" {
		trial = c.trial + " · "
	}
	c.bar.Describe(c.screen.ascii(trial + fmt.Sprintf("loss %.4f · %.0f tok/s · %s · %s left", m.Loss, c.recent.tokensPerSecond(),
		chart.FormatBytes(float64(m.MemoryBytes)), chart.FormatDuration(left.Seconds()))))
	_ = c.bar.Set(m.Step) // an error here only means that the terminal went away
}

// evaluation shows a validation loss.
func (c *console) evaluation(e trainer.Evaluation) {
	c.detail("step %d  validation loss %.4f", e.Step, e.Loss)
}

// detail writes a line that a trial of a sweep does not.
func (c *console) detail(format string, a ...any) {
	if c.trial == "" {
		c.line(format, a...)
	}
}

// line writes a line to stderr without tearing the bar.
func (c *console) line(format string, a ...any) {
	switch {
	case c.bar == nil:
	case c.bar.IsFinished():
		c.closeBar() // it stays above the line
	default:
		_ = c.bar.Clear()
		defer func() { _ = c.bar.RenderBlank() }()
	}
	text := fmt.Sprintf(format, a...)
	if c.trial != "" {
		text = c.trial + ": " + text
	}
	fmt.Fprintln(c.err, text)
}

// closeBar ends the bar where it is; that of a trial goes.
func (c *console) closeBar() {
	if c.bar != nil && c.trial != "" {
		_ = c.bar.Clear()
		c.bar = nil
	}
	if c.bar != nil {
		_ = c.bar.Exit()
		fmt.Fprintln(c.err)
		c.bar = nil
	}
}

// window averages over the last steps, so that rate and time left follow the machine.
type window struct {
	steps []trainer.StepMetrics
}

func (w *window) add(m trainer.StepMetrics) {
	w.steps = append(w.steps, m)
	if len(w.steps) > 20 {
		w.steps = w.steps[1:]
	}
}

func (w *window) seconds() (total float64) {
	for _, m := range w.steps {
		total += m.Elapsed.Seconds()
	}
	return total
}

func (w *window) secondsPerStep() float64 { return w.seconds() / float64(max(1, len(w.steps))) }

func (w *window) tokensPerSecond() float64 {
	tokens := 0
	for _, m := range w.steps {
		tokens += m.Tokens
	}
	if s := w.seconds(); s > 0 {
		return float64(tokens) / s
	}
	return 0
}
