package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"tune/configs"
	"tune/internal/hub"
	"tune/internal/hub/hubtest"
	"tune/trainer"
)

// pocketFiles are those of models/pocket, for a Hub to serve.
func pocketFiles() (map[string][]byte, error) {
	entries, err := os.ReadDir(pocketDir)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(pocketDir, e.Name())); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// startHub is `hub REPO`: a Hub that has models/pocket as REPO, whose connection breaks off once in the weights.
// `hub -stop` takes it away again.
func startHub(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hub REPO, or hub -stop")
	}
	if args[0] == "-stop" {
		ts.Value(hubKey{}).(*hubtest.Server).Close()
		return
	}
	files, err := pocketFiles()
	ts.Check(err)
	s := ts.Value(hubKey{}).(*hubtest.Server)
	s.Add(args[0], "main", files)
	s.Change(func() { s.Cuts = []int{0, 0, 0, 0, 0, 1 << 20} }) // five files come before the weights
	ts.Setenv("HF_ENDPOINT", s.URL)
	ts.Setenv("HF_HUB_OFFLINE", "")
}

// hubKey finds a script's Hub.
type hubKey struct{}

// setUpHub gives a script an empty cache and a Hub, which the hub command begins to use: until then it is offline.
func setUpHub(e *testscript.Env) {
	s := hubtest.New()
	e.Defer(s.Close)
	e.Values[hubKey{}] = s
	e.Setenv("HF_HOME", filepath.Join(e.WorkDir, "hf"))
	e.Setenv("HF_HUB_OFFLINE", "1")
}

// hubEnvironment has the program use a Hub and an empty cache of the test's own.
func hubEnvironment(t *testing.T, s *hubtest.Server) (cache string) {
	t.Helper()
	home := t.TempDir()
	for name, value := range map[string]string{"HF_HOME": home, "HF_ENDPOINT": s.URL, "HF_TOKEN": "", "HUGGING_FACE_HUB_TOKEN": "",
		"HF_TOKEN_PATH": "", "HF_HUB_CACHE": "", "HUGGINGFACE_HUB_CACHE": "", "HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": ""} {
		t.Setenv(name, value)
	}
	return filepath.Join(home, "hub")
}

func newTestHub(t *testing.T) *hubtest.Server {
	t.Helper()
	s := hubtest.New()
	t.Cleanup(s.Close)
	return s
}

// TestModelNames: a folder that exists wins, org/name is a model of the Hub, all else is a path.
func TestModelNames(t *testing.T) {
	s := newTestHub(t)
	files, err := pocketFiles()
	if err != nil {
		t.Fatal(err)
	}
	commit := s.Add("google/gemma-test", "main", files)
	cache := hubEnvironment(t, s)
	t.Chdir(t.TempDir())
	if err := os.MkdirAll(filepath.Join("models", "mine"), 0o755); err != nil {
		t.Fatal(err)
	}
	snapshot := filepath.Join(cache, "models--google--gemma-test", "snapshots", commit)
	for _, tc := range []struct {
		path, revision string
		dir, commit    string
		want           string // of the error; the exit code is 2, or 1 behind "1:"
	}{
		{"models/mine", "", "models/mine", "", ""},
		{"google/gemma-test", "", snapshot, commit, ""},
		{"google/gemma-test", commit, snapshot, commit, ""},
		{"./google/gemma-test", "", "./google/gemma-test", "", ""},
		{"google/gemma-test/", "", "google/gemma-test/", "", ""},
		{"a/b/c", "", "a/b/c", "", ""},
		{"/google/gemma-test", "", "/google/gemma-test", "", ""},
		{"nowhere", "", "nowhere", "", ""},
		{"models/mine", "main", "", "", `^model.revision: only a model of the Hugging Face Hub has revisions, model.path is models/mine$`},
		{"models/missing", "", "", "", `^there is no folder models/missing here; as a model of the Hub, models/missing: no such model on http`},
		{"google/gemma-test", "v9", "", "", `^google/gemma-test: no revision "v9"$`},
		{"google/gemma-test", "../x", "", "", `"../x" is no revision, want a branch, a tag or a commit$`},
	} {
		dir, gotCommit, err := resolveModel(t.Context(), os.Stderr, tc.path, tc.revision)
		if tc.want == "" {
			if err != nil || dir != tc.dir || gotCommit != tc.commit {
				t.Errorf("%s@%s: %s, %s, %v; want %s, %s", tc.path, tc.revision, dir, gotCommit, err, tc.dir, tc.commit)
			}
			continue
		}
		if err == nil || !regexp.MustCompile(tc.want).MatchString(err.Error()) || !isBadInput(err) || hintOf(err) == "" && tc.revision != "../x" {
			t.Errorf("%s@%s: %v (hint %q), want %s", tc.path, tc.revision, err, hintOf(err), tc.want)
		}
	}
}

// TestHubOnTheCommandLine: what the Hub refuses is told with what to do, and with the right exit code.
func TestHubOnTheCommandLine(t *testing.T) {
	files, err := pocketFiles()
	if err != nil {
		t.Fatal(err)
	}
	data, err := filepath.Abs("../../datasets/bluey/train.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, args string
		set        func(*hubtest.Server)
		code       int
		want       string // a regular expression for stderr
	}{
		{"gated", "generate --model org/gated Hello", func(s *hubtest.Server) { s.Gated = "hf_in" }, exitBadInput,
			`^tune: error: org/gated is gated: .*\ntune: hint: accept its licence at http.*/org/gated, then set HF_TOKEN`},
		{"not there", "data " + data + " --model org/none", nil, exitBadInput,
			`^tune: error: there is no folder org/none here; as a model of the Hub, org/none: no such model on http.*\ntune: hint: check the spelling`},
		{"damaged on the way", "generate --model org/gated Hello", func(s *hubtest.Server) {
			s.Corrupt = func(name string, content []byte) []byte {
				if name == "model.safetensors" {
					content = append([]byte{content[0] ^ 1}, content[1:]...)
				}
				return content
			}
		}, exitFailure, `\ntune: error: org/gated/model.safetensors: wrong bytes: SHA-256 is [0-9a-f]{64}, want [0-9a-f]{64}\ntune: hint: `},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newTestHub(t)
			s.Add("org/gated", "main", files)
			hubEnvironment(t, s)
			if tc.set != nil {
				tc.set(s)
			}
			t.Chdir(t.TempDir())
			code, stdout, stderr := tune(t, strings.Fields(tc.args)...)
			if code != tc.code || stdout != "" || !regexp.MustCompile(tc.want).MatchString(stderr) {
				t.Errorf("exit code %d, want %d; stdout %q, stderr\n%swant %s", code, tc.code, stdout, stderr, tc.want)
			}
		})
	}

	t.Run("an address that is none", func(t *testing.T) {
		hubEnvironment(t, newTestHub(t))
		t.Setenv("HF_ENDPOINT", "huggingface.co")
		for _, args := range []string{"models", "generate --model org/name Hello"} {
			if code, _, stderr := tune(t, strings.Fields(args)...); code != exitBadInput || !strings.Contains(stderr, "HF_ENDPOINT: want an address") {
				t.Errorf("tune %s: exit code %d, %s", args, code, stderr)
			}
		}
	})
}

// TestDataNeedsNoWeights: its tokenizer is enough.
func TestDataNeedsNoWeights(t *testing.T) {
	files, err := pocketFiles()
	if err != nil {
		t.Fatal(err)
	}
	s := newTestHub(t)
	s.Add("org/pocket", "main", files)
	hubEnvironment(t, s)
	code, stdout, stderr := tune(t, "data", "../../datasets/bluey/train.jsonl", "--model", "org/pocket")
	if code != 0 || !strings.Contains(stdout, "tokens of org/pocket") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	for _, r := range s.Requests() {
		if strings.HasSuffix(r.Path, ".safetensors") {
			t.Errorf("%+v", r)
		}
	}
}

// TestInterruptedFetch ends a run as interrupted, not as failed.
func TestInterruptedFetch(t *testing.T) {
	s := newTestHub(t)
	hubEnvironment(t, s)
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cfg := configs.Default()
	cfg.Model.Path = "org/name"
	w := &worker{cfg: &cfg, err: &bytes.Buffer{}}
	err := w.findModel(ctx)
	if !errors.Is(err, trainer.ErrInterrupted) || statusOf(failureOf(err).explained()) != "interrupted" || !strings.Contains(err.Error(), "while fetching org/name") {
		t.Errorf("%v", err)
	}
}

// TestDownloadView: plain lines where there is no terminal, no more often than they can be read.
func TestDownloadView(t *testing.T) {
	var out bytes.Buffer
	v := &downloadView{w: &out, name: "org/name", endpoint: "https://hub.example", screen: screen{unicode: true}}
	v.show(hub.Event{File: "index.json", Done: 5})
	v.show(hub.Event{File: "a", Done: 1e9, Total: 3e9})
	v.show(hub.Event{File: "a", Done: 15e8, Total: 3e9}) // too soon for a line
	v.show(hub.Event{Note: "waiting\x1b[2J"})
	v.began, v.printed = v.began.Add(-10*time.Second), v.printed.Add(-10*time.Second)
	v.show(hub.Event{File: "b", Done: 2e9, Total: 3e9})
	v.close(true)
	want := "fetching org/name from https://hub.example: 2.00 GB\nwaiting\uFFFD[2J\nb · 2.00 GB of 3.00 GB · 100 MB/s · 10.0 s left\nfetched org/name in 10.0 s\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// On a terminal: a bar, which lines do not tear, and which is gone at the end.
	out.Reset()
	v = &downloadView{w: &out, name: "org/name", endpoint: "https://hub.example", screen: screen{terminal: true}}
	v.show(hub.Event{File: "a", Total: 3e9})
	v.printed = v.printed.Add(-time.Second)
	v.show(hub.Event{File: "a", Done: 1e9, Total: 3e9})
	v.show(hub.Event{Note: "trying again"})
	v.close(false)
	for _, part := range []string{"33%", "1.00 GB of 3.00 GB | ", "[=", "trying again\n"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("no %q in %q", part, out.String())
		}
	}
	if strings.Contains(out.String(), "fetched") || strings.Contains(out.String(), "·") {
		t.Errorf("%q", out.String())
	}
}

// TestModels lists what is whole, what is not, and what tune does not train.
func TestModels(t *testing.T) {
	files, err := pocketFiles()
	if err != nil {
		t.Fatal(err)
	}
	s := newTestHub(t)
	cache := hubEnvironment(t, s)
	code, stdout, stderr := tune(t, "models")
	if code != 0 || stdout != "no models in "+cache+" yet; model.path: google/gemma-3-1b-it in a config fetches one\n" {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	if _, out, _ := tune(t, "models", "--json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("JSON of no models: %s", out)
	}

	commit := s.Add("google/pocket", "main", files)
	llama := map[string][]byte{}
	for name, content := range files {
		llama[name] = content
	}
	llama["config.json"] = []byte(`{"model_type": "llama", "hidden_size": 4096}`)
	s.Add("meta/llama", "main", llama)
	for _, name := range []string{"google/pocket", "meta/llama"} {
		if _, _, err := resolveModel(t.Context(), &bytes.Buffer{}, name, ""); err != nil {
			t.Fatal(err)
		}
	}
	s.Add("org/partial", "main", files)
	if _, _, err := resolveTokenizer(t.Context(), &bytes.Buffer{}, "org/partial", ""); err != nil {
		t.Fatal(err)
	}

	_, stdout, stderr = tune(t, "models", pocketDir)
	for _, want := range []string{
		`(?m)^model +revision +type +parameters +dtype +on disk +LoRA here \(plan\)$`,
		`(?m)^google/pocket +` + commit[:8] + ` main +gemma3_text +[0-9.]+ M +BF16 +[0-9.]+ MB +fits: [0-9.]+ [kMG]B of [0-9.]+ [GT]B$`,
		`(?m)^meta/llama +[0-9a-f]{8} main +llama +[0-9.]+ M +BF16 +[0-9.]+ MB +not trainable: no Gemma that tune trains$`,
		`(?m)^org/partial +[0-9a-f]{8} main +gemma3_text +[0-9.]+ kB +partial: missing model.safetensors$`,
		`(?m)^` + regexp.QuoteMeta(pocketDir) + ` +gemma3_text +[0-9.]+ M +BF16 +[0-9.]+ MB +fits: `,
		`(?m)^the cache is ` + regexp.QuoteMeta(cache) + `$`,
	} {
		if !regexp.MustCompile(want).MatchString(stdout) {
			t.Errorf("no %s in\n%s%s", want, stdout, stderr)
		}
	}
	if code, _, stderr := tune(t, "models", "no/folder"); code != exitBadInput || !strings.Contains(stderr, "no/folder") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// TestVerdict: the need against the memory.
func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		need, have int64
		err        error
		want       string
	}{
		{2e9, 16e9, nil, "fits: 2.00 GB of 16.0 GB"},
		{16e9, 16e9, nil, "fits: 16.0 GB of 16.0 GB"},
		{70e9, 16e9, nil, "too large: 70.0 GB of 16.0 GB"},
		{2e9, 0, nil, "memory unknown"},
		{0, 0, errors.New("broken"), "memory unknown"},
	} {
		m := modelReport{Name: "pocket", Path: pocketDir}
		m.examine(func(string) (int64, int64, error) { return tc.need, tc.have, tc.err })
		if got := m.verdict(); got != tc.want || !m.Trainable {
			t.Errorf("%d of %d: %q, want %q (%s)", tc.need, tc.have, got, tc.want, m.Problem)
		}
	}

	// More than the weights, by what libtorch itself takes at least; and no more than the toy could need.
	fits, err := planned()
	if err != nil {
		t.Fatal(err)
	}
	m := modelReport{Path: pocketDir}
	if m.examine(fits); m.NeedBytes < m.Parameters*2+20e6 || m.NeedBytes > 4e9 || m.Fits == nil {
		t.Errorf("%d bytes for %d parameters", m.NeedBytes, m.Parameters)
	}

	// Weights that are cut off are no model.
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(pocketDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "model.safetensors"), 1000); err != nil {
		t.Fatal(err)
	}
	m = modelReport{Path: dir}
	if m.examine(fits); m.Trainable || !strings.Contains(m.verdict(), "not trainable: ") || !strings.Contains(m.Problem, "model.safetensors") {
		t.Errorf("%+v", m)
	}
}

// TestWeightsComeLast: a model that cannot be used, and a run that cannot fit, are refused before gigabytes are fetched.
func TestWeightsComeLast(t *testing.T) {
	files, err := pocketFiles()
	if err != nil {
		t.Fatal(err)
	}
	with := func(config string) map[string][]byte {
		other := maps.Clone(files)
		other["config.json"] = []byte(config)
		return other
	}
	s := newTestHub(t)
	s.Add("org/llama", "main", with(`{"model_type": "llama", "hidden_size": 4096}`))
	s.Add("org/huge", "main", with(`{"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_size": 65536,
		"intermediate_size": 262144, "num_hidden_layers": 1000, "num_attention_heads": 256, "num_key_value_heads": 128,
		"head_dim": 256, "vocab_size": 262144}`))
	s.Add("org/narrow", "main", with(tinyConfigOf(t, 16)))
	hubEnvironment(t, s)
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"hub.yaml":    "device: cpu\nthreads: 1\nmodel: {path: org/llama}\ndata: {train: train.jsonl}",
		"train.jsonl": `{"prompt": "Two plus three?", "completion": "Five."}`,
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct{ args, want string }{
		{"run hub.yaml", `model_type.*llama`},
		{"plan hub.yaml", `llama`},
		{"generate --model org/llama Hello", `llama`},
		{"chat --model org/llama", `llama`},
		{"bench --model org/llama", `llama`},
		{"generate --model org/narrow Hello", `org/narrow: the tokenizer has [0-9]+ ids, the model 16`},
		{"run hub.yaml --set model.path=org/huge", `the run needs [0-9.]+ TB of memory`},
	} {
		code, _, stderr := tune(t, strings.Fields(tc.args)...)
		if code != exitBadInput || !regexp.MustCompile(`tune: error: .*(`+tc.want+`)`).MatchString(stderr) {
			t.Errorf("tune %s: exit code %d, %swant %s", tc.args, code, stderr, tc.want)
		}
	}
	for _, r := range s.Requests() {
		if strings.HasSuffix(r.Path, ".safetensors") {
			t.Errorf("the weights were asked for: %+v", r)
		}
	}
}

// tinyConfigOf is tinyConfig with another vocabulary.
func tinyConfigOf(t *testing.T, vocabulary int) string {
	t.Helper()
	text := strings.Replace(tinyConfig, `"vocab_size": 8000`, fmt.Sprintf(`"vocab_size": %d`, vocabulary), 1)
	if text == tinyConfig {
		t.Fatal("tinyConfig has no vocab_size of 8000")
	}
	return text
}

// TestTokenIsNowhere: the Hub's token is in nothing that a run prints, records or leaves, whether the Hub takes it or not, and
// also where the Hub's own answer repeats it.
func TestTokenIsNowhere(t *testing.T) {
	files, err := pocketFiles()
	if err != nil {
		t.Fatal(err)
	}
	data, err := filepath.Abs("../../datasets/bluey/train.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	const token = "hf_SecretOfTheOwner"
	for _, tc := range []struct {
		name   string
		set    func(*hubtest.Server)
		code   int
		status string
	}{
		{"taken", func(s *hubtest.Server) { s.Gated = token }, 0, "done"},
		{"not let in", func(s *hubtest.Server) { s.Gated = "hf_other" }, exitBadInput, "failed"},
		{"unknown", func(s *hubtest.Server) { s.Known = "hf_other" }, exitBadInput, "failed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newTestHub(t)
			s.Add("org/pocket", "main", files)
			hubEnvironment(t, s)
			t.Setenv("HF_TOKEN", token)
			tc.set(s)
			dir := t.TempDir()
			t.Chdir(dir)
			config := "model: {path: org/pocket, dtype: float32}\ndevice: cpu\ndata: {train: " + data + "}\ntrain: {max_steps: 1}\n"
			if err := os.WriteFile("run.yaml", []byte(config), 0o644); err != nil {
				t.Fatal(err)
			}
			code, stdout, stderr := tune(t, "run", "run.yaml")
			_, shown, _ := tune(t, "runs", "show", "last", "--json")
			if code != tc.code || !strings.Contains(shown, `"status": "`+tc.status+`"`) {
				t.Fatalf("exit code %d, want %d\n%s%s%s", code, tc.code, stdout, stderr, shown)
			}
			if strings.Contains(stdout+stderr+shown, token) {
				t.Errorf("printed:\n%s%s%s", stdout, stderr, shown)
			}
			found := 0
			err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
				if err != nil || e.IsDir() {
					return err
				}
				found++
				b, err := os.ReadFile(path)
				if bytes.Contains(b, []byte(token)) {
					t.Errorf("%s has the token", path)
				}
				return err
			})
			if err != nil || found < 2 {
				t.Errorf("%d files looked at, %v", found, err)
			}
		})
	}
}
