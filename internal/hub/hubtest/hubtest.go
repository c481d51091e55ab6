// Package hubtest is a Hub for tests: a server that answers as huggingface.co does, with a second one beside it that
// large files are redirected to, and with faults on demand.
package hubtest

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
)

// Server is a Hub. Set the exported fields between requests, or with Change.
type Server struct {
	URL string // what HF_ENDPOINT says

	Gated string // a token: every file is refused without it
	Known string // another token that the Hub knows, which gives no access to gated files; any token is known when empty

	// Intercept sees every request before it is answered, those to the content server too, and may answer itself.
	Intercept func(w http.ResponseWriter, r *http.Request) (answered bool)
	// Cuts are bytes after which the next answers with content break off; 0 lets one pass. Answers beyond are whole.
	Cuts []int
	// IgnoreRange answers a range with the whole file.
	IgnoreRange bool
	// Corrupt changes what content is sent; the hashes stay those of the true content.
	Corrupt func(name string, content []byte) []byte

	hub, content *httptest.Server
	mu           sync.Mutex
	commits      map[string]commit // by repository@revision and repository@commit
	requests     []Request
}

type commit struct {
	hash  string
	files map[string][]byte
}

// Request is one that the server has seen.
type Request struct {
	Content       bool // to the content server
	Method, Path  string
	Range         string
	Authorization string
}

// New starts a Hub without models. Close it.
func New() *Server {
	s := &Server{commits: map[string]commit{}}
	s.hub = httptest.NewServer(http.HandlerFunc(s.serveHub))
	s.content = httptest.NewServer(http.HandlerFunc(s.serveContent))
	s.URL = s.hub.URL
	return s
}

// Close stops both servers, and cuts the connections that are open.
func (s *Server) Close() {
	for _, server := range []*httptest.Server{s.hub, s.content} {
		server.CloseClientConnections()
		server.Close()
	}
}

// Change sets fields where the requests come from another process, or several at a time.
func (s *Server) Change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Add puts files into a repository as the newest commit of a branch or tag, and returns its hash. Files that end in
// .safetensors or .model are large ones, kept on the content server.
func (s *Server) Add(repo, revision string, files map[string][]byte) (hash string) {
	sum := sha1.New()
	for _, name := range sortedNames(files) {
		fmt.Fprintf(sum, "%s %x\n", name, sha256.Sum256(files[name]))
	}
	c := commit{hex.EncodeToString(sum.Sum(nil)), files}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits[repo+"@"+revision], s.commits[repo+"@"+c.hash] = c, c
	return c.hash
}

// Requests returns those seen since the last call.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.requests
	s.requests = nil
	return seen
}

// Hash returns the name that a file of this content has in the cache.
func Hash(name string, content []byte) string {
	if isLarge(name) {
		return fmt.Sprintf("%x", sha256.Sum256(content))
	}
	return fmt.Sprintf("%x", sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(content)), content...)))
}

func isLarge(name string) bool {
	return strings.HasSuffix(name, ".safetensors") || strings.HasSuffix(name, ".model")
}

func sortedNames(files map[string][]byte) []string {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// saw keeps a request and reports whether it was answered already.
func (s *Server) saw(w http.ResponseWriter, r *http.Request, content bool) bool {
	s.mu.Lock()
	s.requests = append(s.requests, Request{content, r.Method, r.URL.EscapedPath(), r.Header.Get("Range"), r.Header.Get("Authorization")})
	intercept := s.Intercept
	s.mu.Unlock()
	return intercept != nil && intercept(w, r)
}

// find returns a commit by the rest of a path: revision, or revision/file.
func (s *Server) find(repo, revision string) (commit, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.commits[repo+"@"+revision]
	return c, ok
}

func (s *Server) hasRepo(repo string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.commits {
		if strings.HasPrefix(key, repo+"@") {
			return true
		}
	}
	return false
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	if code != "" {
		w.Header().Set("X-Error-Code", code)
	}
	w.Header().Set("X-Error-Message", message)
	w.WriteHeader(status)
}

func (s *Server) serveHub(w http.ResponseWriter, r *http.Request) {
	if s.saw(w, r, false) {
		return
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if token != "" && s.Known != "" && token != s.Known && token != s.Gated {
		refuse(w, http.StatusUnauthorized, "", "Invalid credentials in Authorization header")
		return
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/api/models/"); ok {
		repo, revision, _ := strings.Cut(rest, "/revision/")
		s.serveListing(w, repo, revision, token)
		return
	}
	repo, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/resolve/")
	revision, name, _ := strings.Cut(rest, "/")
	c, ok := s.find(repo, revision)
	content, there := c.files[name]
	switch {
	case !ok || !there:
		refuse(w, http.StatusNotFound, "EntryNotFound", "Entry not found")
	case s.Gated != "" && token == "":
		refuse(w, http.StatusUnauthorized, "GatedRepo", "Access to model "+repo+" is restricted. You must have access to it and be authenticated to access it. Please log in.")
	case s.Gated != "" && token != s.Gated:
		refuse(w, http.StatusForbidden, "GatedRepo", "Access to model "+repo+" is restricted and you are not in the authorized list. Visit https://huggingface.co/"+repo+" to ask for access.")
	default:
		w.Header().Set("X-Repo-Commit", c.hash)
		if isLarge(name) {
			w.Header().Set("X-Linked-Etag", `"`+Hash(name, content)+`"`)
			w.Header().Set("X-Linked-Size", fmt.Sprint(len(content)))
			w.Header().Set("Location", s.content.URL+"/"+repo+"/"+c.hash+"/"+name+"?Signature=secret")
			w.WriteHeader(http.StatusFound)
			return
		}
		w.Header().Set("ETag", `"`+Hash(name, content)+`"`)
		s.send(w, r, name, content)
	}
}

func (s *Server) serveListing(w http.ResponseWriter, repo, revision, token string) {
	c, ok := s.find(repo, revision)
	switch {
	case !s.hasRepo(repo) && token == "":
		refuse(w, http.StatusUnauthorized, "RepoNotFound", "Invalid username or password.")
		return
	case !s.hasRepo(repo):
		refuse(w, http.StatusNotFound, "RepoNotFound", "Repository not found")
		return
	case !ok:
		refuse(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+revision)
		return
	}
	type sibling struct {
		Name string `json:"rfilename"`
	}
	var siblings []sibling
	for _, name := range sortedNames(c.files) {
		siblings = append(siblings, sibling{name})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"id": repo, "sha": c.hash, "siblings": siblings})
}

func (s *Server) serveContent(w http.ResponseWriter, r *http.Request) {
	if s.saw(w, r, true) {
		return
	}
	w.Header().Set("ETag", `"an-etag-of-another-kind"`)
	parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 4) // org, name, commit, file
	c, ok := s.find(parts[0]+"/"+parts[1], parts[2])
	content, there := c.files[parts[3]]
	if !ok || !there || r.URL.Query().Get("Signature") != "secret" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	s.send(w, r, parts[3], content)
}

// send writes content, or the range that is asked for, or as much of it as the next cut lets pass.
func (s *Server) send(w http.ResponseWriter, r *http.Request, name string, content []byte) {
	if s.Corrupt != nil {
		content = s.Corrupt(name, content)
	}
	var from int
	status := http.StatusOK
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && !s.IgnoreRange {
		if from >= len(content) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", len(content)))
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
		content = content[from:]
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	s.mu.Lock()
	cut := 0
	if len(s.Cuts) > 0 {
		cut, s.Cuts = s.Cuts[0], s.Cuts[1:]
	}
	s.mu.Unlock()
	if cut > 0 && cut < len(content) {
		_, _ = w.Write(content[:cut])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler) // ends the connection, not the test
	}
	_, _ = w.Write(content)
}
