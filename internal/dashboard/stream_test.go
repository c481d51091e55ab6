package dashboard

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tune/internal/runstore"
)

// received is an event as a browser sees it.
type received struct{ kind, id, data string }

// client reads a stream.
type client struct {
	t      *testing.T
	events chan received
	stop   func()
}

// connect opens a stream as a browser does that comes back with position, or for the first time with none.
func connect(t *testing.T, address, query, position string) *client {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/api/stream?"+query, nil)
	must(t, err)
	if position != "" {
		r.Header.Set("Last-Event-ID", position)
	}
	response, err := http.DefaultClient.Do(r)
	must(t, err)
	if response.StatusCode != 200 || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("status %d, %v", response.StatusCode, response.Header)
	}
	c := &client{t: t, events: make(chan received, 100), stop: stop}
	t.Cleanup(stop)
	go func() {
		defer close(c.events)
		defer response.Body.Close()
		var e received
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 64<<20)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "event":
				e.kind = value
			case "id":
				e.id = value
			case "data":
				e.data = value
			case "":
				if e.kind != "" {
					c.events <- e
				}
				e = received{}
			}
		}
	}()
	return c
}

// next returns the next event.
func (c *client) next() received {
	c.t.Helper()
	select {
	case e, ok := <-c.events:
		if !ok {
			c.t.Fatal("the stream has ended")
		}
		return e
	case <-time.After(10 * time.Second):
		c.t.Fatal("nothing came")
	}
	return received{}
}

// quiet fails when anything comes within a time.
func (c *client) quiet(within time.Duration) {
	c.t.Helper()
	select {
	case e := <-c.events:
		c.t.Errorf("want silence, got %s %.200s", e.kind, e.data)
	case <-time.After(within):
	}
}

// gotRun is a message of a run as far as tests look at it.
type gotRun struct {
	Whole   bool `json:"whole"`
	Thinned bool `json:"thinned"`
	Run     struct {
		ID     string `json:"id"`
		Status string `json:"status"`
		Config string `json:"config"`
	} `json:"run"`
	Settings []setting `json:"settings"`
	Steps    struct {
		Step       []int64   `json:"step"`
		Loss       []float64 `json:"loss"`
		SmoothLoss []float64 `json:"smooth_loss"`
	} `json:"steps"`
	Evaluations []runstore.Evaluation `json:"evaluations"`
	Events      []runstore.Event      `json:"events"`
}

// run reads messages of runs until one has what is wanted, and returns all steps that came.
func (c *client) run(enough func(steps []int64, m gotRun) bool) (steps []int64, last gotRun, position string) {
	c.t.Helper()
	for {
		e := c.next()
		if e.kind != "run" {
			c.t.Fatalf("event %s: %s", e.kind, e.data)
		}
		last = gotRun{}
		must(c.t, json.Unmarshal([]byte(e.data), &last))
		steps, position = append(steps, last.Steps.Step...), e.id
		if enough(steps, last) {
			return steps, last, position
		}
	}
}

func upTo(step int64) func([]int64, gotRun) bool {
	return func(steps []int64, _ gotRun) bool { return slices.Contains(steps, step) }
}

func between(from, to int64) (steps []int64) {
	for step := from; step <= to; step++ {
		steps = append(steps, step)
	}
	return steps
}

func TestStreamOfARun(t *testing.T) {
	s := newStore(t)
	newRun(t, s, "a", 3)
	address, _ := start(t, s.Path(), "")
	c := connect(t, address, "run=a", "")
	steps, m, _ := c.run(upTo(3))
	if !m.Whole || m.Run.Config != runConfig || len(m.Settings) != 3 || len(m.Evaluations) != 1 || !slices.Equal(steps, between(1, 3)) {
		t.Errorf("first: steps %v, %+v", steps, m)
	}
	recordStep(t, s, "a", 4)
	recordStep(t, s, "a", 5)
	steps, m, _ = c.run(upTo(5))
	if m.Whole || m.Run.Config != "" || !slices.Equal(steps, between(4, 5)) {
		t.Errorf("then: steps %v, %+v", steps, m)
	}
	finish(t, s, "a")
	if steps, _, _ = c.run(func(_ []int64, m gotRun) bool { return m.Run.Status == "done" }); len(steps) > 0 {
		t.Errorf("with the end: steps %v", steps)
	}
	c.quiet(time.Second)
}

// TestStreamComesBack is a browser that loses the stream, and a server that is started anew, while a run trains.
func TestStreamComesBack(t *testing.T) {
	s := newStore(t)
	newRun(t, s, "a", 3)
	address, stop := start(t, s.Path(), "")
	c := connect(t, address, "run=a", "")
	all, _, position := c.run(upTo(3))
	c.stop()
	recordStep(t, s, "a", 4)
	c = connect(t, address, "run=a", position)
	steps, m, position := c.run(upTo(4))
	if m.Whole {
		t.Error("sent as a whole although the browser has a position")
	}
	all = append(all, steps...)
	stop()
	recordStep(t, s, "a", 5)
	recordStep(t, s, "a", 6)
	must(t, s.RecordEvent(t.Context(), "a", runstore.Event{Kind: "k", Message: "missed"}))
	address, _ = start(t, s.Path(), address)
	c = connect(t, address, "run=a&after="+url.QueryEscape(position), "") // a page that had let go
	steps, m, _ = c.run(upTo(6))
	if all = append(all, steps...); !slices.Equal(all, between(1, 6)) {
		t.Errorf("steps %v, want each of 1 to 6 once", all)
	}
	if len(m.Events) != 1 || len(m.Evaluations) != 0 {
		t.Errorf("%d events and %d evaluations, want the one event that was missed", len(m.Events), len(m.Evaluations))
	}
}

// TestStreamOfAResumedRun has steps made again, which come once more.
func TestStreamOfAResumedRun(t *testing.T) {
	s := newStore(t)
	newRun(t, s, "a", 6)
	must(t, s.FinishRun(t.Context(), "a", runstore.Finish{Status: runstore.Interrupted}))
	address, _ := start(t, s.Path(), "")
	c := connect(t, address, "run=a", "")
	c.run(upTo(6))
	time.Sleep(5 * time.Millisecond) // another process
	must(t, s.StartRun(t.Context(), "a"))
	must(t, s.NoteResume(t.Context(), "a", 4))
	for step := int64(5); step <= 7; step++ {
		must(t, s.RecordStep(t.Context(), "a", runstore.Step{Step: step, Loss: 1}))
	}
	steps, m, _ := c.run(upTo(7))
	if !slices.Equal(steps, between(5, 7)) || m.Steps.Loss[len(m.Steps.Loss)-1] != 1 {
		t.Errorf("steps %v with losses %v, want 5 to 7", steps, m.Steps.Loss)
	}
}

func TestStreamOfSeveralRuns(t *testing.T) {
	s := newStore(t)
	newRun(t, s, "a", 2)
	newRun(t, s, "b", 3)
	address, _ := start(t, s.Path(), "")
	c := connect(t, address, "run=a&run=b&run=none", "")
	_, first, _ := c.run(upTo(2))
	_, second, position := c.run(upTo(3))
	if first.Run.ID != "a" || second.Run.ID != "b" {
		t.Errorf("got %s and %s", first.Run.ID, second.Run.ID)
	}
	if e := c.next(); e.kind != "gone" || e.data != `"none"` {
		t.Errorf("of no run: %s %s", e.kind, e.data)
	}
	c.stop()
	recordStep(t, s, "b", 4)
	c = connect(t, address, "run=a&run=b", position)
	if steps, m, _ := c.run(upTo(4)); len(steps) != 1 || m.Whole {
		t.Errorf("steps %v of %s", steps, m.Run.ID)
	}
}

func TestStreamOfTheList(t *testing.T) {
	s := newStore(t)
	address, _ := start(t, s.Path(), "")
	c := connect(t, address, "", "")
	type list struct {
		All     bool                  `json:"all"`
		Runs    []runstore.RunSummary `json:"runs"`
		Removed []string              `json:"removed"`
	}
	next := func() (m list, position string) {
		e := c.next()
		must(t, json.Unmarshal([]byte(e.data), &m))
		return m, e.id
	}
	if m, _ := next(); !m.All || len(m.Runs) != 0 {
		t.Errorf("of no runs: %+v", m)
	}
	newRun(t, s, "a", 2)
	m, _ := next()
	for len(m.Runs) == 0 {
		m, _ = next()
	}
	if m.All || m.Runs[0].ID != "a" {
		t.Errorf("a new run: %+v", m)
	}
	finish(t, s, "a")
	_, position := next()
	c.quiet(1500 * time.Millisecond)
	c.stop()
	c = connect(t, address, "", position)
	c.quiet(1500 * time.Millisecond) // nothing has changed
	must(t, s.DeleteRun(t.Context(), "a"))
	if m, _ = next(); !slices.Equal(m.Removed, []string{"a"}) {
		t.Errorf("a run that was removed: %+v", m)
	}
}

// TestStreamWithABadPosition has positions of another version, and some that are none.
func TestStreamWithABadPosition(t *testing.T) {
	s := newStore(t)
	newRun(t, s, "a", 3)
	address, _ := start(t, s.Path(), "")
	for _, position := range []string{"7", "null", `{"a":7}`, `{"b":{}}`, "\xff", strings.Repeat("x", 1<<12)} {
		c := connect(t, address, "run=a&after="+url.QueryEscape(position), "")
		if steps, m, _ := c.run(upTo(3)); !m.Whole || len(steps) != 3 {
			t.Errorf("position %.20q: whole %v, steps %v", position, m.Whole, steps)
		}
		c.stop()
	}
}

func TestDatabaseIsReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "runs.db")
	address, _ := start(t, path, "")
	c := connect(t, address, "run=a", "")
	if e := c.next(); e.kind != "gone" {
		t.Errorf("before there is a database: %+v", e)
	}
	for round := range 2 {
		s, err := runstore.Open(path)
		must(t, err)
		newRun(t, s, "a", 2+round)
		if steps, m, _ := c.run(upTo(int64(2 + round))); !m.Whole || len(steps) != 2+round {
			t.Errorf("round %d: whole %v, steps %v", round, m.Whole, steps)
		}
		must(t, s.Close())
		if round == 0 {
			for _, name := range []string{path, path + "-wal", path + "-shm"} {
				os.Remove(name)
			}
			if e := c.next(); e.kind != "gone" {
				t.Errorf("after it is removed: %+v", e)
			}
		}
	}
}

// TestASlowBrowserHoldsUpNobody has one that reads nothing while much is recorded.
func TestASlowBrowserHoldsUpNobody(t *testing.T) {
	s := newStore(t)
	newRun(t, s, "a", 1)
	address, _ := start(t, s.Path(), "")
	slow, err := http.Get("http://" + address + "/api/stream?run=a")
	must(t, err)
	defer slow.Body.Close()
	c := connect(t, address, "run=a", "")
	c.run(upTo(1))
	for step := range 5000 {
		recordStep(t, s, "a", step+2)
	}
	if steps, _, _ := c.run(upTo(5001)); !slices.Equal(steps, between(2, 5001)) {
		t.Errorf("%d steps", len(steps))
	}
}

func TestNobodyListensNobodyAsks(t *testing.T) {
	s := newStore(t)
	c := newChanges(&source{path: s.Path()})
	defer c.source.close()
	asked := func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.listeners > 0 }
	leave, also := c.listen(), c.listen()
	changed := c.wait()
	select {
	case <-changed: // the first look
	case <-time.After(5 * time.Second):
		t.Fatal("no first look")
	}
	changed = c.wait()
	must(t, s.CreateRun(t.Context(), runstore.Run{ID: "a"}))
	select {
	case <-changed:
	case <-time.After(5 * time.Second):
		t.Fatal("a change went unnoticed")
	}
	leave()
	leave() // once counts
	if !asked() {
		t.Error("one listener is left, and nobody asks")
	}
	also()
	if asked() {
		t.Error("nobody listens, and somebody asks")
	}
	time.Sleep(2 * pollEvery) // what was under way ends
	changed = c.wait()
	must(t, s.CreateRun(t.Context(), runstore.Run{ID: "b"}))
	select {
	case <-changed:
		t.Error("a change was noticed although nobody listens")
	case <-time.After(4 * pollEvery):
	}
}

// TestALongRunIsThinned and has its average over all of its steps.
func TestALongRunIsThinned(t *testing.T) {
	s := newStore(t)
	newRun(t, s, "a", maxPoints+2000)
	address, _ := start(t, s.Path(), "")
	steps, m, _ := connect(t, address, "run=a", "").run(upTo(maxPoints + 2000))
	if !m.Thinned || len(steps) > maxPoints || len(m.Steps.SmoothLoss) != len(steps) {
		t.Errorf("thinned %v, %d steps, %d smoothed", m.Thinned, len(steps), len(m.Steps.SmoothLoss))
	}
	if _, body := get(t, s.Path(), "/api/runs/a/steps"); !strings.Contains(body, `"steps":6000,"thinned":true`) {
		t.Errorf("the API says %.100s", body)
	}
	if _, body := get(t, s.Path(), "/api/runs/a/steps?full=1"); !strings.Contains(body, `"steps":6000,"thinned":false`) {
		t.Errorf("the API says %.100s with full=1", body)
	}
}
