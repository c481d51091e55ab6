package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"tune/internal/runstore"
)

func queryCommand() *cli.Command {
	return &cli.Command{
		Name:      "query",
		Usage:     "ask the database of runs in SQL, reading only",
		ArgsUsage: "SQL",
		Description: "docs/runs-db.md explains every table and has queries to begin with. SQL of - is read from standard input.\n\n" +
			"   tune query \"SELECT id, status, wall_seconds FROM runs ORDER BY created_at DESC LIMIT 5\"\n" +
			"   tune query \"SELECT step, loss FROM steps WHERE run_id = (SELECT max(id) FROM runs)\" --csv > loss.csv",
		Flags: []cli.Flag{databaseFlag(), jsonFlag(), &cli.BoolFlag{Name: "csv", Usage: "write CSV"}},
		Action: func(c *cli.Context) error {
			query, err := argument(c, "SQL, in one argument", `tune query "SELECT id, status FROM runs"`)
			if err != nil {
				return err
			}
			if err := oneFormat(c, "json", "csv"); err != nil {
				return err
			}
			if query == "-" {
				if query, err = readAll(c.App.Reader); err != nil {
					return err
				}
			}
			store, err := openRuns(c)
			if err != nil {
				return err
			}
			return closing(store, runQuery(c, store, query))
		},
	}
}

// runQuery writes what a query gives, in the form that is asked for.
func runQuery(c *cli.Context, store *runstore.Store, query string) error {
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	w := c.App.Writer
	var rows rowWriter
	switch {
	case c.Bool("json"):
		rows = &jsonRows{w: w}
	case c.Bool("csv"):
		rows = &csvRows{w: csv.NewWriter(w)}
	default:
		rows = &tableRows{w: w, s: screenOf(w)}
	}
	err := store.Query(ctx, query, func(columns []string, row []any) error {
		if err := rows.begin(columns); err != nil || row == nil {
			return err
		}
		return rows.row(row)
	})
	switch {
	case errors.Is(err, runstore.ErrQuery):
		return badInput{err, "docs/runs-db.md lists the tables and their columns"}
	case ctx.Err() != nil && c.Context.Err() == nil:
		return errors.New("interrupted")
	case err != nil:
		return err
	}
	return rows.end()
}

// rowWriter writes the rows of a query. begin is called before each of them.
type rowWriter interface {
	begin(columns []string) error
	row(cells []any) error
	end() error
}

// cellText writes a cell without loss; NULL is empty.
func cellText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case []byte:
		return fmt.Sprintf("x'%x'", v)
	}
	return fmt.Sprint(v)
}

type csvRows struct {
	w     *csv.Writer
	begun bool
}

func (x *csvRows) begin(columns []string) error {
	if x.begun {
		return nil
	}
	x.begun = true
	return x.w.Write(columns)
}

func (x *csvRows) row(cells []any) error {
	line := make([]string, len(cells))
	for i, v := range cells {
		line[i] = cellText(v)
	}
	return x.w.Write(line)
}

func (x *csvRows) end() error {
	x.w.Flush()
	return x.w.Error()
}

// jsonRows writes an array of objects whose keys stand in the order of the columns.
type jsonRows struct {
	w       io.Writer
	columns []string
	n       int
}

func (x *jsonRows) begin(columns []string) error {
	if x.columns != nil {
		return nil
	}
	x.columns = columns
	_, err := io.WriteString(x.w, "[")
	return err
}

func (x *jsonRows) row(cells []any) error {
	var line strings.Builder
	if x.n++; x.n > 1 {
		line.WriteByte(',')
	}
	line.WriteString("\n  {")
	for i, v := range cells {
		if b, ok := v.([]byte); ok {
			v = cellText(b)
		}
		name, err := json.Marshal(x.columns[i])
		if err != nil {
			return err
		}
		value, err := json.Marshal(v)
		if err != nil { // an infinite number
			value = []byte("null")
		}
		if i > 0 {
			line.WriteString(", ")
		}
		fmt.Fprintf(&line, "%s: %s", name, value)
	}
	line.WriteString("}")
	_, err := io.WriteString(x.w, line.String())
	return err
}

func (x *jsonRows) end() error {
	text := "]\n"
	if x.n > 0 {
		text = "\n]\n"
	}
	_, err := io.WriteString(x.w, text)
	return err
}

// tableRows collects rows, for a column is as wide as its widest cell.
type tableRows struct {
	w       io.Writer
	s       screen
	columns []tableColumn
	rows    int
}

func (x *tableRows) begin(columns []string) error {
	if x.columns == nil {
		x.columns = []tableColumn{}
		for _, name := range columns {
			x.columns = append(x.columns, tableColumn{title: oneLine(name), right: true})
		}
	}
	return nil
}

func (x *tableRows) row(cells []any) error {
	x.rows++
	for i, v := range cells {
		text := oneLine(cellText(v))
		switch v.(type) {
		case nil:
			text = "-"
		case int64, float64:
		default:
			x.columns[i].right = false
		}
		x.columns[i].cells = append(x.columns[i].cells, text)
	}
	return nil
}

// widestCell is how many letters a terminal gets of a cell; a file gets all.
const widestCell = 60

func (x *tableRows) end() error {
	if x.rows == 0 {
		_, err := fmt.Fprintln(x.w, "no rows")
		return err
	}
	if x.s.terminal {
		for _, c := range x.columns {
			for i, cell := range c.cells {
				if utf8.RuneCountInString(cell) > widestCell {
					c.cells[i] = string([]rune(cell)[:widestCell-1]) + x.s.ascii("…")
				}
			}
		}
	}
	return x.s.writeTable(x.w, x.columns)
}

// oneLine writes text on one line.
func oneLine(text string) string {
	return strings.NewReplacer("\n", " ", "\t", " ").Replace(printable(text))
}
