package report

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"time"

	"tune/internal/runstore"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

const someConfig = `name: bluey
seed: 42
model:
  path: models/pocket
lora:
  rank: 8
  target_modules:
    - q_proj
    - v_proj
train:
  learning_rate: 0.012
sample:
  prompts:
    - |-
      Why do stars
      twinkle?
`

// newRun is a run that is done, with so many steps.
func newRun(id string, steps int) Run {
	none := runstore.Real(math.NaN())
	r := Run{Took: 12.3, Missing: map[string]bool{}, Defaults: map[string]string{"lora.target_modules": "[]", "train.learning_rate": "0.0002"}}
	r.RunSummary = runstore.RunSummary{
		Run: runstore.Run{ID: id, Name: "bluey", Method: "lora", ModelPath: "models/pocket", LoRARank: 8, LoRAAlpha: 16,
			DataTrain: "train.jsonl", DataTrainSHA256: "f1d0dee6", DataValidation: "valid.jsonl", TrainRows: 111, ValidationRows: 15, MaxLength: 128,
			Config: someConfig, Chip: "Apple M4 Max", Cores: 16, PerformanceCores: 12, Threads: 12, Device: "mps", DType: "bfloat16",
			OS: "macOS 26", Arch: "arm64", TuneVersion: "0.6", GitCommit: "0123abc", GitDirty: true, Status: runstore.Done,
			TotalSteps: int64(steps), TrainableParameters: 142_000, TotalParameters: 2_260_000, LearningRate: 0.012,
			PredictedPeakMemoryBytes: 290e6, PredictedSeconds: 9, CreatedAt: noon, StartedAt: noon, EndedAt: noon.Add(12 * time.Second),
			WallSeconds: 12.3, LoadSeconds: 0.2, TrainSeconds: 9.6, EvaluateSeconds: 2, SaveSeconds: 0.1,
			SwapBeforeBytes: -1, SwapAfterBytes: -1, LoadAverageBefore: none, LoadAverageAfter: none, OtherCoresBusy: 1.3, EnergyJoules: 321},
		StepsDone: int64(steps), FirstLoss: 8.37, LastLoss: 4.5, FirstValidationLoss: 8.2, LastValidationLoss: 4.84, BestValidationLoss: 4.84,
		Tokens: int64(500 * steps), StepSeconds: 9.6, TokensPerSecond: 4375, PeakMemoryBytes: 288e6, DevicePeakMemoryBytes: 80e6,
	}
	for i := range steps {
		x := float64(i) / float64(max(1, steps-1))
		r.Steps = append(r.Steps, runstore.Step{Step: int64(i + 1), Epoch: runstore.Real(3 * x), Loss: runstore.Real(8.37 - 4*x + 0.3*math.Sin(float64(i))),
			LearningRate: runstore.Real(0.012 * (1 - x)), GradNorm: runstore.Real(1 + math.Cos(float64(i))), TargetTokens: 350, Tokens: 500,
			Seconds: 0.11, TokensPerSecond: runstore.Real(4400 + 100*math.Sin(float64(3*i))), MemoryBytes: 250e6 + int64(i)*1000, DeviceMemoryBytes: 80e6})
	}
	for i := range 4 {
		at := int64(i * steps / 3)
		r.Evaluations = append(r.Evaluations, runstore.Evaluation{Step: at, Split: runstore.Validation, Loss: runstore.Real(8.2 - 3.36*float64(i)/3)})
		r.Samples = append(r.Samples, runstore.Sample{Step: at, PromptIndex: 0, Prompt: "Why do stars twinkle?",
			Reply: fmt.Sprintf("The stars twinkle because of the moving air, %d times.", i), StopReason: "stop"})
	}
	r.Artifacts = []runstore.Artifact{{Kind: "adapter", Path: "runs/x/adapter/adapter_model.safetensors", Bytes: 579_000, SHA256: "b8fa12a72cfd"}}
	r.Events = []runstore.Event{{Level: runstore.LevelInfo, Kind: "checkpointing", Message: "not needed"},
		{Level: runstore.LevelWarning, Step: 32, Kind: "loss_spike", Message: "the loss of step 32 is high"}}
	r.Data = []Data{{Use: "train", Path: "train.jsonl", SHA256: "f1d0dee6", Rows: 111, Tokens: 6000, TargetTokens: 4000, Lengths: []int{52, 60, 61, 63, 63, 76}},
		{Use: runstore.Validation, Path: "valid.jsonl", Rows: 15, Problem: "Lengths of rows are not shown: the file is not where it was."}}
	return r
}

// fourRuns are runs beside each other.
func fourRuns() *Report {
	r := &Report{Made: noon, Comparison: &Comparison{}}
	ranks, losses := Row{Name: "lora.rank"}, Row{Name: "best validation loss"}
	for i := range 4 {
		run := newRun(fmt.Sprintf("20261121-12000%d-bluey-aa%d", i, i), 40+i)
		run.LoRARank = 4 << i
		run.Took = 10 + float64(i)
		run.SweepTrial, run.SweepSettings = i+1, fmt.Sprintf(`{"lora.rank":%d,"train.lr_scheduler_type":"cosine"}`, 4<<i)
		for k := range run.Evaluations {
			run.Evaluations[k].Loss -= runstore.Real(0.1 * float64(i))
		}
		run.BestValidationLoss -= runstore.Real(0.1 * float64(i))
		r.Runs = append(r.Runs, run)
		ranks.Cells = append(ranks.Cells, Cell{Text: fmt.Sprint(4 << i)})
		losses.Cells = append(losses.Cells, Cell{Text: loss(run.BestValidationLoss), Best: i == 3})
	}
	r.Comparison.Settings, r.Comparison.Results = []Row{ranks}, []Row{losses}
	return r
}

// written returns the page of a report.
func written(t testing.TB, r *Report) string {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
