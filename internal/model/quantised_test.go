package model

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/checkpoint"
	"tune/internal/golden"
	"tune/internal/safetensors"
	"tune/internal/torch"
)

// TestQuantisedModelIsItsDequantisedWeights: of every family, a quantised model computes what a plain one with the same
// numbers for weights does, also with a cache; the embedding and the norms are the file's own.
func TestQuantisedModelIsItsDequantisedWeights(t *testing.T) {
	for _, dir := range golden.Cases(t, "gemma") {
		batch := golden.ForwardBatch(golden.Tensors(t, filepath.Join(dir, "forward.safetensors")))
		for _, bits := range []int{8, 4} {
			inScope(t, func(s *torch.Scope) error {
				plain, err := load(s, filepath.Join(dir, "model"))
				if err != nil {
					return err
				}
				m, err := Load(s, filepath.Join(dir, "model"), Options{DType: torch.Float32, Device: torch.CPU, QuantizeBits: bits})
				if err != nil {
					return err
				}
				if !slices.Equal(s.ReadFloat32s(m.EmbedTokens), s.ReadFloat32s(plain.EmbedTokens)) {
					t.Error("the embedding is not the file's")
				}
				for i, p := range m.Projections() {
					dense, as := (*p.Linear).(*Dense), (*plain.Projections()[i].Linear).(*Dense)
					if !dense.Quantised.Defined() || dense.Weight.Defined() || dense.Quantised.Bits() != bits {
						t.Fatalf("%s is not quantised to %d bits", p.Name, bits)
					}
					as.Weight = dense.Whole(s, torch.Float32)
				}
				logits := func(m *Model) []float32 {
					p, err := m.NewPass(s, input(batch), nil)
					if err != nil {
						t.Fatal(err)
					}
					return s.ReadFloat32s(m.Logits(s, m.Hidden(s, p)))
				}
				golden.Near(t, dir, logits(m), logits(plain), 3e-5) // float32, another order of additions; as the golden logits
				if err := m.Save(s, t.TempDir(), torch.Float32); err == nil || !strings.Contains(err.Error(), "quantised") {
					t.Errorf("a quantised model is saved: %v", err)
				}
				return s.Err()
			})
		}
	}
}

// zeroModel writes a model of zeros, large for its vocabulary, in bfloat16.
func zeroModel(t *testing.T) (dir string, c *checkpoint.Config) {
	t.Helper()
	dir = t.TempDir()
	b, err := os.ReadFile(filepath.Join(golden.Dir(t), "gemma3", "model", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	fields["hidden_size"], fields["intermediate_size"], fields["head_dim"] = 512, 2048, 128
	if b, err = json.Marshal(fields); err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if c, err = checkpoint.ReadConfig(dir); err != nil {
		t.Fatal(err)
	}
	var tensors []safetensors.Tensor
	for _, w := range c.Weights() {
		tensors = append(tensors, safetensors.Tensor{Name: w.Name, DType: safetensors.BF16, Shape: w.Shape, Data: func(to io.Writer) error {
			_, err := to.Write(make([]byte, 2*w.Len()))
			return err
		}})
	}
	if err := safetensors.Write(filepath.Join(dir, "model.safetensors"), tensors, nil); err != nil {
		t.Fatal(err)
	}
	return dir, c
}

// TestQuantisedModelIsSmall: in tensors it takes 8.25 or 4.375 bits a number of the linear modules, of 16 in bfloat16, and
// loading never takes more than what stays.
func TestQuantisedModelIsSmall(t *testing.T) {
	dir, c := zeroModel(t)
	var linear int64
	for _, module := range checkpoint.LinearModules() {
		out, in := c.LinearShape(module)
		linear += int64(c.NumHiddenLayers) * out * in
	}
	rest := 2 * (c.Count() - linear)
	for _, tc := range []struct {
		options Options
		want    int64
	}{ // smallest first: the peak is the process's
		{Options{QuantizeBits: 4}, rest + linear/64*(32+3)},
		{Options{QuantizeBits: 8}, rest + linear/64*(64+2)},
		{Options{}, rest + 2*linear},
		{Options{QuantizeBits: 8, Random: true}, rest + linear/64*(64+2)},
	} {
		tc.options.DType, tc.options.Device = torch.BFloat16, torch.CPU
		inScope(t, func(s *torch.Scope) error {
			before, _ := torch.CPU.DeviceMemory()
			if before.Now < 0 {
				t.Skip("what tensors hold cannot be told here")
			}
			if _, err := Load(s, dir, tc.options); err != nil {
				return err
			}
			after, _ := torch.CPU.DeviceMemory()
			const slack = 1 << 20 // the allocator's rounding
			t.Logf("%d bits, random %v: %d bytes, peak %d", tc.options.QuantizeBits, tc.options.Random, after.Now-before.Now, after.Peak-before.Now)
			if got := after.Now - before.Now; got < tc.want || got > tc.want+slack {
				t.Errorf("%d bits: %d bytes in tensors, want %d", tc.options.QuantizeBits, got, tc.want)
			}
			if limit := max(before.Peak, before.Now+tc.want+slack); after.Peak > limit {
				t.Errorf("%d bits: loading took %d bytes, want at most %d", tc.options.QuantizeBits, after.Peak, limit)
			}
			return s.Err()
		})
	}
}

func TestQuantisedModelRefusesWhatIsNotFinite(t *testing.T) {
	dir := rewrite(t, "gemma3", func(tensors map[string]safetensors.Tensor) {
		name := "model.layers.1.mlp.up_proj.weight"
		tensor := tensors[name]
		size := 4 * tensor.Shape[0] * tensor.Shape[1]
		if tensor.DType == safetensors.BF16 {
			size /= 2
		}
		tensor.Data = safetensors.FromBytes([]byte(strings.Repeat("\xff", int(size)))) // NaN in every float type
		tensors[name] = tensor
	})
	err := torch.Run(func(s *torch.Scope) error {
		_, err := Load(s, dir, Options{DType: torch.Float32, Device: torch.CPU, QuantizeBits: 8})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "model.layers.1.mlp.up_proj.weight") || !strings.Contains(err.Error(), "not finite") {
		t.Errorf("%v", err)
	}
}
