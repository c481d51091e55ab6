package configs

import (
	"errors"
	"strings"
	"testing"
)

func TestValue(t *testing.T) {
	cfg := Default()
	cfg.Name, cfg.LoRA.Rank, cfg.Train.LearningRate = "bluey", 16, 1e-4
	cfg.LoRA.TargetModules = []string{"q_proj", "v_proj"}
	for key, want := range map[string]string{
		"name": "bluey", "lora.rank": "16", "train.learning_rate": "0.0001", "lora.target_modules": "[q_proj, v_proj]",
		"lora.use_dora": "false", "train.gradient_checkpointing": "auto", "lora.rank_pattern": "{}",
	} {
		if got, err := cfg.Value(key); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", key, got, err, want)
		}
	}
	for key, want := range map[string]string{
		"lora.ranks": `lora.ranks: unknown key, did you mean "lora.rank"?`,
		"lora":       "lora: is a section (want one of its keys: lora.rank, ",
		"":           ": unknown key",
	} {
		if _, err := cfg.Value(key); !errors.Is(err, ErrInvalid) || !strings.HasPrefix(": "+err.Error(), ": "+strings.TrimPrefix(want, ": ")) {
			t.Errorf("%q: error %v, want %s", key, err, want)
		}
	}
}

// TestEveryKeyHasAValue: Value knows every key, and lists them all.
func TestEveryKeyHasAValue(t *testing.T) {
	cfg := Default()
	if len(Keys()) < 40 {
		t.Errorf("only %d keys", len(Keys()))
	}
	for _, key := range Keys() {
		if _, err := cfg.Value(key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}
