package dashboard

import (
	"context"
	"encoding/json"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tune/internal/runstore"
)

// newStore opens a fresh database for writing.
func newStore(t testing.TB) *runstore.Store {
	t.Helper()
	s, err := runstore.Open(filepath.Join(t.TempDir(), "runs.db"))
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const runConfig = `name: bluey
lora:
  rank: 8
  target_modules:
    - q_proj
    - v_proj
`

// newRun writes a run that is running, with some steps.
func newRun(t testing.TB, s *runstore.Store, id string, steps int) {
	t.Helper()
	ctx := t.Context()
	must(t, s.CreateRun(ctx, runstore.Run{ID: id, Name: "bluey", Method: "lora", ModelPath: "models/pocket", LoRARank: 8,
		LearningRate: 0.012, TotalSteps: 200, Config: runConfig, ConfigSHA256: "c0"}))
	must(t, s.StartRun(ctx, id))
	must(t, s.RecordEvaluation(ctx, id, runstore.Evaluation{Step: 0, Loss: 9}))
	for step := range steps {
		recordStep(t, s, id, step+1)
	}
}

func recordStep(t testing.TB, s *runstore.Store, id string, step int) {
	t.Helper()
	must(t, s.RecordStep(t.Context(), id, runstore.Step{Step: int64(step), Loss: runstore.Real(8 - float64(step)/100),
		LearningRate: 1e-3, GradNorm: 2, TargetTokens: 50, Tokens: 100, Seconds: 0.1, MemoryBytes: 2e8, PeakMemoryBytes: 3e8,
		DeviceMemoryBytes: 1e7}))
}

// finish ends a run well.
func finish(t testing.TB, s *runstore.Store, id string) {
	t.Helper()
	must(t, s.FinishRun(t.Context(), id, runstore.Finish{Status: runstore.Done, WallSeconds: 12, TrainSeconds: 10}))
}

// start serves the database at path and returns the host and port; at is one that was served before, or "". stop ends it,
// as Ctrl-C does.
func start(t testing.TB, path, at string) (address string, stop func()) {
	t.Helper()
	_, number, _ := strings.Cut(at, ":")
	port, _ := strconv.Atoi(number) // none is 0
	server := New(path)
	address, err := server.Listen(port)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Serve did not end")
		}
	}
	t.Cleanup(stop)
	return strings.Trim(strings.TrimPrefix(address, "http://"), "/"), stop
}

// get asks the handler for an address.
func get(t testing.TB, path, address string) (status int, body string) {
	t.Helper()
	s := New(path)
	defer s.source.close()
	r := httptest.NewRequest(http.MethodGet, address, nil)
	r.Host = "localhost:80"
	w := httptest.NewRecorder()
	s.Handler(80).ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestOnlyThisMachineIsAnswered(t *testing.T) {
	handler := New(newStore(t).Path()).Handler(8080)
	for _, tc := range []struct {
		name, method, host string
		header             map[string]string
		want               int
	}{
		{"the address", "GET", "127.0.0.1:8080", nil, 200},
		{"localhost", "GET", "localhost:8080", nil, 200},
		{"a name that points here", "GET", "evil.example:8080", nil, 403},
		{"a name that looks like ours", "GET", "localhost.evil.example:8080", nil, 403},
		{"another port", "GET", "127.0.0.1:8081", nil, 403},
		{"no port", "GET", "127.0.0.1", nil, 403},
		{"no host", "GET", "", nil, 403},
		{"another address of this machine", "GET", "192.168.0.1:8080", nil, 403},
		{"a page of another site", "GET", "localhost:8080", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}, 403},
		{"a link on another site", "GET", "localhost:8080", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200},
		{"our page", "GET", "localhost:8080", map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200},
		{"POST", "POST", "localhost:8080", nil, 405},
		{"DELETE", "DELETE", "localhost:8080", nil, 405},
		{"HEAD", "HEAD", "localhost:8080", nil, 405},
		{"OPTIONS", "OPTIONS", "localhost:8080", nil, 405},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, address := range []string{"/", "/api/runs", "/static/dashboard.js"} {
				r := httptest.NewRequest(tc.method, address, nil)
				r.Host = tc.host
				for name, value := range tc.header {
					r.Header.Set(name, value)
				}
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				if w.Code != tc.want {
					t.Errorf("%s: status %d, want %d", address, w.Code, tc.want)
				}
				h := w.Header()
				if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Access-Control-Allow-Origin") != "" ||
					!strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") ||
					strings.Contains(h.Get("Content-Security-Policy"), "unsafe") {
					t.Errorf("%s: headers %v", address, h)
				}
			}
		})
	}
}

func TestPageIsWhole(t *testing.T) {
	status, page := get(t, newStore(t).Path(), "/")
	if status != 200 {
		t.Fatalf("status %d", status)
	}
	var files []string
	for part := range strings.SplitSeq(page, `"`) {
		if strings.HasPrefix(part, "/") && part != "/" {
			files = append(files, part)
		} else if strings.Contains(part, "://") {
			t.Errorf("the page reaches out to %s", part)
		}
	}
	entries, err := static.ReadDir("static")
	must(t, err)
	for _, e := range entries {
		files = append(files, "/static/"+e.Name())
	}
	if len(files) < 12 {
		t.Errorf("only %d files: %v", len(files), files)
	}
	for _, file := range files {
		if status, body := get(t, "nowhere", file); status != 200 || body == "" {
			t.Errorf("%s: status %d, %d bytes", file, status, len(body))
		}
	}
	if strings.Contains(page, "<script>") || strings.Contains(page, "style=") || strings.Contains(page, " onclick") {
		t.Error("the page has a script or a style in it, which its policy forbids")
	}
}

func TestAPI(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	newRun(t, s, "20261121-120000-bluey-aaa", 5)
	must(t, s.RecordSample(ctx, "20261121-120000-bluey-aaa", runstore.Sample{Prompt: "Hi", Reply: "<script>alert(1)</script>"}))
	must(t, s.RecordEvent(ctx, "20261121-120000-bluey-aaa", runstore.Event{Kind: "k", Message: "m"}))
	finish(t, s, "20261121-120000-bluey-aaa")
	newRun(t, s, "20261121-120001-other-bbb", 2)
	for _, tc := range []struct {
		name, address string
		status        int
		want          []string // parts of the body
	}{
		{"all runs", "/api/runs", 200, []string{`[{"id":"20261121-120001-other-bbb"`, `"status":"running"`, `"steps_done":5`}},
		{"runs of a status", "/api/runs?status=done&limit=1", 200, []string{`[{"id":"20261121-120000-bluey-aaa"`}},
		{"a bad limit", "/api/runs?limit=many", 400, []string{`{"error":"limit: want a whole number of at least 0, got \"many\""}`}},
		{"a run", "/api/runs/20261121-120000-bluey-aaa", 200, []string{`"status":"done"`, `"lora_rank":8`, `"config":"name: bluey`,
			`"evaluations":[{"step":0,"split":"validation","loss":9`, `"samples":[{`, `"events":[{`, `"artifacts":null`, `\u003cscript\u003e`}},
		{"the newest run", "/api/runs/last", 200, []string{`"id":"20261121-120001-other-bbb"`}},
		{"no such run", "/api/runs/nope", 404, []string{`{"error":"`, "no such run"}},
		{"an id that several begin with", "/api/runs/2026", 400, []string{"fits more than one run"}},
		{"steps", "/api/runs/20261121-120000-bluey-aaa/steps", 200, []string{`"run_id":"20261121-120000-bluey-aaa","steps":5,"thinned":false,"step":[1,2,3,4,5]`,
			`"learning_rate":[0.001,`, `"device_memory_bytes":[1e+07`, `"at":["`}},
		{"a range of steps", "/api/runs/last/steps?from=2&to=2", 200, []string{`"steps":1,"thinned":false,"step":[2]`}},
		{"a bad range", "/api/runs/last/steps?from=-1", 400, []string{"from: want a whole number"}},
		{"steps of no run", "/api/runs/nope/steps", 404, []string{"no such run"}},
		{"no such page", "/api/nothing", 404, []string{`{"error":"no such page: /api/nothing"}`}},
		{"too many runs at a time", "/api/stream?" + strings.Repeat("run=a&", 30), 400, []string{"want at most 24 runs, got 30"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, body := get(t, s.Path(), tc.address)
			if status != tc.status || !json.Valid([]byte(body)) {
				t.Errorf("status %d, want %d: %s", status, tc.status, body)
			}
			for _, part := range tc.want {
				if !strings.Contains(body, part) {
					t.Errorf("no %s in %s", part, body)
				}
			}
		})
	}
}

func TestDatabaseMayComeLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	if status, body := get(t, path, "/api/runs"); status != 200 || body != "[]\n" {
		t.Errorf("before there is one: %d %s", status, body)
	}
	if status, body := get(t, path, "/api/runs/last"); status != 404 {
		t.Errorf("a run before there is one: %d %s", status, body)
	}
	s, err := runstore.Open(path)
	must(t, err)
	defer s.Close()
	newRun(t, s, "a", 1)
	if status, body := get(t, path, "/api/runs/last"); status != 200 {
		t.Errorf("once there is one: %d %s", status, body)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	s := newStore(t)
	newRun(t, s, "a", 3)
	address, stop := start(t, s.Path(), "")
	response, err := http.Get("http://" + address + "/api/stream?run=a") // stays open
	must(t, err)
	defer response.Body.Close()
	began := time.Now()
	stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if _, err := io.ReadAll(response.Body); err != nil && !strings.Contains(err.Error(), "EOF") {
		t.Errorf("the stream ended with %v", err)
	}
	if _, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		t.Error("still listening")
	}
}

func TestThinnedKeepsPeaksAndEnds(t *testing.T) {
	steps := make([]runstore.Step, 50_000)
	for i := range steps {
		steps[i] = runstore.Step{Step: int64(i + 1), Loss: 3, GradNorm: 1, TokensPerSecond: 100, MemoryBytes: 1}
	}
	steps[12_345].Loss, steps[23_456].GradNorm, steps[34_567].TokensPerSecond, steps[45_678].MemoryBytes = 99, 99, 1, 99
	steps[7_777].Loss = runstore.Real(math.NaN())
	places := thinned(steps)
	for _, want := range []int{0, 7_777, 12_345, 23_456, 34_567, 45_678, 49_999} {
		if !slices.Contains(places, want) {
			t.Errorf("step %d is left out", want+1)
		}
	}
	if len(places) > maxPoints+1000 || !slices.IsSorted(places) {
		t.Errorf("%d of %d steps stay", len(places), len(steps))
	}
	if n := len(thinned(steps[:maxPoints])); n != maxPoints {
		t.Errorf("%d of %d steps stay, want all", n, maxPoints)
	}
}

func TestSettings(t *testing.T) {
	for _, tc := range []struct {
		name, config string
		want         []setting
	}{
		{"nothing", "", nil},
		{"values", "seed: 42\nname: \"a: b\"\n", []setting{{"seed", "42"}, {"name", `"a: b"`}}},
		{"groups", "lora:\n  rank: 8\n  deep:\n    x: 1\n  alpha: 16\nseed: 1\n",
			[]setting{{"lora.rank", "8"}, {"lora.deep.x", "1"}, {"lora.alpha", "16"}, {"seed", "1"}}},
		{"lists", "a:\n  b:\n    - q\n    - v\n  c: []\n", []setting{{"a.b", "[q, v]"}, {"a.c", "[]"}}},
		{"a list that does not stand in", "a:\n- q\n- v\nb: 1\n", []setting{{"a", "[q, v]"}, {"b", "1"}}},
		{"text", "a: |-\n  one: 1\n\n  two\nb: 2\n", []setting{{"a", "one: 1\n\ntwo"}, {"b", "2"}}},
		{"text in a list", "p:\n  - |-\n    one: 1\n    two\n  - three\nb: 2\n", []setting{{"p", "[one: 1\ntwo, three]"}, {"b", "2"}}},
		{"an empty value", "a:\nb: 1\n", []setting{{"a", ""}, {"b", "1"}}},
		{"what is no YAML", "]]]\n- x\n: y\n", []setting{{"", "y"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := settings(tc.config); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
