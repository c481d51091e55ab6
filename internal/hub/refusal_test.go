package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tune/internal/hub/hubtest"
)

// TestRefusals: each says what it is about and what to do.
func TestRefusals(t *testing.T) {
	without := func(names ...string) map[string][]byte {
		files := modelFiles()
		for _, name := range names {
			delete(files, name)
		}
		return files
	}
	shards := func(index string) map[string][]byte {
		files := shardFiles()
		files["model.safetensors.index.json"] = []byte(index)
		return files
	}
	everywhere := func(status int, body string) func(*hubtest.Server) {
		return func(s *hubtest.Server) {
			s.Intercept = func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(status)
				_, _ = w.Write([]byte(body))
				return true
			}
		}
	}
	// files refuses all files and not the listing; content all that the content server has.
	some := func(status int, which func(*http.Request) bool) func(*hubtest.Server) {
		return func(s *hubtest.Server) {
			s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
				if which(r) {
					w.WriteHeader(status)
				}
				return which(r)
			}
		}
	}
	files := func(status int) func(*hubtest.Server) {
		return some(status, func(r *http.Request) bool { return !strings.HasPrefix(r.URL.Path, "/api/") })
	}
	content := func(status int) func(*hubtest.Server) {
		return some(status, func(r *http.Request) bool { return r.URL.Query().Has("Signature") })
	}
	for _, tc := range []struct {
		name, repo, revision, token string
		files                       map[string][]byte
		set                         func(*hubtest.Server)
		kind                        error
		want, hint                  string // regular expressions
	}{
		{name: "gated, without a token", set: func(s *hubtest.Server) { s.Gated = "hf_in" }, kind: ErrGated,
			want: `^google/gemma-3-270m-it is gated: its owner asks for a licence to be accepted, and no token was sent \(it says: Access to model .* is restricted\..*\)$`,
			hint: `^accept its licence at http://.*/google/gemma-3-270m-it, then set HF_TOKEN .* or run hf auth login$`},
		{name: "gated, with a token that may not", token: "hf_out", set: func(s *hubtest.Server) { s.Gated = "hf_in" }, kind: ErrGated,
			want: `is gated, and the account of the token in HF_TOKEN has no access to it`,
			hint: `^accept its licence at http://.*/google/gemma-3-270m-it with the token's account`},
		{name: "gated, with one that may", token: "hf_in", set: func(s *hubtest.Server) { s.Gated = "hf_in" }},
		{name: "wrong token", token: "hf_wrong", set: func(s *hubtest.Server) { s.Known = "hf_out" }, kind: ErrToken,
			want: `the Hub refuses the token in HF_TOKEN: it is wrong or has expired`, hint: `/settings/tokens`},
		{name: "no repository, without a token", repo: "google/gemma-9", kind: ErrRepoNotFound,
			want: `^google/gemma-9: no such model on http://[0-9.:]+, or it is private and no token was sent`, hint: `HF_TOKEN`},
		{name: "no repository, with a token", repo: "google/gemma-9", token: "hf_in", kind: ErrRepoNotFound,
			want: `^google/gemma-9: no such model on .*, or it is private and the token in HF_TOKEN has no access`},
		{name: "a bare 401, without a token", set: everywhere(401, ""), kind: ErrRepoNotFound, want: `no such model on .* no token was sent$`},
		{name: "a bare 401, with a token", token: "hf_in", set: everywhere(401, ""), kind: ErrToken,
			want: `the Hub refuses the token in HF_TOKEN: it is wrong or has expired$`},
		{name: "a bare 404", set: everywhere(404, ""), kind: ErrRepoNotFound, want: `^google/gemma-3-270m-it: no such model on`},
		{name: "a bare 404 of a file", set: files(404), kind: ErrFileNotFound,
			want: `^google/gemma-3-270m-it/added_tokens.json: no such file at revision [0-9a-f]{40}$`},
		{name: "a bare 403, without a token", set: files(403), kind: ErrGated,
			want: `^google/gemma-3-270m-it/added_tokens.json: http://.* forbids it, HTTP 403, and no token was sent$`,
			hint: `^is its licence accepted at http://.*/google/gemma-3-270m-it\? Then set HF_TOKEN`},
		{name: "a bare 403, with a token", token: "hf_in", set: files(403), kind: ErrGated,
			want: `^google/gemma-3-270m-it/added_tokens.json: http://.* forbids it to the token in HF_TOKEN, HTTP 403$`,
			hint: `^is its licence accepted at http://.*/google/gemma-3-270m-it\? May the token read gated repositories\?`},
		{name: "403 of the content server", token: "hf_in", set: content(403), kind: ErrAnswer,
			want: `tokenizer.model: http://[0-9.:]+, where http://[0-9.:]+ sends us, answers HTTP 403$`, hint: `firewall`},
		{name: "404 of the content server", set: content(404), kind: ErrAnswer,
			want: `tokenizer.model: http://[0-9.:]+, where http://[0-9.:]+ sends us, answers HTTP 404$`},
		{name: "401 of the content server", token: "hf_in", set: content(401), kind: ErrAnswer, want: `sends us, answers HTTP 401$`},
		{name: "no revision", revision: "v9", kind: ErrRevisionNotFound,
			want: `^google/gemma-3-270m-it: no revision "v9"$`, hint: `/google/gemma-3-270m-it/tree/main lists`},
		{name: "no safetensors", files: without("model.safetensors"), kind: ErrFileMissing,
			want: `^google/gemma-3-270m-it has no safetensors \(it has consolidated.safetensors, model-q4.gguf, pytorch_model.bin\)$`,
			hint: `safetensors only`},
		{name: "no config", files: without("config.json"), kind: ErrFileMissing, want: `has no config.json$`},
		{name: "no tokenizer", files: without("tokenizer.json", "tokenizer.model"), kind: ErrFileMissing,
			want: `has neither tokenizer.json nor tokenizer.model$`},
		{name: "a shard that is not there", files: shards(`{"weight_map": {"a": "model-00003-of-00003.safetensors"}}`), kind: ErrFileMissing,
			want: `model.safetensors.index.json names model-00003-of-00003.safetensors, which the repository does not have`},
		{name: "a shard outside", files: shards(`{"weight_map": {"a": "../../../x.safetensors"}}`),
			want: `weight_map: "a": "../../../x.safetensors" is no safetensors file of the repository's own folder`},
		{name: "a shard that is no safetensors", files: shards(`{"weight_map": {"a": "pytorch_model.bin"}}`), want: `"pytorch_model.bin" is no safetensors`},
		{name: "an empty index", files: shards(`{}`), want: `weight_map: is missing or empty`},
		{name: "no Hub at all", set: everywhere(200, "<html>"), kind: ErrAnswer, want: `gives no commit for revision "main"`, hint: `HF_ENDPOINT`},
		{name: "a commit that leads out", set: everywhere(200, `{"sha": "../../../../x"}`), kind: ErrAnswer, want: `gives no commit`},
		{name: "a teapot", set: everywhere(418, ""), kind: ErrAnswer, want: `answers HTTP 418$`},
		{name: "500 for ever", set: everywhere(500, ""), kind: ErrUnreachable, want: `answers HTTP 500$`},
		{name: "a repository name that leads out", repo: "../x", kind: ErrInvalid, want: `"../x" is no name of a model on the Hub, want org/name`},
		{name: "a revision that leads out", revision: "../../x", kind: ErrInvalid, want: `"../../x" is no revision`},
		{name: "a hash that leads out", kind: ErrAnswer, want: `no size and hash to check the file by \(ETag "../../x"`,
			set: func(s *hubtest.Server) {
				s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
					if r.Method == http.MethodHead {
						w.Header().Set("ETag", `"../../x"`)
					}
					return r.Method == http.MethodHead
				}
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.files == nil {
				tc.files = modelFiles()
			}
			s, c := newHub(t, tc.files)
			if tc.set != nil {
				tc.set(s)
			}
			if c.Token = tc.token; c.Token != "" {
				c.TokenSource = "HF_TOKEN"
			}
			if tc.repo == "" {
				tc.repo = repo
			}
			_, err := c.Snapshot(t.Context(), tc.repo, tc.revision, nil)
			if tc.want == "" {
				if err != nil {
					t.Errorf("%v, want none", err)
				}
				return
			}
			if err == nil || !regexp.MustCompile(tc.want).MatchString(err.Error()) {
				t.Fatalf("error %v, want %s", err, tc.want)
			}
			if tc.kind != nil && !errors.Is(err, tc.kind) {
				t.Errorf("%v is not %v", err, tc.kind)
			}
			e, _ := errors.AsType[*Error](err)
			if tc.hint != "" && !regexp.MustCompile(tc.hint).MatchString(e.Hint) {
				t.Errorf("hint %q, want %s", e.Hint, tc.hint)
			}
			if tc.token != "" && (strings.Contains(err.Error(), tc.token) || strings.Contains(e.Hint, tc.token)) {
				t.Errorf("the token is in the error: %v (%s)", err, e.Hint)
			}
			// Nothing came to lie outside of the cache.
			if entries, _ := os.ReadDir(filepath.Dir(c.Cache)); len(entries) > 1 {
				t.Errorf("beside the cache: %v", entries)
			}
		})
	}
}

// TestTokenStaysAtHome: no redirect takes it along, and no error shows it, even when the Hub repeats it.
func TestTokenStaysAtHome(t *testing.T) {
	s, c := newHub(t, modelFiles())
	c.Token, c.TokenSource = "hf_secret", "HF_TOKEN"
	other := hubtest.New()
	t.Cleanup(other.Close)
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/api/") {
			return false
		}
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
		return true
	}
	other.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("X-Error-Message", "what about hf_secret?")
		w.WriteHeader(http.StatusTeapot)
		return true
	}
	_, err := c.Snapshot(t.Context(), repo, "", nil)
	if err == nil || strings.Contains(err.Error(), "hf_secret") || !strings.Contains(err.Error(), "what about [token]?") {
		t.Errorf("%v", err)
	}
	for _, r := range other.Requests() {
		if r.Authorization != "" {
			t.Errorf("the other host got %q", r.Authorization)
		}
	}
	if seen := s.Requests(); len(seen) != 1 || seen[0].Authorization != "Bearer hf_secret" {
		t.Errorf("the Hub got %+v", seen)
	}
}

// TestRelativeRedirect: the Hub serves small files from an address of its own, and renamed repositories too.
func TestRelativeRedirect(t *testing.T) {
	files := modelFiles()
	s, c := newHub(t, files)
	s.Gated, c.Token = "hf_in", "hf_in" // the token must come along
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/google/") || r.URL.Query().Has("Signature") || r.URL.Query().Has("moved") {
			return false
		}
		http.Redirect(w, r, r.URL.Path+"?moved=1", http.StatusTemporaryRedirect)
		return true
	}
	dir, err := c.Snapshot(t.Context(), repo, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	sameFiles(t, dir, wanted, files)
}

// TestNoWayFromHTTPSToHTTP: a redirect may not give up encryption.
func TestNoWayFromHTTPSToHTTP(t *testing.T) {
	from, _ := http.NewRequest(http.MethodGet, "https://huggingface.co/x", nil)
	to, _ := http.NewRequest(http.MethodGet, "http://huggingface.co/x", nil)
	if err := checkRedirect(to, []*http.Request{from}); err == nil {
		t.Error("allowed")
	}
	if err := checkRedirect(from, []*http.Request{from}); err != nil {
		t.Error(err)
	}
	if err := checkRedirect(from, make([]*http.Request, 10)); err == nil {
		t.Error("an eleventh redirect is allowed")
	}
}

// TestContentServerThatIsAway is named, not the Hub.
func TestContentServerThatIsAway(t *testing.T) {
	s, c := newHub(t, modelFiles())
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "model.safetensors") {
			return false
		}
		http.Redirect(w, r, "http://127.0.0.1:1/weights?Signature=secret", http.StatusFound)
		return true
	}
	_, err := c.Snapshot(t.Context(), repo, "", nil)
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "cannot read from http://127.0.0.1:1: ") ||
		strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

// describing asks a Hub for the size and hash of a file; answer replaces its answer to HEAD of that file.
func describing(t *testing.T, name string, answer func(s *hubtest.Server, w http.ResponseWriter, r *http.Request)) (remoteFile, error) {
	t.Helper()
	s, c := newHub(t, modelFiles())
	commit := s.Add(repo, "main", modelFiles())
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead {
			answer(s, w, r)
		}
		return r.Method == http.MethodHead
	}
	return c.describe(t.Context(), place{repo: repo, revision: commit, file: name})
}

func TestHashesAsServersWriteThem(t *testing.T) {
	hash := hubtest.Hash("config.json", modelFiles()["config.json"])
	for name, headers := range map[string][]string{
		"strong":                         {"ETag", `"` + hash + `"`, "Content-Length", "29"},
		"weak":                           {"ETag", `W/"` + hash + `"`, "Content-Length", "29"},
		"bare":                           {"ETag", hash, "Content-Length", "29"},
		"linked":                         {"ETag", `"other"`, "X-Linked-Etag", `"` + hash + `"`, "X-Linked-Size", "29", "Content-Length", "7"},
		"linked, the size as the length": {"ETag", `"other"`, "X-Linked-Etag", `"` + hash + `"`, "Content-Length", "29"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := describing(t, "config.json", func(_ *hubtest.Server, w http.ResponseWriter, _ *http.Request) {
				for i := 0; i < len(headers); i += 2 {
					w.Header().Set(headers[i], headers[i+1])
				}
			})
			if err != nil || f.hash != hash || f.size != 29 {
				t.Errorf("hash %q, %d bytes, %v; want %q and 29", f.hash, f.size, err, hash)
			}
		})
	}
	// The length of a redirect is not that of the file.
	_, err := describing(t, "config.json", func(_ *hubtest.Server, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Linked-Etag", `"`+hash+`"`)
		w.Header().Set("Location", "http://127.0.0.1:1/")
		w.Header().Set("Content-Length", "7")
		w.WriteHeader(http.StatusFound)
	})
	if !errors.Is(err, ErrAnswer) {
		t.Errorf("%v, want ErrAnswer", err)
	}
}

// TestHashesComeFromTheHubAlone: a redirect that names the hash is the answer, and one to another host is not followed.
func TestHashesComeFromTheHubAlone(t *testing.T) {
	weights := modelFiles()["model.safetensors"]
	f, err := describing(t, "model.safetensors", func(s *hubtest.Server, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			w.Header().Set("ETag", `"`+strings.Repeat("0", 64)+`"`)
			w.Header().Set("Content-Length", "1")
			return
		}
		w.Header().Set("X-Linked-Etag", `"`+hubtest.Hash("model.safetensors", weights)+`"`)
		w.Header().Set("X-Linked-Size", fmt.Sprint(len(weights)))
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	})
	if err != nil || f.hash != hubtest.Hash("model.safetensors", weights) || f.size != int64(len(weights)) {
		t.Errorf("%+v, %v", f, err)
	}

	other := hubtest.New()
	t.Cleanup(other.Close)
	other.Intercept = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("ETag", `"`+strings.Repeat("0", 64)+`"`)
		w.Header().Set("Content-Length", "1")
		return true
	}
	f, err = describing(t, "model.safetensors", func(_ *hubtest.Server, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusFound)
	})
	if !errors.Is(err, ErrAnswer) {
		t.Errorf("%+v, %v; want ErrAnswer", f, err)
	}
	if seen := other.Requests(); len(seen) != 0 {
		t.Errorf("the other host was asked: %+v", seen)
	}
}

// TestForgedCertificateIsNotTriedAgain: it will not become a true one.
func TestForgedCertificateIsNotTriedAgain(t *testing.T) {
	forged := httptest.NewUnstartedServer(http.NotFoundHandler())
	forged.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of a client that hangs up
	forged.StartTLS()
	t.Cleanup(forged.Close)
	c := &Client{Endpoint: forged.URL, Cache: t.TempDir()}
	c.sleep = func(context.Context, time.Duration) error { t.Error("tried again"); return nil }
	_, err := c.Snapshot(t.Context(), repo, "", nil)
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("%v", err)
	}
}
