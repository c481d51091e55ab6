package report

import (
	"fmt"
	"strings"

	"tune/internal/chart"
	"tune/internal/runstore"
)

// known keeps the facts that have a value.
func known(facts ...fact) []fact {
	var out []fact
	for _, f := range facts {
		if strings.TrimSpace(f.Value) != "" {
			f.Value = clean(f.Value)
			out = append(out, f)
		}
	}
	return out
}

func text(name, value string) fact { return fact{Name: name, Value: value} }
func code(name, value string) fact { return fact{Name: name, Value: value, Code: true} }

// environment is what the run was made on and with.
func (r *Run) environment() []section {
	return []section{
		{Title: "Run", Facts: known(
			code("id", r.ID), text("created", moment(r.CreatedAt)), text("ended", moment(r.EndedAt)),
			text("attempts", attempts(r)), text("seed", fmt.Sprint(r.Seed)), text("sweep", r.sweepText()),
			code("config SHA-256", r.ConfigSHA256))},
		{Title: "Model", Facts: known(
			code("path", r.ModelPath), code("revision", r.ModelRevision), code("SHA-256", r.ModelSHA256),
			text("method", r.methodText()), text("parameters", r.parameters()), text("dtype", r.DType))},
		{Title: "Machine", Facts: known(
			text("device", strings.TrimSpace(r.Device+" "+r.DeviceName)), text("chip", r.Chip), text("model", r.MachineModel),
			text("system", strings.TrimSpace(r.OS+" "+r.Arch)), text("cores", r.cores()), text("memory", sizeOrNothing(r.MemoryBytes)))},
		{Title: "State of the machine", Facts: known(
			text("thermal pressure", between(r.ThermalBefore, r.ThermalAfter)),
			text("swap in use", between(swap(r.SwapBeforeBytes), swap(r.SwapAfterBytes))),
			text("load average", between(number(r.LoadAverageBefore), number(r.LoadAverageAfter))),
			text("other cores busy", number1(r.OtherCoresBusy)),
			text("slowed by", strings.Join(r.SlowedBy, "; ")))},
		{Title: "Software", Facts: known(
			text("tune", r.TuneVersion), text("libtorch", r.LibtorchVersion), text("Go", r.GoVersion), code("commit", r.commit()))},
	}
}

func attempts(r *Run) string {
	if r.Attempts < 2 {
		return ""
	}
	return fmt.Sprintf("%d, last resumed from step %s", r.Attempts, thousands(r.ResumedFromStep))
}

func (r *Run) sweepText() string {
	if r.SweepID == "" {
		return ""
	}
	return fmt.Sprintf("trial %d of %s: %s", r.SweepTrial, r.SweepID, r.SweepSettings)
}

func (r *Run) methodText() string {
	if r.LoRARank == 0 {
		return r.Method
	}
	return fmt.Sprintf("%s, rank %d, alpha %g", r.Method, r.LoRARank, float64(r.LoRAAlpha))
}

func (r *Run) parameters() string {
	if r.TotalParameters == 0 {
		return ""
	}
	return fmt.Sprintf("%s of %s trained (%.3g %%)", thousands(r.TrainableParameters), thousands(r.TotalParameters),
		100*float64(r.TrainableParameters)/float64(r.TotalParameters))
}

// cores tells fast cores from the others where there are two kinds.
func (r *Run) cores() string {
	if r.Cores == 0 {
		return ""
	}
	out := fmt.Sprint(r.Cores)
	if p := r.PerformanceCores; p > 0 && p < r.Cores {
		out += fmt.Sprintf(" (%d performance, %d efficiency)", p, r.Cores-p)
	}
	if r.Threads > 0 {
		out += ", " + countOf(int64(r.Threads), "thread") + " used"
	}
	return out
}

func (r *Run) commit() string {
	if r.GitCommit != "" && r.GitDirty {
		return r.GitCommit + " with changes"
	}
	return r.GitCommit
}

func sizeOrNothing(bytes int64) string {
	if bytes <= 0 {
		return ""
	}
	return size(bytes)
}

// swap writes bytes, of which -1 is unknown.
func swap(bytes int64) string {
	if bytes < 0 {
		return ""
	}
	return chart.FormatBytes(float64(bytes))
}

func number(v runstore.Real) string {
	if !v.Finite() {
		return ""
	}
	return fmt.Sprintf("%.2f", float64(v))
}

func number1(v runstore.Real) string {
	if !v.Finite() {
		return ""
	}
	return fmt.Sprintf("%.1f on average", float64(v))
}

// between says how something was before a run and after it.
func between(before, after string) string {
	switch {
	case before == "" || before == after:
		return after
	case after == "":
		return before + " before"
	}
	return before + " before, " + after + " after"
}

// data describes the files of rows.
func (r *Run) data() []section {
	var out []section
	for i := range r.Data {
		d := &r.Data[i]
		title := "Training rows"
		if d.Use == runstore.Validation {
			title = "Validation rows"
		}
		s := section{Title: title, Problem: clean(d.Problem), Facts: known(
			code("file", d.Path), text("rows", countOrNothing(d.Rows)), text("tokens", d.tokens()), text("row length", d.lengths()),
			text("cut", d.cut(r.MaxLength)), code("SHA-256", d.SHA256))}
		if d.Use != runstore.Validation {
			s.Facts = append(s.Facts, known(text("each step", r.stepTokens()), text("seen in training", r.seen()))...)
		}
		s.Histogram = newHistogram(d.Lengths)
		out = append(out, s)
	}
	return out
}

func countOrNothing(n int64) string {
	if n == 0 {
		return ""
	}
	return thousands(n)
}

func (d *Data) tokens() string {
	if d.Tokens == 0 {
		return ""
	}
	return fmt.Sprintf("%s, %s of them with loss (%.0f %%)", thousands(d.Tokens), thousands(d.TargetTokens),
		100*float64(d.TargetTokens)/float64(d.Tokens))
}

func (d *Data) cut(maxLength int) string {
	if len(d.Lengths) == 0 {
		return ""
	}
	if d.Truncated == 0 {
		return fmt.Sprintf("none of them at %s tokens", thousands(int64(maxLength)))
	}
	return fmt.Sprintf("%s at %s tokens", countOf(int64(d.Truncated), "row"), thousands(int64(maxLength)))
}

// stepTokens is how many tokens a step had.
func (r *Run) stepTokens() string {
	var tokens, targets int64
	for _, x := range r.Steps {
		tokens, targets = tokens+x.Tokens, targets+x.TargetTokens
	}
	n := int64(len(r.Steps))
	if n == 0 || tokens == 0 {
		return ""
	}
	return fmt.Sprintf("%s tokens on average, %s of them with loss", thousands(tokens/n), thousands(targets/n))
}

// seen is how much of the data training has used.
func (r *Run) seen() string {
	if r.Tokens == 0 {
		return ""
	}
	out := thousands(r.Tokens) + " tokens"
	if n := len(r.Steps); n > 0 && r.Steps[n-1].Epoch.Finite() {
		out += fmt.Sprintf(", %.3g epochs", float64(r.Steps[n-1].Epoch))
	}
	return out
}

// commands repeat the run, from the folder that it was started in.
func (r *Run) commands() []string {
	var out []string
	if r.GitCommit != "" {
		out = append(out, "git checkout "+clean(r.GitCommit))
	}
	return append(out, "tune run "+configName(r)+" --fresh")
}

// configName is the name of the file that the config is saved as.
func configName(r *Run) string {
	if r.ID == "" {
		return "config.yaml"
	}
	return clean(r.ID) + ".yaml"
}

// cautions say what keeps a repetition from giving the same.
func (r *Run) cautions() []string {
	var out []string
	if r.GitDirty {
		out = append(out, "The working directory had changes that are not in the commit.")
	}
	if r.ModelSHA256 != "" || r.DataTrainSHA256 != "" {
		out = append(out, "Model and data must have the hashes above: tune records them but does not keep the files.")
	}
	if r.Device != "" && r.Device != "cpu" {
		out = append(out, "Devices other than the CPU add in another order each time: losses agree to a few digits, not bit for bit.")
	}
	return out
}
