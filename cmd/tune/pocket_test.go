package main

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tune/adapters"
	"tune/configs"
	"tune/datasets"
	"tune/internal/checkpoint"
	"tune/internal/model"
	"tune/internal/safetensors"
	"tune/internal/tokenizer"
	"tune/internal/torch"
	"tune/trainer"
)

const pocketDir = "../../models/pocket"

// TestPocketModel holds models/pocket to what its README says of it.
func TestPocketModel(t *testing.T) {
	weights := filepath.Join(pocketDir, "model.safetensors")
	info, err := os.Stat(weights)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() >= 8<<20 {
		t.Errorf("%s has %d bytes, want under 8 MB", weights, info.Size())
	}
	set, err := safetensors.OpenDir(pocketDir)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	for _, name := range set.Names() {
		if info, _ := set.Info(name); info.DType != safetensors.BF16 {
			t.Errorf("%s is %s, want BF16", name, info.DType)
		}
	}
	config, err := checkpoint.ReadConfig(pocketDir)
	if err != nil {
		t.Fatal(err)
	}
	if config.VocabSize < 2048 || config.VocabSize > 4096 {
		t.Errorf("vocabulary of %d, want 2,048 to 4,096", config.VocabSize)
	}
	if got := strings.Join(config.LayerTypes, " "); got != strings.Repeat("sliding_attention ", 5)+"full_attention" {
		t.Errorf("layers %s, want five local to one global", got)
	}

	fromJSON, err := tokenizer.OpenJSON(filepath.Join(pocketDir, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	fromModel, err := tokenizer.OpenModel(filepath.Join(pocketDir, "tokenizer.model"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../datasets/bluey/train.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append(strings.Split(string(text), "\n"), "émigré 🫠\n\n\t12 + 30 = 42") {
		ids := fromJSON.Encode(s)
		if !slices.Equal(ids, fromModel.Encode(s)) {
			t.Errorf("the two tokenizer files differ on %q", s)
		}
		if back := fromJSON.Decode(ids); back != s {
			t.Errorf("%q came back as %q", s, back)
		}
	}
}

// TestPocketModelLearns trains a few steps of the main job: enough for the validation loss to fall clearly. A quantised
// base, that loses little, learns as much.
func TestPocketModelLearns(t *testing.T) {
	tok, err := tokenizer.Open(pocketDir)
	if err != nil {
		t.Fatal(err)
	}
	var data [2]*datasets.Dataset
	for i, name := range []string{"train", "valid"} {
		if data[i], err = datasets.Open("../../datasets/bluey/"+name+".jsonl", tok, datasets.Options{MaxLength: 512}); err != nil {
			t.Fatal(err)
		}
	}
	whole := 0.0 // the last loss of the base that is not quantised
	for _, tc := range []struct {
		quantize string
		within   float64 // of that loss
	}{{"none", 0}, {"int8", 0.01}, {"int4", 0.05}} {
		cfg, err := configs.Load("../../configs/bluey.yaml", []string{"train.max_steps=20", "sample.prompts=[]", "model.quantize=" + tc.quantize})
		if err != nil {
			t.Fatal(err)
		}
		var recorder lossRecorder
		err = torch.Run(func(s *torch.Scope) error {
			m, err := model.Load(s, pocketDir, model.Options{DType: torch.Float32, Device: torch.CPU, QuantizeBits: cfg.Model.QuantizeBits()})
			if err != nil {
				return err
			}
			if n := m.Config.Count(); n < 1e6 || n > 3e6 {
				t.Errorf("%d parameters, want one to three million", n)
			}
			adapter, err := adapters.New(s, m, cfg.LoRA, cfg.Seed)
			if err != nil {
				return err
			}
			_, err = trainer.Run(context.Background(), s, trainer.Job{Model: m, Adapter: adapter, Options: cfg.Train, Recorder: &recorder,
				Train:      datasets.NewBatcher(data[0], datasets.BatchOptions{BatchSize: cfg.Train.BatchSize, Shuffle: true, Seed: cfg.Seed}),
				Validation: epochOf(data[1], cfg.Train.BatchSize), Seed: cfg.Seed, Now: time.Now})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		first, last := recorder.validation[0], recorder.validation[len(recorder.validation)-1]
		t.Logf("%s: validation loss from %.4f to %.4f", tc.quantize, first, last)
		if !(last < 0.85*first) {
			t.Errorf("%s: validation loss went from %.4f to %.4f in 20 steps, want at least 15 %% less", tc.quantize, first, last)
		}
		if whole == 0 {
			whole = last
		} else if !(math.Abs(last-whole) <= tc.within*whole) {
			t.Errorf("%s: the last validation loss is %.4f, %.4f without: more than %g off", tc.quantize, last, whole, tc.within)
		}
	}
}

// lossRecorder keeps the validation losses.
type lossRecorder struct{ validation []float64 }

func (r *lossRecorder) RecordStep(context.Context, trainer.StepMetrics) error { return nil }
func (r *lossRecorder) RecordEvaluation(_ context.Context, e trainer.Evaluation) error {
	r.validation = append(r.validation, e.Loss)
	return nil
}
func (r *lossRecorder) RecordSample(context.Context, trainer.SampleText) error          { return nil }
func (r *lossRecorder) Sync(context.Context) error                                      { return nil }
func (r *lossRecorder) RecordCheckpoint(context.Context, trainer.SavedCheckpoint) error { return nil }
func (r *lossRecorder) RecordEvent(context.Context, trainer.Event) error                { return nil }
