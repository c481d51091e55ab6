package hub

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tune/internal/hub/hubtest"
)

func TestOffline(t *testing.T) {
	s, c := newHub(t, modelFiles())
	c.Offline = true
	_, err := c.Snapshot(t.Context(), repo, "", nil)
	if e, _ := errors.AsType[*Error](err); !errors.Is(err, ErrNotCached) || e.Hint == "" ||
		err.Error() != repo+" at main is not in the cache "+c.Cache+", and HF_HUB_OFFLINE is set" {
		t.Errorf("%v", err)
	}
	c.OfflineSource = "TRANSFORMERS_OFFLINE"
	_, err = c.Snapshot(t.Context(), repo, "", nil)
	if e, _ := errors.AsType[*Error](err); !strings.HasSuffix(err.Error(), ", and TRANSFORMERS_OFFLINE is set") ||
		e.Hint != "unset TRANSFORMERS_OFFLINE once, with a network, to fetch it" {
		t.Errorf("%v", err)
	}
	c.Offline = false
	dir, err := c.Snapshot(t.Context(), repo, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Requests()
	c.Offline = true
	for _, revision := range []string{"", "main", filepath.Base(dir)} {
		if got, err := c.Snapshot(t.Context(), repo, revision, nil); got != dir || err != nil {
			t.Errorf("revision %q: %s, %v", revision, got, err)
		}
	}
	if seen := s.Requests(); len(seen) != 0 {
		t.Errorf("requests though offline: %+v", seen)
	}
	if err := os.Remove(filepath.Join(dir, "model.safetensors")); err != nil {
		t.Fatal(err)
	}
	_, err = c.Snapshot(t.Context(), repo, "", nil)
	if !errors.Is(err, ErrNotCached) || !strings.Contains(err.Error(), "only in part in the cache "+c.Cache+": missing model.safetensors, and") {
		t.Errorf("%v", err)
	}
}

// TestUnreachable: what the cache has serves, and the user is told; without it the error names the cause.
func TestUnreachable(t *testing.T) {
	s, c := newHub(t, modelFiles())
	dir, err := c.Snapshot(t.Context(), repo, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	var notes []string
	got, err := c.Snapshot(t.Context(), repo, "", func(e Event) { notes = append(notes, e.Note) })
	if err != nil || got != dir {
		t.Errorf("%s, %v", got, err)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "cannot read from "+s.URL) ||
		!strings.HasSuffix(notes[0], "going on with what the cache has of main, commit "+filepath.Base(dir)[:12]) {
		t.Errorf("notes %q", notes)
	}
	_, err = c.Snapshot(t.Context(), "google/gemma-3-1b-it", "", nil)
	if e, _ := errors.AsType[*Error](err); !errors.Is(err, ErrUnreachable) || !strings.Contains(e.Hint, "HF_HUB_OFFLINE") {
		t.Errorf("%v", err)
	}
}

// TestRefusedThoughCached: an expired token is told, and how to go on without it.
func TestRefusedThoughCached(t *testing.T) {
	s, c := newHub(t, modelFiles())
	if _, err := c.Snapshot(t.Context(), repo, "", nil); err != nil {
		t.Fatal(err)
	}
	s.Known = "hf_new"
	old := &Client{Endpoint: c.Endpoint, Cache: c.Cache, Token: "hf_old", TokenSource: "HF_TOKEN"}
	_, err := old.Snapshot(t.Context(), repo, "", nil)
	if e, _ := errors.AsType[*Error](err); !errors.Is(err, ErrToken) || !strings.HasSuffix(e.Hint, "HF_HUB_OFFLINE=1 uses the copy in the cache") {
		t.Errorf("%v", err)
	}
}

func TestList(t *testing.T) {
	files := modelFiles()
	s, c := newHub(t, files)
	if models, err := c.List(); err != nil || models != nil {
		t.Fatalf("an empty cache has %v (%v)", models, err)
	}
	dir, err := c.Snapshot(t.Context(), repo, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	commit := s.Add(repo, "v1/final", files)
	if _, err := c.Snapshot(t.Context(), repo, "v1/final", nil); err != nil {
		t.Fatal(err)
	}
	// A download of another model that broke off in its weights for good.
	s.Add("org/half.model", "main", files)
	s.Cuts = cuts(1 << 20)
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Range") == "" {
			return false
		}
		w.WriteHeader(http.StatusBadGateway)
		return true
	}
	if _, err := c.Snapshot(t.Context(), "org/half.model", "", nil); !errors.Is(err, ErrUnreachable) {
		t.Fatal(err)
	}
	// And what is no model at all.
	for _, folder := range []string{"datasets--a--b/snapshots", "models--org--bare/refs", "models--org--bare/snapshots/not-a-commit"} {
		if err := os.MkdirAll(filepath.Join(c.Cache, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.List()
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, name := range wanted {
		size += int64(len(files[name]))
	}
	want := []CachedModel{
		{Repo: repo, Commit: commit, Revisions: []string{"main", "v1/final"}, Dir: dir, Bytes: size},
		{Repo: "org/half.model", Commit: commit, Dir: filepath.Join(c.repoDir("org/half.model"), "snapshots", commit),
			Bytes: size - 3<<20 + 1<<20, Missing: []string{"model.safetensors"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMissingShards(t *testing.T) {
	_, c := newHub(t, shardFiles())
	dir, err := c.Snapshot(t.Context(), repo, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "model-00002-of-00002.safetensors")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Cached(repo, ""); !errors.Is(err, ErrNotCached) || !strings.HasSuffix(err.Error(), "missing model-00002-of-00002.safetensors") {
		t.Errorf("%v", err)
	}
	if _, err := c.Snapshot(t.Context(), repo, "", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Cached(repo, ""); err != nil {
		t.Error(err)
	}
}

// TestCacheThatCannotBeWritten serves all the same when nothing has to be written.
func TestCacheThatCannotBeWritten(t *testing.T) {
	if os.Geteuid() == 0 {
		// Root may write anywhere: what matters is that nothing tries to, which the times of the files show.
		t.Log("as root: looking at the folders' times only")
	}
	_, c := newHub(t, modelFiles())
	dir, err := c.Snapshot(t.Context(), repo, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	folders := []string{dir, filepath.Join(c.repoDir(repo), "refs"), filepath.Join(c.repoDir(repo), "blobs"), c.repoDir(repo), c.Cache}
	var before []os.FileInfo
	for _, folder := range folders {
		if err := os.Chmod(folder, 0o555); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.Chmod(folder, 0o755) }()
		info, err := os.Stat(folder)
		if err != nil {
			t.Fatal(err)
		}
		before = append(before, info)
	}
	if _, err := c.Snapshot(t.Context(), repo, "", nil); err != nil {
		t.Error(err)
	}
	for i, folder := range folders {
		if after, err := os.Stat(folder); err != nil || !after.ModTime().Equal(before[i].ModTime()) {
			t.Errorf("%s was written to (%v)", folder, err)
		}
	}
}

// TestSharedWithPython: a cache as huggingface_hub writes it, with more files and without our locks.
func TestSharedWithPython(t *testing.T) {
	files := modelFiles()
	s, c := newHub(t, files)
	commit := s.Add(repo, "main", files)
	root := c.repoDir(repo)
	for _, dir := range []string{"blobs", "refs", "snapshots/" + commit, ".no_exist/" + commit} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range append([]string{"README.md"}, wanted...) {
		hash := hubtest.Hash(name, files[name])
		if err := os.WriteFile(filepath.Join(root, "blobs", hash), files[name], 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../../blobs/"+hash, filepath.Join(root, "snapshots", commit, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "refs", "main"), []byte(commit), 0o644); err != nil {
		t.Fatal(err)
	}
	dir, err := c.Snapshot(t.Context(), repo, "", nil)
	if err != nil || filepath.Base(dir) != commit {
		t.Fatalf("%s, %v", dir, err)
	}
	if seen := s.Requests(); len(seen) != 1 {
		t.Errorf("requests %+v", seen)
	}
}

// fromPython fetches a model as another program would that wants these files only: with links, and without marks.
func fromPython(t *testing.T, s *hubtest.Server, c *Client, files map[string][]byte, without ...string) (dir, commit string) {
	t.Helper()
	dir, err := c.Snapshot(t.Context(), repo, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range without {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(c.repoDir(repo), ".no_exist")); err != nil {
		t.Fatal(err)
	}
	s.Requests()
	return dir, filepath.Base(dir)
}

// TestSmallFilesThatPythonLeftOut: a program that wanted the weights only has fetched no chat template. It is looked
// for, once, though the commit cannot change.
func TestSmallFilesThatPythonLeftOut(t *testing.T) {
	files := modelFiles()
	s, c := newHub(t, files)
	dir, commit := fromPython(t, s, c, files, "chat_template.jinja", "tokenizer_config.json", "generation_config.json")
	if again, err := c.Snapshot(t.Context(), repo, commit, nil); again != dir || err != nil {
		t.Fatalf("%s, %v", again, err)
	}
	sameFiles(t, dir, wanted, files)
	if mark, err := os.ReadFile(filepath.Join(c.repoDir(repo), ".no_exist", commit, "chat_template.json")); err != nil || len(mark) != 0 {
		t.Errorf("the model has no chat_template.json, and the cache does not say so as Python does: %q, %v", mark, err)
	}
	if _, err := os.Stat(filepath.Join(c.repoDir(repo), ".no_exist", commit, "chat_template.jinja")); err == nil {
		t.Error("the model has a chat_template.jinja, and the cache says that it has none")
	}
	s.Requests()
	if _, err := c.Snapshot(t.Context(), repo, commit, nil); err != nil {
		t.Fatal(err)
	}
	if seen := s.Requests(); len(seen) != 0 {
		t.Errorf("asked again: %+v", seen)
	}
}

// TestSmallFilesThatCannotBeLookedFor: the user is told what may be missing, and only what matters.
func TestSmallFilesThatCannotBeLookedFor(t *testing.T) {
	refuse := func(s *hubtest.Server) {
		s.Intercept = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusNotFound); return true }
	}
	const tail = " of " + repo + ", and whether the model has them cannot be looked up: going on without"
	for _, tc := range []struct {
		name    string
		without []string
		set     func(s *hubtest.Server, c *Client)
		want    []string // the ends of the notes
	}{
		{"offline", []string{"chat_template.jinja", "generation_config.json"}, func(_ *hubtest.Server, c *Client) { c.Offline = true },
			[]string{"the cache has no chat_template.jinja, chat_template.json, generation_config.json" + tail}},
		{"offline, with a template", nil, func(_ *hubtest.Server, c *Client) { c.Offline = true }, nil},
		{"unreachable", []string{"tokenizer_config.json"}, func(s *hubtest.Server, _ *Client) { s.Close() },
			[]string{"going on with what the cache has of", "the cache has no tokenizer_config.json" + tail}},
		{"a repository that was withdrawn", []string{"tokenizer_config.json"}, func(s *hubtest.Server, _ *Client) { refuse(s) },
			[]string{"going on with what the cache has of", "the cache has no tokenizer_config.json" + tail}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := modelFiles()
			s, c := newHub(t, files)
			dir, commit := fromPython(t, s, c, files, tc.without...)
			tc.set(s, c)
			var notes []string
			got, err := c.Snapshot(t.Context(), repo, commit, func(e Event) { notes = append(notes, e.Note) })
			if got != dir || err != nil {
				t.Fatalf("%s, %v", got, err)
			}
			if len(notes) != len(tc.want) {
				t.Fatalf("notes %q, want %q", notes, tc.want)
			}
			for i, want := range tc.want {
				if !strings.Contains(notes[i], want) {
					t.Errorf("note %q, want %q", notes[i], want)
				}
			}
		})
	}
}

// TestTemplateInTheTokenizersConfig is as good as a file of its own.
func TestTemplateInTheTokenizersConfig(t *testing.T) {
	files := modelFiles()
	delete(files, "chat_template.jinja")
	files["tokenizer_config.json"] = []byte(`{"chat_template": "{{ bos }}"}`)
	s, c := newHub(t, files)
	_, commit := fromPython(t, s, c, files)
	c.Offline = true
	if _, err := c.Snapshot(t.Context(), repo, commit, func(e Event) { t.Errorf("note %q", e.Note) }); err != nil {
		t.Error(err)
	}
}

// TestTokenizerThatWasCutOff: the half of the small files that an interrupted tune data has left is not taken for all.
func TestTokenizerThatWasCutOff(t *testing.T) {
	files := modelFiles()
	s, c := newHub(t, files)
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/tokenizer_config.json") {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	commit := s.Add(repo, "main", files)
	if _, err := c.Tokenizer(t.Context(), repo, commit, nil); err == nil {
		t.Fatal("no error")
	}
	s.Intercept = nil
	dir, err := c.Tokenizer(t.Context(), repo, commit, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tokenizer_config.json")); err != nil {
		t.Error(err)
	}
}

// TestTokenizerLeavesTheWeights: and Snapshot fetches them later.
func TestTokenizerLeavesTheWeights(t *testing.T) {
	files := modelFiles()
	s, c := newHub(t, files)
	dir, err := c.Tokenizer(t.Context(), repo, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	small := slices.DeleteFunc(slices.Clone(wanted), func(name string) bool { return name == "model.safetensors" })
	sameFiles(t, dir, small, files)
	if missing, err := Missing(dir); err != nil || !slices.Equal(missing, []string{"model.safetensors"}) {
		t.Errorf("missing %v, %v", missing, err)
	}
	offline := &Client{Endpoint: s.URL, Cache: c.Cache, Offline: true}
	if again, err := offline.Tokenizer(t.Context(), repo, "", nil); again != dir || err != nil {
		t.Errorf("%s, %v", again, err)
	}
	if _, err := offline.Snapshot(t.Context(), repo, "", nil); !errors.Is(err, ErrNotCached) {
		t.Errorf("%v, want ErrNotCached", err)
	}
	if _, err := c.Snapshot(t.Context(), repo, "", nil); err != nil {
		t.Fatal(err)
	}
	sameFiles(t, dir, wanted, files)
}
