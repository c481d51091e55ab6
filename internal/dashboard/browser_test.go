package dashboard

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tune/internal/runstore"
	"tune/internal/web/webtest"
)

// browser is a window of a real browser.
type browser struct {
	t       *testing.T
	ctx     context.Context
	console func() []string
}

// open starts a browser with a window of a size.
func open(t *testing.T, width, height int) *browser {
	t.Helper()
	options := append(slices.Clip(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(webtest.Chromium(t)),
		chromedp.WindowSize(width, height),
		chromedp.NoSandbox) // it works neither for root nor in most containers, and the page is our own
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	b := &browser{t: t, ctx: ctx}
	messages := chromedp.Console(ctx)
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for m, err := range messages {
			if err != nil {
				return
			}
			lines <- string(m.Type) + ": " + m.Text + " " + m.URL
		}
	}()
	b.console = func() (all []string) {
		for {
			select {
			case line, open := <-lines:
				if !open {
					return all
				}
				all = append(all, line)
			default:
				return all
			}
		}
	}
	return b
}

// do runs actions in the page.
func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// eval returns the value of an expression in the page.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for an expression in the page to become true.
func (b *browser) until(expression string) {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("Boolean("+expression+")")); err == nil && ok {
			return
		}
	}
	b.t.Fatalf("never true: %s; the page says: %s", expression, eval[string](b, "document.body.innerText.slice(0, 600)"))
}

// show opens an address of the page and waits until it is connected.
func (b *browser) show(address, fragment string) {
	b.t.Helper()
	b.do(chromedp.Navigate("http://" + address + "/" + fragment))
	b.until(`document.getElementById("state").dataset.state !== "connecting"`)
}

// press presses keys. A key comes with its text in one event, as from a keyboard: when the page takes the key, nothing is
// typed.
func (b *browser) press(keys ...string) {
	b.t.Helper()
	for _, r := range strings.Join(keys, "") {
		key := kb.Keys[r]
		event := input.DispatchKeyEventParams{Type: kb.KeyDown, Key: key.Key, Code: key.Code, Text: key.Text,
			WindowsVirtualKeyCode: key.Windows, NativeVirtualKeyCode: key.Native}
		for _, kind := range []input.DispatchKeyEventType{kb.KeyDown, kb.KeyUp} {
			if event.Type = kind; kind == kb.KeyUp {
				event.Text = ""
			}
			if _, err := chromedp.Call(b.ctx, input.DispatchKeyEvent, event); err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

// quiet fails when the page has written to the console.
func (b *browser) quiet() {
	b.t.Helper()
	for _, line := range b.console() {
		b.t.Errorf("console: %s", line)
	}
}

// Expressions that tests ask the page for.
const (
	state    = `document.getElementById("state").textContent`
	names    = `[...document.querySelectorAll("tbody a.name")].map((a) => a.dataset.run).join(" ")`
	stepCard = `[...document.querySelectorAll(".card")].find((c) => c.textContent.startsWith("step")).querySelector(".value").textContent`
	// steps are those that the loss plot holds, validation before the first step included.
	steps = `uPlots()[0].data[0].join(" ")`
)

// recordPlots has the page keep its plots where a test finds them: uPlot itself keeps none.
const recordPlots = `(() => {
  let made = [];
  const make = tunePlots.make;
  tunePlots.make = (el, spec) => { const p = make(el, spec); made.push(p.u); return p; };
  window.uPlots = () => (made = made.filter((u) => u.root.isConnected));
})()`

// pixels is a function of a canvas. It reads from a copy: Chromium warns of a canvas that is read from often.
const pixels = `((c) => {
  const copy = Object.assign(document.createElement("canvas"), { width: c.width, height: c.height }).getContext("2d", { willReadFrequently: true });
  copy.drawImage(c, 0, 0);
  return copy.getImageData(0, 0, c.width, c.height).data;
})`

// ink is how many pixels of each canvas are painted.
const ink = `[...document.querySelectorAll("main canvas")].map((c) => {
  const d = ` + pixels + `(c);
  let n = 0;
  for (let i = 3; i < d.length; i += 4) if (d[i]) n++;
  return n;
})`

// showPlots opens an address with recordPlots in force before any plot is made.
func (b *browser) showPlots(address, fragment string) {
	b.t.Helper()
	b.show(address, "#/")
	eval[any](b, recordPlots)
	eval[any](b, "location.hash = "+strconv.Quote(fragment))
	b.until("uPlots().length > 0 && uPlots()[0].data[0].length > 0")
}

func TestPageShowsARunWhileItTrains(t *testing.T) {
	s := newStore(t)
	newRun(t, s, "a", 10)
	address, _ := start(t, s.Path(), "")
	b := open(t, 1280, 900)
	b.showPlots(address, "#/run/a")
	b.until(stepCard + ` === "10 / 200"`)
	eval[any](b, `window.spoken = []; new MutationObserver(() => spoken.push(document.getElementById("announce").textContent))
		.observe(document.getElementById("announce"), { childList: true, characterData: true, subtree: true })`)
	for step := 11; step <= 60; step++ {
		recordStep(t, s, "a", step)
		time.Sleep(20 * time.Millisecond)
	}
	must(t, s.RecordEvaluation(t.Context(), "a", runstore.Evaluation{Step: 60, Loss: 7}))
	must(t, s.RecordSample(t.Context(), "a", runstore.Sample{Step: 0, Prompt: "<b>Hi</b>", Reply: "<img src=x onerror=alert(1)>"}))
	must(t, s.RecordSample(t.Context(), "a", runstore.Sample{Step: 60, Prompt: "<b>Hi</b>", Reply: "after"}))
	must(t, s.RecordEvent(t.Context(), "a", runstore.Event{Level: runstore.LevelWarning, Kind: "k", Message: "<script>alert(1)</script>"}))
	b.until(stepCard + ` === "60 / 200"`)
	b.until(`document.body.innerText.includes("<img src=x onerror=alert(1)>") && document.body.innerText.includes("<script>alert(1)</script>")`)
	if got := eval[string](b, state); got != "live" {
		t.Errorf("state %q", got)
	}
	if got, want := eval[string](b, steps), numbers(0, 60); got != want {
		t.Errorf("the plot has %s, want %s", got, want)
	}
	if spoken := eval[[]string](b, "spoken"); len(spoken) != 0 {
		t.Errorf("spoken for each step: %q", spoken)
	}
	finish(t, s, "a")
	b.until(state + ` === "ended"`)
	b.until(`spoken.join() === "run bluey: done"`)
	for i, n := range eval[[]int](b, ink) {
		if n < 500 {
			t.Errorf("plot %d: only %d pixels are painted", i, n)
		}
	}
	if n := eval[int](b, `document.querySelectorAll("main canvas").length`); n != 5 {
		t.Errorf("%d plots, want 5", n)
	}
	b.quiet()
}

// numbers are the numbers of a range, as the page joins them.
func numbers(from, to int) string {
	var all []string
	for n := from; n <= to; n++ {
		all = append(all, strconv.Itoa(n))
	}
	return strings.Join(all, " ")
}

func TestPageComesBackAfterTheServerDid(t *testing.T) {
	s := newStore(t)
	newRun(t, s, "a", 5)
	address, stop := start(t, s.Path(), "")
	b := open(t, 1280, 900)
	b.showPlots(address, "#/run/a")
	b.until(stepCard + ` === "5 / 200"`)
	b.quiet()
	// What the page is sent from here on.
	eval[any](b, `window.drawn = []; { const set = uPlots()[0].setData.bind(uPlots()[0]); uPlots()[0].setData = (d, r) => { drawn.push(d[0].length); set(d, r); }; }`)
	stop()
	b.until(state + ` === "reconnecting"`)
	for step := 6; step <= 9; step++ {
		recordStep(t, s, "a", step)
	}
	start(t, s.Path(), address)
	b.until(stepCard + ` === "9 / 200"`)
	if got := eval[string](b, state); got != "live" {
		t.Errorf("state %q", got)
	}
	recordStep(t, s, "a", 10)
	b.until(stepCard + ` === "10 / 200"`)
	if got, want := eval[string](b, steps), numbers(0, 10); got != want {
		t.Errorf("the plot has %s, want %s", got, want)
	}
	if drawn := eval[[]int](b, "drawn"); !slices.IsSorted(drawn) || drawn[0] < 6 {
		t.Errorf("the plot had %v points in turn: it began anew", drawn)
	}
	for _, line := range b.console() {
		if !strings.Contains(line, "ERR_") { // the browser's own words on a server that is away
			t.Errorf("console: %s", line)
		}
	}
}

func TestPageReplacesStepsThatAreMadeAgain(t *testing.T) {
	s := newStore(t)
	newRun(t, s, "a", 8)
	address, _ := start(t, s.Path(), "")
	b := open(t, 1280, 900)
	b.showPlots(address, "#/run/a")
	b.until(stepCard + ` === "8 / 200"`)
	time.Sleep(5 * time.Millisecond)
	must(t, s.NoteResume(t.Context(), "a", 5))
	for step := int64(6); step <= 9; step++ {
		must(t, s.RecordStep(t.Context(), "a", runstore.Step{Step: step, Loss: 1}))
	}
	b.until(stepCard + ` === "9 / 200"`)
	if got, want := eval[string](b, steps), numbers(0, 9); got != want {
		t.Errorf("the plot has %s, want %s", got, want)
	}
	if got := eval[string](b, "uPlots()[0].data[1].slice(-5).join(' ')"); got != "7.95 1 1 1 1" {
		t.Errorf("losses end with %s", got)
	}
	b.quiet()
}

func TestPageByKeyboard(t *testing.T) {
	s := newStore(t)
	for _, id := range []string{"20261121-120000-one-aaa", "20261121-120001-two-bbb", "20261121-120002-three-ccc"} {
		newRun(t, s, id, 5)
		time.Sleep(2 * time.Millisecond)
	}
	finish(t, s, "20261121-120001-two-bbb")
	must(t, s.Tag(t.Context(), "20261121-120000-one-aaa", []string{"keep"}, nil))
	address, _ := start(t, s.Path(), "")
	b := open(t, 1280, 900)
	b.show(address, "")
	const all = "20261121-120002-three-ccc 20261121-120001-two-bbb 20261121-120000-one-aaa"
	b.until(names + ` === "` + all + `"`)
	focused := func() string {
		return eval[string](b, `document.activeElement.dataset.run || document.activeElement.id || ""`)
	}

	b.press("j", "j")
	if got := focused(); got != "20261121-120001-two-bbb" {
		t.Errorf("j j is at %q", got)
	}
	b.press(kb.ArrowDown, " ", "k", kb.ArrowUp, " ")
	if got := eval[int](b, `document.querySelectorAll("tbody input:checked").length`); got != 2 {
		t.Errorf("%d runs are ticked", got)
	}
	if got := eval[string](b, `getComputedStyle(document.activeElement).outlineStyle`); got != "solid" {
		t.Errorf("the focus is drawn %q", got)
	}
	b.press("?")
	b.until(`document.getElementById("help").open`)
	b.press(kb.Escape)
	b.until(`!document.getElementById("help").open`)

	b.press("/", "status:done")
	b.until(names + ` === "20261121-120001-two-bbb"`)
	b.press(kb.Escape)
	b.until(names + ` === "` + all + `"`)
	b.press("tag:ke")
	b.until(names + ` === "20261121-120000-one-aaa"`)
	b.press(kb.Enter)
	if got := focused(); got != "20261121-120000-one-aaa" {
		t.Errorf("Enter in the filter is at %q", got)
	}
	b.press(kb.Enter)
	b.until(`location.hash === "#/run/20261121-120000-one-aaa" && document.querySelectorAll("main canvas").length === 5`)
	b.press(kb.Escape)
	b.until(`location.hash === "#/" && ` + names + ` === "20261121-120000-one-aaa"`)
	b.until(`document.activeElement.dataset.run === "20261121-120000-one-aaa"`)
	b.press("/", kb.Escape, kb.Escape, "c")
	b.until(`location.hash.startsWith("#/compare/") && document.querySelectorAll("main canvas").length === 6`)
	b.quiet()

	// By Tab alone everything can be reached.
	b.show(address, "#/")
	eval[any](b, "location.reload()")
	b.until(names + ` === "` + all + `"`)
	reached := map[string]bool{}
	for range 40 {
		b.press(kb.Tab)
		reached[eval[string](b, `((e) => (e ? e.id || e.dataset.run || e.textContent || e.type : ""))(document.activeElement)`)] = true
	}
	for _, want := range []string{"help-button", "filter", "status", "when", "checkbox", "20261121-120000-one-aaa"} {
		if !reached[want] {
			t.Errorf("Tab does not reach %s: %v", want, reached)
		}
	}
}

func TestPageSorts(t *testing.T) {
	s := newStore(t)
	for i, id := range []string{"a", "b", "c"} {
		newRun(t, s, id, []int{5, 9, 7}[i])
		time.Sleep(2 * time.Millisecond)
	}
	address, _ := start(t, s.Path(), "")
	b := open(t, 1280, 900)
	b.show(address, "")
	b.until(names + ` === "c b a"`)
	const head = `[...document.querySelectorAll("th")].find((x) => x.textContent === "steps")`
	for _, want := range []string{"descending b c a", "ascending a c b"} {
		eval[any](b, head+`.querySelector("button").click()`)
		if got := eval[string](b, head+`.getAttribute("aria-sort") + " " + `+names); got != want {
			t.Errorf("sorted %s, want %s", got, want)
		}
	}
	// A run that gets on moves by itself.
	for step := 6; step <= 12; step++ {
		recordStep(t, s, "a", step)
	}
	b.until(names + ` === "c b a"`)
	b.quiet()
}

func TestPageComparesRuns(t *testing.T) {
	s := newStore(t)
	newRun(t, s, "a", 20)
	newRun(t, s, "b", 30)
	must(t, s.UpdateRun(t.Context(), runstore.Run{ID: "b", Name: "other", Config: strings.Replace(runConfig, "rank: 8", "rank: 16", 1), ConfigSHA256: "c1"}))
	address, _ := start(t, s.Path(), "")
	b := open(t, 1280, 900)
	b.showPlots(address, "#/compare/a,b")
	b.until(`document.querySelectorAll("main canvas").length === 6`)
	if got := eval[string](b, `[...document.querySelectorAll("main section")].find((x) => x.textContent.startsWith("What differs")).innerText`); !strings.Contains(got, "lora.rank\t8\t16") || strings.Contains(got, "target_modules") {
		t.Errorf("differences: %q", got)
	}
	recordStep(t, s, "b", 31)
	b.until(steps + ` === "` + numbers(1, 31) + `"`)
	b.quiet()
}

func TestPageOnAPhone(t *testing.T) {
	s := newStore(t)
	long := "20261121-120000-a-name-that-is-rather-long-for-a-phone-aaa"
	newRun(t, s, long, 30)
	newRun(t, s, "b", 30)
	must(t, s.SetNote(t.Context(), long, strings.Repeat("verylongword", 20)))
	must(t, s.RecordSample(t.Context(), long, runstore.Sample{Prompt: strings.Repeat("prompt", 30), Reply: strings.Repeat("reply", 50)}))
	must(t, s.RecordEvent(t.Context(), long, runstore.Event{Kind: "k", Message: strings.Repeat("message", 30)}))
	must(t, s.RecordArtifact(t.Context(), long, runstore.Artifact{Kind: "adapter", Path: strings.Repeat("path", 30), Bytes: 1}))
	address, _ := start(t, s.Path(), "")
	b := open(t, 360, 740)
	b.do(chromedp.EmulateViewport(360, 740))
	for fragment, plots := range map[string]int{"#/": 0, "#/run/" + long: 5, "#/compare/" + long + ",b": 6} {
		b.show(address, fragment)
		b.until(`document.querySelectorAll("main canvas").length === ` + strconv.Itoa(plots) + ` && document.querySelector("table")`)
		if got := eval[int](b, "document.documentElement.scrollWidth"); got > 360 {
			t.Errorf("%s is %d wide", fragment, got)
		}
	}
	b.quiet()
}

func TestPageInTheDark(t *testing.T) {
	s := newStore(t)
	newRun(t, s, "a", 30)
	address, _ := start(t, s.Path(), "")
	b := open(t, 1280, 900)
	b.show(address, "#/run/a")
	b.until(`document.querySelectorAll("main canvas").length === 5`)
	const background = `getComputedStyle(document.body).backgroundColor`
	for scheme, want := range map[string]string{"dark": "rgb(15, 20, 26)", "light": "rgb(255, 255, 255)"} {
		features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
		if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
			t.Fatal(err)
		}
		b.until(background + ` === "` + want + `"`)
		// The curve has the colour of its scheme.
		b.until(`(() => {
			const hex = tunePlots.runColor(0), want = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
			const d = ` + pixels + `(document.querySelector("main canvas"));
			for (let i = 0; i < d.length; i += 4) if (d[i + 3] === 255 && want.every((v, k) => d[i + k] === v)) return true;
			return false;
		})()`)
	}
	b.quiet()
}

// bigDatabase has runs of many steps, written by SQLite itself.
func bigDatabase(t testing.TB, runs, steps int) *runstore.Store {
	t.Helper()
	s := newStore(t)
	db, err := sql.Open("sqlite3", s.Path())
	must(t, err)
	defer db.Close()
	for i := range runs {
		id := fmt.Sprintf("run-%03d", i)
		must(t, s.CreateRun(t.Context(), runstore.Run{ID: id, Name: "big", Method: "lora", ModelPath: "m", Config: runConfig, ConfigSHA256: "c", TotalSteps: int64(steps)}))
		must(t, s.StartRun(t.Context(), id))
		_, err := db.Exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<?2)
			INSERT INTO steps(run_id, step, epoch, loss, learning_rate, grad_norm, target_tokens, tokens, seconds,
				memory_bytes, peak_memory_bytes, device_memory_bytes, device_peak_memory_bytes, at)
			SELECT ?1, i, i/1000.0, 3+8.0/(1+i/300.0)+(abs(random())%1000)/2000.0, 1e-3*(1-i*1.0/?2), 1+(abs(random())%1000)/1000.0, 300, 500,
				0.1+(abs(random())%100)/1000.0, 300000000+i*100, 310000000+i*100, 50000000, 60000000,
				strftime('%Y-%m-%dT%H:%M:%fZ', 1795000000+i, 'unixepoch') FROM n`, id, steps)
		must(t, err)
		for step := 0; step <= steps; step += steps / 20 {
			must(t, s.RecordEvaluation(t.Context(), id, runstore.Evaluation{Step: int64(step), Loss: 5}))
		}
		finish(t, s, id)
	}
	return s
}

// TestPageOfManyLongRuns has a wide margin; the times are printed.
func TestPageOfManyLongRuns(t *testing.T) {
	webtest.Chromium(t)
	s := bigDatabase(t, 100, 10_000)
	address, _ := start(t, s.Path(), "")
	b := open(t, 1280, 900)
	within := func(what, fragment, ready string) {
		t.Helper()
		began := time.Now()
		b.do(chromedp.Navigate("http://" + address + "/" + fragment))
		b.until(ready)
		took := time.Since(began)
		t.Logf("%s: %v", what, took.Round(time.Millisecond))
		if took > 8*time.Second {
			t.Errorf("%s took %v", what, took)
		}
	}
	within("the list of 100 runs", "", `document.querySelectorAll("tbody tr").length === 100`)
	within("a run of 10,000 steps", "#/run/run-007", `document.querySelectorAll("main canvas").length === 5`)
	within("a comparison of 5", "#/compare/run-001,run-002,run-003,run-004,run-005", `document.querySelectorAll("main canvas").length === 6`)

	// A closer look fetches what was left out.
	b.showPlots(address, "#/run/run-007")
	if n := eval[int](b, "uPlots()[0].data[0].length"); n > maxPoints {
		t.Errorf("%d points at first", n)
	}
	eval[any](b, `uPlots()[0].setScale("x", { min: 5000, max: 5400 })`)
	b.until(`uPlots()[0].data[0].filter((x) => x >= 5000 && x <= 5400).length === 401`)
	if got := eval[[]float64](b, `[uPlots()[0].scales.x.min, uPlots()[0].scales.x.max]`); got[0] != 5000 || got[1] != 5400 {
		t.Errorf("the view has moved to %v", got)
	}
	b.quiet()
}
