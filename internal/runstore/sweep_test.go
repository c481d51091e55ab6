package runstore

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestASweepFromCreationToItsEnd(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	x := Sweep{ID: "20261121-120000-rates-abc", Trials: 12, Name: "rates", Goal: "validation_loss", Config: "name: rates\n", ConfigSHA256: "aa"}
	must(t, s.CreateSweep(ctx, x))
	for i, id := range []string{"c", "a", "b"} {
		must(t, s.CreateRun(ctx, Run{ID: id, SweepID: x.ID, SweepTrial: i + 1, SweepSettings: `{"lora.rank":8}`}))
	}
	must(t, s.CreateRun(ctx, Run{ID: "d"}))
	for _, ref := range []string{x.ID, "rates", "2026", "last"} {
		got, err := s.Sweep(ctx, ref)
		must(t, err)
		want := x
		want.Status, want.PID, want.Host, want.Process, want.CreatedAt, want.HeartbeatAt = Running, got.PID, s.host, s.ownMark(), noon, noon
		if diff := cmp.Diff(want, got); diff != "" || !s.Alive(&got) {
			t.Errorf("%s (-want +got):\n%s", ref, diff)
		}
	}
	for _, ref := range []string{"", "none", "%"} {
		if _, err := s.Sweep(ctx, ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v, want ErrNotFound", ref, err)
		}
	}
	trials, err := s.Runs(ctx, Filter{SweepID: x.ID})
	if err != nil || len(trials) != 3 || trials[0].SweepTrial != 1 || trials[2].ID != "b" {
		t.Errorf("%d trials, %v, want 3 in their order: %+v", len(trials), err, trials)
	}

	// What a sweep stops says why, but not where it has gone on since.
	must(t, s.StartRun(ctx, "c"), s.FinishRun(ctx, "c", Finish{Status: Interrupted, Error: "interrupted"}), s.StartRun(ctx, "a"))
	must(t, s.StopTrial(ctx, "c", "place 3 of 3"), s.StopTrial(ctx, "a", "place 2 of 3"))
	for id, want := range map[string]string{"c": "place 3 of 3", "a": ""} {
		if r, err := s.Run(ctx, id); err != nil || r.Error != want {
			t.Errorf("run %s: %q, %v, want %q", id, r.Error, err, want)
		}
	}

	s.now = func() time.Time { return noon.Add(time.Minute) }
	must(t, s.BeatSweep(ctx, x.ID), s.FinishSweep(ctx, x.ID, Interrupted, "by the user"))
	got, err := s.Sweep(ctx, x.ID)
	if err != nil || got.Status != Interrupted || got.Error != "by the user" || !got.EndedAt.Equal(noon.Add(time.Minute)) || s.Alive(&got) {
		t.Errorf("%+v, %v", got, err)
	}
	// Of two that go on with it one does.
	if first, second := s.ResumeSweep(ctx, &got), s.ResumeSweep(ctx, &got); first != nil || !errors.Is(second, ErrRunning) {
		t.Errorf("%v, %v, want none and ErrRunning", first, second)
	}
	for name, err := range map[string]error{
		"ResumeSweep": s.ResumeSweep(ctx, &Sweep{ID: "none"}), "BeatSweep": s.BeatSweep(ctx, "none"), "FinishSweep": s.FinishSweep(ctx, "none", Done, ""),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s of none: %v, want ErrNotFound", name, err)
		}
	}
	if err := s.FinishSweep(ctx, x.ID, Running, ""); err == nil || !strings.Contains(err.Error(), "want done, failed or interrupted") {
		t.Errorf("an ending that is none: %v", err)
	}
	if err := s.CreateSweep(ctx, x); err == nil {
		t.Error("the same id twice: no error")
	}
}

func TestTagsNotesAndRemoval(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	must(t, s.CreateRun(ctx, Run{ID: "a"}), s.CreateRun(ctx, Run{ID: "b"}))
	must(t, s.Tag(ctx, "a", []string{"good", "Übung, 2", "good"}, nil), s.Tag(ctx, "a", []string{"best"}, []string{"good", "never"}),
		s.SetNote(ctx, "a", "the first\nthat talks"), s.Tag(ctx, "b", []string{"good"}, nil))
	a, err := s.Run(ctx, "a")
	if diff := cmp.Diff([]string{"best", "Übung, 2"}, a.Tags); diff != "" || err != nil || a.Note != "the first\nthat talks" {
		t.Errorf("note %q, %v, tags (-want +got):\n%s", a.Note, err, diff)
	}
	for tag, want := range map[string]string{"good": "b", "Übung, 2": "a", "none": "", "best%": ""} {
		runs, err := s.Runs(ctx, Filter{Tag: tag})
		got := ""
		for _, r := range runs {
			got += r.ID
		}
		if err != nil || got != want {
			t.Errorf("tagged %q: %s, %v, want %s", tag, got, err, want)
		}
	}
	must(t, s.StartRun(ctx, "a"))
	for _, id := range []string{"a", "b"} { // running, queued
		if err := s.DeleteRun(ctx, id); !errors.Is(err, ErrRunning) {
			t.Errorf("%s: %v, want ErrRunning", id, err)
		}
	}
	must(t, s.RecordStep(ctx, "a", Step{Step: 1, Loss: 1}), s.FinishRun(ctx, "a", Finish{Status: Done}), s.DeleteRun(ctx, "a"))
	if steps, err := s.Steps(ctx, "a"); err != nil || len(steps) != 0 {
		t.Errorf("%d steps of a run that is gone, %v", len(steps), err)
	}
	if err := s.DeleteRun(ctx, "a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
}

func TestConditionsAndUsage(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	nan := Real(0)
	must(t, s.CreateRun(ctx, Run{ID: "a"}),
		s.NoteConditionsBefore(ctx, "a", Conditions{Thermal: "nominal", SwapBytes: 0, LoadAverage: 0.5}),
		s.NoteConditionsAfter(ctx, "a", Conditions{SwapBytes: -1, LoadAverage: nan / nan}),
		s.NoteUsage(ctx, "a", Usage{EnergyJoules: 10, EnergySource: "rapl", OtherCoresBusy: 0.25}),
		s.NoteUsage(ctx, "a", Usage{EnergyJoules: 5, EnergySource: "rapl", OtherCoresBusy: 0.5}),
		s.NoteUsage(ctx, "a", Usage{EnergyJoules: nan / nan, OtherCoresBusy: 1}))
	r, err := s.Run(ctx, "a")
	must(t, err)
	if r.ThermalBefore != "nominal" || r.SwapBeforeBytes != 0 || r.LoadAverageBefore != 0.5 || r.ThermalAfter != "" || r.SwapAfterBytes != -1 ||
		r.LoadAverageAfter.Finite() {
		t.Errorf("conditions %+v", r.Run)
	}
	if r.EnergyJoules != 15 || r.EnergySource != "rapl" || r.OtherCoresBusy != 1 {
		t.Errorf("%v joules by %q, %v other cores, want 15, rapl, 1", r.EnergyJoules, r.EnergySource, r.OtherCoresBusy)
	}
}
