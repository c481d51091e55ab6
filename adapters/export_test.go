package adapters

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/adapterfile"
	"tune/internal/checkpoint"
	"tune/internal/golden"
	"tune/internal/model"
	"tune/internal/safetensors"
	"tune/internal/torch"
)

// readNumbers reads an adapter as numbers.
func readNumbers(t *testing.T, dir string) *adapterfile.Adapter {
	t.Helper()
	a, err := adapterfile.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// openMerged opens a model with an adapter, or none, until the test ends.
func openMerged(t *testing.T, dir string, adapter *adapterfile.Adapter) *Merged {
	t.Helper()
	m, err := OpenMerged(dir, adapter)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// saveMerged writes a merged model to a new folder.
func saveMerged(t *testing.T, base string, adapter *adapterfile.Adapter, dtype safetensors.DType) string {
	t.Helper()
	dir := t.TempDir()
	if err := openMerged(t, base, adapter).Save(t.Context(), dir, dtype); err != nil {
		t.Fatal(err)
	}
	return dir
}

// inPieces has weights computed a few rows at a time, as those of a large model are.
func inPieces(t *testing.T) {
	before := pieceElements
	pieceElements = 1000
	t.Cleanup(func() { pieceElements = before })
}

// checkLogits compares the model in dir, with an adapter where one is named, with what PEFT computed for a reference
// adapter. tolerance is in logits, which are up to 3.
func checkLogits(t *testing.T, dir, adapter string, where [3]string, dtype torch.DType, tolerance float64) {
	t.Helper()
	want := golden.Tensors(t, where[1])
	batch := golden.ForwardBatch(golden.Tensors(t, filepath.Join(where[2], "forward.safetensors")))
	inScope(t, func(s *torch.Scope) error {
		m, err := model.Load(s, dir, model.Options{DType: dtype, Device: torch.CPU})
		if err != nil {
			return err
		}
		if adapter != "" {
			if _, err := Load(s, m, adapter); err != nil {
				return err
			}
		}
		logits, _, err := forward(s, m, batch, false)
		golden.Near(t, "logits", logits, batch.At(want["logits"].Floats, int(m.Config.VocabSize)), tolerance)
		return err
	})
}

func TestMergedFilesGiveTheAdaptersLogits(t *testing.T) {
	inPieces(t)
	for name, where := range adapterFolders(t) {
		t.Run(name, func(t *testing.T) {
			dir := saveMerged(t, filepath.Join(where[2], "model"), readNumbers(t, where[0]), safetensors.F32)
			checkLogits(t, dir, "", where, torch.Float32, 5e-5) // testdata/golden/README.md, merged weights
		})
	}
}

// TestMergedInBFloat16: the sums are rounded once, after everything else. In these models, whose weights are large
// beside their number, rounding to 8 bits moves logits by up to 0.06; a merge that lost the adapter would move them
// by more than 1.
func TestMergedInBFloat16(t *testing.T) {
	for name, where := range adapterFolders(t) {
		t.Run(name, func(t *testing.T) {
			base, adapter := filepath.Join(where[2], "model"), readNumbers(t, where[0])
			dir := saveMerged(t, base, adapter, safetensors.BF16)
			checkLogits(t, dir, "", where, torch.Float32, 0.1)
			exact := golden.Tensors(t, onlyFile(t, saveMerged(t, base, adapter, safetensors.F32)))
			rounded := golden.Tensors(t, onlyFile(t, dir))
			for tensor := range exact {
				b := make([]byte, 2*len(exact[tensor].Floats))
				safetensors.F32ToBF16(b, exact[tensor].Floats)
				want := make([]float32, len(exact[tensor].Floats))
				safetensors.BF16ToF32(want, b)
				if !slices.Equal(rounded[tensor].Floats, want) {
					t.Errorf("%s is not the float32 sum, rounded", tensor)
				}
			}
		})
	}
}

// TestMergedFilesAreTheMergedModel: the files hold what Adapter.Merge makes of the model in memory.
func TestMergedFilesAreTheMergedModel(t *testing.T) {
	inPieces(t)
	for name, where := range adapterFolders(t) {
		t.Run(name, func(t *testing.T) {
			base := filepath.Join(where[2], "model")
			saved := golden.Tensors(t, onlyFile(t, saveMerged(t, base, readNumbers(t, where[0]), safetensors.F32)))
			inScope(t, func(s *torch.Scope) error {
				m, err := loadModel(s, base)
				if err != nil {
					return err
				}
				a, err := Load(s, m, where[0])
				if err != nil {
					return err
				}
				if err := a.Merge(s); err != nil {
					return err
				}
				for _, p := range m.Parameters() {
					// Products of other sizes are added in another order.
					golden.Near(t, p.Name, saved[p.Name].Floats, s.ReadFloat32s(*p.Field), 1e-6)
				}
				return s.Err()
			})
		})
	}
}

// onlyFile joins the shards of a model into one file with the text model's names, for comparisons.
func onlyFile(t *testing.T, dir string) string {
	t.Helper()
	set, err := safetensors.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	var tensors []safetensors.Tensor
	for _, name := range set.Names() {
		if plain, text := checkpoint.PlainName(name); text {
			info, _ := set.Info(name)
			data, _ := set.Bytes(name)
			tensors = append(tensors, safetensors.Tensor{Name: plain, DType: info.DType, Shape: info.Shape, Data: safetensors.FromBytes(data)})
		}
	}
	path := filepath.Join(t.TempDir(), "one.safetensors")
	if err := safetensors.Write(path, tensors, nil); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMergedIsShardedLikeItsBase: the multimodal checkpoint keeps its two files, its names, its image tower and its
// settings; only the adapted weights change.
func TestMergedIsShardedLikeItsBase(t *testing.T) {
	base := filepath.Join(golden.Dir(t), "gemma3_mm", "model")
	adapter := readNumbers(t, filepath.Join(base, "..", "adapter"))
	merged, told, dir := openMerged(t, base, adapter), int64(0), t.TempDir()
	merged.Progress = func(numbers int64) { told += numbers }
	if err := merged.Save(t.Context(), dir, ""); err != nil {
		t.Fatal(err)
	}
	if told != merged.Len() {
		t.Errorf("told of %d numbers, the files have %d", told, merged.Len())
	}

	if got, want := fileNames(t, dir), fileNames(t, base); !slices.Equal(got, want) {
		t.Errorf("files %v, want those of the base %v", got, want)
	}
	for _, name := range []string{"config.json", safetensors.IndexFileName} {
		if got, want := jsonOf(t, dir, name), jsonOf(t, base, name); got != want {
			t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
		}
	}
	adapted := map[string]bool{}
	for _, m := range adapter.Modules {
		adapted[m.Name+".weight"] = true
	}
	kept := 0
	for _, name := range fileNames(t, base) {
		if filepath.Ext(name) != ".safetensors" {
			continue
		}
		was, is := openFile(t, filepath.Join(base, name)), openFile(t, filepath.Join(dir, name))
		if !slices.Equal(was.Names(), is.Names()) || !maps.Equal(was.Metadata(), is.Metadata()) {
			t.Errorf("%s holds %v %v, in the base %v %v", name, is.Names(), is.Metadata(), was.Names(), was.Metadata())
		}
		for _, tensor := range was.Names() {
			before, _ := was.Info(tensor)
			after, _ := is.Info(tensor)
			if before.DType != after.DType || !slices.Equal(before.Shape, after.Shape) {
				t.Errorf("%s is %v %v, in the base %v %v", tensor, after.DType, after.Shape, before.DType, before.Shape)
			}
			a, _ := was.Bytes(tensor)
			b, _ := is.Bytes(tensor)
			plain, text := checkpoint.PlainName(tensor)
			if same := bytes.Equal(a, b); same == (text && adapted[plain]) {
				t.Errorf("%s: unchanged %v", tensor, same)
			}
			if !text {
				kept++
			}
		}
	}
	if kept == 0 {
		t.Error("the base has no image tower: this test compares nothing")
	}
}

// TestMergedInAnotherDType: every float tensor is converted, the image tower's too, and the settings say so.
func TestMergedInAnotherDType(t *testing.T) {
	inPieces(t)
	base := filepath.Join(golden.Dir(t), "gemma3_mm", "model")
	dir := saveMerged(t, base, nil, safetensors.F32)
	set, err := safetensors.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	original, err := safetensors.OpenDir(base)
	if err != nil {
		t.Fatal(err)
	}
	defer original.Close()
	total := int64(0)
	for _, name := range original.Names() {
		info, _ := set.Info(name)
		if info.DType != safetensors.F32 {
			t.Errorf("%s is %s, want F32", name, info.DType)
		}
		total += info.NumBytes()
		stored, _ := original.Bytes(name)
		want := make([]float32, len(stored)/2)
		safetensors.BF16ToF32(want, stored)
		back, _ := set.Bytes(name)
		narrow := make([]byte, len(stored))
		safetensors.F32ToBF16(narrow, floatsOf(back))
		if !slices.Equal(floatsOf(back), want) || !bytes.Equal(narrow, stored) {
			t.Errorf("%s: the numbers changed", name)
		}
	}
	var index struct {
		Metadata struct {
			TotalSize int64 `json:"total_size"`
		}
	}
	golden.JSON(t, filepath.Join(dir, safetensors.IndexFileName), &index)
	if index.Metadata.TotalSize != total {
		t.Errorf("total_size is %d, the tensors have %d bytes", index.Metadata.TotalSize, total)
	}
	if config := jsonOf(t, dir, "config.json"); strings.Contains(config, `"bfloat16"`) || !strings.Contains(config, `"torch_dtype": "float32"`) {
		t.Errorf("config.json still speaks of the old dtype:\n%s", config)
	}
	if _, err := checkpoint.ReadConfig(dir); err != nil {
		t.Error(err)
	}
}

// TestConfigOfAnotherDType: both spellings are changed, in the parts of a multimodal config too, and numbers stay as
// they are spelled.
func TestConfigOfAnotherDType(t *testing.T) {
	for was, want := range map[string]string{
		`{"torch_dtype": "bfloat16", "text_config": {"torch_dtype": "bfloat16", "rope_theta": 1000000.0}}`: `{"text_config":{"rope_theta":1000000.0,"torch_dtype":"float32"},"torch_dtype":"float32"}`,
		`{"dtype": "bfloat16", "vision_config": {"dtype": "bfloat16"}}`:                                    `{"dtype":"float32","vision_config":{"dtype":"float32"}}`,
		`{"layers": [1]}`: `{"layers":[1],"torch_dtype":"float32"}`,
	} {
		dir := t.TempDir()
		m := Merged{config: &checkpoint.Config{Raw: []byte(was)}}
		if err := m.saveConfig(dir, safetensors.F32); err != nil {
			t.Fatal(err)
		}
		written, err := os.ReadFile(filepath.Join(dir, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := json.Compact(&got, written); err != nil || got.String() != want {
			t.Errorf("%s became %s, want %s (%v)", was, got.String(), want, err)
		}
	}
}

// TestReadGivesMergedWeights: what a converter reads is what Save writes.
func TestReadGivesMergedWeights(t *testing.T) {
	inPieces(t)
	base := filepath.Join(golden.Dir(t), "gemma3_mm", "model")
	adapter := readNumbers(t, filepath.Join(base, "..", "adapter"))
	saved := golden.Tensors(t, onlyFile(t, saveMerged(t, base, adapter, safetensors.F32)))
	m := openMerged(t, base, adapter)
	if m.DType() != safetensors.BF16 {
		t.Errorf("dtype %s, want BF16", m.DType())
	}
	told := int64(0)
	m.Progress = func(numbers int64) { told += numbers }
	for _, w := range m.Config().Weights() {
		var got []float32
		err := m.Read(t.Context(), w.Name, func(piece []float32) error {
			got = append(got, piece...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, saved[w.Name].Floats) {
			t.Errorf("%s: the numbers differ", w.Name)
		}
	}
	if want := m.Config().Count(); told != want {
		t.Errorf("told of %d numbers, the model has %d", told, want)
	}
	wrong := m.Read(t.Context(), "model.layers.9.mlp.up_proj.weight", func([]float32) error { return nil })
	if wrong == nil || !strings.Contains(wrong.Error(), "weight model.layers.9.mlp.up_proj.weight is missing") {
		t.Errorf("got %v", wrong)
	}
}

// TestAdapterThroughMLX: an adapter that went through mlx-lm's files gives PEFT's logits.
func TestAdapterThroughMLX(t *testing.T) {
	for name, where := range adapterFolders(t) {
		t.Run(name, func(t *testing.T) {
			there, back := filepath.Join(t.TempDir(), "mlx"), filepath.Join(t.TempDir(), "peft")
			if err := readNumbers(t, where[0]).WriteMLX(there); err != nil {
				t.Fatal(err)
			}
			if err := readNumbers(t, there).WritePEFT(back, adapterfile.PEFTOptions{}); err != nil {
				t.Fatal(err)
			}
			checkLogits(t, filepath.Join(where[2], "model"), back, where, torch.Float32, 3e-5) // as PEFT's own files
		})
	}
}

func TestOpenMergedRefuses(t *testing.T) {
	dir := filepath.Join(golden.Dir(t), "gemma3")
	adapter := func() *adapterfile.Adapter { return readNumbers(t, filepath.Join(dir, "adapter")) }
	for want, make := range map[string]func(t *testing.T) (string, *adapterfile.Adapter){
		"the adapter is for another model: model.layers.6.self_attn.q_proj is no linear layer of this Gemma3ForCausalLM with 6 layers": func(*testing.T) (string, *adapterfile.Adapter) {
			a := adapter()
			a.Modules[0].Name = "model.layers.6.self_attn.q_proj"
			return filepath.Join(dir, "model"), a
		},
		"model.layers.0.self_attn.q_proj maps 60 numbers to": func(*testing.T) (string, *adapterfile.Adapter) {
			a := adapter()
			a.Modules[0].In = 60
			return filepath.Join(dir, "model"), a
		},
		"it adapts nothing": func(*testing.T) (string, *adapterfile.Adapter) {
			return filepath.Join(dir, "model"), &adapterfile.Adapter{}
		},
		"and ": func(*testing.T) (string, *adapterfile.Adapter) { // many problems: some are told, the rest counted
			return filepath.Join(golden.Dir(t), "gemma", "model"), adapter()
		},
		"config.json": func(t *testing.T) (string, *adapterfile.Adapter) { return t.TempDir(), nil },
		"weight model.norm.weight is missing": func(t *testing.T) (string, *adapterfile.Adapter) {
			return edited(t, filepath.Join(dir, "model"), func(tensor *safetensors.Tensor) bool { return tensor.Name != "model.norm.weight" }), nil
		},
		"weight model.norm.weight has shape [": func(t *testing.T) (string, *adapterfile.Adapter) {
			return edited(t, filepath.Join(dir, "model"), func(tensor *safetensors.Tensor) bool {
				if tensor.Name == "model.norm.weight" {
					tensor.Shape = append(tensor.Shape, 1)
				}
				return true
			}), nil
		},
		"weight model.norm.weight has dtype I32 (want BF16, F32 or F16)": func(t *testing.T) (string, *adapterfile.Adapter) {
			return edited(t, filepath.Join(dir, "model"), func(tensor *safetensors.Tensor) bool {
				if tensor.Name == "model.norm.weight" {
					tensor.DType = safetensors.I32
				}
				return true
			}), nil
		},
	} {
		t.Run(want, func(t *testing.T) {
			m, err := OpenMerged(make(t))
			if err == nil {
				m.Close()
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

// edited copies a model of one file with its tensors changed; one that edit returns false for is left out.
func edited(t *testing.T, base string, edit func(*safetensors.Tensor) bool) string {
	t.Helper()
	dir := t.TempDir()
	config, err := os.ReadFile(filepath.Join(base, "config.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	file := openFile(t, filepath.Join(base, safetensors.SingleFileName))
	var tensors []safetensors.Tensor
	for _, name := range file.Names() {
		info, _ := file.Info(name)
		data, _ := file.Bytes(name)
		tensor := safetensors.Tensor{Name: name, DType: info.DType, Shape: info.Shape, Data: safetensors.FromBytes(data)}
		if edit(&tensor) {
			tensors = append(tensors, tensor)
		}
	}
	if err := safetensors.Write(filepath.Join(dir, safetensors.SingleFileName), tensors, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSaveThatIsInterrupted(t *testing.T) {
	inPieces(t)
	base := filepath.Join(golden.Dir(t), "gemma3", "model")
	m := openMerged(t, base, readNumbers(t, filepath.Join(base, "..", "adapter")))
	for _, dtype := range []safetensors.DType{"", safetensors.BF16} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		dir := t.TempDir()
		if err := m.Save(ctx, dir, dtype); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		if names := fileNames(t, dir); len(names) != 0 {
			t.Errorf("left %v", names)
		}
	}
}

func fileNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// jsonOf returns a JSON file with its keys in order, for comparisons.
func jsonOf(t *testing.T, dir, name string) string {
	t.Helper()
	var v any
	golden.JSON(t, filepath.Join(dir, name), &v)
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func openFile(t *testing.T, path string) *safetensors.File {
	t.Helper()
	file, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

// floatsOf reads little-endian float32 numbers.
func floatsOf(b []byte) []float32 {
	numbers := make([]float32, len(b)/4)
	for i := range numbers {
		numbers[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return numbers
}
