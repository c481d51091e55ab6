package configs_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tune/configs"
	"tune/internal/checkpoint"
)

const smallest = "model: {path: models/pocket}\ndata: {train: a.jsonl}\nlora: {rank: 4, layers_to_transform: [0, 1]}\n"

func TestSet(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  []string
		want func(*configs.Config)
	}{
		{"nothing", nil, func(*configs.Config) {}},
		{"whole number", []string{"train.max_steps=20"}, func(c *configs.Config) { c.Train.MaxSteps = 20 }},
		{"float without a point", []string{"train.learning_rate=2e-5"},
			func(c *configs.Config) { c.Train.LearningRate = 2e-5 }},
		{"list", []string{"lora.target_modules=[q_proj, v_proj]"},
			func(c *configs.Config) { c.LoRA.TargetModules = []string{"q_proj", "v_proj"} }},
		{"list of one", []string{"sample.prompts=Why is the sky blue?"},
			func(c *configs.Config) { c.Sample.Prompts = []string{"Why is the sky blue?"} }},
		{"all-linear", []string{"lora.target_modules=all-linear"},
			func(c *configs.Config) { c.LoRA.TargetModules = checkpoint.LinearModules() }},
		{"section keeps its other keys", []string{"lora={alpha: 8}"}, func(c *configs.Config) { c.LoRA.Alpha = 8 }},
		{"over the file", []string{"lora.rank=2"}, func(c *configs.Config) { c.LoRA.Rank = 2 }},
		{"last wins", []string{"seed=1", "seed=-2"}, func(c *configs.Config) { c.Seed = -2 }},
		{"back to none", []string{"lora.layers_to_transform="}, func(c *configs.Config) { c.LoRA.LayersToTransform = nil }},
		{"pattern", []string{"lora.rank_pattern={v_proj: 2, q_proj: 8}"}, func(c *configs.Config) {
			c.LoRA.RankPattern = configs.Pattern[int]{{Key: "v_proj", Value: 2}, {Key: "q_proj", Value: 8}}
		}},
		{"another pattern in its place", []string{"lora.alpha_pattern={a: 1}", "lora.alpha_pattern={}"},
			func(*configs.Config) {}},
		{"start from an adapter", []string{"lora.from=runs/a/adapter"}, func(c *configs.Config) {
			c.LoRA = configs.LoRA{From: "runs/a/adapter", Rank: 4, LayersToTransform: []int{0, 1}}
		}},
		{"no longer auto", []string{"train.gradient_checkpointing=true"},
			func(c *configs.Config) { c.Train.GradientCheckpointing, c.Train.AutoCheckpointing = true, false }},
		{"auto off", []string{"train.gradient_checkpointing=false"}, func(c *configs.Config) { c.Train.AutoCheckpointing = false }},
		{"auto again", []string{"train={gradient_checkpointing: true}", "train.gradient_checkpointing=auto"}, func(*configs.Config) {}},
		{"back to auto", []string{"train.gradient_checkpointing=true", "train.gradient_checkpointing="}, func(*configs.Config) {}},
		{"value with =", []string{"name=a=b"}, func(c *configs.Config) { c.Name = "a=b" }},
		{"space around the key", []string{" name = x"}, func(c *configs.Config) { c.Name = "x" }},
		{"a fault of the file put right", []string{"model.dtype=float32", "method=full", "model.init=random"},
			func(c *configs.Config) { c.Model.DType, c.Method, c.Model.Init = "float32", "full", "random" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := configs.Default()
			want.Name, want.Model.Path, want.Data.Train = "small", "models/pocket", "a.jsonl"
			want.LoRA.Rank, want.LoRA.LayersToTransform = 4, []int{0, 1}
			tc.want(&want)
			got, err := configs.Parse("configs/small.yaml", []byte(smallest), tc.set)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSetErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  []string
		want string
	}{
		{"typo", []string{"train.max_stpes=20"},
			`--set train.max_stpes=20: unknown key "train.max_stpes", did you mean "train.max_steps"?`},
		{"typo in the section", []string{"trian.max_steps=20"},
			`--set trian.max_steps=20: unknown key "trian.max_steps", did you mean "train.max_steps"?`},
		{"below a value", []string{"lora.rank.x=1"},
			`--set lora.rank.x=1: unknown key "lora.rank.x", did you mean "lora.rank"?`},
		{"item of a list", []string{"sample.prompts[0]=x"},
			`--set sample.prompts[0]=x: unknown key "sample.prompts[0]", did you mean "sample.prompts"?`},
		{"name of a database column", []string{"lora_rank=1"},
			`--set lora_rank=1: unknown key "lora_rank", did you mean "lora.rank"?`},
		{"no value", []string{"train.max_steps"},
			"--set train.max_steps: want key=value, such as train.max_steps=20"},
		{"no key", []string{"=20"}, "--set =20: want key=value, such as train.max_steps=20"},
		{"empty value", []string{"lora.rank="}, "--set lora.rank=: has no value, want a whole number"},
		{"empty section", []string{"lora="}, "--set lora=: has no value, want keys and values"},
		{"wrong type", []string{"lora.rank=big"}, `--set lora.rank=big: want a whole number, got the text "big"`},
		{"out of range", []string{"lora.rank=0"}, "--set lora.rank=0: must be at least 1, got 0"},
		{"in an item", []string{"lora.target_modules=[q_proj, qproj]"},
			"--set lora.target_modules=[q_proj, qproj]: lora.target_modules[1]: " +
				`unknown module "qproj", did you mean "q_proj"? ` +
				"(want all-linear or some of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj)"},
		{"items of the file are gone", []string{"lora.layers_to_transform=-5"},
			"--set lora.layers_to_transform=-5: lora.layers_to_transform[0]: must be at least 0, got -5"},
		{"modules to save", []string{"lora.modules_to_save=[lm_head]"},
			"--set lora.modules_to_save=[lm_head]: is not supported: Gemma's head is its embedding, so a trained copy of one no " +
				"longer fits the other; train linear modules (lora.target_modules) or every weight (method: full)"},
		{"in a pattern", []string{"lora.rank_pattern={q_proj: 0}"},
			`--set lora.rank_pattern={q_proj: 0}: lora.rank_pattern["q_proj"]: must be at least 1, got 0`},
		{"a line of a pattern", []string{"lora.rank_pattern.q_proj=4"},
			`--set lora.rank_pattern.q_proj=4: unknown key "lora.rank_pattern.q_proj", did you mean "lora.rank_pattern"?`},
		{"false against an adapter", []string{"lora.from=a", "lora.use_dora=false"},
			"--set lora.use_dora=false: with lora.from the adapter decides: leave the key out, or say what the adapter has"},
		{"no path", []string{`lora.from="a\0b"`}, `--set lora.from="a\0b": must not contain a zero byte, got "a\x00b"`},
		{"another trainer's word for it", []string{"resume_adapter_file=a"},
			`--set resume_adapter_file=a: unknown key "resume_adapter_file", did you mean "lora.from"?`},
		{"in a section", []string{"lora={rank: 0, r: 1, rank: 2}"},
			`--set lora={rank: 0, r: 1, rank: 2}: unknown key "lora.r", did you mean "lora.rank"?` + "\n" +
				"--set lora={rank: 0, r: 1, rank: 2}: lora.rank: is given twice\n" +
				"--set lora={rank: 0, r: 1, rank: 2}: lora.rank: must be at least 1, got 0"},
		{"not YAML", []string{"name=[a"}, "--set name=[a: the value is not valid YAML: sequence end token ']' not found"},
		{"not UTF-8", []string{"name=\xff"}, `--set "name=\xff": the value is not UTF-8 text`},
		{"two lines", []string{"seed=a\nb"}, `--set "seed=a\nb": want a whole number, got the text "a b"`},
		{"long", []string{"seed=" + strings.Repeat("a", 100)},
			"--set seed=" + strings.Repeat("a", 75) + "...: want a whole number, got the text \"" +
				strings.Repeat("a", 40) + "\"..."},
		{"all of them, after the file's", []string{"lora.rank=0", "nmae=x"},
			"--set nmae=x: unknown key \"nmae\", did you mean \"name\"?\n--set lora.rank=0: must be at least 1, got 0"},
		{"a default made wrong", []string{"train.eval_steps=5"},
			"--set train.eval_steps=5: needs data.validation, a file to evaluate on"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := configs.Parse("configs/small.yaml", []byte(smallest), tc.set)
			if err == nil || err.Error() != tc.want {
				t.Errorf("want %s\ngot  %v", tc.want, err)
			}
			if !errors.Is(err, configs.ErrInvalid) {
				t.Error("want ErrInvalid")
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  []string
		want []string
	}{
		{"none", nil, nil},
		{"lora that is not used", []string{"method=full"},
			[]string{"lora: is not used: method full trains every weight and makes no adapter"}},
		{"LoRA+ without LoRA", []string{"method=full", "lora={rank: 16, layers_to_transform: [], loraplus_lr_ratio: 16}"},
			[]string{"lora: is not used: method full trains every weight and makes no adapter"}},
		{"warm-up without end", []string{"train.max_steps=5", "train.warmup_steps=10"},
			[]string{"train.warmup_steps: the run ends after 5 steps, before the learning rate has reached its peak"}},
		{"validation on the training rows", []string{"data.validation=a.jsonl"},
			[]string{"data.validation: is the training file, so its loss says nothing about unseen rows"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, err := configs.Parse("x.yaml", []byte(smallest), tc.set)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, cfg.Warnings()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestValidateInGo: a Config that no file made is checked just the same.
func TestValidateInGo(t *testing.T) {
	cfg := configs.Default()
	cfg.Model.Path, cfg.Data.Train, cfg.LoRA.Rank = "m", "a.jsonl", 0
	err := cfg.Validate()
	want := "lora.rank: must be at least 1, got 0"
	if err == nil || err.Error() != want || !errors.Is(err, configs.ErrInvalid) {
		t.Errorf("want %q, got %v", want, err)
	}
}
