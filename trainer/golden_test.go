package trainer

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"tune/adapters"
	"tune/configs"
	"tune/datasets"
	"tune/internal/golden"
	"tune/internal/model"
	"tune/internal/torch"
)

// reference is train.json: what 30 steps of another implementation gave.
type reference struct {
	Optimizer struct {
		LR           float64   `json:"lr"`
		Betas        []float64 `json:"betas"`
		Eps          float64   `json:"eps"`
		WeightDecay  float64   `json:"weight_decay"`
		MaxGradNorm  float64   `json:"max_grad_norm"`
		WarmupSteps  int       `json:"warmup_steps"`
		TotalSteps   int       `json:"total_steps"`
		Accumulation int       `json:"accumulation"`
	} `json:"optimizer"`
	Runs map[string]trajectory `json:"runs"`
}

type trajectory struct {
	Loss       []float64         `json:"loss"`
	GradNorm   []float64         `json:"grad_norm"`
	LR         []float64         `json:"lr"`
	BatchIndex []json.RawMessage `json:"batch_index"` // a number, or a list of micro-batches
}

func (r reference) options() configs.Train {
	o := r.Optimizer
	return configs.Train{LearningRate: o.LR, AdamBeta1: o.Betas[0], AdamBeta2: o.Betas[1], AdamEpsilon: o.Eps,
		WeightDecay: o.WeightDecay, MaxGradNorm: o.MaxGradNorm, WarmupSteps: o.WarmupSteps, LRSchedulerType: "cosine",
		MaxSteps: o.TotalSteps, GradientAccumulationSteps: max(1, o.Accumulation)}
}

func batchOf(b golden.Batch) datasets.Batch {
	return datasets.Batch{InputIDs: b.IDs, Positions: b.Positions, Starts: b.Starts, Targets: b.Targets,
		Tokens: len(b.IDs), TargetTokens: b.TargetTokens()}
}

// follow trains along a reference run and compares each step.
func follow(t *testing.T, folder, modelDir string, options configs.Train, want trajectory, dtype torch.DType, loss, norm float64,
	finish func(s *torch.Scope, a *adapters.Adapter)) {
	t.Helper()
	batches := golden.Tensors(t, filepath.Join(folder, "batches.safetensors"))
	schedule, err := NewSchedule(options.LRSchedulerType, options.LearningRate, options.WarmupSteps, options.MaxSteps)
	if err != nil {
		t.Fatal(err)
	}
	err = torch.Run(func(s *torch.Scope) error {
		m, err := model.Load(s, modelDir, model.Options{DType: dtype, Device: torch.CPU})
		if err != nil {
			return err
		}
		a, err := adapters.Load(s, m, filepath.Join(folder, "init_adapter"))
		if err != nil {
			return err
		}
		learner, err := NewLearner(s, m, a, options)
		if err != nil {
			return err
		}
		for i := range want.Loss {
			var indices []int
			if json.Unmarshal(want.BatchIndex[i], &indices) != nil {
				var one int
				if err := json.Unmarshal(want.BatchIndex[i], &one); err != nil {
					return err
				}
				indices = []int{one}
			}
			for _, index := range indices {
				if err := learner.Accumulate(batchOf(golden.TrainBatch(batches, index))); err != nil {
					return err
				}
			}
			got, err := learner.Loss()
			if err != nil {
				return err
			}
			lr := schedule.At(i + 1)
			gradNorm, err := learner.Update(lr)
			if err != nil {
				return err
			}
			if d := math.Abs(got.Mean() - want.Loss[i]); d > loss {
				t.Errorf("step %d: loss %.7f, want %.7f (%.2g apart, allowed %g)", i+1, got.Mean(), want.Loss[i], d, loss)
			}
			if d := math.Abs(gradNorm/want.GradNorm[i] - 1); d > norm {
				t.Errorf("step %d: gradient norm %.7f, want %.7f (%.2g apart, allowed %g)", i+1, gradNorm, want.GradNorm[i], d, norm)
			}
			if len(want.LR) > 0 && math.Abs(lr-want.LR[i]) > 1e-12 {
				t.Errorf("step %d: learning rate %g, want %g", i+1, lr, want.LR[i])
			}
		}
		if finish != nil {
			finish(s, a)
		}
		return s.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sameAdapter compares every tensor of an adapter with PEFT's files.
func sameAdapter(t *testing.T, dir string) func(s *torch.Scope, a *adapters.Adapter) {
	return func(s *torch.Scope, a *adapters.Adapter) {
		t.Helper()
		want := golden.Tensors(t, filepath.Join(dir, "adapter_model.safetensors"))
		compared := 0
		for _, l := range a.Modules {
			for suffix, tensor := range map[string]torch.Tensor{".lora_A.weight": l.A, ".lora_B.weight": l.B} {
				name := "base_model.model." + l.Base.Name + suffix
				golden.NearNorm(t, "final "+name, s.ReadFloat32s(tensor), want[name].Floats, 5e-5)
				compared++
			}
		}
		if compared != len(want) {
			t.Errorf("compared %d tensors, %s has %d", compared, dir, len(want))
		}
	}
}

func TestGoldenTrain(t *testing.T) {
	followed := 0
	for _, dir := range golden.Cases(t, "gemma") {
		files, err := filepath.Glob(filepath.Join(dir, "*", "train.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			folder := filepath.Dir(file)
			var r reference
			golden.JSON(t, file, &r)
			for _, checkpointing := range []bool{false, true} { // the same numbers, with less memory
				options := r.options()
				options.GradientCheckpointing = checkpointing
				t.Run(fmt.Sprintf("%s/%s/checkpointing %v", filepath.Base(dir), filepath.Base(folder), checkpointing), func(t *testing.T) {
					follow(t, folder, filepath.Join(dir, "model"), options, r.Runs["tokens"], torch.Float32, 1e-5, 1e-5,
						sameAdapter(t, filepath.Join(folder, "final_adapter")))
				})
				followed++
			}
		}
	}
	if followed == 0 {
		t.Error("no train.json followed")
	}
}

func TestGoldenTrainBFloat16(t *testing.T) {
	for _, dir := range golden.Cases(t, "gemma") {
		files, _ := filepath.Glob(filepath.Join(dir, "*", "train_bfloat16.json"))
		for _, file := range files {
			folder := filepath.Dir(file)
			var want trajectory // the same run as train.json's, so its batches and its optimizer
			var f32 reference
			golden.JSON(t, file, &want)
			golden.JSON(t, filepath.Join(folder, "train.json"), &f32)
			want.BatchIndex = f32.Runs["tokens"].BatchIndex
			t.Run(filepath.Base(dir)+"/"+filepath.Base(folder), func(t *testing.T) {
				follow(t, folder, filepath.Join(dir, "model"), f32.options(), want, torch.BFloat16, 0.02, 0.05, nil)
			})
		}
	}
}
