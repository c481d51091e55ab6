package adapters

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tune/configs"
	"tune/internal/checkpoint"
	"tune/internal/golden"
	"tune/internal/model"
	"tune/internal/torch"
)

func gemma3Dir(t testing.TB) string { return filepath.Join(golden.Dir(t), "gemma3", "model") }

func loraConfig() configs.LoRA {
	c := configs.Default().LoRA
	c.Rank, c.Alpha = 4, 8
	return c
}

func TestFreshAdapterChangesNothing(t *testing.T) {
	batch := golden.ForwardBatch(golden.Tensors(t, filepath.Join(gemma3Dir(t), "..", "forward.safetensors")))
	for _, dora := range []bool{false, true} {
		inScope(t, func(s *torch.Scope) error {
			m, err := loadModel(s, gemma3Dir(t))
			if err != nil {
				return err
			}
			base, _, err := forward(s, m, batch, false)
			if err != nil {
				return err
			}
			c := loraConfig()
			c.UseDoRA = dora
			if _, err := New(s, m, c, 1); err != nil {
				return err
			}
			with, _, err := forward(s, m, batch, false)
			if err != nil {
				return err
			}
			if dora {
				golden.Near(t, "logits with DoRA", with, base, 1e-5) // m/n is 1 up to rounding
			} else if !slices.Equal(with, base) {
				t.Error("a fresh adapter changes the logits")
			}
			return s.Err()
		})
	}
}

func TestOnlyTheAdapterIsTrained(t *testing.T) {
	batch := golden.ForwardBatch(golden.Tensors(t, filepath.Join(gemma3Dir(t), "..", "forward.safetensors")))
	inScope(t, func(s *torch.Scope) error {
		m, err := loadModel(s, gemma3Dir(t))
		if err != nil {
			return err
		}
		base := m.Parameters()
		a, err := New(s, m, loraConfig(), 1)
		if err != nil {
			return err
		}
		if _, _, err := forward(s, m, batch, true); err != nil {
			return err
		}
		for _, p := range base {
			if p.Field.RequiresGrad() {
				t.Errorf("%s receives gradients", p.Name)
			}
		}
		for _, l := range a.Modules {
			// With B zero the gradient reaches B and not yet A.
			if norm := s.ReadFloat32(s.Norm(s.GradOf(l.B))); norm == 0 {
				t.Errorf("%s: B receives no gradient", l.Base.Name)
			}
		}
		return s.Err()
	})
}

func TestTargetsProperties(t *testing.T) {
	inScope(t, func(s *torch.Scope) error {
		rapid.Check(t, func(rt *rapid.T) {
			c := loraConfig()
			c.Rank = rapid.IntRange(1, 9).Draw(rt, "rank")
			c.TargetModules = rapid.SliceOfNDistinct(rapid.SampledFrom(checkpoint.LinearModules()), 1, 7, rapid.ID[string]).Draw(rt, "modules")
			c.LayersToTransform = rapid.SliceOfNDistinct(rapid.IntRange(0, 5), 0, 6, rapid.ID[int]).Draw(rt, "layers")
			err := s.Nest(func(s *torch.Scope) error {
				m, err := loadModel(s, gemma3Dir(t))
				if err != nil {
					return err
				}
				a, err := New(s, m, c, 1)
				if err != nil {
					return err
				}
				layers := c.LayersToTransform
				if len(layers) == 0 {
					layers = []int{0, 1, 2, 3, 4, 5}
				}
				var want int64 // Σ rank·(in+out)
				for _, module := range c.TargetModules {
					out, in := m.Shape(module)
					want += int64(len(layers)) * int64(c.Rank) * (in + out)
				}
				if a.Parameters() != want || len(a.Modules) != len(layers)*len(c.TargetModules) {
					rt.Fatalf("%d parameters in %d modules, want %d in %d", a.Parameters(), len(a.Modules), want, len(layers)*len(c.TargetModules))
				}
				if a.LowestLayer() != slices.Min(layers) {
					rt.Fatalf("lowest layer %d of %v", a.LowestLayer(), layers)
				}
				return s.Err()
			})
			if err != nil {
				rt.Fatal(err)
			}
		})
		return nil
	})
}

func TestTargetThatMatchesNothing(t *testing.T) {
	for want, edit := range map[string]func(*configs.LoRA){
		`target module "qproj" matches no module of Gemma3ForCausalLM (have q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj)`: func(c *configs.LoRA) {
			c.TargetModules = []string{"q_proj", "qproj"}
		},
		"layer 6, the model has 0 to 5": func(c *configs.LoRA) { c.LayersToTransform = []int{0, 6} },
		"target_modules is empty":       func(c *configs.LoRA) { c.TargetModules = nil },
	} {
		refused(t, edit, want)
	}
}

// refused checks that New says want of the configuration that edit makes.
func refused(t *testing.T, edit func(*configs.LoRA), want string) {
	t.Helper()
	c := loraConfig()
	edit(&c)
	err := torch.Run(func(s *torch.Scope) error {
		m, err := loadModel(s, gemma3Dir(t))
		if err != nil {
			return err
		}
		_, err = New(s, m, c, 1)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestSaveThenLoadIsBitExact(t *testing.T) {
	for _, edit := range []func(*configs.LoRA){
		func(*configs.LoRA) {},
		func(c *configs.LoRA) { c.UseRSLoRA, c.LayersToTransform = true, []int{1, 4} },
		func(c *configs.LoRA) { c.UseDoRA, c.TargetModules = true, []string{"v_proj", "down_proj"} },
	} {
		c := loraConfig()
		edit(&c)
		dir := filepath.Join(t.TempDir(), "adapter")
		var saved []byte
		inScope(t, func(s *torch.Scope) error {
			m, err := loadModel(s, gemma3Dir(t))
			if err != nil {
				return err
			}
			a, err := New(s, m, c, 3)
			if err != nil {
				return err
			}
			for i, l := range a.Modules { // B too, so that every tensor differs
				s.AddTo(l.B, s.AddScalar(s.Zeros(torch.Float32, torch.CPU, l.B.Shape()...), 1.0/float64(i+3)))
			}
			saved = s.ReadBytes(a.Flat.Data)
			return a.Save(s, dir, "google/gemma-3-270m")
		})
		inScope(t, func(s *torch.Scope) error {
			m, err := loadModel(s, gemma3Dir(t))
			if err != nil {
				return err
			}
			a, err := Load(s, m, dir)
			if err != nil {
				return err
			}
			if !bytes.Equal(s.ReadBytes(a.Flat.Data), saved) {
				t.Error("the loaded numbers differ from the saved ones")
			}
			if a.Config.Rank != c.Rank || a.Config.UseRSLoRA != c.UseRSLoRA || a.Config.UseDoRA != c.UseDoRA {
				t.Errorf("settings came back as %+v", a.Config)
			}
			return s.Err()
		})
		entries, _ := os.ReadDir(dir)
		if len(entries) != 3 || entries[0].Name() != "README.md" || entries[1].Name() != "adapter_config.json" || entries[2].Name() != "adapter_model.safetensors" {
			t.Errorf("the folder holds %v, want PEFT's two files and a model card", entries)
		}
	}
}

// TestConfigIsPEFTs compares with the file that PEFT wrote beside the reference adapter.
func TestConfigIsPEFTs(t *testing.T) {
	for _, class := range []string{"gemma3/adapter", "gemma3_mm/adapter_multimodal_names"} {
		var reference, ours map[string]any
		golden.JSON(t, filepath.Join(golden.Dir(t), class, "adapter_config.json"), &reference)
		dir := filepath.Join(t.TempDir(), "adapter")
		inScope(t, func(s *torch.Scope) error {
			m, err := loadModel(s, filepath.Join(golden.Dir(t), class, "..", "model"))
			if err != nil {
				return err
			}
			a, err := New(s, m, configs.LoRA{Rank: 8, Alpha: 16, TargetModules: []string{"all-linear"}}, 1)
			if err != nil {
				return err
			}
			return a.Save(s, dir, "model")
		})
		golden.JSON(t, filepath.Join(dir, "adapter_config.json"), &ours)
		if diff := cmp.Diff(reference, ours); diff != "" {
			t.Errorf("%s (-PEFT +ours):\n%s", class, diff)
		}
	}
}

func TestAdapterOfAnotherModelIsRefused(t *testing.T) {
	err := torch.Run(func(s *torch.Scope) error {
		m, err := loadModel(s, gemma3Dir(t))
		if err != nil {
			return err
		}
		m.Layers, m.Config.NumHiddenLayers = m.Layers[:3], 3
		_, err = Load(s, m, filepath.Join(gemma3Dir(t), "..", "adapter"))
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "model.layers.3.self_attn.q_proj is no linear layer of this Gemma3ForCausalLM with 3 layers") {
		t.Errorf("got %v, want the first module of layer 3", err)
	}
}

// TestDoRADropout: in training PEFT drops inputs of the adapter's product and of what the magnitude adds to the
// base's, not of the base's own.
func TestDoRADropout(t *testing.T) {
	inScope(t, func(s *torch.Scope) error {
		m, err := loadModel(s, gemma3Dir(t))
		if err != nil {
			return err
		}
		c := loraConfig()
		c.UseDoRA, c.Dropout = true, 0.4
		a, err := New(s, m, c, 1)
		if err != nil {
			return err
		}
		l := a.Modules[0]
		w, down := s.ReadFloat32s(l.Base.Weight), s.ReadFloat32s(l.A)
		up, magnitude := make([]float32, l.B.Len()), s.ReadFloat32s(l.Magnitude)
		for i := range up {
			up[i] = 0.1 * float32(i%7-3)
		}
		for i := range magnitude {
			magnitude[i] *= 1 + 0.1*float32(i%3)
		}
		s.Copy(l.B, s.Float32s(up, l.B.Shape()...))
		s.Copy(l.Magnitude, s.Float32s(magnitude))
		rank, in, out := int(l.A.Dim(0)), int(l.A.Dim(1)), int(l.B.Dim(0))
		x := make([]float32, 3*in)
		for i := range x {
			x[i] = float32(i%5) - 1.5
		}
		input := s.Float32s(x, 3, int64(in))
		torch.Seed(5)
		dropped := s.ReadFloat32s(s.Dropout(input, c.Dropout))
		a.Train(true)
		torch.Seed(5)
		got := s.ReadFloat32s(l.Forward(s, input))

		want := make([]float32, len(got))
		for row := range 3 {
			for o := range out {
				norm, base, dropBase, update := 0.0, 0.0, 0.0, 0.0
				for i := range in {
					delta := 0.0
					for r := range rank {
						delta += float64(up[o*rank+r]) * float64(down[r*in+i])
					}
					delta *= l.Scale
					weight := float64(w[o*in+i])
					norm += (weight + delta) * (weight + delta)
					base += weight * float64(x[row*in+i])
					dropBase += weight * float64(dropped[row*in+i])
					update += delta * float64(dropped[row*in+i])
				}
				gain := float64(magnitude[o]) / math.Sqrt(norm)
				want[row*out+o] = float32(base + (gain-1)*dropBase + gain*update)
			}
		}
		golden.Near(t, "DoRA with dropout", got, want, 1e-4) // float32, sums of about 100 products
		return s.Err()
	})
}

func TestAdapterSeed(t *testing.T) {
	inScope(t, func(s *torch.Scope) error {
		numbers := func(seed int64) []float32 {
			var got []float32
			err := s.Nest(func(s *torch.Scope) error {
				m, err := loadModel(s, gemma3Dir(t))
				if err != nil {
					return err
				}
				a, err := New(s, m, loraConfig(), seed)
				if err == nil {
					got = s.ReadFloat32s(a.Modules[0].A)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		a := numbers(5)
		if !slices.Equal(a, numbers(5)) || slices.Equal(a, numbers(6)) {
			t.Error("equal seeds must give equal numbers, other seeds others")
		}
		if bound := float32(1.0 / 8); slices.Max(a) > bound || slices.Min(a) < -bound || slices.Max(a) < 0.9*bound { // 1/√64
			t.Errorf("A lies in %g to %g, want ±%g filled", slices.Min(a), slices.Max(a), bound)
		}
		return nil
	})
}

func ExampleNew() {
	err := torch.Run(func(s *torch.Scope) error {
		m, err := model.Load(s, "../testdata/golden/gemma3/model", model.Options{DType: torch.Float32, Device: torch.CPU})
		if err != nil {
			return err
		}
		a, err := New(s, m, configs.LoRA{Rank: 8, Alpha: 16, TargetModules: []string{"q_proj", "v_proj"}}, 42)
		if err != nil {
			return err
		}
		fmt.Println(len(a.Modules), a.Modules[0].Base.Name) // two modules in each of six layers
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output: 12 model.layers.0.self_attn.q_proj
}
