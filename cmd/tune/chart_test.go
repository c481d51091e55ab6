package main

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tune/configs"
	"tune/internal/chart"
	"tune/internal/runstore"
)

// chartStore makes a runs.db, in an empty folder that becomes the working directory, with three runs: two of one name and
// different ranks, the second of which stood still for an hour and becomes slower, and one that has no step.
func chartStore(t *testing.T) (ids []string) {
	t.Helper()
	t.Chdir(t.TempDir())
	ctx := context.Background()
	store, err := runstore.Open("runs.db")
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range []string{"bluey", "bluey", "empty"} {
		cfg := configs.Default()
		cfg.Name, cfg.Model.Path, cfg.Data.Train, cfg.LoRA.Rank = name, "models/pocket", "train.jsonl", 8<<i
		cfg.LoRA.TargetModules = []string{"q_proj"}
		text, err := cfg.YAML()
		check(err)
		now := time.Now().Add(time.Duration(i-3) * time.Hour)
		id := runstore.NewID(name, now)
		ids = append(ids, id)
		check(store.CreateRun(ctx, runstore.Run{ID: id, Name: name, Config: string(text), Device: "cpu", Chip: "M4",
			ModelPath: "models/pocket", LoRARank: 8 << i, CreatedAt: now}))
		check(store.StartRun(ctx, id))
		check(store.Tag(ctx, id, []string{"ranks"}, nil))
		began, away := time.Now(), time.Duration(0)
		for step := 1; step <= 100 && name == "bluey"; step++ {
			seconds := 2.0
			if i == 1 && step > 60 {
				seconds = 3
			}
			if i == 1 && step == 41 {
				away = time.Hour
				check(store.RecordEvent(ctx, id, runstore.Event{Kind: "resumed", Level: "info", At: began.Add(80*time.Second + away)}))
			}
			check(store.RecordStep(ctx, id, runstore.Step{Step: int64(step), Epoch: runstore.Real(step) / 50, Loss: runstore.Real(4 / math.Sqrt(float64(step))),
				LearningRate: 1e-4, GradNorm: runstore.Real(1 + 1/float64(step)), Tokens: 500, TargetTokens: 300,
				Seconds: runstore.Real(seconds), MemoryBytes: 3e8, At: began.Add(time.Duration(2*step)*time.Second + away)}))
		}
		status := runstore.Done
		if name == "empty" {
			status = runstore.Failed
		}
		check(store.FinishRun(ctx, id, runstore.Finish{Status: status, WallSeconds: runstore.Real(200 + 60*i), TrainSeconds: 190, LoadSeconds: 2,
			EvaluateSeconds: 5, SaveSeconds: 1}))
	}
	check(store.Close())
	return ids
}

// chartJSON decodes what tune chart --json prints.
func chartJSON(t *testing.T, args ...string) (runs []map[string]any) {
	t.Helper()
	code, stdout, stderr := tune(t, append([]string{"chart", "--json"}, args...)...)
	if code != 0 {
		t.Fatalf("%v: exit code %d: %s", args, code, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), &runs); err != nil {
		t.Fatal(err)
	}
	return runs
}

func TestChartChoosesRuns(t *testing.T) {
	ids := chartStore(t)
	for args, want := range map[string][]string{
		"":                             {ids[2]},
		ids[1] + " " + ids[0]:          {ids[1], ids[0]},
		"bluey " + ids[1]:              {ids[1]},
		"--name bluey":                 {ids[0], ids[1]},
		"--tag ranks":                  ids,
		"--tag ranks --limit 2":        ids[1:],
		"--limit 0":                    ids,
		"--status failed":              ids[2:],
		"--since 90m":                  ids[2:],
		"--tag ranks --name empty":     ids[2:],
		"--since 1d --status done":     {ids[0], ids[1]},
		"--since 2001-01-01 --limit 1": {ids[2]},
	} {
		var got []string
		for _, r := range chartJSON(t, strings.Fields(args)...) {
			got = append(got, r["id"].(string))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("chart %s (-want +got):\n%s", args, diff)
		}
	}
	for args, want := range map[string]string{
		"--tag none":            "tune chart: no run fits --tag",
		"bluey --tag ranks":     "tune chart: got both bluey and --tag",
		"--status finished":     `tune chart: --status: want queued, .*, got "finished"`,
		"--since monday":        `tune chart: --since: want a date such as 2026-11-21, .*, got "monday"`,
		"--sweep none":          `sweep "none"`,
		"--by lora.ranks":       `tune chart: --by: lora.ranks: unknown key, did you mean "lora.rank"\?`,
		"--kind time --by lora": "tune chart: --by: lora: is a section",
	} {
		code, stdout, stderr := tune(t, append([]string{"chart"}, strings.Fields(args)...)...)
		if code != exitBadInput || stdout != "" || !regexp.MustCompile(want).MatchString(stderr) {
			t.Errorf("chart %s: exit code %d, %q, want %s", args, code, stderr, want)
		}
	}
}

func TestChartJSONHasWhatTheKindsShow(t *testing.T) {
	ids := chartStore(t)
	extra := []string{"elapsed_seconds", "epoch", "tokens", "seconds", "tokens_per_second", "grad_norm", "max_grad_norm", "learning_rate", "slowdown", "group"}
	for args, want := range map[string]string{
		"":                                  "",
		"--kind loss-tokens":                "elapsed_seconds epoch tokens",
		"--kind speed":                      "elapsed_seconds epoch tokens seconds tokens_per_second slowdown",
		"--kind grad-norm,lr":               "elapsed_seconds epoch tokens grad_norm max_grad_norm learning_rate",
		"--kind time --by train.batch_size": "group",
	} {
		run := chartJSON(t, append(strings.Fields(args), ids[1])...)[0]
		var got []string
		for _, name := range extra {
			if run[name] != nil {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("chart %s: %v, want %s", args, got, want)
		}
		if run["loss"] == nil || run["wall_seconds"] == nil {
			t.Errorf("chart %s: no loss or no times", args)
		}
	}
	run := chartJSON(t, "--kind", "speed", ids[1])[0]
	fall := run["slowdown"].(map[string]any)
	if step, share := fall["step"].(float64), fall["share"].(float64); step != 61 || math.Abs(share-1.0/3) > 1e-9 {
		t.Errorf("slower from step %g by %g, want 61 and a third", step, share)
	}
	// The hour between the processes is not the run's.
	elapsed := run["elapsed_seconds"].([]any)
	if last := elapsed[len(elapsed)-1].(float64); math.Abs(last-200) > 5 {
		t.Errorf("the last step came after %g s, want about 200", last)
	}
}

func TestEveryKindOfChart(t *testing.T) {
	chartStore(t)
	for _, kind := range chart.Kinds {
		for _, more := range []string{"", "--ascii", "--width 40", "last"} {
			if more != "last" {
				more += " --tag ranks"
			}
			code, stdout, stderr := tune(t, append([]string{"chart", "--kind", string(kind)}, strings.Fields(more)...)...)
			if code != 0 || strings.TrimSpace(stdout) == "" {
				t.Errorf("--kind %s %s: exit code %d, %q: %s", kind, more, code, stdout, stderr)
			}
		}
	}
	code, stdout, stderr := tune(t, "chart", "--tag", "ranks", "--kind", "loss,speed", "--kind", "time", "--by", "lora.rank",
		"--out", "all.pdf", "--out", "{kind}.svg", "--dark")
	if want := "wrote all.pdf\nwrote loss.svg\nwrote speed.svg\nwrote time.svg\n"; code != 0 || stdout != want {
		t.Fatalf("exit code %d, %q: %s", code, stdout, stderr)
	}
	for name, words := range map[string][]string{
		"loss.svg": {"Loss", "rank 8", "rank 16", "empty"}, "speed.svg": {"Speed", "slower from here: -33 %"},
		"time.svg": {"Wall time", "by lora.rank", ">8<", ">16<", ">32<", "5m 20s, failed"},
	} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range words {
			if !strings.Contains(string(text), w) {
				t.Errorf("%s does not say %q", name, w)
			}
		}
	}
}

func TestRunLabels(t *testing.T) {
	run := func(id, name string, change func(*configs.Config)) chartedRun {
		cfg := configs.Default()
		cfg.Name = name
		if change != nil {
			change(&cfg)
		}
		return chartedRun{ID: id, Name: name, config: &cfg}
	}
	rank := func(n int) func(*configs.Config) { return func(c *configs.Config) { c.LoRA.Rank = n } }
	unreadable := chartedRun{ID: "9", Name: "a"}
	for _, tc := range []struct {
		name string
		runs []chartedRun
		want []string
	}{
		{"names do", []chartedRun{run("1", "a", nil), run("2", "b", rank(4))}, []string{"a", "b"}},
		{"one setting", []chartedRun{run("1", "a", rank(4)), run("2", "a", rank(8))}, []string{"rank 4", "rank 8"}},
		{"against the usual one", []chartedRun{run("1", "a", nil), run("2", "a", nil), run("3", "a", rank(99))}, []string{"1", "2", "rank 99"}},
		{"base and changes", []chartedRun{
			run("1", "a", nil), run("2", "a", rank(99)), run("3", "a", func(c *configs.Config) { c.Seed = 7 }), run("4", "b", nil),
		}, []string{"a", "rank 99", "seed 7", "b"}},
		{"where it writes is no difference", []chartedRun{
			run("1", "a", nil), run("2", "a", func(c *configs.Config) { c.Output.Dir = "elsewhere" }),
		}, []string{"1", "2"}},
		{"unreadable", []chartedRun{run("1", "a", rank(4)), unreadable}, []string{"1", "9"}},
	} {
		if diff := cmp.Diff(tc.want, runLabels(tc.runs)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}
