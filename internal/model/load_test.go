package model

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/golden"
	"tune/internal/safetensors"
	"tune/internal/torch"
)

// rewrite copies a reference model to a temporary folder, with its weights changed by edit.
func rewrite(t *testing.T, name string, edit func(map[string]safetensors.Tensor)) string {
	t.Helper()
	from, to := filepath.Join(golden.Dir(t), name, "model"), t.TempDir()
	config, err := os.ReadFile(filepath.Join(from, "config.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(to, "config.json"), config, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	set, err := safetensors.OpenDir(from)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	tensors := map[string]safetensors.Tensor{}
	for _, name := range set.Names() {
		info, _ := set.Info(name)
		b, _ := set.Bytes(name)
		tensors[name] = safetensors.Tensor{Name: name, DType: info.DType, Shape: info.Shape, Data: safetensors.FromBytes(b)}
	}
	edit(tensors)
	var list []safetensors.Tensor
	for _, tensor := range tensors {
		list = append(list, tensor)
	}
	if err := safetensors.Write(filepath.Join(to, "model.safetensors"), list, nil); err != nil {
		t.Fatal(err)
	}
	return to
}

// secondPrefix names the weights of a multimodal model as transformers 4.52 and later save them.
func secondPrefix(tensors map[string]safetensors.Tensor) {
	for name, tensor := range tensors {
		rest, text := strings.CutPrefix(name, "language_model.model.")
		if tensor.Name = "model." + name; text { // vision_tower. and multi_modal_projector. go below model. as they are
			tensor.Name = "model.language_model." + rest
		}
		tensors[name] = tensor
	}
}

// TestBothPrefixesOfMultimodalWeights: under the names of newer files the model computes what it computes under the old.
func TestBothPrefixesOfMultimodalWeights(t *testing.T) {
	want := golden.Tensors(t, filepath.Join(golden.Dir(t), "gemma3_mm", "forward.safetensors"))
	batch := golden.ForwardBatch(want)
	dir := rewrite(t, "gemma3_mm", func(m map[string]safetensors.Tensor) {
		secondPrefix(m)
		const name = "vision_tower.vision_model.post_layernorm.bias"
		if m[name].Name != "model."+name {
			t.Errorf("%s became %q: the reference has another tower", name, m[name].Name)
		}
	})
	inScope(t, func(s *torch.Scope) error {
		m, err := load(s, dir)
		if err != nil {
			return err
		}
		p, err := m.NewPass(s, input(batch), nil)
		if err != nil {
			return err
		}
		logits := s.ReadFloat32s(s.Narrow(m.Logits(s, m.Hidden(s, p)), 0, 0, int64(len(batch.IDs))))
		golden.Near(t, "logits", logits, batch.At(want["logits"].Floats, int(m.Config.VocabSize)), 3e-5) // as in TestGoldenForward
		return s.Err()
	})
}

func TestLoadRefusesWhatIsThereTwice(t *testing.T) {
	dir := rewrite(t, "gemma3_mm", func(m map[string]safetensors.Tensor) {
		second := m["language_model.model.norm.weight"]
		second.Name = "model.language_model.norm.weight"
		m[second.Name] = second
	})
	err := torch.Run(func(s *torch.Scope) error {
		_, err := load(s, dir)
		return err
	})
	file := filepath.Join(dir, "model.safetensors")
	want := file + ": weight model.language_model.norm.weight and language_model.model.norm.weight of " + file + " are both model.norm.weight"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

func zeros(n int) func(io.Writer) error { return safetensors.FromBytes(make([]byte, n)) }

func TestLoadNamesTheWeightThatDoesNotFit(t *testing.T) {
	const gate, extra = "model.layers.2.mlp.gate_proj.weight", "model.layers.6.mlp.gate_proj.weight"
	for _, tc := range []struct {
		name, want string
		edit       func(map[string]safetensors.Tensor)
	}{
		{"missing", "weight " + gate + " is missing", func(m map[string]safetensors.Tensor) { delete(m, gate) }},
		{"extra", "weight " + extra + " is not part of a gemma3_text with 6 layers", func(m map[string]safetensors.Tensor) {
			m[extra] = safetensors.Tensor{Name: extra, DType: safetensors.F32, Shape: []int64{1}, Data: zeros(4)}
		}},
		{"an image tower in a text model", "weight vision_tower.x is not part of a gemma3_text", func(m map[string]safetensors.Tensor) {
			m["vision_tower.x"] = safetensors.Tensor{Name: "vision_tower.x", DType: safetensors.F32, Shape: []int64{1}, Data: zeros(4)}
		}},
		{"shape", "weight " + gate + " has shape [64 104], config.json says [104 64]", func(m map[string]safetensors.Tensor) {
			w := m[gate]
			w.Shape = []int64{64, 104}
			m[gate] = w
		}},
		{"dtype", "weight " + gate + " has dtype I32", func(m map[string]safetensors.Tensor) {
			w := m[gate]
			w.DType = safetensors.I32
			m[gate] = w
		}},
		{"untied head", "weight lm_head.weight is not part of", func(m map[string]safetensors.Tensor) {
			m["lm_head.weight"] = safetensors.Tensor{Name: "lm_head.weight", DType: safetensors.F32, Shape: []int64{320, 64}, Data: zeros(320 * 64 * 4)}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := rewrite(t, "gemma3", tc.edit)
			err := torch.Run(func(s *torch.Scope) error {
				_, err := load(s, dir)
				return err
			})
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v, want %q and the folder", err, tc.want)
			}
		})
	}
}

func TestLoadAcceptsATiedHeadWrittenOut(t *testing.T) {
	dir := rewrite(t, "gemma3", func(m map[string]safetensors.Tensor) {
		head := m["model.embed_tokens.weight"]
		head.Name = "lm_head.weight"
		m["lm_head.weight"] = head
	})
	inScope(t, func(s *torch.Scope) error {
		_, err := load(s, dir)
		return err
	})
}

// Of every family, and of a multimodal checkpoint the text model, which is then one of its own.
func TestSaveThenLoadIsBitExact(t *testing.T) {
	for _, dir := range golden.Cases(t, "gemma") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			out := t.TempDir()
			inScope(t, func(s *torch.Scope) error {
				m, err := load(s, filepath.Join(dir, "model"))
				if err != nil {
					return err
				}
				if err := m.Save(s, out, torch.Float32); err != nil {
					return err
				}
				again, err := load(s, out)
				if err != nil {
					return err
				}
				other := again.Parameters()
				for i, p := range m.Parameters() {
					if !bytes.Equal(s.ReadBytes(*p.Field), s.ReadBytes(*other[i].Field)) {
						t.Errorf("%s differs", p.Name)
					}
				}
				want := m.Config
				want.Raw, again.Config.Raw, want.TorchDType = nil, nil, "float32"
				if want.Multimodal {
					want.Multimodal, want.ModelType, want.Architecture = false, "gemma3_text", "Gemma3ForCausalLM"
				}
				if a, b := fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", again.Config); a != b {
					t.Errorf("the config was\n%s\nand is\n%s", a, b)
				}
				return s.Err()
			})
		})
	}
}

func TestRandomStartFollowsTheSeed(t *testing.T) {
	dir := filepath.Join(golden.Dir(t), "gemma3", "model")
	inScope(t, func(s *torch.Scope) error {
		weights := func(seed int64) []float32 {
			m, err := Load(s, dir, Options{DType: torch.Float32, Device: torch.CPU, Random: true, Seed: seed})
			if err != nil {
				t.Fatal(err)
			}
			return s.ReadFloat32s(m.Layers[0].MLP.GateProj.(*Dense).Weight)
		}
		a, b, c := weights(1), weights(1), weights(2)
		if !slices.Equal(a, b) || slices.Equal(a, c) {
			t.Error("equal seeds must give equal weights, other seeds others")
		}
		return s.Err()
	})
}

func TestBatchThatCannotBeIsAnError(t *testing.T) {
	dir := filepath.Join(golden.Dir(t), "gemma3", "model")
	inScope(t, func(s *torch.Scope) error {
		m, err := load(s, dir)
		if err != nil {
			return err
		}
		far := Sequence([]int64{1})
		far.Positions[0] = m.Config.MaxPositionEmbeddings
		for want, in := range map[string]Input{
			"token id 320":            Sequence([]int64{5, 320}),
			"token id -1":             Sequence([]int64{-1}),
			"max_position_embeddings": far,
			"batch of 0 tokens":       {Starts: []int{0}},
			"starts [0 1]":            {IDs: []int64{1, 2}, Positions: []int64{0, 1}, Starts: []int{0, 1}},
		} {
			if _, err := m.NewPass(s, in, nil); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		}
		x := s.Zeros(torch.Float32, torch.CPU, 2, m.Config.HiddenSize)
		if _, err := m.Loss(s, x, []int64{NoLoss, 320}, false); err == nil || !strings.Contains(err.Error(), "target id 320") {
			t.Errorf("got %v, want the target id", err)
		}
		return s.Err()
	})
}

// TestLossInChunks compares the loss and its gradient with and without chunks and fillers.
func TestLossInChunks(t *testing.T) {
	dir := filepath.Join(golden.Dir(t), "gemma3", "model")
	batch := golden.ForwardBatch(golden.Tensors(t, filepath.Join(dir, "..", "forward.safetensors")))
	inScope(t, func(s *torch.Scope) error {
		m, err := load(s, dir)
		if err != nil {
			return err
		}
		p, err := m.NewPass(s, input(batch), nil)
		if err != nil {
			return err
		}
		x := m.Hidden(s, p)
		run := func(rows, bucket int64) (loss float32, gradient []float32) {
			m.Bucket, m.chunkRows = bucket, rows
			leaf := s.Leaf(x)
			var sum torch.Tensor
			s.Grad(true, func() { sum, err = m.Loss(s, leaf, batch.Targets, true) })
			if err != nil {
				t.Fatal(err)
			}
			return s.ReadFloat32(sum), s.ReadFloat32s(s.GradOf(leaf))
		}
		loss, gradient := run(1000, 1)
		for _, rows := range []int64{1, 7, 50, 51} {
			for _, bucket := range []int64{1, 16} {
				l, g := run(rows, bucket)
				golden.Near(t, "loss", []float32{l}, []float32{loss}, 1e-4) // float32, a sum of 51 losses of 6
				golden.NearNorm(t, "gradient", g, gradient, 1e-6)
			}
		}
		return s.Err()
	})
}
