package gguf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tune/internal/bounded"
)

// TestDamagedFiles: a file that was cut short or has a bit turned over is refused in one line that begins with its
// name, or its tensors can be read.
func TestDamagedFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.gguf")
	if err := Write(path, []KV{{"general.architecture", "gemma3"}, {"tokens", []string{"a", "b"}}, {"scores", []float32{1, 2}}},
		[]Tensor{{"token_embd.weight", F32, []int64{2, 4}, floats(make([]float32, 8)...)},
			{"output_norm.weight", Q8_0, []int64{1, 32}, floats(make([]float32, 32)...)}}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const padding = 64 - 34 // behind the last tensor; a file may lack it
	for what, b := range bounded.Damaged(whole, len(whole)) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err != nil {
			if !strings.HasPrefix(err.Error(), path+": ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %q", what, err)
			}
			continue
		}
		for _, tensor := range f.Tensors {
			if _, err := f.Floats(tensor.Name); err != nil && !strings.HasPrefix(err.Error(), path+": tensor "+tensor.Name) {
				t.Errorf("%s: %q", what, err)
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if len(b) < len(whole)-padding {
			t.Errorf("%s: opens", what)
		}
	}
}
