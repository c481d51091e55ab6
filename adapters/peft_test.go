package adapters

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tune/configs"
	"tune/internal/adapterfile"
	"tune/internal/checkpoint"
	"tune/internal/golden"
	"tune/internal/torch"
)

// patterned is an adapter whose modules have ranks and alphas of their own.
func patterned() configs.LoRA {
	c := loraConfig()
	c.RankPattern = configs.Pattern[int]{{Key: "layers.0.self_attn.q_proj", Value: 2}, {Key: "q_proj|v_proj", Value: 6}}
	c.AlphaPattern = configs.Pattern[float64]{{Key: `layers\.[1-3]\..*`, Value: 3}}
	return c
}

// fillB gives every B numbers, so that the adapter does something.
func fillB(s *torch.Scope, a *Adapter) {
	for i, l := range a.Modules {
		values := make([]float32, l.B.Len())
		for j := range values {
			values[j] = float32((i*31+j*17)%13-6) / 40
		}
		s.Copy(l.B, s.Float32s(values, l.B.Shape()...))
	}
}

func TestPatternsGiveModulesTheirOwn(t *testing.T) {
	inScope(t, func(s *torch.Scope) error {
		m, err := loadModel(s, gemma3Dir(t))
		if err != nil {
			return err
		}
		a, err := New(s, m, patterned(), 1)
		if err != nil {
			return err
		}
		for _, l := range a.Modules {
			name := l.Base.Name
			rank, alpha := 4, 8.0
			switch { // the first key that matches, in the order of the file
			case name == "model.layers.0.self_attn.q_proj":
				rank = 2
			case strings.HasSuffix(name, "q_proj"), strings.HasSuffix(name, "v_proj"):
				rank = 6
			}
			if layer := name[len("model.layers.")]; layer >= '1' && layer <= '3' {
				alpha = 3
			}
			if got := int(l.A.Shape()[0]); got != rank || l.Scale != alpha/float64(rank) {
				t.Errorf("%s: rank %d, scale %g; want %d and %g", name, got, l.Scale, rank, alpha/float64(rank))
			}
		}
		return s.Err()
	})
}

func TestPatternsAreSaved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "adapter")
	var saved *adapterfile.Adapter
	inScope(t, func(s *torch.Scope) error {
		m, err := loadModel(s, gemma3Dir(t))
		if err != nil {
			return err
		}
		a, err := New(s, m, patterned(), 1)
		if err != nil {
			return err
		}
		fillB(s, a)
		if saved, err = a.File(s, "base"); err != nil {
			return err
		}
		return a.Save(s, dir, "base")
	})
	read, err := adapterfile.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(saved.Modules, read.Modules); diff != "" {
		t.Errorf("modules (-saved +read):\n%s", diff)
	}
	inScope(t, func(s *torch.Scope) error {
		m, err := loadModel(s, gemma3Dir(t))
		if err != nil {
			return err
		}
		a, err := Load(s, m, dir)
		if err != nil {
			return err
		}
		again, err := a.File(s, "base")
		if diff := cmp.Diff(saved.Modules, again.Modules); diff != "" {
			t.Errorf("modules (-saved +loaded):\n%s", diff)
		}
		return err
	})
}

func TestPatternThatMatchesNothing(t *testing.T) {
	for want, edit := range map[string]func(*configs.LoRA){
		`rank_pattern: "qproj" matches none of the 42 adapted modules, did you mean "q_proj"?`: func(c *configs.LoRA) {
			c.RankPattern = configs.Pattern[int]{{Key: "qproj", Value: 2}}
		},
		`alpha_pattern: "layers.7.self_attn.v_proj" matches none of the 42 adapted modules, did you mean "layers.`: func(c *configs.LoRA) {
			c.AlphaPattern = configs.Pattern[float64]{{Key: "layers.7.self_attn.v_proj", Value: 2}}
		},
		`rank_pattern: "lm_head" matches none of the 6 adapted modules, such as "model.layers.0.self_attn.v_proj"`: func(c *configs.LoRA) {
			c.TargetModules, c.RankPattern = []string{"v_proj"}, configs.Pattern[int]{{Key: "lm_head", Value: 2}}
		},
		`rank_pattern: "(" is no regular expression`: func(c *configs.LoRA) { c.RankPattern = configs.Pattern[int]{{Key: "(", Value: 2}} },
	} {
		refused(t, edit, want)
	}
}

// TestGoldenAdapterThroughMLX: PEFT's adapters, turned into MLX's and read from there, still give PEFT's numbers.
func TestGoldenAdapterThroughMLX(t *testing.T) {
	for name, where := range adapterFolders(t) {
		t.Run(name, func(t *testing.T) {
			want := golden.Tensors(t, where[1])
			batch := golden.ForwardBatch(golden.Tensors(t, filepath.Join(where[2], "forward.safetensors")))
			file, err := adapterfile.Read(where[0])
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "mlx")
			if err := file.WriteMLX(dir); err != nil {
				t.Fatal(err)
			}
			inScope(t, func(s *torch.Scope) error {
				m, err := loadModel(s, filepath.Join(where[2], "model"))
				if err != nil {
					return err
				}
				if _, err := Load(s, m, dir); err != nil {
					return err
				}
				logits, _, err := forward(s, m, batch, false)
				golden.Near(t, "logits", logits, batch.At(want["logits"].Floats, int(m.Config.VocabSize)), 3e-5)
				return err
			})
		})
	}
}

// TestPaddedRanksAndFoldedScalesComputeTheSame: what MLX's format cannot say is written so that it changes nothing.
func TestPaddedRanksAndFoldedScalesComputeTheSame(t *testing.T) {
	batch := golden.ForwardBatch(golden.Tensors(t, filepath.Join(gemma3Dir(t), "..", "forward.safetensors")))
	for _, dora := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "mlx")
		var want []float32
		inScope(t, func(s *torch.Scope) error {
			m, err := loadModel(s, gemma3Dir(t))
			if err != nil {
				return err
			}
			c := patterned()
			c.UseDoRA, c.LayersToTransform = dora, []int{0, 1, 4}
			a, err := New(s, m, c, 1)
			if err != nil {
				return err
			}
			fillB(s, a)
			base, _, err := forward(s, m, batch, false)
			if err != nil {
				return err
			}
			want = base
			file, err := a.File(s, "base")
			if err != nil {
				return err
			}
			return file.WriteMLX(dir)
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
			if a.Config.Rank != 6 || a.LowestLayer() != 0 {
				t.Errorf("read rank %d from layer %d on, want the largest rank, 6, from 0", a.Config.Rank, a.LowestLayer())
			}
			got, _, err := forward(s, m, batch, false)
			golden.Near(t, "logits", got, want, 1e-5) // float32, sums of more terms
			return err
		})
	}
}

// TestStartFrom: an adapter to start from decides its shape and its numbers; what training needs is the configuration's.
func TestStartFrom(t *testing.T) {
	from := filepath.Join(gemma3Dir(t), "..", "rslora", "adapter")
	file, err := adapterfile.Read(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []configs.LoRA{
		{From: from, Dropout: 0.25, LoRAPlusLRRatio: 16},
		{From: from, Rank: file.Rank, Alpha: file.Alpha, UseRSLoRA: true, TargetModules: checkpoint.LinearModules(), LayersToTransform: []int{5, 4, 3, 2, 1, 0}},
		{From: from, TargetModules: []string{"all-linear"}, RankPattern: configs.Pattern[int]{{Key: ".*proj", Value: file.Rank}},
			AlphaPattern: configs.Pattern[float64]{{Key: "q_proj", Value: file.Alpha}}},
	} {
		inScope(t, func(s *torch.Scope) error {
			m, err := loadModel(s, gemma3Dir(t))
			if err != nil {
				return err
			}
			a, err := New(s, m, c, 1)
			if err != nil {
				return err
			}
			got, err := a.File(s, file.Base)
			if diff := cmp.Diff(file.Modules, got.Modules); diff != "" {
				t.Errorf("modules (-file +model):\n%s", diff)
			}
			if a.Config.Rank != file.Rank || !a.Config.UseRSLoRA || a.Config.Dropout != c.Dropout || a.Config.LoRAPlusLRRatio != c.LoRAPlusLRRatio {
				t.Errorf("settings are %+v", a.Config)
			}
			return err
		})
	}
}

func TestStartFromContradicted(t *testing.T) {
	from := filepath.Join(gemma3Dir(t), "..", "adapter") // rank 8, alpha 16, every module
	for _, tc := range []struct {
		config configs.LoRA
		want   []string
	}{
		{configs.LoRA{Rank: 16, Alpha: 32}, []string{"lora.rank is 16 in the configuration, in the adapter of lora.from (" + from + ") it is 8", "lora.alpha is 32 in"}},
		{configs.LoRA{UseRSLoRA: true, UseDoRA: true}, []string{"lora.use_rslora is true in", "lora.use_dora is true in"}},
		{configs.LoRA{TargetModules: []string{"q_proj"}}, []string{"lora.target_modules is [q_proj] in the configuration", "it is [q_proj k_proj v_proj"}},
		{configs.LoRA{LayersToTransform: []int{1, 2}}, []string{"lora.layers_to_transform is [1 2] in", "it is [0 1 2 3 4 5]"}},
		{configs.LoRA{RankPattern: configs.Pattern[int]{{Key: "v_proj", Value: 4}}}, []string{"lora.rank_pattern is 4 for model.layers.0.self_attn.v_proj in", "it is 8"}},
		{configs.LoRA{AlphaPattern: configs.Pattern[float64]{{Key: "v_proj", Value: 4}}}, []string{"lora.alpha_pattern is 4 for model.layers.0.self_attn.v_proj, a scale of 0.5 in", "it is 2"}},
		{configs.LoRA{RankPattern: configs.Pattern[int]{{Key: "vproj", Value: 8}}}, []string{`"vproj" matches none`}},
	} {
		tc.config.From = from
		err := torch.Run(func(s *torch.Scope) error {
			m, err := loadModel(s, gemma3Dir(t))
			if err != nil {
				return err
			}
			_, err = New(s, m, tc.config, 1)
			return err
		})
		for _, want := range tc.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		}
	}
	err := torch.Run(func(s *torch.Scope) error {
		m, err := loadModel(s, gemma3Dir(t))
		if err != nil {
			return err
		}
		_, err = New(s, m, configs.LoRA{From: "nowhere"}, 1)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "lora.from: nowhere: no such folder") {
		t.Errorf("got %v", err)
	}
}

// TestLoRAPlusOnlyReorders: the same adapter, its numbers in another order of the buffer.
func TestLoRAPlusOnlyReorders(t *testing.T) {
	for _, dora := range []bool{false, true} {
		var files []*adapterfile.Adapter
		var flats [][]byte
		for _, ratio := range []float64{0, 1, 16} {
			inScope(t, func(s *torch.Scope) error {
				m, err := loadModel(s, gemma3Dir(t))
				if err != nil {
					return err
				}
				c := loraConfig()
				c.UseDoRA, c.LoRAPlusLRRatio = dora, ratio
				a, err := New(s, m, c, 7)
				if err != nil {
					return err
				}
				file, err := a.File(s, "")
				files, flats = append(files, file), append(flats, s.ReadBytes(a.Flat.Data))

				parts := a.Parts(0.5)
				if ratio <= 1 {
					if parts != nil {
						t.Errorf("ratio %g has parts %v", ratio, parts)
					}
					return err
				}
				var sizeA int64
				for _, l := range a.Modules {
					sizeA += l.A.Len()
				}
				if want := []torch.Part{{Len: sizeA, LR: 0.5}, {Len: a.Parameters() - sizeA, LR: 8}}; !slices.Equal(parts, want) {
					t.Errorf("parts %v, want %v", parts, want)
				}
				return err
			})
		}
		if diff := cmp.Diff(files[0].Modules, files[2].Modules); diff != "" {
			t.Errorf("(-without +with LoRA+):\n%s", diff)
		}
		if !bytes.Equal(flats[0], flats[1]) || bytes.Equal(flats[0], flats[2]) {
			t.Error("ratio 1 must leave the buffer's order alone, and 16 put A first")
		}
	}
}
