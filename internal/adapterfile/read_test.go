package adapterfile

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tune/internal/bounded"
	"tune/internal/safetensors"
)

// folder is an adapter folder in the making.
type folder struct {
	config  map[string]any
	raw     string // instead of config
	weights string // name of the file
	tensors map[string]tensor
}

type tensor struct {
	dtype safetensors.DType
	shape []int64
	bits  []uint16 // of F16 and BF16; F32 counts up from 1
}

func f32(shape ...int64) tensor { return tensor{dtype: safetensors.F32, shape: shape} }

// write makes the folder and returns its path.
func (f folder) write(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	config := []byte(f.raw)
	if f.raw == "" {
		var err error
		if config, err = json.Marshal(f.config); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, configFile), config, 0o600); err != nil {
		t.Fatal(err)
	}
	var all []safetensors.Tensor
	for name, v := range f.tensors {
		n := int64(1)
		for _, d := range v.shape {
			n *= d
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = float32(i + 1)
		}
		one := tensorOf(name, values)
		if v.dtype != safetensors.F32 {
			one.Data = safetensors.FromBytes(make([]byte, n*v.dtype.Size()))
		}
		if v.bits != nil {
			b, err := binary.Append(nil, binary.LittleEndian, v.bits)
			if err != nil {
				t.Fatal(err)
			}
			one.Data = safetensors.FromBytes(b)
		}
		one.DType, one.Shape = v.dtype, v.shape
		all = append(all, one)
	}
	if err := safetensors.Write(filepath.Join(dir, f.weights), all, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

const q0, v1 = "base_model.model.model.layers.0.self_attn.q_proj", "base_model.model.model.layers.1.self_attn.v_proj"

// peftFolder is two modules of rank 2.
func peftFolder() folder {
	return folder{weights: peftWeights, config: map[string]any{"peft_type": "LORA", "r": 2, "lora_alpha": 6},
		tensors: map[string]tensor{q0 + ".lora_A.weight": f32(2, 3), q0 + ".lora_B.weight": f32(4, 2),
			v1 + ".lora_A.weight": f32(2, 3), v1 + ".lora_B.weight": f32(5, 2)}}
}

// rename changes a part of every tensor's name.
func (f folder) rename(from, to string) {
	for name, v := range f.tensors {
		delete(f.tensors, name)
		f.tensors[strings.ReplaceAll(name, from, to)] = v
	}
}

// TestReadsEveryPEFT: keys and names as versions and trainers have written them.
func TestReadsEveryPEFT(t *testing.T) {
	for name, edit := range map[string]func(*folder){
		"least":                func(*folder) {},
		"unknown keys":         func(f *folder) { f.config["peft_version"], f.config["new"] = "0.99", map[string]any{"a": 1} },
		"no key but peft_type": func(f *folder) { delete(f.config, "lora_alpha"); f.config["r"] = 2.0 },
		"list":                 func(f *folder) { f.config["target_modules"] = []string{"v_proj", "q_proj"} },
		"full names":           func(f *folder) { f.config["target_modules"] = []string{"model.layers.0.self_attn.q_proj", "v_proj"} },
		"all-linear":           func(f *folder) { f.config["target_modules"] = "all-linear" },
		"regular expression":   func(f *folder) { f.config["target_modules"] = `(?!.*vision).*\.(q|v)_proj` },
		"null":                 func(f *folder) { f.config["target_modules"] = nil },
		"one layer":            func(f *folder) { f.config["layers_to_transform"] = 1 },
		"adapter's name":       func(f *folder) { f.rename(".weight", ".default.weight") },
		"no prefix":            func(f *folder) { f.rename("base_model.model.", "") },
		"multimodal":           func(f *folder) { f.rename("model.model.layers", "model.model.language_model.layers") },
		"multimodal, older":    func(f *folder) { f.rename("model.model.layers", "model.language_model.model.layers") },
		"loftq began it": func(f *folder) {
			f.config["init_lora_weights"], f.config["loftq_config"] = "loftq", map[string]any{"b": 4}
		},
		"nothing to save":       func(f *folder) { f.config["modules_to_save"], f.config["layer_replication"] = []string{}, nil },
		"patterns of no module": func(f *folder) { f.config["rank_pattern"] = map[string]int{"k_proj": 9} },
	} {
		t.Run(name, func(t *testing.T) {
			f := peftFolder()
			edit(&f)
			a, err := Read(f.write(t))
			if err != nil {
				t.Fatal(err)
			}
			scale := 3.0
			if f.config["lora_alpha"] == nil {
				scale = 4 // PEFT's default of 8 over 2
			}
			q, v := a.Modules[0], a.Modules[1]
			if len(a.Modules) != 2 || q.Name != "model.layers.0.self_attn.q_proj" || v.Name != "model.layers.1.self_attn.v_proj" ||
				q.Rank != 2 || q.In != 3 || q.Out != 4 || v.Out != 5 || q.Scale != scale ||
				!slices.Equal(q.A, []float32{1, 2, 3, 4, 5, 6}) || !slices.Equal(a.TargetModules, []string{"q_proj", "v_proj"}) {
				t.Errorf("read %+v", a)
			}
			if a.Multimodal != strings.HasPrefix(name, "multimodal") {
				t.Errorf("multimodal %v", a.Multimodal)
			}
		})
	}
}

// TestPatternsDecideRankAndScale: the first pattern that matches wins, and a module's scale is of its own rank.
func TestPatternsDecideRankAndScale(t *testing.T) {
	f := peftFolder()
	f.raw = `{"peft_type": "LORA", "r": 2, "lora_alpha": 6, "use_rslora": false,
		"rank_pattern": {"layers.1.self_attn.v_proj": 1, "v_proj": 7}, "alpha_pattern": {"v_proj": 5, "layers.1.*": 9}}`
	f.tensors[v1+".lora_A.weight"], f.tensors[v1+".lora_B.weight"] = f32(1, 3), f32(5, 1)
	a, err := Read(f.write(t))
	if err != nil {
		t.Fatal(err)
	}
	if q, v := a.Modules[0], a.Modules[1]; q.Scale != 3 || v.Rank != 1 || v.Scale != 5 {
		t.Errorf("q has scale %g, v rank %d and scale %g; want 3, 1 and 5", q.Scale, v.Rank, v.Scale)
	}
	if a.RankPattern["v_proj"] != 7 || a.AlphaPattern["layers.1.*"] != 9 {
		t.Errorf("patterns %v and %v", a.RankPattern, a.AlphaPattern)
	}
}

func TestReadsHalfPrecision(t *testing.T) {
	f := peftFolder()
	f.tensors[q0+".lora_A.weight"] = tensor{safetensors.F16, []int64{2, 3}, []uint16{0x3c00, 0xc000, 0x3800, 0, 1, 0x7bff}}
	f.tensors[q0+".lora_B.weight"] = tensor{safetensors.BF16, []int64{4, 2}, []uint16{0x3f80, 0xc000, 0x3f00, 0, 0, 0, 0, 0x4049}}
	a, err := Read(f.write(t))
	if err != nil {
		t.Fatal(err)
	}
	if m := a.Modules[0]; !slices.Equal(m.A, []float32{1, -2, 0.5, 0, 0x1p-24, 65504}) ||
		!slices.Equal(m.B, []float32{1, -2, 0.5, 0, 0, 0, 0, 3.140625}) {
		t.Errorf("A is %v, B %v", m.A, m.B)
	}
}

// TestReadsDoRA: the magnitude's four names.
func TestReadsDoRA(t *testing.T) {
	for _, suffix := range []string{"", ".weight", ".default", ".default.weight"} {
		f := peftFolder()
		f.config["use_dora"] = true
		f.tensors[q0+".lora_magnitude_vector"+suffix], f.tensors[v1+".lora_magnitude_vector"+suffix] = f32(4), f32(5)
		a, err := Read(f.write(t))
		if err != nil {
			t.Errorf("%q: %v", suffix, err)
		} else if !a.UseDoRA || !slices.Equal(a.Modules[0].Magnitude, []float32{1, 2, 3, 4}) {
			t.Errorf("%q: magnitude %v", suffix, a.Modules[0].Magnitude)
		}
	}
}

// TestReadPEFTRefuses: each error names its file and what is wrong in it.
func TestReadPEFTRefuses(t *testing.T) {
	set := func(key string, value any) func(*folder) { return func(f *folder) { f.config[key] = value } }
	put := func(name string, v tensor) func(*folder) { return func(f *folder) { f.tensors[name] = v } }
	for _, tc := range []struct {
		edit func(*folder)
		file string
		want string
	}{
		{set("peft_type", "IA3"), configFile, `peft_type: want LORA, got "IA3"`},
		{set("peft_type", nil), configFile, `peft_type: want LORA, got "nothing"`},
		{set("modules_to_save", []string{"lm_head"}), configFile, `modules_to_save: not supported, has ["lm_head"]: it keeps whole modules`},
		{set("trainable_token_indices", []int{1}), configFile, "trainable_token_indices: not supported, has [1]: it changes rows"},
		{set("target_parameters", []string{"experts"}), configFile, "target_parameters: not supported"},
		{set("layer_replication", [][]int{{0, 4}}), configFile, "layer_replication: not supported"},
		{set("lora_bias", true), configFile, "lora_bias: not supported"},
		{set("fan_in_fan_out", true), configFile, "fan_in_fan_out: not supported"},
		{set("use_qalora", true), configFile, "use_qalora: not supported"},
		{set("alora_invocation_tokens", []int{5}), configFile, "alora_invocation_tokens: not supported"},
		{set("arrow_config", map[string]any{"top_k": 3}), configFile, "arrow_config: not supported"},
		{set("megatron_config", map[string]any{"a": 1}), configFile, "megatron_config: not supported"},
		{set("init_lora_weights", "pissa_niter_4"), configFile, `init_lora_weights: not supported, has "pissa_niter_4"`},
		{set("init_lora_weights", "olora"), configFile, "init_lora_weights: not supported"},
		{set("bias", "lora_only"), configFile, `bias: want none, got "lora_only"`},
		{set("r", 0), configFile, "r: must be from 1 to 65536, got 0"},
		{set("r", 1<<40), configFile, "r: must be from 1 to 65536, got 1099511627776"},
		{set("r", 2.5), configFile, "r: want a whole number, got 2.5"},
		{set("r", "8"), configFile, `r: want a whole number, got "8"`},
		{set("lora_dropout", 1), configFile, "lora_dropout: must be from 0 to below 1, got 1"},
		{set("lora_alpha", []int{}), configFile, "lora_alpha: want a number, got []"},
		{set("use_dora", "yes"), configFile, `use_dora: want true or false, got "yes"`},
		{set("rank_pattern", map[string]any{"q_proj": 0}), configFile, `rank_pattern: "q_proj": must be a whole number from 1 to 65536, got 0`},
		{set("rank_pattern", map[string]any{"(q": 2}), configFile, `rank_pattern: "(q" is no regular expression`},
		{set("rank_pattern", []int{1}), configFile, "rank_pattern: want an object of numbers, got [1]"},
		{set("alpha_pattern", map[string]any{"q": "x"}), configFile, `alpha_pattern: "q": want a number`},
		{set("layers_to_transform", "all"), configFile, `layers_to_transform: want a list of whole numbers, got "all"`},
		{set("target_modules", 3), configFile, "target_modules: want a text or a list of texts, got 3"},
		{set("target_modules", []string{"q_proj"}), peftWeights, v1 + ".lora_A.weight: target_modules in adapter_config.json does not name"},
		{func(f *folder) { f.raw = `{"peft_type": "LORA", "lora_alpha": NaN}` }, configFile, "not valid JSON: invalid character 'N'"},
		{func(f *folder) { f.raw = `[1]` }, configFile, "want a JSON object, got a array"},
		{func(f *folder) { f.raw = `null` }, configFile, "want a JSON object, got null"},
		{func(f *folder) { f.raw = `{"peft_type": "LORA", "lora_alpha": 1e999}` }, configFile, "lora_alpha: want a number, got 1e999"},
		{set("r", 3), peftWeights, q0 + ".lora_A.weight has shape [2 3], with the rank in adapter_config.json want [3 3]"},
		{set("rank_pattern", map[string]any{"v_proj": 1}), peftWeights, v1 + ".lora_A.weight has shape [2 3], with the rank in adapter_config.json want [1 3]"},
		{put(q0+".lora_B.weight", f32(4, 3)), peftWeights, q0 + ".lora_B.weight has shape [4 3], with the rank in adapter_config.json want [4 2]"},
		{put(q0+".lora_A.weight", f32(2, 3, 1)), peftWeights, q0 + ".lora_A.weight has shape [2 3 1], want 2 sizes above 0"},
		{put(q0+".lora_A.weight", f32(2, 0)), peftWeights, q0 + ".lora_A.weight has shape [2 0], want 2 sizes above 0"},
		{put(q0+".lora_A.weight", tensor{dtype: safetensors.I64, shape: []int64{2, 3}}), peftWeights, q0 + ".lora_A.weight has dtype I64"},
		{func(f *folder) { delete(f.tensors, q0+".lora_B.weight") }, peftWeights, "tensor " + q0 + ".lora_B.weight is missing"},
		{func(f *folder) { delete(f.tensors, q0+".lora_A.weight") }, peftWeights, "tensor " + q0 + ".lora_A.weight is missing"},
		{func(f *folder) { f.tensors = nil }, peftWeights, "holds no tensor"},
		{set("use_dora", true), peftWeights, q0 + ".lora_magnitude_vector is missing"},
		{put(q0+".lora_magnitude_vector", f32(4)), peftWeights, "is not part of an adapter with use_dora false"},
		{put("base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight", f32(2, 3)), peftWeights, "names the module model.layers.0.self_attn.q_proj a second time"},
		{put(q0+".lora_A.default.weight", f32(2, 3)), peftWeights, "says the same as " + q0 + ".lora_A.default.weight"},
		{func(f *folder) {
			f.rename(".weight", ".one.weight")
			f.tensors["base_model.model.model.layers.2.self_attn.q_proj.lora_A.two.weight"] = f32(2, 3)
		}, peftWeights, `is of the adapter "two"`},
		{put("base_model.model.model.embed_tokens.lora_embedding_A", f32(2, 3)), peftWeights, "adapts the embedding, which in Gemma is the head too"},
		{put("base_model.model.lm_head.lora_A.weight", f32(2, 3)), peftWeights, "adapts the head, which in Gemma is the embedding too"},
		{put("base_model.model.model.embed_tokens.weight", f32(9, 3)), peftWeights, "model.embed_tokens.weight is no LoRA tensor"},
		{put(q0+".lora_B.bias", f32(4)), peftWeights, q0 + ".lora_B.bias is a bias"},
		{put(q0+".lora_C.weight", f32(4)), peftWeights, `has an unknown part "lora_C"`},
		{put(q0+".lora_A.x.y.weight", f32(4)), peftWeights, "has more than an adapter's name behind lora_A"},
		{put(q0+".lora_A", f32(2, 3)), peftWeights, "does not end with .weight"},
		{put("base_model.model.model.vision_tower.encoder.layers.0.self_attn.q_proj.lora_A.weight", f32(2, 3)), peftWeights, "belongs to no linear module"},
		{put("base_model.model.model.layers.-1.self_attn.q_proj.lora_A.weight", f32(2, 3)), peftWeights, "belongs to no linear module"},
		{put("base_model.model.model.layers.0.mlp.q_proj.lora_A.weight", f32(2, 3)), peftWeights, "belongs to no linear module"},
		{put("lora_A.weight", f32(2, 3)), peftWeights, "is no LoRA tensor"},
	} {
		f := peftFolder()
		tc.edit(&f)
		dir := f.write(t)
		_, err := Read(dir)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), filepath.Join(dir, tc.file)) {
			t.Errorf("got %v\nwant %s: ... %s", err, tc.file, tc.want)
		}
	}
}

// TestReadPEFTListsEveryProblem of the settings at once.
func TestReadPEFTListsEveryProblem(t *testing.T) {
	f := peftFolder()
	f.config["r"], f.config["lora_bias"], f.config["bias"] = 0, true, "all"
	_, err := Read(f.write(t))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("got %v, want three lines", err)
	}
}

func TestReadTellsOtherFolders(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := func(text string) error {
		t.Helper()
		_, err := Read(dir)
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want %q", err, text)
		}
		return err
	}
	if err := want(configFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: %v is not fs.ErrNotExist", err)
	}
	file(configFile, `{"peft_type": "LORA", "r": 2}`)
	want("has neither adapter_model.safetensors (PEFT) nor adapters.safetensors (MLX)")
	file(mlxNPZ, "")
	want("adapters.npz: the format of the first mlx-lm versions")
	file(peftPickle, "\x80\x02c__builtin__\nexec\n")
	want("adapter_model.bin: a pickle can run any code when it is opened")
	if _, err := ReadPEFT(dir); err == nil || !strings.Contains(err.Error(), "weights_only=True") {
		t.Errorf("got %v, want the line that converts", err)
	}
	file(peftWeights, "truncated")
	want("adapter_model.safetensors: header of")
	file(mlxWeights, "") // both: peft_type decides
	want("adapter_model.safetensors: header of")
	file(configFile, `{"lora_parameters": {"rank": 2, "scale": 1}}`)
	want("adapters.safetensors: 0 bytes are too few")
}

// TestTruncatedFiles: whatever is missing at the end, the error names the file.
func TestTruncatedFiles(t *testing.T) {
	dir := peftFolder().write(t)
	path := filepath.Join(dir, peftWeights)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(whole); n += 7 {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), path) {
			t.Fatalf("%d of %d bytes: got %v", n, len(whole), err)
		}
	}
}

const mq0, mv1 = "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj"

// mlxFolder is the two modules of peftFolder as mlx-lm has them.
func mlxFolder() folder {
	return folder{weights: mlxWeights, config: map[string]any{"fine_tune_type": "lora", "num_layers": 16, "model": "google/gemma-3-270m",
		"lora_parameters": map[string]any{"rank": 2, "scale": 20.0, "dropout": 0.05, "keys": []string{"self_attn.q_proj", "self_attn.v_proj"}}},
		tensors: map[string]tensor{mq0 + ".lora_a": f32(3, 2), mq0 + ".lora_b": f32(2, 4), mv1 + ".lora_a": f32(3, 2), mv1 + ".lora_b": f32(2, 5)}}
}

// lora changes one of lora_parameters.
func lora(key string, value any) func(*folder) {
	return func(f *folder) { f.config["lora_parameters"].(map[string]any)[key] = value }
}

func TestReadsEveryMLX(t *testing.T) {
	for name, edit := range map[string]func(*folder){
		"today":      func(*folder) {},
		"older":      func(f *folder) { delete(f.config, "fine_tune_type"); lora("alpha", 16)(f) },
		"oldest":     func(f *folder) { delete(f.config, "fine_tune_type"); f.config["lora_layers"] = 16; lora("alpha", 2)(f) },
		"no rank":    lora("rank", nil),
		"multimodal": func(f *folder) { f.rename("model.layers", "language_model.model.layers") },
		"half":       func(f *folder) { f.tensors[mv1+".lora_a"] = tensor{dtype: safetensors.BF16, shape: []int64{3, 2}} },
	} {
		f := mlxFolder()
		edit(&f)
		a, err := Read(f.write(t))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		q := a.Modules[0]
		if q.Name != mq0 || q.Rank != 2 || q.In != 3 || q.Out != 4 || q.Scale != 20 || a.Rank != 2 || a.Alpha != 40 || a.Dropout != 0.05 ||
			!slices.Equal(q.A, []float32{1, 3, 5, 2, 4, 6}) || !slices.Equal(q.B, []float32{1, 5, 2, 6, 3, 7, 4, 8}) ||
			a.Base != "google/gemma-3-270m" || a.Multimodal != (name == "multimodal") {
			t.Errorf("%s: read %+v", name, a)
		}
	}
}

func TestReadMLXRefuses(t *testing.T) {
	put := func(name string, v tensor) func(*folder) { return func(f *folder) { f.tensors[name] = v } }
	for _, tc := range []struct {
		edit func(*folder)
		file string
		want string
	}{
		{func(f *folder) { f.config["fine_tune_type"] = "full" }, configFile, "fine_tune_type: full: the file holds whole weights"},
		{func(f *folder) { f.config["fine_tune_type"] = "ia3" }, configFile, `fine_tune_type: want lora or dora, got "ia3"`},
		{func(f *folder) { delete(f.config, "lora_parameters") }, configFile, "lora_parameters: is missing"},
		{lora("scale", nil), configFile, "lora_parameters.scale: is missing"},
		{lora("scale", "20"), configFile, `lora_parameters.scale: want a number, got "20"`},
		{lora("rank", 0), configFile, "lora_parameters.rank: must be from 1 to 65536, got 0"},
		{lora("dropout", 1), configFile, "lora_parameters.dropout: must be from 0 to below 1, got 1"},
		{func(f *folder) { f.config["lora_layers"] = 8; lora("alpha", 16)(f) }, configFile, "set scale to what it should be: 160 was meant then"},
		{lora("rank", 4), mlxWeights, "has rank 2, want 4"},
		{put(mv1+".lora_b", f32(3, 5)), mlxWeights, mv1 + ".lora_b has shape [3 5] beside lora_a's [3 2]"},
		{put(mv1+".m", f32(5)), mlxWeights, mv1 + ".m is not part of an adapter with fine_tune_type lora"},
		{func(f *folder) { delete(f.tensors, mv1+".lora_b") }, mlxWeights, mv1 + ".lora_b is missing"},
		{func(f *folder) { f.config["fine_tune_type"] = "dora" }, mlxWeights, ".m is missing"},
		{put("model.embed_tokens.lora_a", f32(3, 2)), mlxWeights, "model.embed_tokens.lora_a belongs to no linear module"},
		{put(mq0+".weight", f32(3, 2)), mlxWeights, mq0 + ".weight belongs to no linear module"},
		{put("lora_a", f32(3, 2)), mlxWeights, "tensor lora_a belongs to no linear module"},
		{put("language_model."+mq0+".lora_a", f32(3, 2)), mlxWeights, "a second time"},
		{func(f *folder) { f.tensors = nil }, mlxWeights, "holds no tensor"},
		{put(mv1+".lora_a", f32(6)), mlxWeights, mv1 + ".lora_a has shape [6], want 2 sizes"},
	} {
		f := mlxFolder()
		tc.edit(&f)
		dir := f.write(t)
		_, err := Read(dir)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), filepath.Join(dir, tc.file)) {
			t.Errorf("got %v\nwant %s: ... %s", err, tc.file, tc.want)
		}
	}
}

// FuzzReadConfig: any settings give an adapter or an error that names the file, and never a panic.
func FuzzReadConfig(f *testing.F) {
	for _, c := range []folder{peftFolder(), mlxFolder()} {
		b, _ := json.Marshal(c.config)
		f.Add(b)
	}
	f.Add([]byte(`{"peft_type":"LORA","r":1e9,"rank_pattern":{"a":{}},"target_modules":[1]}`))
	f.Add([]byte(`{"lora_parameters":{"rank":-1,"scale":1e308,"alpha":[]},"lora_layers":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), configFile)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		// An error of one key shows a part of its value.
		bounded.Run(t, len(b), 1000, func() {
			if _, err := readPEFTConfig(path); err != nil && !strings.HasPrefix(err.Error(), path) {
				t.Fatalf("PEFT: %v", err)
			}
			if _, _, err := readMLXConfig(path); err != nil && !strings.HasPrefix(err.Error(), path) {
				t.Fatalf("MLX: %v", err)
			}
		})
	})
}

// FuzzReadWeights: whatever the file of numbers holds, PEFT's or MLX's, it is refused or fits what the config says. What
// was read and written comes back the same.
func FuzzReadWeights(f *testing.F) {
	golden, err := filepath.Glob("../../testdata/golden/*/adapter/adapter_model.safetensors")
	if err != nil || len(golden) == 0 {
		f.Fatal(golden, err)
	}
	for _, path := range golden {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:min(len(b), 16<<10)], false)
	}
	read := map[bool]func(string) (*Adapter, error){false: ReadPEFT, true: ReadMLX}
	write := map[bool]func(*Adapter, string) error{
		false: func(a *Adapter, dir string) error { return a.WritePEFT(dir, PEFTOptions{Multimodal: a.Multimodal}) },
		true:  (*Adapter).WriteMLX,
	}
	dirs := map[bool]string{}
	for mlx, from := range map[bool]folder{false: peftFolder(), true: mlxFolder()} {
		dirs[mlx] = from.write(f)
		b, err := os.ReadFile(filepath.Join(dirs[mlx], from.weights))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, mlx)
	}
	again := filepath.Join(f.TempDir(), "again")
	// A short header is decoded into maps and structs; its error shows a part of it. Numbers of bfloat16 are doubled.
	const multiple = 500
	f.Fuzz(func(t *testing.T, b []byte, mlx bool) {
		path := filepath.Join(dirs[mlx], map[bool]string{false: peftWeights, true: mlxWeights}[mlx])
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		var a *Adapter
		var err error
		bounded.Run(t, len(b), multiple, func() { a, err = read[mlx](dirs[mlx]) })
		if err != nil {
			if !strings.HasPrefix(err.Error(), path) {
				t.Fatalf("an error without its file: %v", err)
			}
			return
		}
		for _, m := range a.Modules {
			if len(m.A) != m.Rank*m.In || len(m.B) != m.Out*m.Rank {
				t.Fatalf("%s: %d and %d numbers, rank %d, %d to %d", m.Name, len(m.A), len(m.B), m.Rank, m.In, m.Out)
			}
		}
		if a.check() != nil {
			return // such as a side of 0
		}
		if err := write[mlx](a, again); err != nil {
			t.Fatal(err)
		}
		back, err := read[mlx](again)
		if err != nil {
			t.Fatal(err)
		}
		// Bit for bit, since a NaN equals nothing; what says how an adapter came to be may be spelled otherwise.
		bits := cmp.Comparer(func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
		if diff := cmp.Diff(a.Modules, back.Modules, bits); diff != "" {
			t.Fatalf("(-read +written):\n%s", diff)
		}
	})
}

// TestReadSaysWhatIsThereInstead: the folder or file that was likely meant, and what to do with it.
func TestReadSaysWhatIsThereInstead(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"lora.gguf": "GGUF", "notes.txt": "", "model/config.json": "{}",
		"run/adapter/adapter_config.json": "{}", "empty/notes.txt": ""} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		path, want, hint string
		missing          bool
	}{
		{"nowhere", "nowhere: no such folder", "PEFT's or MLX's", true},
		{"lora.gguf", "lora.gguf: is a GGUF file, want an adapter folder", "tune import lora.gguf", false},
		{"notes.txt", "notes.txt: is a file, want an adapter folder", "", false},
		{"model", "model: is a model folder, want an adapter", "", false},
		{"run", "run: has no adapter_config.json, want an adapter folder", "did you mean " + filepath.Join("run", "adapter"), false},
		{"empty", "empty: has no adapter_config.json, want an adapter folder", "PEFT's or MLX's", true},
	} {
		_, err := Read(tc.path)
		no, ok := errors.AsType[*NoAdapterError](err)
		if !ok || err.Error() != tc.want || !strings.Contains(no.Hint, tc.hint) || errors.Is(err, fs.ErrNotExist) != tc.missing {
			t.Errorf("%s: got %v (%+v), want %s with the hint %q, missing %v", tc.path, err, no, tc.want, tc.hint, tc.missing)
		}
	}
}
