package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"tune/configs"
	"tune/datasets"
	"tune/internal/checkpoint"
	"tune/internal/tokenizer"
	"tune/internal/torch"
)

// pocketPlanner plans configs/bluey.yaml on a machine with so much memory, of which so much is free.
func pocketPlanner(t *testing.T, limit, free int64, checkpointing string) *planner {
	t.Helper()
	cfg, err := configs.Load("../../configs/bluey.yaml", []string{"data.train=../../datasets/bluey/train.jsonl", "data.validation=", "train.eval_steps=0",
		"train.gradient_checkpointing=" + checkpointing})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Open(pocketDir)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := datasets.Open(cfg.Data.Train, tok, datasets.Options{MaxLength: cfg.Data.MaxLength, LossOn: cfg.Data.LossOn})
	if err != nil {
		t.Fatal(err)
	}
	model, err := checkpoint.ReadConfig(pocketDir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPlanner(cfg, model, torch.CPU, rows, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.process = 200e6
	p.limits = func() (int64, int64, string) { return limit, free, "of this machine" }
	return p
}

// TestPlanLimits: what is told and refused where memory is ample, taken, scarce and far too little.
func TestPlanLimits(t *testing.T) {
	ample, err := pocketPlanner(t, 64e9, 60e9, "false").report(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	need := ample.PeakBytes
	if !ample.Fits || ample.Change != nil || need < 200e6 {
		t.Fatalf("%+v", ample)
	}
	for _, tc := range []struct {
		name        string
		limit, free int64
		fits        bool
		want        string // in what tune plan writes
		refusal     string // in what tune run says
	}{
		{"ample", 64e9, 60e9, true, "it fits: there are 64.0 GB of this machine", ""},
		{"taken", 64e9, need - 1, true, "but other programs use all but", ""},
		{"unknown", 0, 0, true, "whether it fits is unknown", ""},
		{"scarce", need - 1, need - 1, false, "the cheapest change that makes it fit: train.gradient_checkpointing: true",
			"--set train.gradient_checkpointing=true makes it fit; --force tries"},
		{"too little", 100e6, 100e6, false, "no setting makes it fit: take a smaller model", "only a smaller model fits; --force tries"},
	} {
		r, err := pocketPlanner(t, tc.limit, tc.free, "false").report(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		r.write(&out)
		if r.Fits != tc.fits || !strings.Contains(out.String(), tc.want) {
			t.Errorf("%s: fits %v, no %q in\n%s", tc.name, r.Fits, tc.want, out.String())
		}
		if tc.refusal == "" {
			continue
		}
		var said bytes.Buffer
		code := report(&said, r.refusal())
		if got := said.String(); code != exitBadInput || !strings.Contains(got, tc.refusal) ||
			!regexp.MustCompile(`the run needs [0-9.]+ MB of memory \(process [0-9.]+ MB, weights .*\), [0-9.]+ MB are there of this machine`).MatchString(got) {
			t.Errorf("%s: exit code %d, %s", tc.name, code, got)
		}
	}
}

// TestPlanSettlesCheckpointing: auto is on where the run fits with it and not without, and the config then says so.
func TestPlanSettlesCheckpointing(t *testing.T) {
	need := func(checkpointing string) int64 {
		r, err := pocketPlanner(t, 0, 0, checkpointing).report(t.Context(), 0)
		if err != nil || r.checkpointing() != "" {
			t.Fatal(err, r)
		}
		return r.PeakBytes
	}
	without, with := need("false"), need("true")
	for _, tc := range []struct {
		name     string
		limit    int64
		on, fits bool
		peak     int64
		reason   string
	}{
		{"ample", without, false, true, without, "auto is false: the run fits without it"},
		{"scarce", without - 1, true, true, with, "auto is true: without it the run needs "},
		{"just enough", with, true, true, with, " MB of this machine"},
		{"too little", with - 1, false, false, without, "auto is false: the run fits neither with it nor without"},
		{"unknown", 0, false, true, without, "auto is false: this system does not tell"},
	} {
		p := pocketPlanner(t, tc.limit, tc.limit, "auto")
		r, err := p.report(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if r.GradientCheckpointing != tc.on || r.Fits != tc.fits || r.PeakBytes != tc.peak {
			t.Errorf("%s: %+v", tc.name, r)
		}
		if p.cfg.Train.GradientCheckpointing != tc.on || p.cfg.Train.AutoCheckpointing {
			t.Errorf("%s: the config is left at %+v", tc.name, p.cfg.Train)
		}
		var out bytes.Buffer
		r.write(&out)
		if !strings.Contains(out.String(), tc.reason) {
			t.Errorf("%s: no %q in\n%s", tc.name, tc.reason, out.String())
		}
	}
}

// TestPlanSeesEveryBatch: the prediction is for the largest batch that the run will have, in each epoch.
func TestPlanSeesEveryBatch(t *testing.T) {
	p := pocketPlanner(t, 64e9, 64e9, "false")
	var longest int64
	for _, b := range p.inputs(p.cfg).Batches {
		longest = max(longest, b.Longest)
	}
	want := 0
	for _, row := range p.rows.Samples {
		want = max(want, len(row.InputIDs))
	}
	if longest != int64(want) {
		t.Errorf("the longest row planned has %d tokens, in the data one has %d", longest, want)
	}
	cut := *p.cfg
	cut.Data.MaxLength = want / 2
	for _, b := range p.inputs(&cut).Batches {
		if b.Longest > int64(want/2) {
			t.Errorf("max_length %d: a batch of %+v", want/2, b)
		}
	}
}
