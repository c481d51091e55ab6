package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

func csvFlag() cli.Flag {
	return &cli.BoolFlag{Name: "csv", Usage: "write CSV, with the names of columns that runs.db has"}
}

// oneFormat refuses two of --json, --csv and the like.
func oneFormat(c *cli.Context, names ...string) error {
	var given []string
	for _, name := range names {
		if c.Bool(name) {
			given = append(given, "--"+name)
		}
	}
	if len(given) > 1 {
		return badInput{fmt.Errorf("%s: %s: want one of them", commandOf(c), strings.Join(given, ", ")), ""}
	}
	return nil
}

// writeCSV writes structs as rows below the names that their JSON has (RFC 4180). What is null there is an empty cell, and a list
// is its JSON.
func writeCSV[T any](w io.Writer, rows []T) error {
	out := csv.NewWriter(w)
	header, _, err := cellsOf(new(T))
	if err != nil {
		return err
	}
	if err := out.Write(header); err != nil {
		return err
	}
	for i := range rows {
		names, cells, err := cellsOf(&rows[i])
		if err != nil {
			return err
		}
		at := map[string]string{} // omitempty leaves names out
		for k, name := range names {
			at[name] = cells[k]
		}
		row := make([]string, len(header))
		for k, name := range header {
			row[k] = at[name]
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// cellsOf returns the names of a struct's JSON, in order, and its values as cells.
func cellsOf(v any) (names, cells []string, err error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if _, err := d.Token(); err != nil { // the brace
		return nil, nil, err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, nil, err
		}
		cell := string(value)
		var text string
		switch {
		case cell == "null":
			cell = ""
		case json.Unmarshal(value, &text) == nil:
			cell = text
		}
		names, cells = append(names, name.(string)), append(cells, cell)
	}
	return names, cells, nil
}
