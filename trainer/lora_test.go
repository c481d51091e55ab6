package trainer

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"tune/adapters"
	"tune/configs"
	"tune/datasets"
	"tune/internal/checkpoint"
	"tune/internal/golden"
	"tune/internal/model"
	"tune/internal/torch"
)

func gemma3(s *torch.Scope, t *testing.T) (*model.Model, error) {
	return model.Load(s, filepath.Join(golden.Dir(t), "gemma3", "model"), model.Options{DType: torch.Float32, Device: torch.CPU})
}

// TestLoRAPlusIsAdamWWithTwoRates compares two steps with AdamW computed number by number in float64.
func TestLoRAPlusIsAdamWWithTwoRates(t *testing.T) {
	const ratio = 8.0
	for _, dora := range []bool{false, true} {
		err := torch.Run(func(s *torch.Scope) error {
			m, err := gemma3(s, t)
			if err != nil {
				return err
			}
			a, err := adapters.New(s, m, configs.LoRA{Rank: 4, Alpha: 8, TargetModules: []string{"q_proj", "down_proj"}, UseDoRA: dora,
				LoRAPlusLRRatio: ratio}, 3)
			if err != nil {
				return err
			}
			o := options()
			o.WeightDecay, o.MaxGradNorm = 0.1, 0.5 // decay and clipping have to hold for both
			learner, err := NewLearner(s, m, a, o)
			if err != nil {
				return err
			}
			rates := rateOf(s, a, ratio)
			want := widen(s.ReadFloat32s(a.Flat.Data))
			first, second := make([]float64, len(want)), make([]float64, len(want)) // moments
			for step := 1; step <= 2; step++ {
				lr := 1e-2 / float64(step)
				if err := learner.Accumulate(datasets.NewBatch(rows(4).Samples, []int{0, 1, 2, 3}, 0)); err != nil {
					return err
				}
				loss, err := learner.Loss()
				if err != nil {
					return err
				}
				gradient := widen(s.ReadFloat32s(a.Flat.Grad))
				norm, err := learner.Update(lr)
				if err != nil {
					return err
				}
				clip := min(1, o.MaxGradNorm/(norm+1e-6)) / float64(loss.Tokens)
				for i, g := range gradient {
					g *= clip
					first[i] = o.AdamBeta1*first[i] + (1-o.AdamBeta1)*g
					second[i] = o.AdamBeta2*second[i] + (1-o.AdamBeta2)*g*g
					m := first[i] / (1 - math.Pow(o.AdamBeta1, float64(step)))
					v := second[i] / (1 - math.Pow(o.AdamBeta2, float64(step)))
					want[i] -= lr * rates[i] * (o.WeightDecay*want[i] + m/(math.Sqrt(v)+o.AdamEpsilon))
				}
			}
			golden.Near(t, fmt.Sprintf("DoRA %v: weights", dora), s.ReadFloat32s(a.Flat.Data), narrow(want), 1e-6) // float32 of numbers up to 1
			return s.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// rateOf returns for every number of the flat buffer how many times the learning rate it learns at: it marks each leaf
// with its rate and reads the buffer.
func rateOf(s *torch.Scope, a *adapters.Adapter, ratio float64) []float64 {
	was := s.ReadFloat32s(a.Flat.Data)
	for _, l := range a.Modules {
		for _, leaf := range []torch.Tensor{l.A, l.B, l.Magnitude} {
			if !leaf.Defined() {
				continue
			}
			values := make([]float32, leaf.Len())
			for i := range values {
				values[i] = 1
				if leaf != l.A {
					values[i] = float32(ratio)
				}
			}
			s.Copy(leaf, s.Float32s(values, leaf.Shape()...))
		}
	}
	rates := widen(s.ReadFloat32s(a.Flat.Data))
	s.Copy(a.Flat.Data, s.Float32s(was))
	return rates
}

func widen(v []float32) []float64 {
	out := make([]float64, len(v))
	for i := range v {
		out[i] = float64(v[i])
	}
	return out
}

func narrow(v []float64) []float32 {
	out := make([]float32, len(v))
	for i := range v {
		out[i] = float32(v[i])
	}
	return out
}

func TestLoRAPlusOfOneIsOff(t *testing.T) {
	off := train(t, context.Background(), false)
	one := train(t, context.Background(), false, func(_ *Job, l *configs.LoRA) { l.LoRAPlusLRRatio = 1 })
	if off.err != nil || !slices.Equal(losses(one), losses(off)) || !slices.Equal(one.weights, off.weights) {
		t.Errorf("ratio 1 gives other numbers than none (%v)", off.err)
	}
	plus := train(t, context.Background(), false, func(_ *Job, l *configs.LoRA) { l.LoRAPlusLRRatio = 4 })
	if plus.err != nil || slices.Equal(losses(plus), losses(off)) {
		t.Errorf("ratio 4 gives the numbers of none (%v)", plus.err)
	}
}

// TestStartFromContinues: a run that starts from a saved adapter begins with the very loss that the adapter has, be
// it PEFT's folder or its MLX conversion.
func TestStartFromContinues(t *testing.T) {
	data := rows(4)
	batch := datasets.NewBatch(data.Samples, []int{0, 1, 2, 3}, 0)
	for _, lora := range []configs.LoRA{
		{Rank: 4, Alpha: 8, TargetModules: checkpoint.LinearModules()},
		{Rank: 4, Alpha: 8, TargetModules: []string{"q_proj", "up_proj"}, UseDoRA: true, UseRSLoRA: true, LoRAPlusLRRatio: 4, LayersToTransform: []int{1, 3}},
	} {
		peft, mlx := filepath.Join(t.TempDir(), "peft"), filepath.Join(t.TempDir(), "mlx")
		var saved float64
		err := torch.Run(func(s *torch.Scope) error {
			m, err := gemma3(s, t)
			if err != nil {
				return err
			}
			a, err := adapters.New(s, m, lora, 5)
			if err != nil {
				return err
			}
			if _, err := Run(context.Background(), s, job(m, a, data)); err != nil {
				return err
			}
			loss, err := Evaluate(t.Context(), s, m, []datasets.Batch{batch}, PartialEvaluation{})
			if err != nil {
				return err
			}
			saved = loss.Sum / float64(loss.TargetTokens)
			if err := a.Save(s, peft, "base"); err != nil {
				return err
			}
			file, err := a.File(s, "base")
			if err != nil {
				return err
			}
			return file.WriteMLX(mlx)
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, from := range []string{peft, mlx} {
			err := torch.Run(func(s *torch.Scope) error {
				m, err := gemma3(s, t)
				if err != nil {
					return err
				}
				a, err := adapters.New(s, m, configs.LoRA{From: from, LoRAPlusLRRatio: lora.LoRAPlusLRRatio}, 99)
				if err != nil {
					return err
				}
				summary, err := Run(context.Background(), s, job(m, a, data))
				if summary.FirstLoss != saved || !(summary.LastLoss < saved) {
					t.Errorf("%s: first loss %.9g, the saved adapter has %.9g; last %.9g", filepath.Base(from), summary.FirstLoss, saved, summary.LastLoss)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// job is five steps on all rows.
func job(m *model.Model, a *adapters.Adapter, data *datasets.Dataset) Job {
	o := options()
	o.BatchSize, o.MaxSteps, o.WarmupSteps = 4, 5, 0
	return Job{Model: m, Adapter: a, Options: o, Seed: 1, Recorder: &memoryRecorder{}, Now: time.Now,
		Train: datasets.NewBatcher(data, datasets.BatchOptions{BatchSize: 4})}
}
