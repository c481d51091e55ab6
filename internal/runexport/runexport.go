// Package runexport writes what runs.db holds as files of other programs: CSV, Parquet, and the event files of TensorBoard.
package runexport

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/parquet-go/parquet-go"

	"tune/internal/runstore"
)

// Source is where runs come from: a [runstore.Store].
type Source interface {
	Dump(ctx context.Context, table string, ids []string, f func(columns []runstore.TableColumn, row []any) error) error
}

// CSV writes the rows of one table that belong to some runs, below the names of its columns (RFC 4180). NULL is an empty cell. It
// returns the number of rows. Errors: those of the source and of w.
func CSV(ctx context.Context, w io.Writer, s Source, table string, columns []runstore.TableColumn, ids []string) (rows int, err error) {
	out := csv.NewWriter(w)
	header := make([]string, len(columns))
	for i, c := range columns {
		header[i] = c.Name
	}
	if err := out.Write(header); err != nil {
		return 0, err
	}
	line := make([]string, len(columns))
	err = s.Dump(ctx, table, ids, func(_ []runstore.TableColumn, row []any) error {
		rows++
		for i, v := range row {
			switch v := v.(type) {
			case nil:
				line[i] = ""
			case float64:
				line[i] = strconv.FormatFloat(v, 'g', -1, 64)
			default:
				line[i] = fmt.Sprint(v)
			}
		}
		return out.Write(line)
	})
	out.Flush()
	if err == nil {
		err = out.Error()
	}
	return rows, err
}

// Parquet writes the rows of one table that belong to some runs: TEXT as strings, INTEGER as 64-bit integers, REAL as doubles, each
// of which may be null, and columns whose name ends in _at, and the column at, as UTC timestamps in milliseconds. It returns the number
// of rows. Errors: those of the source and of w; a time that is none.
func Parquet(ctx context.Context, w io.Writer, s Source, table string, columns []runstore.TableColumn, ids []string) (rows int, err error) {
	schema := schemaOf(table, columns)
	out := parquet.NewWriter(w, schema, parquet.Compression(&parquet.Zstd))
	place := map[string]int{} // the library sorts the columns of a schema by name
	for i, path := range schema.Columns() {
		place[path[0]] = i
	}
	err = s.Dump(ctx, table, ids, func(_ []runstore.TableColumn, row []any) error {
		rows++
		values := make(parquet.Row, len(columns))
		for i, v := range row {
			value, err := valueOf(columns[i], v)
			if err != nil {
				return fmt.Errorf("%s.%s: %w", table, columns[i].Name, err)
			}
			at, definition := place[columns[i].Name], 1
			if v == nil {
				definition = 0
			}
			values[at] = value.Level(0, definition, at)
		}
		_, err := out.WriteRows([]parquet.Row{values})
		return err
	})
	if err != nil {
		return rows, err
	}
	return rows, out.Close()
}

// isTime reports whether a column holds times, which are text in the database.
func isTime(c runstore.TableColumn) bool {
	return c.Name == "at" || len(c.Name) > 3 && c.Name[len(c.Name)-3:] == "_at"
}

func schemaOf(table string, columns []runstore.TableColumn) *parquet.Schema {
	group := parquet.Group{}
	for _, c := range columns {
		node := parquet.String()
		switch {
		case isTime(c):
			node = parquet.Timestamp(parquet.Millisecond)
		case c.Kind == "INTEGER":
			node = parquet.Int(64)
		case c.Kind == "REAL":
			node = parquet.Leaf(parquet.DoubleType)
		}
		group[c.Name] = parquet.Optional(node)
	}
	return parquet.NewSchema(table, group)
}

func valueOf(c runstore.TableColumn, v any) (parquet.Value, error) {
	switch v := v.(type) {
	case nil:
		return parquet.NullValue(), nil
	case int64:
		return parquet.Int64Value(v), nil
	case float64:
		return parquet.DoubleValue(v), nil
	case string:
		if !isTime(c) {
			return parquet.ByteArrayValue([]byte(v)), nil
		}
		at, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return parquet.Value{}, fmt.Errorf("%q is no time", v)
		}
		return parquet.Int64Value(at.UnixMilli()), nil
	}
	return parquet.Value{}, fmt.Errorf("a value of type %T", v)
}
