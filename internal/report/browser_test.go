package report

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"tune/internal/runstore"
	"tune/internal/web/webtest"
)

// browser is a window of a real browser, with what it has complained of and asked the network for.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string
	requests   []string
}

// open starts a browser with a window of a size.
func open(t *testing.T, width, height int) *browser {
	t.Helper()
	options := append(slices.Clip(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(webtest.Chromium(t)),
		chromedp.WindowSize(width, height))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses to be root with it
	}
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	b := &browser{t: t, ctx: ctx}
	b.do(chromedp.EmulateViewport(int64(width), int64(height)))
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		t.Fatal(err)
	}
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			b.mu.Lock()
			b.complaints = append(b.complaints, string(m.Type)+": "+m.Text)
			b.mu.Unlock()
		}
	}()
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *browser) listen(event any) {
	if e, ok := event.(*network.EventRequestWillBeSent); ok {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.requests = append(b.requests, e.Request.URL)
	}
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

// show opens a page from a file and waits until its plots are drawn.
func (b *browser) show(html string) {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), "report.html")
	if err := os.WriteFile(path, []byte(html), 0o600); err != nil {
		b.t.Fatal(err)
	}
	b.do(chromedp.Navigate((&url.URL{Scheme: "file", Path: path}).String()))
	b.settle()
}

// settle waits until what was asked of the page is painted.
func (b *browser) settle() {
	b.t.Helper()
	eval[bool](b, `document.readyState === "complete"`)
	time.Sleep(150 * time.Millisecond)
}

// quiet fails when the page has complained or asked the network for anything but itself.
func (b *browser) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, line := range b.complaints {
		b.t.Errorf("console: %s", line)
	}
	for _, url := range b.requests {
		if !strings.HasPrefix(url, "file:") && !strings.HasPrefix(url, "data:") {
			b.t.Errorf("the page asked for %s", url)
		}
	}
}

// prefer has the page see a reader who likes light or dark.
func (b *browser) prefer(scheme string) {
	b.t.Helper()
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		b.t.Fatal(err)
	}
	b.settle()
}

// print returns the page on paper, as PDF.
func (b *browser) print() []byte {
	b.t.Helper()
	yes := true
	r, err := chromedp.Call(b.ctx, cdppage.PrintToPDF, cdppage.PrintToPDFParams{PreferCSSPageSize: &yes, PrintBackground: &yes})
	if err != nil {
		b.t.Fatal(err)
	}
	return r.Data
}

// plots has the page's canvases, with how many pixels of each are painted and whether one has a colour of the page.
const plots = `[...document.querySelectorAll("main canvas")].filter((c) => c.checkVisibility()).map((c) => {
  const copy = Object.assign(document.createElement("canvas"), { width: c.width, height: c.height }).getContext("2d", { willReadFrequently: true });
  copy.drawImage(c, 0, 0);
  const d = copy.getImageData(0, 0, c.width, c.height).data;
  const want = [1, 3, 5].map((i) => parseInt(tunePlots.runColor(0).slice(i, i + 2), 16));
  let painted = 0, colored = false;
  for (let i = 0; i < d.length; i += 4) {
    if (d[i + 3]) painted++;
    colored ||= d[i + 3] === 255 && want.every((v, k) => d[i + k] === v);
  }
  return { painted, colored };
})`

type plot struct {
	Painted int
	Colored bool
}

// checkPlots fails unless so many plots are painted in the page's own colours.
func (b *browser) checkPlots(want int) {
	b.t.Helper()
	all := eval[[]plot](b, plots)
	if len(all) != want {
		b.t.Errorf("%d plots, want %d", len(all), want)
	}
	for i, p := range all {
		if p.Painted < 500 || !p.Colored {
			b.t.Errorf("plot %d has %d painted pixels, and in the colour of the run: %t", i, p.Painted, p.Colored)
		}
	}
}

func TestPageInTheBrowser(t *testing.T) {
	b := open(t, 1280, 900)
	b.show(written(t, &Report{Made: noon, Runs: []Run{newRun("a", 84)}}))
	for scheme, want := range map[string]string{"dark": "rgb(15, 20, 26)", "light": "rgb(255, 255, 255)"} {
		b.prefer(scheme)
		if got := eval[string](b, "getComputedStyle(document.body).backgroundColor"); got != want {
			t.Errorf("%s: the page is %s, want %s", scheme, got, want)
		}
		b.checkPlots(5)
	}
	eval[any](b, `document.querySelector(".log").click()`)
	b.settle()
	b.checkPlots(5)
	b.quiet()
}

func TestCursorsAreLinked(t *testing.T) {
	b := open(t, 1280, 900)
	b.show(written(t, &Report{Runs: []Run{newRun("a", 84)}}))
	at := eval[[]float64](b, `(() => { const r = document.querySelector(".u-over").getBoundingClientRect(); return [r.left + r.width / 2, r.top + 20]; })()`)
	b.do(chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, at[0], at[1]))
	b.settle()
	legends := eval[[]string](b, `[...document.querySelectorAll(".u-legend")].map((l) => l.querySelector(".u-value").textContent)`)
	if len(legends) != 5 || legends[0] != "42" {
		t.Fatalf("under the cursor in the middle is step %v, want 42", legends)
	}
	for i, step := range legends {
		if step != legends[0] {
			t.Errorf("plot %d is at step %s, the first at %s", i, step, legends[0])
		}
	}
	b.quiet()
}

func TestComparisonInTheBrowser(t *testing.T) {
	b := open(t, 1280, 900)
	b.show(written(t, fourRuns()))
	b.checkPlots(2)
	for _, against := range []string{"seconds", "tokens", "step"} {
		eval[any](b, `document.querySelector('input[value="`+against+`"]').click()`)
		b.settle()
		b.checkPlots(2)
	}
	// A link to a run unfolds it, and its plots are drawn then.
	eval[any](b, `location.hash = "#run-0"`)
	b.settle()
	b.checkPlots(2 + 5)
	b.quiet()
}

func TestPageOnAPhone(t *testing.T) {
	run := newRun("20261121-120000-a-name-that-is-rather-long-for-a-phone-aaa", 30)
	long := strings.Repeat("verylongword", 20)
	run.Note, run.Error, run.ModelPath, run.Tags = long, long, long, []string{long}
	run.Samples = append(run.Samples, run.Samples[0])
	run.Samples[4].PromptIndex, run.Samples[4].Prompt, run.Samples[4].Reply = 1, long, long
	run.Artifacts[0].Path, run.Events[0].Message = long, long
	run.Config += "note: " + long + "\n"
	several := fourRuns()
	several.Runs[0] = run
	several.Sweep = &Sweep{Sweep: runstore.Sweep{Name: "ranks", Trials: 4, Goal: "validation_loss"}}
	for i := range several.Runs {
		several.Sweep.Ranking = append(several.Sweep.Ranking, Trial{RunID: several.Runs[i].ID, Place: i + 1, Result: 4})
	}
	for name, r := range map[string]*Report{"one": {Runs: []Run{run}}, "several": several} {
		b := open(t, 360, 740)
		b.show(written(t, r))
		eval[any](b, `for (const d of document.querySelectorAll("details")) d.open = true`)
		b.settle()
		if got := eval[int](b, "document.documentElement.scrollWidth"); got > 360 {
			t.Errorf("%s: the page is %d wide: %s", name, got, eval[string](b, `[...document.querySelectorAll("main *")]
				.filter((x) => x.getBoundingClientRect().right > 361 && !x.closest(".scroll, pre")).slice(0, 5).map((x) => x.outerHTML.slice(0, 120)).join("\n")`))
		}
		b.quiet()
	}
}

func TestHostileWordsInTheBrowser(t *testing.T) {
	run := newRun("a", 10)
	run.Name, run.Note = hostile, hostile
	run.Samples[3].Reply, run.Events[0].Message = hostile, `<img src="http://127.0.0.1:9/x.png"><svg onload="alert(1)">`
	other := newRun("b", 10)
	for i := range other.Steps { // lest its curve cover the first
		other.Steps[i].Loss++
	}
	for i := range other.Evaluations {
		other.Evaluations[i].Loss++
	}
	b := open(t, 1280, 900)
	b.show(written(t, &Report{Title: hostile, Runs: []Run{run, other}}))
	if n := eval[int](b, `document.images.length`); n != 0 {
		t.Errorf("%d images", n)
	}
	if title := eval[string](b, `document.title`); !strings.Contains(title, "</script><script>alert(1)</script>") {
		t.Errorf("title %q", title)
	}
	b.checkPlots(2)
	b.quiet()
}

// TestPageWithoutScript covers readers whose browser or mail program runs none: pictures stand for the plots.
func TestPageWithoutScript(t *testing.T) {
	b := open(t, 1280, 900)
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	b.show(written(t, &Report{Runs: []Run{newRun("a", 84)}}))
	if got := eval[string](b, `[...document.querySelectorAll(".figure")].filter((x) => x.checkVisibility()).map((x) => x.className).join()`); got != "figure only-light" {
		t.Errorf("pictures in sight: %q", got)
	}
	if n := eval[int](b, `[...document.querySelectorAll(".scripted")].filter((x) => x.checkVisibility()).length`); n != 0 {
		t.Errorf("%d parts that need a script are in sight", n)
	}
	b.quiet()
}

func TestPageOnPaper(t *testing.T) {
	b := open(t, 1280, 900)
	b.prefer("dark")
	b.show(written(t, fourRuns()))
	// What a printer sees is looked at while it prints.
	eval[any](b, `window.printed = null;
		addEventListener("beforeprint", () => { printed = {
			widths: [...document.querySelectorAll("canvas")].map((c) => c.parentElement.offsetWidth),
			folded: document.querySelectorAll("details:not([open])").length,
		}; })`)
	pdf := b.print()
	if !strings.HasPrefix(string(pdf), "%PDF") {
		t.Fatal("no PDF")
	}
	if n := strings.Count(string(pdf), "/Type /Page\n"); n < 6 {
		t.Errorf("%d pages, want one for the comparison and one for each run at least", n)
	}
	printed := eval[struct {
		Widths []int
		Folded int
	}](b, "printed")
	if len(printed.Widths) != 2+4*5 || slices.Max(printed.Widths) > 700 || printed.Folded != 0 {
		t.Errorf("on paper: %+v", printed)
	}
	if n := eval[int](b, `document.querySelectorAll("details.run[open]").length`); n != 0 {
		t.Errorf("%d runs stay unfolded behind it", n)
	}
	b.quiet()
}
