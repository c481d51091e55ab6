package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"tune/adapters"
	"tune/configs"
	"tune/datasets"
	"tune/internal/model"
	"tune/internal/runstore"
	"tune/internal/torch"
	"tune/trainer"
)

// benchRows are rows as bench/make_model.py writes them, in the tiny model's vocabulary.
const benchRows = `{"input_ids": [2, 10, 11, 12, 13], "labels": [-100, -100, 11, 12, 13]}
{"input_ids": [2, 20, 21], "labels": [-100, 20, 21]}
{"input_ids": [2, 30, 31, 32], "labels": [-100, 30, 31, 32]}
{"input_ids": [2, 40, 41, 42, 43, 44], "labels": [-100, -100, -100, 42, 43, 44]}
{"input_ids": [2, 50, 51, 52], "labels": [-100, 50, 51, 52]}
`

// benchFolder is a model folder as make_model.py leaves it: without a tokenizer, with rows.
func benchFolder(t *testing.T) (dir, rows string) {
	dir = t.TempDir()
	tiny := tinyModel(t)
	for _, name := range []string{"config.json", "model.safetensors"} {
		if err := os.Rename(filepath.Join(tiny, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	rows = filepath.Join(dir, "bench.jsonl")
	if err := os.WriteFile(rows, []byte(benchRows), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, rows
}

func TestBenchTrain(t *testing.T) {
	dir, rows := benchFolder(t)
	var stdout, stderr bytes.Buffer
	args := []string{"tune", "bench", "train", "--model", dir, "--data", rows, "--dtype", "float32", "--device", "cpu",
		"--threads", "1", "--batch", "2", "--rank", "4", "--max-steps", "2", "--profile", "--json", "--no-record"}
	if code := run(t.Context(), args, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	if n := bytes.Count(stdout.Bytes(), []byte("\n")); n != 1 {
		t.Errorf("want one line of JSON, got %d", n)
	}
	var b trainBenchmark
	if err := json.Unmarshal(stdout.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name      string
		got, want any
	}{
		{"tool", b.Tool, "tune bench train"}, {"libtorch", b.Libtorch, torch.Version()}, {"model", b.Model, dir},
		{"dtype", b.DType, "float32"}, {"device", b.Device, "cpu"}, {"threads", b.Threads, 1}, {"checkpointing", b.Checkpointing, false},
		{"batch", b.Batch, 2}, {"rank", b.Rank, 4}, {"steps", b.Steps, 2}, {"tokens", b.Tokens, 5 + 3 + 4 + 6},
		{"target_tokens", b.TargetTokens, 3 + 2 + 3 + 3}, {"profiled_steps", b.ProfiledSteps, 1},
	} {
		if diff := cmp.Diff(tc.want, tc.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
	for name, v := range map[string]float64{"wall_s": b.Wall, "tokens_per_s": b.TokensPerS, "step_s_median": b.StepMedian,
		"peak_rss_gb": b.PeakRSS, "startup_s": b.Startup, "layers_gflop": b.LayersGFLOP, "head_gflop": b.HeadGFLOP,
		"operators_per_step": float64(b.Operators), "more that these call": float64(b.AllOperators - b.Operators)} {
		if v <= 0 {
			t.Errorf("%s is %v", name, v)
		}
	}
	if n := 0; len(b.Profile) > 0 {
		for i, o := range b.Profile {
			n += o.Outermost
			if i > 0 && o.Self > b.Profile[i-1].Self {
				t.Errorf("profile: %s took %v s behind one of %v s", o.Name, o.Self, b.Profile[i-1].Self)
			}
		}
		if n != b.Operators {
			t.Errorf("the profile of one step has %d operators, the count is %d", n, b.Operators)
		}
	} else {
		t.Error("no profile")
	}
	first, last := trainedLosses(t, dir, rows)
	if math.Abs(b.FirstLoss-first) > 1e-5 || math.Abs(b.LastLoss-last) > 1e-4 {
		t.Errorf("losses %v and %v, a Learner has %v and %v", b.FirstLoss, b.LastLoss, first, last)
	}
}

// TestBenchTrainIsRecorded: the row has what was measured, over the steps after the first.
func TestBenchTrainIsRecorded(t *testing.T) {
	dir, rows := benchFolder(t)
	db := filepath.Join(t.TempDir(), "measured.db")
	for _, more := range [][]string{{"--rank", "4", "--max-steps", "3", "--json"}, {"--max-steps", "1", "--quantize", "int8", "--checkpointing"},
		{"--no-record"}, {"--profile"}} {
		var stdout, stderr bytes.Buffer
		args := append([]string{"tune", "bench", "train", "--model", dir, "--data", rows, "--dtype", "float32", "--device", "cpu",
			"--threads", "1", "--batch", "2", "--db", db}, more...)
		if code := run(t.Context(), args, &stdout, &stderr); code != 0 {
			t.Fatalf("%v: exit code %d: %s", more, code, stderr.String())
		}
	}
	store, err := runstore.OpenReadOnly(db)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	found, err := store.Benchmarks(t.Context(), runstore.BenchmarkTrain)
	if err != nil || len(found) != 2 {
		t.Fatalf("%d benchmarks, want the two that were to be recorded: %v", len(found), err)
	}
	b := found[0]
	sum, err := hashModel(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name      string
		got, want any
	}{
		{"model", b.ModelPath, dir}, {"model_sha256", b.ModelSHA256, sum}, {"total_parameters", b.TotalParameters, int64(271712)},
		{"device", b.Device, "cpu"}, {"dtype", b.DType, "float32"}, {"threads", b.Threads, 1}, {"repetitions", b.Repetitions, 2},
		{"batch_size", b.BatchSize, 2}, {"lora_rank", b.LoRARank, 4}, {"gradient_checkpointing", b.GradientCheckpointing, false},
		{"prefill is not measured", b.PrefillTokensPerSecond.Median.Finite(), false},
		{"quantised dtype", found[1].DType, "float32+int8"}, {"checkpointing", found[1].GradientCheckpointing, true},
		{"one step is measured itself", found[1].Repetitions, 1},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, tc.got, tc.want)
		}
	}
	// The second step has 10 tokens, the third 4, so that the speeds lie between 4 and 10 tokens in a step's time.
	speed, step := b.TrainTokensPerSecond, b.StepSeconds
	if step.Min <= 0 || speed.Min*step.Max < 3.999 || speed.Max*step.Min > 10.001 || b.PeakMemoryBytes <= 0 {
		t.Errorf("speed %+v, steps %+v, %d bytes", speed, step, b.PeakMemoryBytes)
	}
}

// trainedLosses does two steps of two rows with a Learner, and nothing of tune bench.
func trainedLosses(t *testing.T, dir, path string) (first, last float64) {
	t.Helper()
	rows, err := openIDs(path, 8000)
	if err != nil {
		t.Fatal(err)
	}
	cfg := configs.Default()
	cfg.LoRA.Rank, cfg.LoRA.Alpha, cfg.Train.WeightDecay = 4, 8, 0.01
	err = torch.Run(func(s *torch.Scope) error {
		m, err := model.Load(s, dir, model.Options{DType: torch.Float32, Device: torch.CPU})
		if err != nil {
			return err
		}
		adapter, err := adapters.New(s, m, cfg.LoRA, cfg.Seed)
		if err != nil {
			return err
		}
		l, err := trainer.NewLearner(s, m, adapter, cfg.Train)
		if err != nil {
			return err
		}
		for i, losses := range []*float64{&first, &last} {
			if err := l.Accumulate(datasets.NewBatch(rows.Samples, []int{2 * i, 2*i + 1}, 0)); err != nil {
				return err
			}
			loss, err := l.Loss()
			if err != nil {
				return err
			}
			*losses = loss.Mean()
			if _, err := l.Update(cfg.Train.LearningRate); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return first, last
}

func TestBenchTrainForPeople(t *testing.T) {
	dir, rows := benchFolder(t)
	var stdout, stderr bytes.Buffer
	args := []string{"tune", "bench", "train", "--model", dir, "--data", rows, "--device", "cpu", "--threads", "1",
		"--checkpointing", "--quantize", "int4", "--max-steps", "1", "--profile", "--no-record"}
	if code := run(t.Context(), args, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	for _, want := range []string{"checkpointing: 1 step\n", "tokens/s", "outermost", "aten::mm"} {
		if !bytes.Contains(stdout.Bytes(), []byte(want)) {
			t.Errorf("want %q in\n%s", want, stdout.String())
		}
	}
}

func TestBenchProducts(t *testing.T) {
	dir, _ := benchFolder(t)
	var stdout, stderr bytes.Buffer
	args := []string{"tune", "bench", "products", "--model", dir, "--dtype", "float32", "--device", "cpu", "--threads", "1",
		"--rows", "8", "--head-rows", "4", "--json"}
	if code := run(t.Context(), args, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	var r productRates
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]int64{{8, 32, 48}, {4, 32, 8000}}, [][]int64{r.LayersShape, r.HeadShape}); diff != "" {
		t.Errorf("shapes (-want +got):\n%s", diff)
	}
	if min(r.LayersForward, r.LayersBackward, r.HeadForward, r.HeadBackward) <= 0 {
		t.Errorf("rates: %+v", r)
	}
}

func TestBenchTrainRefuses(t *testing.T) {
	dir, rows := benchFolder(t)
	text, big := filepath.Join(dir, "text.jsonl"), filepath.Join(dir, "big.jsonl")
	for path, row := range map[string]string{text: `{"text": "hello"}`, big: `{"input_ids": [2, 8000]}`} {
		if err := os.WriteFile(path, []byte(row), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"no model", []string{"--data", rows}, "want --model"},
		{"no data", []string{"--model", dir}, "want --data"},
		{"a folder that is none", []string{"--model", dir + "x", "--data", rows}, "config.json"},
		{"no rows there", []string{"--model", dir, "--data", rows + "x"}, "bench.jsonlx"},
		{"rows of text", []string{"--model", dir, "--data", text}, "input_ids"},
		{"ids of another model", []string{"--model", dir, "--data", big}, "from 0 to 7999"},
		{"a dtype", []string{"--model", dir, "--data", rows, "--dtype", "bf16"}, "want auto, bfloat16, float32"},
		{"a format", []string{"--model", dir, "--data", rows, "--quantize", "int3"}, "want none, int8, int4"},
		{"a batch of none", []string{"--model", dir, "--data", rows, "--batch", "0"}, "--batch: must be at least 1"},
		{"no learning", []string{"--model", dir, "--data", rows, "--lr", "-1"}, "learning_rate"},
		{"a word", []string{"--model", dir, "--data", rows, "now"}, "takes no argument"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"tune", "bench", "train", "--no-record"}, tc.args...), &stdout, &stderr)
		if code != 2 || !bytes.Contains(stderr.Bytes(), []byte(tc.want)) {
			t.Errorf("%s: exit code %d, want 2, with %q in: %s", tc.name, code, tc.want, stderr.String())
		}
	}
}

func TestBenchTrainConfig(t *testing.T) {
	app := newApp(&bytes.Buffer{}, &bytes.Buffer{})
	var got *configs.Config
	for i := range app.Commands {
		for _, sub := range app.Commands[i].Subcommands {
			if app.Commands[i].Name == "bench" && sub.Name == "train" {
				sub.Action = func(c *cli.Context) (err error) { got, err = trainBenchConfig(c); return err }
			}
		}
	}
	if err := app.Run([]string{"tune", "bench", "train", "--model=m", "--data=d", "--rank=8", "--checkpointing"}); err != nil {
		t.Fatal(err)
	}
	want := configs.Default()
	want.Name, want.Threads, want.Model.Path, want.Data.Train, want.Data.Shuffle = "bench", got.Threads, "m", "d", false
	want.LoRA.Rank, want.LoRA.Alpha = 8, 16
	want.Train.NumTrainEpochs, want.Train.LRSchedulerType, want.Train.WeightDecay, want.Train.GradientCheckpointing = 1, "constant", 0.01, true
	want.Train.AutoCheckpointing = false
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAddOperators(t *testing.T) {
	add := torch.Operator{Name: "aten::add", Calls: 2, Outermost: 1, Total: 5 * time.Second, Self: 4 * time.Second}
	mm := torch.Operator{Name: "aten::mm", Calls: 1, Outermost: 1, Total: 6 * time.Second, Self: 6 * time.Second}
	got := addOperators(addOperators(addOperators(nil, []torch.Operator{mm, add}), []torch.Operator{add}), []torch.Operator{})
	want := []torch.Operator{{Name: "aten::add", Calls: 4, Outermost: 2, Total: 10 * time.Second, Self: 8 * time.Second}, mm}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
