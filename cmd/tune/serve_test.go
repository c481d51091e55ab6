package main

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestServeShowsARunThatTrains starts the page before there is any run, trains one, and reads each of its steps once.
func TestServeShowsARunThatTrains(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows cannot send an interrupt to one process")
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "model"), os.DirFS(tinyModel(t))); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"run.yaml":    strings.NewReplacer("1000000", "30", "long", "served").Replace(longConfig),
		"train.jsonl": `{"prompt": "What is two plus three?", "completion": "Five."}` + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page := exec.Command("tune", "serve") // the test binary itself: see TestMain
	page.Dir = dir
	stdout, err := page.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := page.Start(); err != nil {
		t.Fatal(err)
	}
	giveUp := time.AfterFunc(time.Minute, func() { _ = page.Process.Kill() })
	defer giveUp.Stop()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	_, address, _ := strings.Cut(line, " at ")
	address, _, _ = strings.Cut(address, " ")

	list := streamOf(t, address+"api/stream")
	training := exec.Command("tune", "run", "run.yaml")
	training.Dir = dir
	if err := training.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = training.Wait() }()
	var id string
	for id == "" {
		var m struct{ Runs []struct{ ID string } }
		list(&m)
		for _, r := range m.Runs {
			id = r.ID
		}
	}
	var steps []int
	var m struct {
		Run   struct{ Status string }
		Steps struct{ Step []int }
	}
	next := streamOf(t, address+"api/stream?run="+id)
	for m.Run.Status != "done" {
		m.Steps.Step = nil
		next(&m)
		steps = append(steps, m.Steps.Step...)
	}
	want := make([]int, 30)
	for i := range want {
		want[i] = i + 1
	}
	if !slices.Equal(steps, want) {
		t.Errorf("steps %v, want each of 1 to 30 once", steps)
	}
	if err := page.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := page.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
}

// streamOf opens a stream of server-sent events and returns a function that reads the data of the next one.
func streamOf(t *testing.T, address string) func(into any) {
	t.Helper()
	response, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 16<<20)
	return func(into any) {
		t.Helper()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), into); err != nil {
					t.Fatalf("%v: %.300s", err, data)
				}
				return
			}
		}
		t.Fatalf("the stream has ended: %v", lines.Err())
	}
}

func TestServeSaysThatAPortIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Chdir(t.TempDir())
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	code, out, errs := tune(t, "serve", "--port", port)
	if code != exitFailure || out != "" || !strings.Contains(errs, "--port "+port) || !strings.Contains(errs, "hint: another program listens there") {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
}

func TestBrowserOpener(t *testing.T) {
	for _, tc := range []struct {
		name, goos string
		env        map[string]string
		want       string
	}{
		{"a Mac", "darwin", nil, "open"},
		{"a Mac from afar", "darwin", map[string]string{"SSH_CONNECTION": "x"}, ""},
		{"X11", "linux", map[string]string{"DISPLAY": ":0"}, "xdg-open"},
		{"Wayland", "linux", map[string]string{"WAYLAND_DISPLAY": "wayland-0"}, "xdg-open"},
		{"no display", "linux", nil, ""},
		{"from afar, with a display", "linux", map[string]string{"DISPLAY": "localhost:10", "SSH_CONNECTION": "x"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := browserOpener(tc.goos, func(name string) string { return tc.env[name] }); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
