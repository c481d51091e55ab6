package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"tune/internal/runstore"
)

// runs answers with all runs, newest first; ?status, ?name, ?tag and ?limit choose among them.
func (s *Server) runs(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	filter := runstore.Filter{Status: runstore.Status(q.Get("status")), Name: q.Get("name"), Tag: q.Get("tag")}
	limit, err := number(r, "limit", 0)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	filter.Limit = int(limit)
	runs, err := s.list(r, filter)
	if err != nil {
		fail(w, err)
		return
	}
	writeJSON(w, runs)
}

// list reads runs. That there is no database yet is no error: nothing has been run.
func (s *Server) list(r *http.Request, filter runstore.Filter) ([]runstore.RunSummary, error) {
	store, err := s.source.get()
	if errors.Is(err, runstore.ErrNoDatabase) {
		return []runstore.RunSummary{}, nil
	}
	if err != nil {
		return nil, err
	}
	runs, err := store.Runs(r.Context(), filter)
	return append([]runstore.RunSummary{}, runs...), err // none is [], not null
}

// wholeRun is a run with what was recorded about it, but for its steps.
type wholeRun struct {
	runstore.RunSummary
	Evaluations []runstore.Evaluation `json:"evaluations"`
	Samples     []runstore.Sample     `json:"samples"`
	Artifacts   []runstore.Artifact   `json:"artifacts"`
	Events      []runstore.Event      `json:"events"`
}

// run answers with one run, which {run} names as on the command line: an id or the start of one, a name, or last.
func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	store, err := s.source.get()
	if err != nil {
		fail(w, err)
		return
	}
	ctx, out := r.Context(), wholeRun{}
	if out.RunSummary, err = store.Run(ctx, r.PathValue("run")); err != nil {
		fail(w, err)
		return
	}
	var errs [4]error
	out.Evaluations, errs[0] = store.Evaluations(ctx, out.ID)
	out.Samples, errs[1] = store.Samples(ctx, out.ID)
	out.Artifacts, errs[2] = store.Artifacts(ctx, out.ID)
	out.Events, errs[3] = store.Events(ctx, out.ID)
	if err := errors.Join(errs[:]...); err != nil {
		fail(w, err)
		return
	}
	writeJSON(w, out)
}

// stepsAnswer is the steps of a run, or of a part of it.
type stepsAnswer struct {
	RunID   string `json:"run_id"`
	Steps   int    `json:"steps"`   // in the range
	Thinned bool   `json:"thinned"` // some are left out: ?full=1 gives all
	*curves
}

// steps answers with the curves of a run; ?from and ?to choose a range of steps, both within it. A long range is thinned
// unless ?full=1.
func (s *Server) steps(w http.ResponseWriter, r *http.Request) {
	from, err := number(r, "from", 0)
	to, toErr := number(r, "to", 1<<62)
	if err := errors.Join(err, toErr); err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	store, err := s.source.get()
	if err != nil {
		fail(w, err)
		return
	}
	run, err := store.Run(r.Context(), r.PathValue("run"))
	if err != nil {
		fail(w, err)
		return
	}
	steps, err := store.Steps(r.Context(), run.ID)
	if err != nil {
		fail(w, err)
		return
	}
	smooth := smoothLoss(steps) // over the whole run, wherever one looks
	low, high := 0, len(steps)
	for low < high && steps[low].Step < from {
		low++
	}
	for low < high && steps[high-1].Step > to {
		high--
	}
	steps, smooth = steps[low:high], smooth[low:high]
	out := stepsAnswer{RunID: run.ID, Steps: len(steps)}
	full := r.URL.Query().Get("full") == "1"
	if !full {
		places := thinned(steps)
		out.Thinned = len(places) < len(steps)
		steps, smooth = pick(steps, places), pick(smooth, places)
	}
	out.curves = byColumn(steps, smooth)
	out.At = make([]time.Time, len(steps))
	for i := range steps {
		out.At[i] = steps[i].At
	}
	writeJSON(w, out)
}

// number reads a whole number from the query.
func number(r *http.Request, name string, otherwise int64) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s: want a whole number of at least 0, got %q", name, text)
	}
	return n, nil
}
