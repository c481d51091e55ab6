package adapters

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tune/configs"
	"tune/internal/adapterfile"
	"tune/internal/checkpoint"
	"tune/internal/gguf"
	"tune/internal/golden"
	"tune/internal/model"
	"tune/internal/safetensors"
	"tune/internal/tokenizer"
	"tune/internal/torch"
)

const pocket = "../models/pocket"

// fromGGUF writes the text model that a GGUF file holds as a Hugging Face folder, to load it.
func fromGGUF(t *testing.T, path string, c *checkpoint.Config) string {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var tensors []safetensors.Tensor
	for _, w := range c.Weights() {
		name, err := gguf.TensorName(w.Name, c.Family)
		if err != nil {
			t.Fatal(err)
		}
		values, err := f.Floats(name)
		if err != nil {
			t.Fatal(err)
		}
		factor := 1.0
		if taken := float64(c.HeadDim); c.QueryPreAttnScalar != taken &&
			(strings.HasSuffix(name, "attn_q.weight") && c.Family == checkpoint.Gemma2 || strings.HasSuffix(name, "attn_q_norm.weight")) {
			factor = math.Sqrt(c.QueryPreAttnScalar / taken) // llama.cpp divides by √head_dim
		}
		b := make([]byte, 4*len(values))
		for i, v := range values {
			back := float64(v) * factor
			if len(w.Shape) == 1 {
				back--
			}
			binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(float32(back)))
		}
		tensors = append(tensors, safetensors.Tensor{Name: w.Name, DType: safetensors.F32, Shape: w.Shape,
			Data: func(out io.Writer) error { _, err := out.Write(b); return err }})
	}
	dir := t.TempDir()
	text, err := c.TextJSON("float32")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644)
	}
	if err == nil {
		err = safetensors.Write(filepath.Join(dir, "model.safetensors"), tensors, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// withVocabulary is a reference model's config with as many ids as models/pocket's tokenizer, and random weights.
func withVocabulary(t *testing.T, family string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(golden.Dir(t), family, "model", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	raw = regexp.MustCompile(`"vocab_size": \d+`).ReplaceAll(raw, []byte(`"vocab_size": 3072`))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o644); err != nil {
		t.Fatal(err)
	}
	inScope(t, func(s *torch.Scope) error {
		m, err := model.Load(s, dir, model.Options{DType: torch.Float32, Device: torch.CPU, Random: true, Seed: 7})
		if err != nil {
			return err
		}
		for i, l := range m.Layers { // norms of zero would hide that they are stored as 1+w
			for j, norm := range []torch.Tensor{l.InputLayernorm, l.PostAttentionLayernorm, l.PreFeedforwardLayernorm,
				l.PostFeedforwardLayernorm, l.SelfAttn.QNorm, l.SelfAttn.KNorm} {
				if !norm.Defined() {
					continue
				}
				values := make([]float32, norm.Len())
				for k := range values {
					values[k] = float32(0.5 * math.Sin(float64(i+7*j+13*k)))
				}
				s.Copy(norm, s.Float32s(values))
			}
		}
		return m.Save(s, dir, torch.Float32)
	})
	return dir
}

// logitsOf runs a fixed text through the model in dir.
func logitsOf(t *testing.T, dir string) (logits []float32) {
	t.Helper()
	inScope(t, func(s *torch.Scope) error {
		m, err := loadModel(s, dir)
		if err != nil {
			return err
		}
		logits, err = fixedLogits(s, m)
		return err
	})
	return logits
}

// fixedLogits runs a fixed text through a model.
func fixedLogits(s *torch.Scope, m *model.Model) ([]float32, error) {
	ids := make([]int64, 30)
	for i := range ids {
		ids[i] = int64(i) * 97 % m.Config.VocabSize
	}
	p, err := m.NewPass(s, model.Sequence(ids), nil)
	if err != nil {
		return nil, err
	}
	logits := s.ReadFloat32s(m.Logits(s, m.Hidden(s, p)))
	return logits, s.Err()
}

// A model written as GGUF and read back computes what the model computes.
func TestGGUFModelGivesTheSameLogits(t *testing.T) {
	tok, err := tokenizer.Open(pocket)
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range []string{"gemma", "gemma2", "gemma3"} {
		dir := withVocabulary(t, family)
		want := logitsOf(t, dir)
		size := 0.0
		for _, v := range want {
			size = max(size, math.Abs(float64(v)))
		}
		for to, share := range map[gguf.Type]float64{
			gguf.F32:  2e-5, // 1+w rounds w to the steps of numbers near 1, 6e-8, in every norm
			gguf.BF16: 0.05, // weights to 3 digits
			gguf.F16:  0.01,
			gguf.Q8_0: 0.1,
		} {
			t.Run(fmt.Sprintf("%s/%s", family, to), func(t *testing.T) {
				m, err := OpenMerged(dir, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				path := filepath.Join(t.TempDir(), "m.gguf")
				narrow, err := gguf.WriteModel(context.Background(), path, m.Config(), tok, m, gguf.ModelOptions{Type: to})
				if err != nil {
					t.Fatal(err)
				}
				if to != gguf.Q8_0 && len(narrow) > 0 {
					t.Errorf("%v fell back to f16", narrow)
				}
				got := logitsOf(t, fromGGUF(t, path, m.Config()))
				golden.Near(t, "logits", got, want, share*size)
			})
		}
	}
}

// A GGUF adapter read back gives the logits that transformers and PEFT gave with the adapter it was made from.
func TestGGUFAdapterGivesTheReferenceLogits(t *testing.T) {
	for name, where := range adapterFolders(t) {
		if strings.HasSuffix(name, "/dora") {
			continue // refused, tested in internal/gguf
		}
		t.Run(name, func(t *testing.T) {
			want := golden.Tensors(t, where[1])
			batch := golden.ForwardBatch(golden.Tensors(t, filepath.Join(where[2], "forward.safetensors")))
			inScope(t, func(s *torch.Scope) error {
				m, err := loadModel(s, filepath.Join(where[2], "model"))
				if err != nil {
					return err
				}
				a, err := Load(s, m, where[0])
				if err != nil {
					return err
				}
				numbers, err := a.File(s, "base")
				if err != nil {
					return err
				}
				dir := t.TempDir()
				path := filepath.Join(dir, "a.gguf")
				if err := gguf.WriteAdapter(path, numbers, &m.Config, gguf.F32); err != nil {
					return err
				}
				back, err := gguf.ReadAdapter(path, &m.Config)
				if err != nil {
					return err
				}
				if err := back.WritePEFT(filepath.Join(dir, "peft"), adapterfile.PEFTOptions{Multimodal: m.Config.Multimodal}); err != nil {
					return err
				}
				fresh, err := loadModel(s, filepath.Join(where[2], "model"))
				if err != nil {
					return err
				}
				if _, err := Load(s, fresh, filepath.Join(dir, "peft")); err != nil {
					return err
				}
				logits, loss, err := forward(s, fresh, batch, false)
				if err != nil {
					return err
				}
				golden.Near(t, "logits", logits, batch.At(want["logits"].Floats, int(m.Config.VocabSize)), 3e-5)
				golden.Near(t, "loss", []float32{loss}, want["loss"].Floats, 1e-5)
				return nil
			})
		})
	}
}

// adapted puts an adapter that changes something on a fresh copy of a model, and returns its numbers and the logits.
func adapted(t *testing.T, dir string, c configs.LoRA) (file *adapterfile.Adapter, logits []float32) {
	t.Helper()
	inScope(t, func(s *torch.Scope) error {
		m, err := loadModel(s, dir)
		if err != nil {
			return err
		}
		a, err := New(s, m, c, 3)
		if err != nil {
			return err
		}
		for i, l := range a.Modules {
			values := make([]float32, l.B.Len())
			for k := range values {
				values[k] = float32(0.05 * math.Sin(float64(3*i+5*k)))
			}
			s.Copy(l.B, s.Float32s(values, l.B.Shape()...))
		}
		if file, err = a.File(s, "base"); err != nil {
			return err
		}
		logits, err = fixedLogits(s, m)
		return err
	})
	return file, logits
}

// A model written as GGUF with an adapter in it computes what model and adapter compute side by side, and its weights
// are those that llama.cpp gets when it adds the GGUF adapter to the GGUF base.
func TestMergedGGUFIsModelAndAdapter(t *testing.T) {
	tok, err := tokenizer.Open(pocket)
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range []string{"gemma", "gemma2", "gemma3"} {
		dir := withVocabulary(t, family)
		plain := logitsOf(t, dir)
		for kind, edit := range map[string]func(*configs.LoRA){
			"lora":     func(*configs.LoRA) {},
			"rslora":   func(c *configs.LoRA) { c.UseRSLoRA = true },
			"dora":     func(c *configs.LoRA) { c.UseDoRA = true },
			"patterns": func(c *configs.LoRA) { c.AlphaPattern = configs.Pattern[float64]{{Key: "v_proj", Value: 3}} },
		} {
			t.Run(family+"/"+kind, func(t *testing.T) {
				c := loraConfig()
				edit(&c)
				adapter, want := adapted(t, dir, c)
				if slices.Equal(want, plain) {
					t.Fatal("the adapter changes nothing")
				}
				write := func(name string, adapter *adapterfile.Adapter) (string, *checkpoint.Config) {
					m, err := OpenMerged(dir, adapter)
					if err != nil {
						t.Fatal(err)
					}
					defer m.Close()
					path := filepath.Join(t.TempDir(), name)
					if _, err := gguf.WriteModel(context.Background(), path, m.Config(), tok, m, gguf.ModelOptions{Type: gguf.F32}); err != nil {
						t.Fatal(err)
					}
					return path, m.Config()
				}
				merged, config := write("merged.gguf", adapter)
				golden.Near(t, "logits", logitsOf(t, fromGGUF(t, merged, config)), want, 1e-4) // float32, logits of about 4
				if c.UseDoRA {
					return // no GGUF adapter
				}
				base, _ := write("base.gguf", nil)
				beside := filepath.Join(t.TempDir(), "adapter.gguf")
				if err := gguf.WriteAdapter(beside, adapter, config, gguf.F32); err != nil {
					t.Fatal(err)
				}
				compareAsLlamaCpp(t, base, beside, merged)
			})
		}
	}
}

// compareAsLlamaCpp compares W + alpha/rank·B·A of a base and an adapter file, by names, with a merged file.
func compareAsLlamaCpp(t *testing.T, base, adapter, merged string) {
	t.Helper()
	var open [3]*gguf.File
	for i, path := range []string{base, adapter, merged} {
		f, err := gguf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		open[i] = f
	}
	floats := func(f *gguf.File, name string) []float32 {
		v, err := f.Floats(name)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	alpha, compared := open[1].Metadata["adapter.lora.alpha"].(float64), 0
	for _, tensor := range open[2].Tensors {
		down, ok := open[1].Find(tensor.Name + ".lora_a")
		got := floats(open[0], tensor.Name)
		if ok {
			compared++
			rank, in := int(down.Shape[0]), int(down.Shape[1])
			a, b := floats(open[1], down.Name), floats(open[1], tensor.Name+".lora_b")
			for i := range got {
				row, column := i/in, i%in
				sum := 0.0
				for r := range rank {
					sum += float64(b[row*rank+r]) * float64(a[r*in+column])
				}
				got[i] += float32(alpha / float64(rank) * sum)
			}
		}
		golden.Near(t, tensor.Name, got, floats(open[2], tensor.Name), 1e-6) // float32, numbers below 2
	}
	if compared == 0 {
		t.Fatal("no tensor of the merged file has an adapter")
	}
}
