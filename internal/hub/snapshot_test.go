package hub

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tune/internal/hub/hubtest"
)

const repo = "google/gemma-3-270m-it"

// noise is content without a period that a mistaken offset could hide behind.
func noise(n int) []byte {
	var out []byte
	for i := 0; len(out) < n; i++ {
		sum := sha256.Sum256(fmt.Append(nil, i))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

// modelFiles is a repository with more in it than a model needs.
func modelFiles() map[string][]byte {
	return map[string][]byte{
		"config.json": []byte(`{"model_type": "gemma3_text"}`), "tokenizer.json": []byte(`{"model": {}}`),
		"tokenizer_config.json": []byte(`{}`), "tokenizer.model": noise(1000), "chat_template.jinja": []byte("{{ bos }}"),
		"generation_config.json": []byte(`{"eos_token_id": 1}`), "special_tokens_map.json": []byte(`{"a": 1}`),
		"added_tokens.json": []byte(`{"b": 2}`), "model.safetensors": noise(3 << 20),
		"README.md": []byte("# Gemma"), "pytorch_model.bin": noise(100), "model-q4.gguf": noise(100), "picture.png": noise(100),
		"onnx/config.json": []byte("{}"), "consolidated.safetensors": noise(10), ".gitattributes": nil,
	}
}

// wanted are the names that Snapshot takes of them.
var wanted = []string{"added_tokens.json", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
	"special_tokens_map.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json"}

// newHub starts a Hub with the model and returns a client with an empty cache that does not sleep.
func newHub(t *testing.T, files map[string][]byte) (*hubtest.Server, *Client) {
	t.Helper()
	s := hubtest.New()
	t.Cleanup(s.Close)
	s.Add(repo, "main", files)
	return s, clientOf(t, s)
}

func clientOf(t *testing.T, s *hubtest.Server) *Client {
	t.Helper()
	return &Client{Endpoint: s.URL, Cache: filepath.Join(t.TempDir(), "hub"),
		sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}
}

// sameFiles compares a snapshot with the files that it is of.
func sameFiles(t *testing.T, dir string, names []string, files map[string][]byte) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Errorf("files of %s (-want +got):\n%s", dir, diff)
	}
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(content, files[name]) {
			t.Errorf("%s: %d bytes, not the %d of the Hub", name, len(content), len(files[name]))
		}
	}
}

// contentGets returns the GET requests for a file that the content server has seen.
func contentGets(s *hubtest.Server, name string) []hubtest.Request {
	return slices.DeleteFunc(s.Requests(), func(r hubtest.Request) bool {
		return !r.Content || r.Method != http.MethodGet || !strings.HasSuffix(r.Path, "/"+name)
	})
}

func TestSnapshotMakesTheCacheOfHuggingfaceHub(t *testing.T) {
	files := modelFiles()
	s, c := newHub(t, files)
	commit := s.Add(repo, "main", files)
	c.Token = "hf_secret"
	var last Event
	dir, err := c.Snapshot(t.Context(), repo, "", func(e Event) {
		if e.Note != "" {
			t.Errorf("note %q", e.Note)
		}
		if e.Done < last.Done && e.Total == last.Total {
			t.Errorf("%d bytes done after %d", e.Done, last.Done)
		}
		last = e
	})
	if err != nil {
		t.Fatal(err)
	}
	if last.Done != last.Total || last.File != "model.safetensors" {
		t.Errorf("the last event is %+v, want all of model.safetensors", last)
	}
	root := filepath.Join(c.Cache, "models--google--gemma-3-270m-it")
	if want := filepath.Join(root, "snapshots", commit); dir != want {
		t.Errorf("folder %s, want %s", dir, want)
	}
	sameFiles(t, dir, wanted, files)
	for _, name := range wanted {
		link, err := os.Readlink(filepath.Join(dir, name))
		if want := "../../blobs/" + hubtest.Hash(name, files[name]); err != nil || filepath.ToSlash(link) != want {
			t.Errorf("%s leads to %q (%v), want %q", name, link, err, want)
		}
	}
	if ref, err := os.ReadFile(filepath.Join(root, "refs", "main")); string(ref) != commit {
		t.Errorf("refs/main is %q (%v), want %s", ref, err, commit)
	}
	if blobs, _ := os.ReadDir(filepath.Join(root, "blobs")); len(blobs) != len(wanted) {
		t.Errorf("%d blobs, want %d: %v", len(blobs), len(wanted), blobs)
	}
	for _, r := range s.Requests() {
		if want := map[bool]string{false: "Bearer hf_secret"}[r.Content]; r.Authorization != want {
			t.Errorf("%+v: authorization %q, want %q", r, r.Authorization, want)
		}
	}

	// Again: one look at the branch and nothing else.
	if _, err := c.Snapshot(t.Context(), repo, "main", nil); err != nil {
		t.Fatal(err)
	}
	if seen := s.Requests(); len(seen) != 1 {
		t.Errorf("%d requests for a model that is there: %+v", len(seen), seen)
	}
	// The commit itself: not even that.
	if again, err := c.Snapshot(t.Context(), repo, commit, nil); err != nil || again != dir {
		t.Errorf("%s, %v", again, err)
	}
	if seen := s.Requests(); len(seen) != 0 {
		t.Errorf("requests for a commit that is there: %+v", seen)
	}
}

func TestSnapshotTakesWhatTheNewCommitShares(t *testing.T) {
	files := modelFiles()
	s, c := newHub(t, files)
	first, err := c.Snapshot(t.Context(), repo, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Requests()
	changed := modelFiles()
	changed["config.json"] = []byte(`{"model_type": "gemma3_text", "x": 1}`)
	s.Add(repo, "main", changed)
	second, err := c.Snapshot(t.Context(), repo, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if first == second {
		t.Error("the branch has moved, the folder has not")
	}
	sameFiles(t, first, wanted, files)
	sameFiles(t, second, wanted, changed)
	if gets := contentGets(s, "model.safetensors"); len(gets) != 0 {
		t.Errorf("the weights were fetched again: %+v", gets)
	}
}

// shardFiles is a model in two shards.
func shardFiles() map[string][]byte {
	files := modelFiles()
	delete(files, "model.safetensors")
	files["model-00001-of-00002.safetensors"], files["model-00002-of-00002.safetensors"] = noise(5000), noise(7000)
	files["model.safetensors.index.json"] = []byte(`{"metadata": {"total_size": 12000}, "weight_map": {
		"a": "model-00002-of-00002.safetensors", "b": "model-00001-of-00002.safetensors", "c": "model-00001-of-00002.safetensors"}}`)
	return files
}

func TestSnapshotInShards(t *testing.T) {
	files := shardFiles()
	_, c := newHub(t, files)
	dir, err := c.Snapshot(t.Context(), repo, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	names := append([]string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"}, wanted...)
	names = slices.DeleteFunc(names, func(n string) bool { return n == "model.safetensors" })
	slices.Sort(names)
	sameFiles(t, dir, names, files)
}

func TestRevisions(t *testing.T) {
	s, c := newHub(t, modelFiles())
	tagged := modelFiles()
	tagged["config.json"] = []byte(`{"model_type": "gemma3_text", "tag": 1}`)
	commit := s.Add(repo, "refs/pr/1", tagged)
	for _, revision := range []string{"refs/pr/1", commit} {
		dir, err := c.Snapshot(t.Context(), repo, revision, nil)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(dir) != commit {
			t.Errorf("%s gave commit %s, want %s", revision, filepath.Base(dir), commit)
		}
		sameFiles(t, dir, wanted, tagged)
	}
	if seen := s.Requests(); seen[0].Path != "/api/models/"+repo+"/revision/refs%2Fpr%2F1" {
		t.Errorf("asked for %s", seen[0].Path)
	}
}

// TestResume: connections that break off cost nothing but the rest of the file.
func TestResume(t *testing.T) {
	for _, tc := range []struct {
		name   string
		set    func(s *hubtest.Server)
		ranges []string // of the requests for the weights
	}{
		{"one cut", func(s *hubtest.Server) { s.Cuts = cuts(2 << 20) }, []string{"", "bytes=2097152-"}},
		{"cut at every megabyte", func(s *hubtest.Server) { s.Cuts = cuts(1<<20, 1<<20, 1<<19) },
			[]string{"", "bytes=1048576-", "bytes=2097152-", "bytes=2621440-"}},
		{"ranges are ignored", func(s *hubtest.Server) { s.Cuts, s.IgnoreRange = cuts(1<<20), true },
			[]string{"", "bytes=1048576-"}},
		{"503 and 429 before it goes well", func(s *hubtest.Server) { s.Intercept = failing(503, 429, 500) }, []string{"", "", "", ""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := modelFiles()
			s, c := newHub(t, files)
			tc.set(s)
			notes := 0
			dir, err := c.Snapshot(t.Context(), repo, "", func(e Event) {
				if e.Note != "" {
					notes++
					if !strings.Contains(e.Note, repo+"/model.safetensors: ") || !strings.Contains(e.Note, "; trying again in ") ||
						strings.Contains(e.Note, "secret") {
						t.Errorf("note %q", e.Note)
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			sameFiles(t, dir, wanted, files)
			var ranges []string
			for _, r := range contentGets(s, "model.safetensors") {
				ranges = append(ranges, r.Range)
			}
			if diff := cmp.Diff(tc.ranges, ranges); diff != "" {
				t.Errorf("ranges (-want +got):\n%s", diff)
			}
			if notes != len(tc.ranges)-1 {
				t.Errorf("%d notes for %d requests", notes, len(tc.ranges))
			}
		})
	}
}

// cuts lets the eight small files pass, which come before the weights.
func cuts(weights ...int) []int { return append(make([]int, len(wanted)-1), weights...) }

// failing answers the first requests to the content server for the weights with these codes.
func failing(codes ...int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if len(codes) == 0 || r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "model.safetensors") || !r.URL.Query().Has("Signature") {
			return false
		}
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(codes[0])
		codes = codes[1:]
		return true
	}
}

// TestResumeOfAnEarlierProcess: what lies in .incomplete is used, as far as it is right.
func TestResumeOfAnEarlierProcess(t *testing.T) {
	files := modelFiles()
	weights := files["model.safetensors"]
	hash := hubtest.Hash("model.safetensors", weights)
	for _, tc := range []struct {
		name   string
		left   []byte
		ranges []string
		notes  int
	}{
		{"a part", weights[:1000], []string{"bytes=1000-"}, 0},
		{"nothing", nil, []string{""}, 0},
		{"all of it", weights, nil, 0},
		{"too much", append(slices.Clone(weights), 1), []string{""}, 0},
		{"other bytes", noise(2000)[1000:], []string{"bytes=1000-", ""}, 1},
		{"as many other bytes", make([]byte, len(weights)), []string{""}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, c := newHub(t, files)
			blobs := filepath.Join(c.repoDir(repo), "blobs")
			if err := os.MkdirAll(blobs, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(blobs, hash+".incomplete"), tc.left, 0o644); err != nil {
				t.Fatal(err)
			}
			notes := 0
			dir, err := c.Snapshot(t.Context(), repo, "", func(e Event) {
				if e.Note != "" {
					notes++
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			sameFiles(t, dir, wanted, files)
			var ranges []string
			for _, r := range contentGets(s, "model.safetensors") {
				ranges = append(ranges, r.Range)
			}
			if diff := cmp.Diff(tc.ranges, ranges); diff != "" || notes != tc.notes {
				t.Errorf("%d notes, want %d; ranges (-want +got):\n%s", notes, tc.notes, diff)
			}
		})
	}
}

// left puts the beginning of the weights where an earlier download would have left it.
func left(t *testing.T, c *Client, begun []byte) (path string) {
	t.Helper()
	path = filepath.Join(c.repoDir(repo), "blobs", hubtest.Hash("model.safetensors", modelFiles()["model.safetensors"])+".incomplete")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, begun, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPartOutlivesUselessAnswers: nothing that is not the file costs what has come of it.
func TestPartOutlivesUselessAnswers(t *testing.T) {
	files := modelFiles()
	weights := files["model.safetensors"]
	for name, answer := range map[string]func(w http.ResponseWriter){
		"a page of another network": func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html>Welcome to our hotel</html>")) },
		"a range without its place": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(weights[1000:])
		},
		"a range from elsewhere": func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(weights)-1, len(weights)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(weights)
		},
		"a range of another file": func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", "bytes 1000-1999/2000")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(weights[:1000])
		},
		"no range at all": func(w http.ResponseWriter) { w.WriteHeader(http.StatusRequestedRangeNotSatisfiable) },
		"no range, though the file is right": func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", len(weights)))
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		},
		"no range of another file, and that file": func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", "bytes */37")
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := newHub(t, files)
			part := left(t, c, weights[:1000])
			broken := true
			s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case !broken || !r.URL.Query().Has("Signature") || !strings.HasSuffix(r.URL.Path, "model.safetensors"):
					return false
				case r.Header.Get("Range") == "":
					_, _ = w.Write([]byte("<html>Welcome to our hotel</html>"))
				default:
					answer(w)
				}
				return true
			}
			if _, err := c.Snapshot(t.Context(), repo, "", nil); !errors.Is(err, ErrUnreachable) {
				t.Errorf("%v, want ErrUnreachable", err)
			}
			if kept, err := os.ReadFile(part); err != nil || !bytes.Equal(kept, weights[:1000]) {
				t.Errorf("%d bytes are left of 1000 (%v)", len(kept), err)
			}
			for _, r := range contentGets(s, "model.safetensors") {
				if r.Range == "" && !strings.Contains(name, "that file") {
					t.Error("all of the file was asked for, though nothing says that what is there is wrong")
				}
			}
			broken = false
			dir, err := c.Snapshot(t.Context(), repo, "", nil)
			if err != nil {
				t.Fatal(err)
			}
			sameFiles(t, dir, wanted, files)
			if gets := contentGets(s, "model.safetensors"); len(gets) != 1 || gets[0].Range != "bytes=1000-" {
				t.Errorf("requests %+v, want one from 1000 on", gets)
			}
		})
	}
}

// TestInterruptedWhileReadingWhatIsThere: Ctrl-C counts while an earlier part is hashed, and progress is seen.
func TestInterruptedWhileReadingWhatIsThere(t *testing.T) {
	files := modelFiles()
	_, c := newHub(t, files)
	part := left(t, c, files["model.safetensors"][:5<<19])
	ctx, cancel := context.WithCancel(t.Context())
	var read []int64
	_, err := c.Snapshot(ctx, repo, "", func(e Event) {
		if e.File == "model.safetensors" {
			read = append(read, e.Done)
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	var small int64
	for _, name := range wanted[:len(wanted)-1] {
		if name != "model.safetensors" {
			small += int64(len(files[name]))
		}
	}
	small += int64(len(files["tokenizer_config.json"]))
	if len(read) != 1 || read[0] != small+1<<20 {
		t.Errorf("told %v, want the first megabyte after %d bytes of small files and no more", read, small)
	}
	if info, err := os.Stat(part); err != nil || info.Size() != 5<<19 {
		t.Errorf("the part was changed (%v)", err)
	}
}

// TestServerThatEndsBeforeUs answers 416 and names a size: our part is longer than its file, so one of both is wrong. Asked
// for all of it, it has the right one.
func TestServerThatEndsBeforeUs(t *testing.T) {
	files := modelFiles()
	s, c := newHub(t, files)
	left(t, c, files["model.safetensors"][:1<<20])
	refused := 0
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Range") == "" || !r.URL.Query().Has("Signature") {
			return false
		}
		refused++
		w.Header().Set("Content-Range", "bytes */1000")
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return true
	}
	dir, err := c.Snapshot(t.Context(), repo, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	sameFiles(t, dir, wanted, files)
	if refused != 1 {
		t.Errorf("%d ranges refused, want 1", refused)
	}
}

// TestConnectionThatStalls is cut and taken up again.
func TestConnectionThatStalls(t *testing.T) {
	files := modelFiles()
	s, c := newHub(t, files)
	c.stall = 200 * time.Millisecond
	release := make(chan struct{})
	defer close(release)
	stalled := false
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if stalled || !r.URL.Query().Has("Signature") || !strings.HasSuffix(r.URL.Path, "model.safetensors") {
			return false
		}
		stalled = true
		w.Header().Set("Content-Length", fmt.Sprint(3<<20))
		_, _ = w.Write(files["model.safetensors"][:5000])
		w.(http.Flusher).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return true
	}
	var notes []string
	dir, err := c.Snapshot(t.Context(), repo, "", func(e Event) {
		if e.Note != "" {
			notes = append(notes, e.Note)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	sameFiles(t, dir, wanted, files)
	if len(notes) != 1 || !strings.Contains(notes[0], "brought nothing for too long") {
		t.Errorf("notes %q", notes)
	}
}

func TestRetriesAreBounded(t *testing.T) {
	s, c := newHub(t, modelFiles())
	s.IgnoreRange = true
	s.Cuts = slices.Repeat([]int{100}, 1000) // no progress: each time the same 100 bytes
	var waits []time.Duration
	c.sleep = func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil }
	_, err := c.Snapshot(t.Context(), repo, "", nil)
	if !errors.Is(err, ErrUnreachable) {
		t.Fatalf("%v, want ErrUnreachable", err)
	}
	if diff := cmp.Diff([]time.Duration{1e9, 2e9, 4e9, 8e9}, waits); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
}

// TestWaitsBeginAgainWhenBytesCame: a line that is cut ten times and brings a little each time is slow, not dead.
func TestWaitsBeginAgainWhenBytesCame(t *testing.T) {
	files := modelFiles()
	s, c := newHub(t, files)
	s.Cuts = cuts(slices.Repeat([]int{1000}, 10)...)
	var waits []time.Duration
	c.sleep = func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil }
	dir, err := c.Snapshot(t.Context(), repo, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	sameFiles(t, dir, wanted, files)
	if diff := cmp.Diff(slices.Repeat([]time.Duration{time.Second}, 10), waits); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0,
		"Tue, 24 Nov 2026 12:01:30 GMT": 90 * time.Second, "Tue, 24 Nov 2026 11:00:00 GMT": 0} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}

	s, c := newHub(t, modelFiles())
	var waits []time.Duration
	c.sleep = func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil }
	s.Intercept = failing(429)
	if _, err := c.Snapshot(t.Context(), repo, "", nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]time.Duration{7 * time.Second}, waits); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
	// An hour is more than anyone wants to watch.
	c = clientOf(t, s)
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}
	s.Requests()
	if _, err := c.Snapshot(t.Context(), repo, "", nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("%v, want ErrUnreachable", err)
	}
	if seen := s.Requests(); len(seen) != 1 {
		t.Errorf("%d requests, want 1", len(seen))
	}
}

func TestWrongBytes(t *testing.T) {
	for _, name := range []string{"model.safetensors", "config.json"} {
		t.Run(name, func(t *testing.T) {
			files := modelFiles()
			s, c := newHub(t, files)
			left := 1 // wrong once: fetched again
			s.Corrupt = func(of string, content []byte) []byte {
				if of != name || left == 0 {
					return content
				}
				left--
				content = slices.Clone(content)
				content[len(content)/2] ^= 1
				return content
			}
			if name == "config.json" {
				left++ // its HEAD is answered by the same code
			}
			notes := 0
			dir, err := c.Snapshot(t.Context(), repo, "", func(e Event) {
				if e.Note != "" {
					notes++
				}
			})
			if err != nil || notes != 1 {
				t.Fatalf("%v, %d notes", err, notes)
			}
			sameFiles(t, dir, wanted, files)

			c, left = clientOf(t, s), 10 // wrong each time
			_, err = c.Snapshot(t.Context(), repo, "", nil)
			e, ok := errors.AsType[*Error](err)
			if !ok || !errors.Is(err, ErrCorrupt) || e.File != name {
				t.Fatalf("%v, want ErrCorrupt of %s", err, name)
			}
			for _, part := range []string{repo + "/" + name, ", want " + hubtest.Hash(name, files[name])} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("no %q in %v", part, err)
				}
			}
			hash := hubtest.Hash(name, files[name])
			for _, left := range []string{hash, hash + ".incomplete"} {
				if _, err := os.Stat(filepath.Join(c.repoDir(repo), "blobs", left)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("blobs/%s is there", left)
				}
			}
			if _, err := c.Cached(repo, ""); !errors.Is(err, ErrNotCached) {
				t.Errorf("Cached: %v", err)
			}
		})
	}
}

// TestLongerThanItShouldBe: a server that sends more than the Hub said.
func TestLongerThanItShouldBe(t *testing.T) {
	s, c := newHub(t, modelFiles())
	s.Corrupt = func(name string, content []byte) []byte {
		if name == "model.safetensors" {
			content = append(slices.Clone(content), 'x')
		}
		return content
	}
	_, err := c.Snapshot(t.Context(), repo, "", nil)
	if !errors.Is(err, ErrUnreachable) || !strings.HasSuffix(err.Error(), "answered with 3145729 bytes, want the 3145728 of the file") {
		t.Errorf("%v", err)
	}
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool { // one that does not say how long it is
		if !r.URL.Query().Has("Signature") || !strings.HasSuffix(r.URL.Path, "model.safetensors") {
			return false
		}
		w.(http.Flusher).Flush()
		_, _ = w.Write(noise(3<<20 + 1))
		return true
	}
	_, err = c.Snapshot(t.Context(), repo, "", nil)
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "more than the 3145728 bytes") {
		t.Errorf("%v", err)
	}
}

func TestDiskFull(t *testing.T) {
	s, c := newHub(t, modelFiles())
	c.free = func(string) (int64, bool) { return 3 << 20, true }
	_, err := c.Snapshot(t.Context(), repo, "", nil)
	if !errors.Is(err, ErrDiskFull) || !strings.HasPrefix(err.Error(), repo+": 3.1 MB to download, 3.1 MB free in "+c.Cache) {
		t.Errorf("%v", err)
	}
	for _, r := range s.Requests() {
		if r.Content {
			t.Errorf("%+v before the disk was looked at", r)
		}
	}
	// What an earlier download has left need not be fetched again.
	left(t, c, modelFiles()["model.safetensors"][:2<<20])
	c.free = func(string) (int64, bool) { return 1<<20 + 2000, true }
	if _, err := c.Snapshot(t.Context(), repo, "", nil); err != nil {
		t.Errorf("2 MB of 3 are there, and there is room for one: %v", err)
	}
	c.free = nil
	if free, known := freeSpace(t.TempDir()); known && free <= 0 {
		t.Errorf("%d bytes free", free)
	}
	if _, err := c.Snapshot(t.Context(), repo, "", nil); err != nil {
		t.Error(err)
	}
}

// TestWithoutLinks: as huggingface_hub does where there are none.
func TestWithoutLinks(t *testing.T) {
	files := modelFiles()
	s, c := newHub(t, files)
	c.symlink = func(string, string) error { return errors.New("no links here") }
	blobs := filepath.Join(c.repoDir(repo), "blobs")
	kept := filepath.Join(blobs, hubtest.Hash("config.json", files["config.json"]))
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kept, files["config.json"], 0o644); err != nil { // another snapshot may use it: copied, not moved
		t.Fatal(err)
	}
	dir, err := c.Snapshot(t.Context(), repo, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	sameFiles(t, dir, wanted, files)
	if entries, _ := os.ReadDir(blobs); len(entries) != 1 {
		t.Errorf("blobs holds %v, want config.json's alone", entries)
	}
	s.Requests()
	if _, err := c.Snapshot(t.Context(), repo, "", nil); err != nil {
		t.Fatal(err)
	}
	if seen := s.Requests(); len(seen) != 1 {
		t.Errorf("%d requests the second time", len(seen))
	}
}

// TestBlobThatWasCutOff: some program left a file under its final name that is too short.
func TestBlobThatWasCutOff(t *testing.T) {
	files := modelFiles()
	_, c := newHub(t, files)
	blobs := filepath.Join(c.repoDir(repo), "blobs")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(blobs, hubtest.Hash("model.safetensors", files["model.safetensors"]))
	if err := os.WriteFile(short, files["model.safetensors"][:100], 0o644); err != nil {
		t.Fatal(err)
	}
	dir, err := c.Snapshot(t.Context(), repo, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	sameFiles(t, dir, wanted, files)
}

// TestInterruptedDownloadGoesOn: Ctrl-C in the middle of the weights.
func TestInterruptedDownloadGoesOn(t *testing.T) {
	files := modelFiles()
	s, c := newHub(t, files)
	hang := make(chan struct{})
	defer close(hang)
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if !r.URL.Query().Has("Signature") || !strings.HasSuffix(r.URL.Path, "model.safetensors") {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(3<<20))
		_, _ = w.Write(files["model.safetensors"][:2<<20])
		w.(http.Flusher).Flush()
		select {
		case <-hang:
		case <-r.Context().Done():
		}
		return true
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.Snapshot(ctx, repo, "", func(e Event) {
		if e.Done >= 2<<20 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want context.Canceled", err)
	}
	if _, err := c.Cached(repo, ""); !errors.Is(err, ErrNotCached) {
		t.Errorf("Cached: %v", err)
	}
	s.Intercept = nil
	s.Requests()
	dir, err := c.Snapshot(t.Context(), repo, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	sameFiles(t, dir, wanted, files)
	if gets := contentGets(s, "model.safetensors"); len(gets) != 1 || gets[0].Range != "bytes=2097152-" {
		t.Errorf("requests %+v, want one from 2097152 on", gets)
	}
}
