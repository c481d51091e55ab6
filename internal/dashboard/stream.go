package dashboard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tune/internal/runstore"
)

const (
	// maxStreamRuns is how many runs one page can show at a time.
	maxStreamRuns = 24
	// A comment goes out so often, so that no proxy takes a quiet stream for a dead one.
	aliveEvery = 15 * time.Second
	// writeWithin is how long a browser may take for one message before it counts as gone; it comes back by itself.
	writeWithin = 30 * time.Second
	// How long a stream rests between two looks at least: a list of a hundred runs is read as a whole, and training needs
	// the cores more than the page does.
	listPace = time.Second
	runPace  = pollEvery
	// A look that takes long, at a long run, is followed by a rest of so many times as long, up to maxRest.
	restTimes = 40
	maxRest   = time.Second
)

// stream sends what is recorded of the runs that ?run names, or, without one, what changes in the list of runs.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	ids := r.URL.Query()["run"]
	if len(ids) > maxStreamRuns {
		writeError(w, http.StatusBadRequest, fmt.Sprintf("want at most %d runs, got %d", maxStreamRuns, len(ids)))
		return
	}
	// The header is the browser's own when it comes back; the query is for a page that had let go.
	position := r.Header.Get("Last-Event-ID")
	if position == "" {
		position = r.URL.Query().Get("after")
	}
	f, pace := feed(newListFeed(s, r, position)), listPace
	if len(ids) > 0 {
		f, pace = newRunsFeed(s.source, ids, position), runPace
	}
	w.Header().Set("Content-Type", "text/event-stream")
	out := events{w: w, control: http.NewResponseController(w)}
	if out.write("retry: 1000\n\n") != nil {
		return
	}
	s.follow(r.Context(), f, pace, &out)
}

// feed is what a stream sends.
type feed interface {
	// send writes what is new.
	send(ctx context.Context, out *events) error
}

// follow sends what is new, with a rest of at least pace, until the browser has gone.
func (s *Server) follow(ctx context.Context, f feed, pace time.Duration, out *events) {
	defer s.changes.listen()()
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	for {
		changed, began := s.changes.wait(), time.Now()
		if err := f.send(ctx, out); err != nil {
			if ctx.Err() != nil || out.gone {
				return
			}
			if out.event("problem", "", apiError{err.Error()}) != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(pace, min(restTimes*time.Since(began), maxRest))):
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				waiting = false
			case <-alive.C:
				if out.write(": alive\n\n") != nil {
					return
				}
			}
		}
	}
}

// events writes server-sent events: html.spec.whatwg.org/multipage/server-sent-events.html.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	gone    bool // the browser
}

// event writes one event. An event without an id leaves the browser's position as it is.
func (e *events) event(kind, id string, data any) error {
	body, err := json.Marshal(data) // on one line
	if err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "event: %s\n", kind)
	if id != "" {
		fmt.Fprintf(&b, "id: %s\n", id)
	}
	fmt.Fprintf(&b, "data: %s\n\n", body)
	return e.write(b.String())
}

func (e *events) write(text string) error {
	_ = e.control.SetWriteDeadline(time.Now().Add(writeWithin)) // a test's recorder has none
	_, err := e.w.Write([]byte(text))
	if err == nil {
		err = e.control.Flush()
	}
	e.gone = e.gone || err != nil
	return err
}

// listFeed sends the list of runs, and then those that have changed. The position is a hash of the list.
type listFeed struct {
	server *Server
	r      *http.Request
	had    string // the hash of the list that the browser has
	sent   map[string]string
}

func newListFeed(s *Server, r *http.Request, position string) *listFeed {
	return &listFeed{server: s, r: r, had: position}
}

// listMessage is a list of runs, or what has changed in one.
type listMessage struct {
	All     bool              `json:"all"` // these are all runs; without it they replace those of the same id, and new ones join
	Runs    []json.RawMessage `json:"runs"`
	Removed []string          `json:"removed,omitempty"`
}

func (f *listFeed) send(_ context.Context, out *events) error {
	runs, err := f.server.list(f.r, runstore.Filter{})
	if err != nil {
		return err
	}
	m, now, hash := listMessage{All: f.sent == nil, Runs: []json.RawMessage{}}, map[string]string{}, sha256.New()
	for i := range runs {
		text, err := json.Marshal(&runs[i])
		if err != nil {
			return err
		}
		hash.Write(text)
		now[runs[i].ID] = string(text)
		if f.sent[runs[i].ID] != string(text) {
			m.Runs = append(m.Runs, text)
		}
	}
	for id := range f.sent {
		if _, there := now[id]; !there {
			m.Removed = append(m.Removed, id)
		}
	}
	f.sent = now
	id := hex.EncodeToString(hash.Sum(nil)[:12])
	if id == f.had {
		return nil
	}
	f.had = id
	return out.event("runs", id, m)
}

// runsFeed sends runs with their curves, and then what is recorded of them. The position is one in each of them.
type runsFeed struct {
	source    *source
	ids       []string
	positions map[string]runstore.Position
	sent      map[string]sentRun
}

// sentRun is what this stream has said of a run last.
type sentRun struct {
	summary string // as JSON
	config  string // its hash
	status  runstore.Status
	gone    bool
}

// newRunsFeed goes on from a position. One that cannot be read, perhaps of another version, is none.
func newRunsFeed(source *source, ids []string, position string) *runsFeed {
	f := &runsFeed{source: source, ids: ids, sent: map[string]sentRun{}}
	if json.Unmarshal([]byte(position), &f.positions) != nil || f.positions == nil {
		f.positions = map[string]runstore.Position{}
	}
	return f
}

// runMessage is a run, or what was recorded of one since the message before.
type runMessage struct {
	// Whole says that this is all there is; without it rows are new, or replace those with the same step.
	Whole       bool                  `json:"whole"`
	Thinned     bool                  `json:"thinned"` // steps are left out
	Run         runstore.RunSummary   `json:"run"`     // its config only when it is new
	Settings    []setting             `json:"settings,omitempty"`
	Steps       *curves               `json:"steps,omitempty"`
	Evaluations []runstore.Evaluation `json:"evaluations,omitempty"`
	Samples     []runstore.Sample     `json:"samples,omitempty"`
	Events      []runstore.Event      `json:"events,omitempty"`
	Artifacts   []runstore.Artifact   `json:"artifacts,omitempty"` // all of them, when it begins and with each new status
}

func (f *runsFeed) send(ctx context.Context, out *events) error {
	store, err := f.source.get()
	if err != nil && !errors.Is(err, runstore.ErrNoDatabase) {
		return err
	}
	for _, id := range f.ids {
		if err == nil {
			err = f.sendRun(ctx, store, id, out)
		}
		if errors.Is(err, runstore.ErrNotFound) || errors.Is(err, runstore.ErrNoDatabase) {
			err = f.sendGone(id, out)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *runsFeed) sendRun(ctx context.Context, store *runstore.Store, id string, out *events) error {
	from, known := f.positions[id]
	rows, err := store.RowsSince(ctx, id, from)
	if err != nil {
		return err
	}
	m := runMessage{Whole: !known, Run: rows.Run, Evaluations: rows.Evaluations, Samples: rows.Samples, Events: rows.Events}
	before := f.sent[id]
	now := sentRun{config: rows.Run.ConfigSHA256, status: rows.Run.Status}
	if before.config == now.config && before.summary != "" {
		m.Run.Config = ""
	} else {
		m.Settings = settings(rows.Run.Config)
	}
	text, err := json.Marshal(rows.Run)
	if err != nil {
		return err
	}
	now.summary = string(text)
	if before.summary == now.summary && len(rows.Steps)+len(m.Evaluations)+len(m.Samples)+len(m.Events) == 0 {
		return nil
	}
	if before.status != now.status {
		if m.Artifacts, err = store.Artifacts(ctx, id); err != nil {
			return err
		}
	}
	m.addSteps(rows.Steps)
	f.sent[id], f.positions[id] = now, rows.Position
	position, err := json.Marshal(f.positions)
	if err != nil {
		return err
	}
	return out.event("run", string(position), m)
}

// addSteps adds steps, thinned where they are a long run's.
func (m *runMessage) addSteps(steps []runstore.Step) {
	if len(steps) == 0 {
		return
	}
	var smooth []runstore.Real
	if m.Whole && len(steps) > maxPoints {
		places := thinned(steps)
		smooth = pick(smoothLoss(steps), places) // of all steps: those that are left tell another story
		steps = pick(steps, places)
		m.Thinned = true
	}
	m.Steps = byColumn(steps, smooth)
}

// sendGone says once that there is no such run, or no more.
func (f *runsFeed) sendGone(id string, out *events) error {
	if f.sent[id].gone {
		return nil
	}
	delete(f.positions, id)
	f.sent[id] = sentRun{gone: true}
	return out.event("gone", "", id)
}
