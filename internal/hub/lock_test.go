package hub

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tune/internal/hub/hubtest"
)

// The tests below need other processes: this test binary, called again to download.
const (
	endpointVariable = "HUB_TEST_ENDPOINT"
	cacheVariable    = "HUB_TEST_CACHE"
)

func TestMain(m *testing.M) {
	endpoint := os.Getenv(endpointVariable)
	if endpoint == "" {
		os.Exit(m.Run())
	}
	c := &Client{Endpoint: endpoint, Cache: os.Getenv(cacheVariable)}
	dir, err := c.Snapshot(context.Background(), repo, "", func(e Event) {
		if e.Note != "" {
			fmt.Println("note:", e.Note)
		}
	})
	fmt.Println("dir:", dir, err)
	if err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// process starts a download in a process of its own and returns its lines as they come.
func process(t *testing.T, c *Client) (*exec.Cmd, <-chan string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), endpointVariable+"="+c.Endpoint, cacheVariable+"="+c.Cache)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			lines <- in.Text()
		}
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, lines
}

// gate holds the first answer with weights in its middle until it is opened.
type gate struct {
	reached, open chan struct{}
	once          sync.Once
}

func holdWeights(s *hubtest.Server, weights []byte) *gate {
	g := &gate{reached: make(chan struct{}), open: make(chan struct{})}
	intercept := func(w http.ResponseWriter, r *http.Request) bool {
		first := false
		if r.URL.Query().Has("Signature") && strings.HasSuffix(r.URL.Path, "model.safetensors") {
			g.once.Do(func() { first = true })
		}
		if !first {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(weights)))
		_, _ = w.Write(weights[:2<<20])
		w.(http.Flusher).Flush()
		close(g.reached)
		select {
		case <-g.open:
			_, _ = w.Write(weights[2<<20:])
		case <-r.Context().Done():
		}
		return true
	}
	s.Change(func() { s.Intercept = intercept })
	return g
}

func TestTwoDownloadsAtOnceInOneProcess(t *testing.T) {
	files := modelFiles()
	s, c := newHub(t, files)
	g := holdWeights(s, files["model.safetensors"])
	first := make(chan error, 1)
	go func() {
		_, err := c.Snapshot(t.Context(), repo, "", nil)
		first <- err
	}()
	<-g.reached

	// One that is not waited for to the end.
	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.Snapshot(ctx, repo, "", func(Event) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	// And one that is.
	var notes []string
	dir, err := c.Snapshot(t.Context(), repo, "", func(e Event) {
		if e.Note != "" {
			notes = append(notes, e.Note)
			close(g.open)
		}
	})
	if err := errors.Join(err, <-first); err != nil {
		t.Fatal(err)
	}
	sameFiles(t, dir, wanted, files)
	if len(notes) != 1 || notes[0] != "waiting for another download of "+repo+"/model.safetensors to end" {
		t.Errorf("notes %q", notes)
	}
	if gets := contentGets(s, "model.safetensors"); len(gets) != 1 {
		t.Errorf("the weights were fetched %d times", len(gets))
	}
}

func TestTwoDownloadsAtOnceInTwoProcesses(t *testing.T) {
	files := modelFiles()
	s, c := newHub(t, files)
	g := holdWeights(s, files["model.safetensors"])
	first, _ := process(t, c)
	<-g.reached
	second, lines := process(t, c)
	if line := <-lines; line != "note: waiting for another download of "+repo+"/model.safetensors to end" {
		t.Fatalf("the second says %q", line)
	}
	close(g.open)
	if err := errors.Join(first.Wait(), second.Wait()); err != nil {
		t.Fatal(err)
	}
	dir, err := c.Cached(repo, "")
	if err != nil {
		t.Fatal(err)
	}
	sameFiles(t, dir, wanted, files)
	if gets := contentGets(s, "model.safetensors"); len(gets) != 1 {
		t.Errorf("the weights were fetched %d times", len(gets))
	}
}

// TestDownloadThatWasKilled: its lock is gone, its bytes are not.
func TestDownloadThatWasKilled(t *testing.T) {
	files := modelFiles()
	s, c := newHub(t, files)
	g := holdWeights(s, files["model.safetensors"])
	first, _ := process(t, c)
	<-g.reached
	part := filepath.Join(c.repoDir(repo), "blobs", hubtest.Hash("model.safetensors", files["model.safetensors"])+".incomplete")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if info, err := os.Stat(part); err == nil && info.Size() == 2<<20 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the other process did not write what it got")
		}
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
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
