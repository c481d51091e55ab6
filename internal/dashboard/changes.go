package dashboard

import (
	"context"
	"sync"
	"time"

	"tune/internal/runstore"
)

const (
	// pollEvery is how soon a change is noticed. Asking takes microseconds.
	pollEvery = 250 * time.Millisecond
	// wakeEvery is how often listeners look without a change: a run can die without a word in the file.
	wakeEvery = 10 * time.Second
)

// changes tells listeners that the database has changed. It asks the database only while there are any.
type changes struct {
	source *source

	mu        sync.Mutex
	listeners int
	stop      context.CancelFunc
	next      chan struct{} // closed with the next change
}

func newChanges(source *source) *changes { return &changes{source: source, next: make(chan struct{})} }

// listen says that somebody waits for changes, until leave is called.
func (c *changes) listen() (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listeners++; c.listeners == 1 {
		ctx, stop := context.WithCancel(context.Background())
		c.stop = stop
		go c.poll(ctx)
	}
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.listeners--; c.listeners == 0 {
			c.stop()
		}
	})
}

// wait returns a channel that is closed with the next change. Take it before reading, lest a change falls in between.
func (c *changes) wait() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next
}

// announce wakes all who wait. Closing a channel takes no time, whoever listens.
func (c *changes) announce() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.next)
	c.next = make(chan struct{})
}

func (c *changes) poll(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	p := poller{source: c.source}
	defer p.forget()
	announced := time.Now()
	for {
		if p.changed(ctx) || time.Since(announced) >= wakeEvery {
			c.announce()
			announced = time.Now()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// poller asks whether the database has changed, or is another one.
type poller struct {
	source  *source
	store   *runstore.Store
	watcher *runstore.Watcher
}

func (p *poller) changed(ctx context.Context) bool {
	store, err := p.source.get()
	if err != nil { // nothing to read: listeners learn why when they wake up
		gone := p.watcher != nil
		p.forget()
		return gone
	}
	if store != p.store {
		p.forget()
		if p.watcher, err = store.Watch(ctx); err != nil {
			return false
		}
		p.store = store
	}
	changed, err := p.watcher.Changed(ctx)
	if err != nil {
		p.forget()
	}
	return changed
}

func (p *poller) forget() {
	if p.watcher != nil {
		_ = p.watcher.Close() // of a database that was replaced: there is nobody to tell
	}
	p.store, p.watcher = nil, nil
}
