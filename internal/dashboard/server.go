package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"tune/internal/runstore"
)

// Server serves the runs of one database.
type Server struct {
	source   *source
	changes  *changes
	listener net.Listener
}

// New returns a Server for the database at path. There need not be one yet: it is looked for again with each request.
func New(path string) *Server {
	source := &source{path: path}
	return &Server{source: source, changes: newChanges(source)}
}

// Listen takes a port of 127.0.0.1, which only this machine reaches, and returns the address of the page. Port 0 is one
// that is free.
func (s *Server) Listen(port int) (address string, err error) {
	if s.listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err != nil {
		return "", err
	}
	return "http://" + s.listener.Addr().String() + "/", nil
}

// Serve answers requests after Listen until ctx ends. Streams end with ctx; other requests are finished.
func (s *Server) Serve(ctx context.Context) error {
	server := &http.Server{
		Handler:           s.Handler(s.listener.Addr().(*net.TCPAddr).Port),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		// No WriteTimeout: a stream lasts as long as somebody looks on. It has a deadline for each of its messages.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(s.listener) }()
	select {
	case err := <-ended:
		return errors.Join(err, s.source.close())
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err := server.Shutdown(last)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return errors.Join(err, s.source.close())
}

// Handler answers the requests of browsers that have reached this machine at port.
func (s *Server) Handler(port int) http.Handler {
	mux := http.NewServeMux()
	servePage(mux)
	mux.HandleFunc("GET /api/runs", s.runs)
	mux.HandleFunc("GET /api/runs/{run}", s.run)
	mux.HandleFunc("GET /api/runs/{run}/steps", s.steps)
	mux.HandleFunc("GET /api/stream", s.stream)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusNotFound, "no such page: "+r.URL.Path)
	})
	return guard(port, mux)
}

// policy is what the page may do. Everything comes from this server; uPlot sets styles through the DOM, which needs no
// leave, and nothing is evaluated.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard refuses what does not come from a page of ours, and tells the browser what such a page may do.
func guard(port int, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store") // another database may be at this port tomorrow
		switch {
		// A name of a foreign page can be made to point to this machine (DNS rebinding); its requests then carry that name.
		case !ours(r.Host, port):
			writeError(w, http.StatusForbidden, "wrong Host "+strconv.Quote(r.Host)+": want 127.0.0.1 or localhost, with the port")
		case r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate":
			writeError(w, http.StatusForbidden, "asked for by a page of another site")
		case r.Method != http.MethodGet:
			h.Set("Allow", http.MethodGet)
			writeError(w, http.StatusMethodNotAllowed, "want GET, got "+r.Method)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// ours reports whether a Host header names this machine as seen from itself.
func ours(host string, port int) bool {
	name, number, err := net.SplitHostPort(host)
	if err != nil {
		name, number = host, "80"
	}
	return (name == "127.0.0.1" || name == "localhost") && number == strconv.Itoa(port)
}

func writeJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		writeError(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(body, '\n')) // an error is the browser's: it has gone
}

// apiError is the body of every answer that is none.
type apiError struct {
	Error string `json:"error"`
}

func writeError(w http.ResponseWriter, status int, message string) {
	body, _ := json.Marshal(apiError{message}) // of a string: it cannot fail
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

// fail answers with an error of the database.
func fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if _, ambiguous := errors.AsType[*runstore.AmbiguousError](err); ambiguous {
		status = http.StatusBadRequest
	}
	if errors.Is(err, runstore.ErrNotFound) || errors.Is(err, runstore.ErrNoDatabase) {
		status = http.StatusNotFound
	}
	writeError(w, status, err.Error())
}
