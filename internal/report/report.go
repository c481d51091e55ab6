package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"tune/internal/runstore"
	"tune/internal/web"
)

// Report is what a file shows: one run, several beside each other, or the trials of a sweep.
type Report struct {
	Title      string    // default: the name of the run, or how many there are
	Made       time.Time // when it was written
	Runs       []Run
	Comparison *Comparison // of several runs; nil for one
	Sweep      *Sweep      // whose trials the runs are; nil when they are none
}

// Sweep is a sweep with its ranking, the best trial first.
type Sweep struct {
	runstore.Sweep
	Ranking []Trial
}

// Trial is a run of a sweep with what it is ranked by.
type Trial struct {
	RunID  string
	Place  int           // from 1; 0 where it has no place yet
	Result runstore.Real // of the goal; NaN without one
}

// Run is one run with everything that was recorded about it, and what the caller knows besides.
type Run struct {
	runstore.RunSummary
	Steps       []runstore.Step
	Evaluations []runstore.Evaluation
	Samples     []runstore.Sample
	Artifacts   []runstore.Artifact
	Events      []runstore.Event

	Took     float64           // wall time in seconds, so far for a run that is not over; NaN when unknown
	Defaults map[string]string // the default of each setting that has another value, by its key, such as lora.rank
	SlowedBy []string          // what explains that it was slow, in words
	Missing  map[string]bool   // artifacts that are no longer where they were, by path
	Data     []Data
}

// Data describes a file of rows. Lengths are read from the file; where that could not be done Problem says why.
type Data struct {
	Use          string // train or validation
	Path, SHA256 string
	Rows         int64 // as recorded; 0 when unknown
	Tokens       int64
	TargetTokens int64
	Truncated    int
	Lengths      []int // tokens of each row
	Problem      string
}

// Comparison is a table: a column for each run, a row for each setting that differs and for each result.
type Comparison struct {
	Warnings          []string
	Settings, Results []Row
}

// Row is a setting or a result of all runs.
type Row struct {
	Name  string
	Cells []Cell
}

// Cell is what one run has in a row.
type Cell struct {
	Text string
	Best bool
}

//go:embed page.html
var pageHTML string

//go:embed report.css
var pageCSS string

//go:embed report.js
var pageJS string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"color": func(i int) int { return i % colors },
	"deep":  func(deep bool, id, text string) heading { return heading{deep, id, text} },
	"table": func(caption string, labels []labelView, rows []Row) tableView {
		return tableView{caption, labels, rows}
	},
}).Parse(pageHTML))

// colors is how many runs have a colour of their own in theme.css.
const colors = 12

// heading is a title of a section: of a run that stands alone, or of one among several, where it is one level deeper.
type heading struct {
	Deep     bool
	ID, Text string
}

// Write writes the report to w, once it is complete. Errors: no runs; a picture that cannot be drawn; those of w.
func Write(w io.Writer, r *Report) error {
	if len(r.Runs) == 0 {
		return fmt.Errorf("report: no runs to show")
	}
	v, err := newView(r)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	var out bytes.Buffer
	if err := page.Execute(&out, v); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	_, err = w.Write(out.Bytes())
	return err
}

// script and style are the whole of what the page runs and how it looks.
var (
	script = strings.Join([]string{sharpCanvases, web.UPlotJS, web.PlotsJS, pageJS}, "\n")
	style  = strings.Join([]string{web.UPlotCSS, web.ThemeCSS, pageCSS}, "\n")
)

// sharpCanvases has uPlot, which asks once how many pixels a point has, draw two or more: a printer has many.
const sharpCanvases = "window.devicePixelRatio = Math.max(2, window.devicePixelRatio || 1);"

// policy forbids the page everything but its own script: no request leaves the reader's machine, whatever a reply or a
// name holds. Styles may stand in elements, where the charts have them.
func policy() string {
	sum := sha256.Sum256([]byte(script))
	return "default-src 'none'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
}
