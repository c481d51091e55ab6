package main

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"tune/internal/model"
	"tune/internal/torch"
)

// TestMain lets the scripts call tune: the test binary itself, in a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tune": main})
}

// TestScripts runs the user's journeys in testdata/script. Each starts in an empty folder with a model of two
// layers, an untrained one, in model/.
func TestScripts(t *testing.T) {
	tiny := tinyModel(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("LANG", "C.UTF-8")
			setUpHub(e)
			e.Setenv("OMP_WAIT_POLICY", "passive") // scripts run side by side: none may spin on a core it waits for
			return os.CopyFS(filepath.Join(e.WorkDir, "model"), os.DirFS(tiny))
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"json": checkJSON, "ratio": checkRatio, "code": checkCode, "bytes": checkBytes, "samesum": checkSameSum,
			"copyartifacts": copyArtifacts, "hub": startHub, "zero": zeroBytes, "mode": checkMode, "orphan": orphanRun,
		},
		Condition: func(name string) (bool, error) {
			if device, ok := strings.CutPrefix(name, "device:"); ok {
				_, err := torch.ParseDevice(device)
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
	})
}

// tinyConfig is a Gemma 3 with one layer of each kind, for the vocabulary of testdata/tokenizers/small-gemma3.
const tinyConfig = `{
  "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text",
  "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
  "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "query_pre_attn_scalar": 16,
  "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16,
  "max_position_embeddings": 512, "rms_norm_eps": 1e-06, "initializer_range": 0.2,
  "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0, "rope_scaling": null,
  "attention_bias": false, "attn_logit_softcapping": null, "final_logit_softcapping": null,
  "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": true,
  "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, "vocab_size": 8000
}`

// tinyModel writes a model with random weights and a real tokenizer to a folder.
func tinyModel(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := copyTokenizer("../../testdata/tokenizers/small-gemma3", dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(tinyConfig), 0o644); err != nil {
		t.Fatal(err)
	}
	err := torch.Run(func(s *torch.Scope) error {
		m, err := model.Load(s, dir, model.Options{DType: torch.Float32, Device: torch.CPU, Random: true, Seed: 1})
		if err != nil {
			return err
		}
		return m.Save(s, dir, torch.Float32)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// checkCode is `code N COMMAND ...`: exec that expects an exit code, where testscript's own only tells failure
// from success. No failure may show a stack.
func checkCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND ...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		exit, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("%v: %v", args[1:], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%v: exit code %d, want %d\n%s", args[1:], got, want, ts.ReadFile("stderr"))
	}
	for _, sign := range []string{"panic:", "goroutine "} {
		if strings.Contains(ts.ReadFile("stderr"), sign) {
			ts.Fatalf("%v: a stack trace:\n%s", args[1:], ts.ReadFile("stderr"))
		}
	}
}

// checkJSON is `json FILE [PATH [VALUE]]`: FILE, or stdout, is one JSON value; at PATH, such as 0.samples.len,
// where len counts, is something that is not null, or VALUE.
func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 || len(args) > 3 {
		ts.Fatalf("usage: json FILE [PATH [VALUE]]")
	}
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &v); err != nil {
		ts.Fatalf("%s: %v\n%s", args[0], err, ts.ReadFile(args[0]))
	}
	if len(args) == 1 {
		return
	}
	for step := range strings.SplitSeq(args[1], ".") {
		v = inside(v, step)
	}
	got := fmt.Sprint(v)
	switch {
	case len(args) == 2 && (v == nil) != neg:
		ts.Fatalf("%s: %s is %v", args[0], args[1], got)
	case len(args) == 3 && (got == args[2]) == neg:
		ts.Fatalf("%s: %s is %q, want %q", args[0], args[1], got, args[2])
	}
}

// checkRatio is `ratio FILE PATH PATH LOW HIGH`: the number at the first path is so many times the one at the second.
func checkRatio(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 5 {
		ts.Fatalf("usage: ratio FILE PATH PATH LOW HIGH")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	number := func(path string) float64 {
		at := v
		for step := range strings.SplitSeq(path, ".") {
			at = inside(at, step)
		}
		n, ok := at.(float64)
		if !ok {
			ts.Fatalf("%s: %s is %v, want a number", args[0], path, at)
		}
		return n
	}
	low, err := strconv.ParseFloat(args[3], 64)
	ts.Check(err)
	high, err := strconv.ParseFloat(args[4], 64)
	ts.Check(err)
	if got := number(args[1]) / number(args[2]); !(got >= low && got <= high) {
		ts.Fatalf("%s is %g times %s, want %g to %g", args[1], got, args[2], low, high)
	}
}

// inside returns what a step of a path leads to, or nil.
func inside(v any, step string) any {
	switch v := v.(type) {
	case map[string]any:
		return v[step]
	case []any:
		if step == "len" {
			return len(v)
		}
		if i, err := strconv.Atoi(step); err == nil && i < len(v) {
			return v[i]
		}
	}
	return nil
}

// checkBytes is `bytes FILE PREFIX`: FILE begins like this, a Go string without its quotes.
func checkBytes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: bytes FILE PREFIX")
	}
	want, err := strconv.Unquote(`"` + args[1] + `"`)
	ts.Check(err)
	if got := ts.ReadFile(args[0]); !strings.HasPrefix(got, want) {
		ts.Fatalf("%s begins with %q, want %q", args[0], got[:min(len(got), 2*len(want))], want)
	}
}

// zeroBytes is `zero FILE FROM TO`: the bytes of a file between two places become 0.
func zeroBytes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: zero FILE FROM TO")
	}
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	from, err := strconv.Atoi(args[1])
	ts.Check(err)
	to, err := strconv.Atoi(args[2])
	ts.Check(err)
	clear(b[from:min(to, len(b))])
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

// checkMode is `mode FILE 600`: the permissions of a file or folder.
func checkMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE 600")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := strconv.FormatUint(uint64(info.Mode().Perm()), 8); got != args[1] {
		ts.Fatalf("%s: mode %s, want %s", args[0], got, args[1])
	}
}

// orphanRun is `orphan DATABASE`: its runs look as if their process had been killed an hour after noon.
func orphanRun(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: orphan DATABASE")
	}
	db, err := sql.Open("sqlite3", ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = db.Exec(`UPDATE runs SET status='running', error='', ended_at=NULL, wall_seconds=NULL, process='another',
		started_at='2026-11-21T12:00:00.000Z', heartbeat_at='2026-11-21T13:00:00.000Z';
		UPDATE steps SET at='2026-11-21T12:30:00.000Z'`)
	ts.Check(errors.Join(err, db.Close()))
}

// artifactsOf returns what a run has left of a kind, path by path, as tune runs show --json tells it.
func artifactsOf(ts *testscript.TestScript, run, kind string) map[string]string {
	ts.Check(ts.Exec("tune", "runs", "show", run, "--json"))
	var shown struct {
		Artifacts []struct{ Kind, Path, SHA256 string }
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &shown))
	sums := map[string]string{}
	for _, a := range shown.Artifacts {
		if a.Kind == kind {
			sums[a.Path] = a.SHA256
		}
	}
	if len(sums) == 0 {
		ts.Fatalf("run %s has left no %s", run, kind)
	}
	return sums
}

// checkSameSum is `samesum RUN RUN`: the adapters of both runs have the same SHA-256.
func checkSameSum(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: samesum RUN RUN")
	}
	var sums [2]string
	for i, run := range args {
		for path, sum := range artifactsOf(ts, run, "adapter") {
			if filepath.Base(path) == "adapter_model.safetensors" {
				sums[i] = sum
			}
		}
	}
	if sums[0] == "" || (sums[0] == sums[1]) == neg {
		ts.Fatalf("adapters of %v: %q", args, sums)
	}
}

// copyArtifacts is `copyartifacts RUN KIND FOLDER`: what a run has left of a kind is copied to a new folder.
func copyArtifacts(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: copyartifacts RUN KIND FOLDER")
	}
	for path := range artifactsOf(ts, args[0], args[1]) {
		ts.Check(os.CopyFS(ts.MkAbs(args[2]), os.DirFS(filepath.Dir(ts.MkAbs(path)))))
		return
	}
}
