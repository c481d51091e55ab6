package configs_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tune/configs"
	"tune/internal/bounded"
)

const sweepBase = "model: {path: m}\ndata: {train: t, validation: v}\n"

// sweepFolder is the working directory of a test, with a base.yaml.
func sweepFolder(t testing.TB, base string) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("base.yaml", []byte(base), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestGridIsEveryCombination(t *testing.T) {
	sweepFolder(t, sweepBase)
	s, err := configs.ParseSweep("ranks.yaml", []byte("base: base.yaml\nkeys:\n  lora.rank: [4, 8]\n  train.learning_rate: [1e-3, 2.0e-4]\n"+
		"  lora.target_modules: [[q_proj, v_proj], all-linear]\n"))
	if err != nil {
		t.Fatal(err)
	}
	trials, err := s.Expand()
	if err != nil {
		t.Fatal(err)
	}
	if len(trials) != 8 || s.Goal != configs.ValidationLoss || s.Name != "ranks" {
		t.Fatalf("%d trials, goal %s, name %s", len(trials), s.Goal, s.Name)
	}
	if got, want := trials[4].SettingsJSON(), `{"lora.rank":8,"train.learning_rate":0.001,"lora.target_modules":["q_proj","v_proj"]}`; got != want {
		t.Errorf("trial 5 has %s, want %s", got, want)
	}
	c := trials[4].Config
	if c.LoRA.Rank != 8 || c.Train.LearningRate != 1e-3 || len(c.LoRA.TargetModules) != 2 || c.Name != "ranks" || c.Model.Path != "m" {
		t.Errorf("its config is %+v", c)
	}
	if len(trials[5].Config.LoRA.TargetModules) != 7 {
		t.Errorf("all-linear is %v", trials[5].Config.LoRA.TargetModules)
	}
}

// TestWrongSweeps: each problem has its place, its key and a way out.
func TestWrongSweeps(t *testing.T) {
	sweepFolder(t, sweepBase)
	if err := os.WriteFile("bare.yaml", []byte("model: {path: m}\ndata: {train: t}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "", "s.yaml: base: is missing"},
		{"no keys", "base: base.yaml\n", "s.yaml: keys: name what to try"},
		{"unknown key", "base: base.yaml\nkeys:\n  lora.rnk: [4]\n", `s.yaml:3: keys: unknown key "lora.rnk", did you mean "lora.rank"?`},
		{"a section", "base: base.yaml\nkeys:\n  lora: {rank: [4]}\n", "s.yaml:3: keys: lora is a section: name one of its keys with a dot, such as lora.rank"},
		{"unknown word", "base: base.yaml\nmetod: grid\nkeys: {lora.rank: [4]}\n", `s.yaml:2: unknown key "metod", did you mean "method"?`},
		{"word of another tool", "base: base.yaml\nparameters: {lora.rank: [4]}\n", `s.yaml:2: unknown key "parameters", did you mean "keys"?`},
		{"beside keys", "base: base.yaml\nlora.rank: [4]\n", `s.yaml:2: unknown key "lora.rank", did you mean "keys.lora.rank"?`},
		{"value", "base: base.yaml\nkeys:\n  lora.rank: [4,\n    0]\n", "s.yaml:4: lora.rank=0: must be at least 1, got 0"},
		{"text for a number", "base: base.yaml\nkeys:\n  lora.rank: [4, high]\n", `s.yaml:3: lora.rank=high: want a whole number, got the text "high"`},
		{"twice", "base: base.yaml\nkeys:\n  lora.rank: [4, 4]\n", "s.yaml:3: keys.lora.rank: has 4 twice"},
		{"no values", "base: base.yaml\nkeys:\n  lora.rank: []\n", "s.yaml:3: keys.lora.rank: has no value"},
		{"range in a grid", "base: base.yaml\nkeys:\n  lora.alpha: {min: 1, max: 2}\n", "s.yaml:3: keys.lora.alpha: is a range, which needs method: random"},
		{"range without an end", "base: base.yaml\nmethod: random\ntrials: 2\nkeys:\n  lora.alpha: {min: 1}\n", "s.yaml:5: keys.lora.alpha: has no max"},
		{"range upside down", "base: base.yaml\nmethod: random\ntrials: 2\nkeys:\n  lora.alpha: {min: 3, max: 1}\n", "min must be below max, got 3 and 1"},
		{"range of texts", "base: base.yaml\nmethod: random\ntrials: 2\nkeys:\n  method: {min: 1, max: 2}\n", "is a range, but a value is a text"},
		{"fractions of a rank", "base: base.yaml\nmethod: random\ntrials: 2\nkeys:\n  lora.rank: {min: 1, max: 2}\n", "wants whole numbers: add integer: true"},
		{"word in a range", "base: base.yaml\nmethod: random\ntrials: 2\nkeys:\n  lora.alpha: {min: 1, max: 2, lg: true}\n", `unknown key "keys.lora.alpha.lg", did you mean "keys.lora.alpha.log"?`},
		{"logarithm of 0", "base: base.yaml\nmethod: random\ntrials: 2\nkeys:\n  lora.dropout: {min: 0, max: 0.5, log: true}\n", "min must be above 0 where log is true"},
		{"no trials", "base: base.yaml\nmethod: random\nkeys: {lora.rank: [4]}\n", "s.yaml: trials: must be from 1 to 1000, got 0"},
		{"too many", "base: base.yaml\nmethod: random\ntrials: 3\nkeys: {lora.rank: [4, 8]}\n", "s.yaml:3: trials: must be at most 2"},
		{"rungs", "base: base.yaml\nhalving: {rungs: [0.5, 0.25]}\nkeys: {lora.rank: [4]}\n", "s.yaml:2: halving.rungs[1]: must be above 0.5 and below 1, got 0.25"},
		{"jobs", "base: base.yaml\njobs: 0\nkeys: {lora.rank: [4]}\n", "s.yaml:2: jobs: want auto or a whole number from 1, got 0"},
		{"goal", "base: base.yaml\ngoal: accuracy\nkeys: {lora.rank: [4]}\n", "s.yaml:2: goal: "},
		{"no validation", "base: bare.yaml\ngoal: validation_loss\nkeys: {lora.rank: [4]}\n", "s.yaml: goal: validation_loss needs data.validation"},
		{"no base", "base: bse.yaml\nkeys: {lora.rank: [4]}\n", `s.yaml: base: bse.yaml: no such file, did you mean "base.yaml"?`},
		{"set", "base: base.yaml\nset: {lora.rnk: 2}\nkeys: {lora.rank: [4]}\n", `s.yaml:2: set: unknown key "lora.rnk", did you mean "lora.rank"?`},
		{"value of set", "base: base.yaml\nset: {lora.alpha: -2}\nkeys: {lora.rank: [4, 8]}\n", "s.yaml:2: lora.alpha=-2: must be "},
		{"in both", "base: base.yaml\nset: {lora.rank: 2}\nkeys: {lora.rank: [4]}\n", "s.yaml:3: keys.lora.rank: is in set as well"},
		{"database", "base: base.yaml\nkeys: {output.database: [a, b]}\n", "output.database is one for all runs of a sweep"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := configs.ParseSweep("s.yaml", []byte(tc.text))
			if err == nil {
				_, err = s.Expand()
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || !errors.Is(err, configs.ErrInvalid) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

// TestBaseBesideTheSweep: a base that is not in the working directory is looked for beside the sweep's file.
func TestBaseBesideTheSweep(t *testing.T) {
	sweepFolder(t, sweepBase)
	if err := os.Mkdir("sweeps", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"base.yaml", "other.yaml"} {
		if err := os.WriteFile(filepath.Join("sweeps", name), []byte(sweepBase), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for base, want := range map[string]string{"base.yaml": "base.yaml", "other.yaml": filepath.Join("sweeps", "other.yaml"), "none.yaml": "none.yaml"} {
		if err := os.WriteFile("sweeps/s.yaml", []byte("base: "+base+"\nkeys: {lora.rank: [4]}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if s, err := configs.LoadSweep("sweeps/s.yaml"); err != nil || s.Base != want {
			t.Errorf("%s: found %s, want %s, %v", base, s.Base, want, err)
		}
	}
}

// TestSweepsExpand: whatever is tried, a grid has each combination once; draws are in their ranges, the same each time, all
// different, and more trials leave the first as they are; what is written reads back.
func TestSweepsExpand(t *testing.T) {
	sweepFolder(t, sweepBase)
	rapid.Check(t, func(t *rapid.T) {
		ranks := rapid.SliceOfNDistinct(rapid.IntRange(1, 99), 1, 5, rapid.ID[int]).Draw(t, "ranks")
		rates := rapid.SliceOfNDistinct(rapid.Float64Range(1e-6, 1), 1, 4, rapid.ID[float64]).Draw(t, "rates")
		prompts := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"[]", "[a, 'b, c']", "'yes'", `"x: y"`, "[\"#\", é]"}), 1, 3, rapid.ID[string]).Draw(t, "prompts")
		low := rapid.Float64Range(1e-9, 1e3).Draw(t, "low")
		high := low * rapid.Float64Range(1.01, 1e6).Draw(t, "times")
		text := fmt.Sprintf("base: base.yaml\nset: {lora.dropout: 0.25, lora.target_modules: [q_proj]}\nkeys:\n  lora.rank: %s\n  train.learning_rate: %s\n  sample.prompts: [%s]\n",
			strings.ReplaceAll(fmt.Sprint(ranks), " ", ", "), strings.ReplaceAll(fmt.Sprint(rates), " ", ", "), strings.Join(prompts, ", "))
		grid := expand(t, text)
		if want := len(ranks) * len(rates) * len(prompts); len(grid) != want {
			t.Fatalf("%d trials, want %d", len(grid), want)
		}
		seen := map[string]bool{}
		for _, x := range grid {
			if seen[x.SettingsJSON()] {
				t.Fatalf("%s comes twice", x.SettingsJSON())
			}
			seen[x.SettingsJSON()] = true
			holds(t, x)
		}

		random := fmt.Sprintf("%s  lora.alpha: {min: %v, max: %v, log: %v}\n  train.batch_size: {min: 2, max: 9, integer: true}\nmethod: random\nseed: %d\n",
			text, low, high, rapid.Bool().Draw(t, "log"), rapid.Int64().Draw(t, "seed"))
		n := rapid.IntRange(1, 20).Draw(t, "trials")
		few, many := expand(t, random+fmt.Sprintf("trials: %d\n", n)), expand(t, random+fmt.Sprintf("trials: %d\n", n+7))
		for i, x := range many {
			if i < n && x.SettingsJSON() != few[i].SettingsJSON() {
				t.Fatalf("trial %d of %d is %s, of %d %s", i+1, n, few[i].SettingsJSON(), n+7, x.SettingsJSON())
			}
			if a := x.Config.LoRA.Alpha; a < low || a > high || x.Config.Train.BatchSize < 2 || x.Config.Train.BatchSize > 9 {
				t.Fatalf("alpha %g is not from %g to %g, or batch_size %d from 2 to 9", a, low, high, x.Config.Train.BatchSize)
			}
			holds(t, x)
		}
	})
}

// holds fails where a trial's settings are not what its config has.
func holds(t *rapid.T, x configs.Trial) {
	var settings map[string]any
	if err := json.Unmarshal([]byte(x.SettingsJSON()), &settings); err != nil {
		t.Fatal(err)
	}
	if settings["lora.rank"] != float64(x.Config.LoRA.Rank) || settings["train.learning_rate"] != x.Config.Train.LearningRate ||
		x.Config.LoRA.Dropout != 0.25 || len(x.Config.LoRA.TargetModules) != 1 {
		t.Fatalf("%s, set dropout 0.25, but the config has rank %d, learning_rate %g", x.SettingsJSON(), x.Config.LoRA.Rank, x.Config.Train.LearningRate)
	}
	switch p := settings["sample.prompts"].(type) {
	case string:
		if len(x.Config.Sample.Prompts) != 1 || x.Config.Sample.Prompts[0] != p {
			t.Fatalf("prompts %q, want %q", x.Config.Sample.Prompts, p)
		}
	case []any:
		if fmt.Sprint(p...) != fmt.Sprint(anys(x.Config.Sample.Prompts)...) {
			t.Fatalf("prompts %q, want %q", x.Config.Sample.Prompts, p)
		}
	}
}

func anys(texts []string) []any {
	out := make([]any, len(texts))
	for i, s := range texts {
		out[i] = s
	}
	return out
}

// expand reads a sweep, writes it, reads what it wrote and compares what both come to.
func expand(t *rapid.T, text string) []configs.Trial {
	s, err := configs.ParseSweep("s.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	trials, err := s.Expand()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	again, err := configs.ParseSweep("s.yaml", s.YAML())
	if err != nil {
		t.Fatalf("%v\n%s", err, s.YAML())
	}
	if d := s.Differences(again); len(d) > 0 {
		t.Fatalf("read back: %v", d)
	}
	back, err := again.Expand()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(trials, back, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".line" }, cmp.Ignore())); diff != "" {
		t.Fatalf("(-first +read back):\n%s\n%s", diff, s.YAML())
	}
	return trials
}

func TestDifferencesOfSweeps(t *testing.T) {
	sweepFolder(t, sweepBase)
	parse := func(text string) *configs.Sweep {
		s, err := configs.ParseSweep("s.yaml", []byte("base: base.yaml\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	was := parse("keys: {lora.rank: [4, 8], lora.alpha: [1]}\n")
	now := parse("keys: {lora.rank: [4, 16], lora.dropout: [0.1]}\nhalving: {rungs: [0.5]}\n")
	want := []string{"keys.lora.rank: is [4, 16], was [4, 8]", "keys.lora.alpha: is absent, was [1]", "keys.lora.dropout: is [0.1], was absent",
		"halving.rungs: is [0.5], was absent", "halving.keep: is 0.5, was absent"}
	if diff := cmp.Diff(want, was.Differences(now)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if d := parse("keys: {lora.rank: [4], lora.alpha: [1]}").Differences(parse("keys: {lora.alpha: [1], lora.rank: [4]}")); len(d) != 1 {
		t.Errorf("another order: %v", d)
	}
}

// FuzzParseSweep: any text gives a sweep that expands, or an error that says so, and never a panic.
func FuzzParseSweep(f *testing.F) {
	f.Add("base: base.yaml\nkeys: {lora.rank: [4, 8], lora.target_modules: [[q_proj], all-linear]}\n")
	f.Add("base: base.yaml\nmethod: random\ntrials: 3\nkeys:\n  lora.alpha: {min: 1, max: 2e3, log: true}\nhalving: {rungs: [0.5], keep: 0.3}\njobs: auto\n")
	f.Add("keys: {\"\": [1], lora: , train: [~]}\n\"\": 2\nhalving:\n- 1\n")
	f.Fuzz(func(t *testing.T, src string) {
		if len(src) > 1024 {
			return
		}
		var s *configs.Sweep
		var err error
		bounded.Run(t, len(src), 20000, func() { s, err = configs.ParseSweep("fuzz.yaml", []byte(src)) })
		if err == nil {
			if again, rerr := configs.ParseSweep("again.yaml", s.YAML()); rerr != nil || len(s.Differences(again)) > 0 {
				t.Fatalf("%v\n%s", rerr, s.YAML())
			}
			s.Base = "none.yaml"
			_, err = s.Expand()
		}
		if !errors.Is(err, configs.ErrInvalid) {
			t.Fatalf("want ErrInvalid, got %v", err)
		}
	})
}

// TestSweepPresets expands every sweep that ships beside this package.
func TestSweepPresets(t *testing.T) {
	t.Chdir("..") // where they are run
	paths := glob(t, "configs/sweep-*.yaml")
	for _, path := range paths {
		s, err := configs.LoadSweep(path)
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.TrimSuffix(filepath.Base(path), ".yaml"); s.Name != want {
			t.Errorf("%s: name: want the file's own, %q, got %q", path, want, s.Name)
		}
		trials, err := s.Expand()
		if err != nil {
			t.Error(err)
		}
		for _, x := range trials {
			for _, warning := range x.Config.Warnings() {
				t.Errorf("%s: trial %d: %s", path, x.Number, warning)
			}
		}
	}
}
