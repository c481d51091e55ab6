package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"tune/adapters"
	"tune/internal/adapterfile"
	"tune/internal/checkpoint"
	"tune/internal/gguf"
	"tune/internal/golden"
	"tune/internal/model"
	"tune/internal/safetensors"
	"tune/internal/torch"
)

func TestExportThatIsTypedWrong(t *testing.T) {
	tiny := tinyModel(t)
	t.Chdir(t.TempDir())
	if err := os.Symlink(tiny, "model"); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"notes/diary.txt":            "Dear diary,",
		"broken/adapter_config.json": "{",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, head := range map[string][]gguf.KV{
		"model.gguf": {{Key: "general.type", Value: "model"}},
		"nameless.gguf": {{Key: "general.type", Value: "adapter"}, {Key: "adapter.type", Value: "lora"},
			{Key: "general.architecture", Value: "gemma2"}, {Key: "adapter.lora.alpha", Value: float32(8)}},
	} {
		if err := gguf.Write(name, head, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		args string
		want string // a regular expression for stderr
	}{
		{"export last", `^tune: error: tune export: want --to peft, mlx, gguf or merged\ntune: hint: .*--to gguf --merge`},
		{"export --to peft", `tune export: want a run or an adapter folder\ntune: hint: tune export last --to peft`},
		{"export last --to pefd", `--to: want peft, mlx, gguf or merged, got "pefd"\ntune: hint: did you mean --to peft\?`},
		{"export last --to huggingface", `tune: hint: --to merged writes Hugging Face safetensors`},
		{"export last --to mlx --merge", `--merge: --to mlx writes an adapter\ntune: hint: --to merged writes`},
		{"export last --to merged --type f16", `a Gemma in float16 overflows.*\ntune: hint: --type bf16`},
		{"export last --to merged --type q8_0", `q8_0 is a type of GGUF files\ntune: hint: --to gguf --merge --type q8_0`},
		{"export last --to merged --type bf61", `want bf16, f32, f16 or q8_0, got "bf61"\ntune: hint: did you mean --type bf16\?`},
		{"export last --to peft --type bf16", `--to peft writes the adapter as it was trained, in float32`},
		{"export last --to peft", `runs.db: no such database`},
		{"export no/such/adapter --to peft", `no/such/adapter: no such adapter\ntune: hint: want an adapter folder`},
		{"export lora.gguf --to peft", `lora.gguf: no such adapter`},
		{"export ./notes --to peft", `notes: no such file|adapter_config.json`},
		{"export notes/diary.txt --to peft", `notes/diary.txt`},
		{"export broken --to peft", `broken: has neither adapter_model.safetensors \(PEFT\) nor adapters.safetensors \(MLX\)`},
		{"export model --to mlx", `--to mlx writes an adapter, and model is a whole model\ntune: hint: --to merged and --to gguf`},
		{"export model --to merged --base model", `--base: model is a whole model and needs none`},
		{"export model --to merged --out x.gguf", `--out x.gguf: --to merged writes a folder`},
		{"export model --to merged --out model", `--out model: that is what is read`},
		{"export model --to merged --out notes", `notes: exists\ntune: hint: --force replaces it`},
		{"export model --to merged --out notes --force", `holds diary.txt, which no export has written`},
		{"export model --to gguf", `layer_types\[1\]: is full_attention, llama.cpp takes every layer .*\ntune: hint: --to merged`},
		{"export model.gguf --to peft", `model.gguf: general.type: want adapter, got model`},
		{"import model.gguf --base model", `model.gguf: general.type: want adapter, got model`},
		{"import nameless.gguf", `nameless.gguf does not say which model it is for\ntune: hint: --base MODEL names it`},
		{"import nameless.gguf --base model", `nameless.gguf and model: .*is an adapter for gemma2, the model is a gemma3`},
		{"export nameless.gguf --to mlx --base model", `is an adapter for gemma2`},
		{"import", `tune import: want an adapter\ntune: hint: tune import `},
		{"import nowhere", `nowhere: no such adapter`},
		{"import broken --base model", `broken: has neither`},
		{"import notes/diary.txt --base model", `notes/diary.txt`},
	} {
		t.Run(tc.args, func(t *testing.T) {
			code, stdout, stderr := tune(t, strings.Fields(tc.args)...)
			if code != exitBadInput {
				t.Errorf("exit code %d, want %d", code, exitBadInput)
			}
			if !regexp.MustCompile(tc.want).MatchString(stderr) {
				t.Errorf("stderr is\n%swant %s", stderr, tc.want)
			}
			if stdout != "" {
				t.Errorf("stdout is not empty:\n%s", stdout)
			}
		})
	}
}

// succeed runs the program, which must do so.
func succeed(t *testing.T, args ...string) (stdout string) {
	t.Helper()
	code, stdout, stderr := tune(t, args...)
	if code != 0 || stderr != "" {
		t.Fatalf("tune %s: exit code %d\n%s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

// TestAdapterThroughGGUF: an adapter that went through llama.cpp's file gives the logits that PEFT computed for it,
// with rsLoRA and on a multimodal base too.
func TestAdapterThroughGGUF(t *testing.T) {
	for name, where := range map[string]struct{ family, adapter, logits string }{
		"gemma":             {"gemma", "adapter", "forward_adapter.safetensors"},
		"gemma2":            {"gemma2", "adapter", "forward_adapter.safetensors"},
		"gemma3":            {"gemma3", "adapter", "forward_adapter.safetensors"},
		"rsLoRA":            {"gemma3", "rslora/adapter", "rslora/forward_adapter.safetensors"},
		"multimodal":        {"gemma3_mm", "adapter", "forward_adapter.safetensors"},
		"multimodal, named": {"gemma3_mm", "adapter_multimodal_names", "forward_adapter.safetensors"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(golden.Dir(t), where.family)
			base := filepath.Join(dir, "model")
			t.Chdir(t.TempDir())
			succeed(t, "export", filepath.Join(dir, where.adapter), "--to", "gguf", "--base", base, "--out", "there/lora.gguf")
			succeed(t, "import", "there/lora.gguf", "--out", "back") // the file names its base

			want := golden.Tensors(t, filepath.Join(dir, where.logits))["logits"]
			batch := golden.ForwardBatch(golden.Tensors(t, filepath.Join(dir, "forward.safetensors")))
			err := torch.Run(func(s *torch.Scope) error {
				m, err := model.Load(s, base, model.Options{DType: torch.Float32, Device: torch.CPU})
				if err != nil {
					return err
				}
				if _, err := adapters.Load(s, m, "back"); err != nil {
					return err
				}
				p, err := m.NewPass(s, model.Input{IDs: batch.IDs, Positions: batch.Positions, Starts: batch.Starts}, nil)
				if err != nil {
					return err
				}
				logits := s.ReadFloat32s(m.Logits(s, m.Hidden(s, p)))
				golden.Near(t, "logits", logits, batch.At(want.Floats, int(m.Config.VocabSize)), 3e-5) // as PEFT's own files
				return s.Err()
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestDoRAIsRefusedByGGUF: as an adapter, with the reason; merged it goes.
func TestDoRAIsRefusedByGGUF(t *testing.T) {
	dir := filepath.Join(golden.Dir(t), "gemma3")
	args := []string{"export", filepath.Join(dir, "dora", "adapter"), "--base", filepath.Join(dir, "model"), "--out", "there", "--to"}
	t.Chdir(t.TempDir())
	code, _, stderr := tune(t, append(args, "gguf")...)
	if code != exitBadInput || !strings.Contains(stderr, "llama.cpp computes no DoRA") || !strings.Contains(stderr, "hint: --merge") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	if stdout := succeed(t, append(args, "peft")...); strings.Contains(stdout, "vllm") {
		t.Errorf("vLLM has no DoRA:\n%s", stdout)
	}
	succeed(t, append(args, "merged", "--force")...)
}

// TestGGUFModelHoldsTheMergedWeights: the model file has the sum of base and adapter, and the norms as llama.cpp wants
// them, and Ollama's Modelfile names it.
func TestGGUFModelHoldsTheMergedWeights(t *testing.T) {
	config, err := checkpoint.ReadConfig(pocketDir)
	if err != nil {
		t.Fatal(err)
	}
	pocket, err := filepath.Abs(pocketDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	out, in := config.LinearShape("v_proj")
	v := adapterfile.Module{Name: checkpoint.LinearName(2, "v_proj"), Rank: 1, In: int(in), Out: int(out), Scale: 0.5}
	for i := range v.In {
		v.A = append(v.A, float32(i%7)-3)
	}
	for o := range v.Out {
		v.B = append(v.B, float32(o%5)/8)
	}
	adapter := adapterfile.Adapter{Base: pocket, Rank: 1, Alpha: 0.5, TargetModules: []string{"v_proj"}, LayersToTransform: []int{2},
		Modules: []adapterfile.Module{v}}
	if err := adapter.WritePEFT("a small one", adapterfile.PEFTOptions{}); err != nil {
		t.Fatal(err)
	}

	for _, kind := range []struct {
		name      string
		tolerance float64 // of weights below 3
	}{{"f32", 1e-6}, {"bf16", 1e-2}, {"f16", 1e-3}, {"q8_0", 1e-2}} {
		stdout := succeed(t, "export", "./a small one", "--to", "gguf", "--merge", "--type", kind.name)
		folder := "a small one-gguf-merged-" + kind.name
		if !strings.Contains(stdout, "ollama create a-small-one -f '"+folder+"/Modelfile'") {
			t.Errorf("printed\n%s", stdout)
		}
		modelfile, err := os.ReadFile(filepath.Join(folder, "Modelfile"))
		if err != nil || !strings.HasPrefix(string(modelfile), "FROM ./model.gguf\n") {
			t.Errorf("Modelfile: %v\n%s", err, modelfile)
		}
		f, err := gguf.Open(filepath.Join(folder, "model.gguf"))
		if err != nil {
			t.Fatal(err)
		}
		base := golden.Tensors(t, filepath.Join(pocket, safetensors.SingleFileName))
		want := base[v.Name+".weight"].Floats
		for o := range v.Out {
			for i := range v.In {
				want[o*v.In+i] += float32(0.5 * float64(v.B[o]) * float64(v.A[i]))
			}
		}
		norm := base[checkpoint.NormName(2, "q_norm")+".weight"].Floats
		for i := range norm {
			norm[i]++
		}
		for name, want := range map[string][]float32{"blk.2.attn_v.weight": want, "blk.2.attn_q_norm.weight": norm,
			"blk.2.attn_k.weight": base[checkpoint.LinearName(2, "k_proj")+".weight"].Floats} {
			got, err := f.Floats(name)
			if err != nil {
				t.Fatal(err)
			}
			golden.Near(t, kind.name+" "+name, got, want, kind.tolerance)
		}
		if f.Metadata["general.name"] != "a small one" || f.Metadata["tokenizer.ggml.tokens"] == nil {
			t.Errorf("name %v, tokens %v", f.Metadata["general.name"], f.Metadata["tokenizer.ggml.tokens"] != nil)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	// A file with a name of its own has a Modelfile of its own.
	succeed(t, "export", "./a small one", "--to", "gguf", "--merge", "--out", "models/puppy.gguf")
	if modelfile, err := os.ReadFile("models/puppy.Modelfile"); err != nil || !strings.HasPrefix(string(modelfile), "FROM ./puppy.gguf\n") {
		t.Errorf("Modelfile: %v\n%s", err, modelfile)
	}
}

// TestExportFromTheHub: an adapter needs no weights of its base, and the command that makes llama.cpp's base, which the
// export prints, works as it is printed.
func TestExportFromTheHub(t *testing.T) {
	pocket, err := filepath.Abs(pocketDir)
	if err != nil {
		t.Fatal(err)
	}
	files, err := pocketFiles()
	if err != nil {
		t.Fatal(err)
	}
	s := newTestHub(t)
	s.Add("org/pocket", "main", files)
	cache := hubEnvironment(t, s)
	weights := func() []string {
		found, _ := filepath.Glob(filepath.Join(cache, "*", "snapshots", "*", "model.safetensors"))
		return found
	}
	t.Chdir(t.TempDir())
	fetching := func(args ...string) (stdout string) { // which stderr tells of
		t.Helper()
		code, stdout, stderr := tune(t, args...)
		if code != 0 {
			t.Fatalf("%v: exit status %d: %s", args, code, stderr)
		}
		return stdout
	}
	config, err := checkpoint.ReadConfig(pocket)
	if err != nil {
		t.Fatal(err)
	}
	out, in := config.LinearShape("v_proj")
	adapter := adapterfile.Adapter{Base: "org/pocket", Rank: 1, Alpha: 1, TargetModules: []string{"v_proj"}, LayersToTransform: []int{0},
		Modules: []adapterfile.Module{{Name: checkpoint.LinearName(0, "v_proj"), Rank: 1, In: int(in), Out: int(out), Scale: 1,
			A: make([]float32, in), B: make([]float32, out)}}}
	if err := adapter.WritePEFT("puppy", adapterfile.PEFTOptions{}); err != nil {
		t.Fatal(err)
	}

	stdout := fetching("export", "./puppy", "--to", "gguf")
	if got := weights(); len(got) != 0 {
		t.Errorf("a GGUF adapter fetched %v", got)
	}
	printed := regexp.MustCompile(`(?m)^  tune (export .*)$`).FindStringSubmatch(stdout)
	if printed == nil {
		t.Fatalf("printed no command that makes the base:\n%s", stdout)
	}
	fetching(strings.Fields(printed[1])...)
	f, err := gguf.Open("base.gguf")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Metadata["general.name"] != "pocket" || len(weights()) != 1 {
		t.Errorf("the base is called %v, weights %v", f.Metadata["general.name"], weights())
	}
	fetching("export", "org/pocket", "--to", "merged", "--type", "bf16")
	if !isFile("pocket-merged-bf16/model.safetensors") {
		t.Error("a model of the Hub is not exported to a folder with its name")
	}
	if code, _, stderr := tune(t, "export", "org/nothing", "--to", "merged"); code != 2 ||
		!strings.Contains(stderr, "there is no folder org/nothing here; as a model of the Hub") {
		t.Errorf("exit status %d: %s", code, stderr)
	}
}

// TestImportKeepsTheNamesOfItsClass: the adapter of a multimodal checkpoint is for Gemma3ForConditionalGeneration, and
// the text model's names would leave it without effect there.
func TestImportKeepsTheNamesOfItsClass(t *testing.T) {
	dir, err := filepath.Abs(golden.Dir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for _, tc := range []struct{ from, name string }{
		{"gemma3_mm", "base_model.model.model.language_model.layers.0.self_attn.v_proj.lora_A.weight"},
		{"gemma3", "base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight"},
	} {
		succeed(t, "import", filepath.Join(dir, tc.from, "adapter"), "--base", filepath.Join(dir, tc.from, "model"), "--out", tc.from)
		if _, ok := golden.Tensors(t, filepath.Join(tc.from, "adapter_model.safetensors"))[tc.name]; !ok {
			t.Errorf("%s: no tensor %s", tc.from, tc.name)
		}
	}
}

// TestExportThatEndsEarly: an interrupt and a full disk leave nothing behind and are told apart.
func TestExportThatEndsEarly(t *testing.T) {
	m, err := adapters.OpenMerged(tinyModel(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	e := &export{to: toMerged, base: t.TempDir(), out: filepath.Join(dir, "merged")}
	err = exportError(ctx, e.out, e.writeMerged(ctx, m))
	if err == nil || !strings.Contains(err.Error(), "interrupted: "+e.out+" was not written") {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}

	err = exportError(t.Context(), "out", &fs.PathError{Op: "write", Path: "out/model.safetensors", Err: syscall.ENOSPC})
	if err == nil || !strings.Contains(err.Error(), "out was not written") || hintOf(err) == "" || isBadInput(err) {
		t.Errorf("got %v, hint %q", err, hintOf(err))
	}
}

func TestVLLMRank(t *testing.T) {
	for rank, want := range map[int]string{1: "", 16: "", 17: " --max-lora-rank 32", 100: " --max-lora-rank 128"} {
		e := &export{adapter: &adapterfile.Adapter{Modules: []adapterfile.Module{{Rank: 4}, {Rank: rank}}}}
		if got := e.vllmRank(); got != want {
			t.Errorf("rank %d: %q, want %q", rank, got, want)
		}
	}
}

func TestQuoted(t *testing.T) {
	for word, want := range map[string]string{
		"runs/20261124-a/export-mlx": "runs/20261124-a/export-mlx",
		"half the size":              "'half the size'",
		"it's":                       `'it'\''s'`,
		"$HOME":                      "'$HOME'",
		"":                           "''",
	} {
		if got := quoted(word); got != want {
			t.Errorf("%q became %s, want %s", word, got, want)
		}
	}
}
