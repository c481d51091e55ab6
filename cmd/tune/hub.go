package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/schollz/progressbar/v3"

	"tune/internal/chart"
	"tune/internal/hub"
)

// resolveModel returns the folder of the model that a user has named. A folder that exists is what is meant; a name
// of the form org/name that is no folder is a model of the Hugging Face Hub, which is fetched into the cache, with
// its progress on stderr. commit says which version of it that is, and is empty for a folder.
//
// An empty revision is the Hub's main branch. A revision of a folder is an error: it would mean nothing.
func resolveModel(ctx context.Context, stderr io.Writer, path, revision string) (dir, commit string, err error) {
	return resolve(ctx, stderr, path, revision, "", (*hub.Client).Snapshot)
}

// resolveTokenizer is resolveModel for commands that need no weights: those of a model of the Hub are not fetched.
func resolveTokenizer(ctx context.Context, stderr io.Writer, path, revision string) (dir, commit string, err error) {
	return resolve(ctx, stderr, path, revision, " (configuration and tokenizer)", (*hub.Client).Tokenizer)
}

// fetching is a method of hub.Client that brings a model, or what is wanted of it.
type fetching func(c *hub.Client, ctx context.Context, repo, revision string, progress func(hub.Event)) (dir string, err error)

// resolve has fetch bring what of a model is wanted; part says in messages which part of it that is.
func resolve(ctx context.Context, stderr io.Writer, path, revision, part string, fetch fetching) (dir, commit string, err error) {
	_, err = os.Stat(path)
	if err == nil || !hub.ValidID(path) {
		if revision != "" {
			return "", "", badInput{fmt.Errorf("model.revision: only a model of the Hugging Face Hub has revisions, model.path is %s", path),
				"leave model.revision out, or name a model such as google/gemma-3-1b-it"}
		}
		return path, "", nil // who reads the folder says what is wrong with it
	}
	client, err := hub.FromEnvironment()
	if err != nil {
		return "", "", badInput{err, ""}
	}
	view := &downloadView{w: stderr, screen: screenOf(stderr), name: path + part, endpoint: client.Site()}
	dir, err = fetch(client, ctx, path, revision, view.show)
	view.close(err == nil)
	if err != nil {
		return "", "", hubError(path, err)
	}
	return dir, filepath.Base(dir), nil
}

// hubError adds what the user may have meant, and what to try next.
func hubError(path string, err error) error {
	e, ok := errors.AsType[*hub.Error](err)
	if !ok {
		return err
	}
	hint := e.Hint
	for _, kind := range []error{hub.ErrRepoNotFound, hub.ErrNotCached, hub.ErrUnreachable} {
		if errors.Is(err, kind) && e.File == "" {
			err = fmt.Errorf("there is no folder %s here; as a model of the Hub, %w", path, err)
			break
		}
	}
	for _, kind := range []error{hub.ErrUnreachable, hub.ErrCorrupt, hub.ErrDiskFull, hub.ErrAnswer} {
		if errors.Is(err, kind) {
			return hinted{err, hint}
		}
	}
	return badInput{err, hint}
}

// downloadView shows a download: a progress bar when stderr is a terminal, a plain line now and then elsewhere.
type downloadView struct {
	w              io.Writer
	screen         screen
	name, endpoint string
	bar            *progressbar.ProgressBar
	began, printed time.Time
	had            int64 // bytes that were there when it began
	last           hub.Event
}

func (v *downloadView) show(e hub.Event) {
	switch {
	case e.Note != "":
		v.line("%s", printable(e.Note))
		return
	case e.Total == 0: // an index of weights: what it leads to is still unknown
		return
	case v.last.Total == 0:
		v.began, v.printed, v.had = time.Now(), time.Now(), e.Done
		v.line("fetching %s from %s: %s", v.name, v.endpoint, chart.FormatBytes(float64(e.Total-e.Done)))
	}
	v.last = e
	every := plainEvery
	if v.screen.terminal {
		every = barEvery
	}
	if now := time.Now(); now.Sub(v.printed) >= every {
		v.printed = now
		v.draw()
	}
}

// draw shows how far it is, how fast, and how long it will take.
func (v *downloadView) draw() {
	e, perSecond := v.last, float64(v.last.Done-v.had)/time.Since(v.began).Seconds()
	text := fmt.Sprintf("%s of %s · %s/s", chart.FormatBytes(float64(e.Done)), chart.FormatBytes(float64(e.Total)),
		chart.FormatBytes(perSecond))
	if perSecond > 0 {
		text += fmt.Sprintf(" · %s left", chart.FormatDuration(float64(e.Total-e.Done)/perSecond))
	}
	if !v.screen.terminal {
		v.line("%s", v.screen.ascii(e.File+" · "+text))
		return
	}
	if v.bar == nil {
		theme := progressbar.Theme{Saucer: "━", SaucerHead: "━", SaucerPadding: "─"}
		if !v.screen.unicode {
			theme = progressbar.Theme{Saucer: "=", SaucerHead: ">", SaucerPadding: " ", BarStart: "[", BarEnd: "]"}
		}
		// As in the bar of a run: the library's own rate is wrong for what does not begin at 0.
		v.bar = progressbar.NewOptions64(e.Total, progressbar.OptionSetWriter(v.w), progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetWidth(24), progressbar.OptionThrottle(0), progressbar.OptionSetElapsedTime(false),
			progressbar.OptionSetTheme(theme))
	}
	v.bar.Describe(v.screen.ascii(text))
	_ = v.bar.Set64(e.Done) // an error here only means that the terminal went away
}

// line writes a line without tearing the bar.
func (v *downloadView) line(format string, a ...any) {
	if v.bar != nil {
		_ = v.bar.Clear()
		defer func() { _ = v.bar.RenderBlank() }()
	}
	fmt.Fprintf(v.w, format+"\n", a...)
}

// close ends the bar and says what was fetched, if anything was.
func (v *downloadView) close(whole bool) {
	if v.bar != nil {
		_ = v.bar.Clear()
		v.bar = nil
	}
	if whole && v.last.Total > 0 {
		v.line("fetched %s in %s", v.name, chart.FormatDuration(time.Since(v.began).Seconds()))
	}
}
