package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/internal/chart"
)

// sweepFormats are those of the pictures that --out names.
func sweepFormats(c *cli.Context) ([]chart.Format, error) {
	var formats []chart.Format
	for _, path := range c.StringSlice("out") {
		format, err := chart.ParseFormat(filepath.Ext(path))
		if err != nil {
			return nil, badInput{fmt.Errorf("tune sweep show: --out %s: want a name that ends in .svg, .png or .pdf", path), ""}
		}
		formats = append(formats, format)
	}
	return formats, nil
}

// draw writes the sweep as parallel coordinates: an axis a key, a line a trial.
func (r *sweepReport) draw(path string, format chart.Format, opt chart.Options) error {
	if len(r.Ranking) == 0 {
		return badInput{fmt.Errorf("sweep %s: no trial has begun: there is nothing to draw", r.ID), ""}
	}
	if opt.Title == "" {
		opt.Title = fmt.Sprintf("%s: %s", r.Name, countOf(len(r.Ranking), "trial"))
	}
	var axes []chart.Axis
	for _, key := range shortKeys(r.keys()) {
		axes = append(axes, chart.Axis{Name: key})
	}
	axes = append(axes, chart.Axis{Name: goalText(r.Goal)})
	var lines []chart.Line
	for i := range r.Ranking {
		t := &r.Ranking[i]
		value := math.NaN()
		if t.Value.Finite() {
			value = float64(t.Value)
		}
		lines = append(lines, chart.Line{Name: fmt.Sprintf("trial %d", t.Trial), Values: append(t.Settings.drawn(), chart.Number(value))})
	}
	var picture bytes.Buffer
	if err := chart.Parallel(&picture, format, axes, lines, opt); err != nil {
		return badInput{fmt.Errorf("tune sweep show: %w", errors.New(strings.TrimPrefix(err.Error(), "chart: "))), ""}
	}
	if err := replaceFile(path, picture.Bytes()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("there is no folder %s", filepath.Dir(path))
		}
		return fmt.Errorf("tune sweep show: --out %s: %w", path, err)
	}
	return nil
}

// drawn returns the values as places on axes: numbers as numbers, all else as words.
func (s settingsJSON) drawn() []chart.Value {
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(s), &fields) != nil {
		return nil
	}
	keys, texts := s.values()
	var out []chart.Value
	for i, key := range keys {
		var number float64
		if json.Unmarshal(fields[key], &number) == nil {
			out = append(out, chart.Number(number))
		} else {
			out = append(out, chart.Word(texts[i]))
		}
	}
	return out
}
