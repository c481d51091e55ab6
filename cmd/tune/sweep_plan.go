package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"tune/configs"
	"tune/datasets"
	"tune/internal/chart"
	"tune/internal/runstore"
	"tune/internal/torch"
)

// predict plans every trial, so that none is refused after hours of others: with what a run would refuse. No weight is
// read, and a model or a file that several trials have is opened once.
func (s *sweeper) predict(ctx context.Context, timed bool) error {
	o := &opened{models: map[string]*foundModel{}, rows: map[string]*datasets.Dataset{}, rates: map[string]float64{}}
	for _, t := range s.trials {
		if err := s.predictTrial(ctx, o, t, timed); err != nil {
			return fmt.Errorf("trial %d (%s): %w", t.Number, t.settingsText(), err)
		}
	}
	return nil
}

// opened is what trials share while they are planned.
type opened struct {
	models map[string]*foundModel
	rows   map[string]*datasets.Dataset
	rates  map[string]float64
}

func (s *sweeper) predictTrial(ctx context.Context, o *opened, t *sweepTrial, timed bool) error {
	cfg := *t.Config // whose auto is settled in the run
	device, err := torch.ParseDevice(cfg.Device)
	if err != nil {
		return badInput{fmt.Errorf("device: %w", err), "tune doctor shows what this machine has"}
	}
	key := cfg.Model.Path + "\x00" + cfg.Model.Revision
	found := o.models[key]
	if found == nil {
		if found, err = findModel(ctx, s.err, "model.path: "+cfg.Model.Path, cfg.Model.Path, cfg.Model.Revision, true); err != nil {
			return err
		}
		o.models[key] = found
	}
	if err := checkPrompts(&cfg, found.tok); err != nil {
		return err
	}
	rows, err := o.open(&cfg, cfg.Data.Train, key, found)
	if err != nil {
		return err
	}
	var validation *datasets.Dataset
	if cfg.Data.Validation != "" {
		if validation, err = o.open(&cfg, cfg.Data.Validation, key, found); err != nil {
			return err
		}
	}
	if err := fits(found.config, rows, validation); err != nil {
		return err
	}
	p, err := newPlanner(&cfg, found.config, device, rows, validation)
	if err != nil {
		return err
	}
	report, err := p.report(ctx, 0)
	if err != nil {
		return err
	}
	t.steps, t.peakBytes, t.fits, s.limit, s.limitOf = report.Steps, report.PeakBytes, report.Fits, report.LimitBytes, report.LimitOf
	if !timed {
		if !t.fits && !s.force {
			return report.refusal()
		}
		return nil
	}
	dtype := chooseDType(cfg.Model.DType, device)
	if kind := key + "\x00" + dtype.String(); o.rates[kind] == 0 {
		if o.rates[kind], err = productRate(found.config, device, dtype, time.Second); err != nil {
			return err
		}
		t.seconds = 0
	}
	in := p.inputs(&cfg)
	t.seconds = p.seconds(&in, o.rates[key+"\x00"+dtype.String()], t.steps)
	return nil
}

// open opens a file of rows, once for each way to read it.
func (o *opened) open(cfg *configs.Config, path, model string, found *foundModel) (*datasets.Dataset, error) {
	key := fmt.Sprintf("%s\x00%s\x00%d\x00%s", model, path, cfg.Data.MaxLength, cfg.Data.LossOn)
	if d := o.rows[key]; d != nil {
		return d, nil
	}
	d, err := datasets.Open(path, found.tok, datasets.Options{MaxLength: cfg.Data.MaxLength, LossOn: cfg.Data.LossOn})
	o.rows[key] = d
	return d, err
}

// plannedTrial is a trial before it has begun, as --dry-run --json writes it.
type plannedTrial struct {
	Trial           int           `json:"trial"`
	Settings        settingsJSON  `json:"settings"`
	TotalSteps      int           `json:"total_steps"`
	PeakMemoryBytes int64         `json:"predicted_peak_memory_bytes"`
	Seconds         runstore.Real `json:"predicted_seconds"`
	Fits            bool          `json:"fits"`
}

// dryRun lists the trials and what they are predicted to need.
func (s *sweeper) dryRun(c *cli.Context) error {
	s.settleJobs()
	var planned []plannedTrial
	seconds, misfits := 0.0, 0
	for _, t := range s.trials {
		planned = append(planned, plannedTrial{t.Number, settingsJSON(t.SettingsJSON()), t.steps, t.peakBytes, runstore.Real(t.seconds), t.fits})
		seconds += t.seconds
		if !t.fits {
			misfits++
		}
	}
	if c.Bool("json") {
		if err := writeJSON(s.out, planned); err != nil {
			return err
		}
	} else if err := s.writePlan(planned, seconds); err != nil {
		return err
	}
	if misfits > 0 && !s.force { // as for a plan, the answer is no wrong input
		return fmt.Errorf("%s: %s not fit into the %s %s", s.typed, countOf(misfits, "trial")+map[bool]string{true: " does", false: " do"}[misfits == 1],
			chart.FormatBytes(float64(s.limit)), s.limitOf)
	}
	return nil
}

func (s *sweeper) writePlan(planned []plannedTrial, seconds float64) error {
	screen := screenOf(s.out)
	columns := []tableColumn{{title: "trial", right: true}}
	titles := shortKeys(keysOfTrials(s.trials))
	for _, title := range titles {
		columns = append(columns, tableColumn{title: title, right: true})
	}
	columns = append(columns, tableColumn{title: "steps", right: true, drop: 2}, tableColumn{title: "memory", right: true, drop: 1}, tableColumn{title: "time", right: true, drop: 3})
	for i, t := range s.trials {
		cells := []string{fmt.Sprint(t.Number)}
		_, values := settingsJSON(t.SettingsJSON()).values()
		cells = append(cells, values...)
		memory := bytesOf(t.peakBytes)
		if !t.fits {
			memory += " too much"
		}
		cells = append(cells, fmt.Sprint(t.steps), memory, chart.FormatDuration(planned[i].seconds()))
		for j, cell := range cells {
			columns[j].cells = append(columns[j].cells, cell)
		}
	}
	if err := screen.writeTable(s.out, columns); err != nil {
		return err
	}
	text := fmt.Sprintf("\n%s of %s, %d at a time", countOf(len(s.trials), "trial"), s.spec.Base, s.jobs)
	if n := len(s.spec.Halving.Rungs); n == 0 {
		text += fmt.Sprintf("; about %s of training steps in all, by a second of matrix products", chart.FormatDuration(seconds))
	} else {
		text += fmt.Sprintf("; at most %s of training steps in all, by a second of matrix products: halving stops trials early", chart.FormatDuration(seconds))
	}
	if s.limit > 0 {
		text += fmt.Sprintf("\nthere are %s %s", chart.FormatBytes(float64(s.limit)), s.limitOf)
	}
	_, err := fmt.Fprintln(s.out, text)
	return err
}

func (p *plannedTrial) seconds() float64 { return float64(p.Seconds) }
