package runstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/mattn/go-sqlite3"
)

// ErrQuery says that a query is wrong, or that it would change something.
var ErrQuery = errors.New("cannot be run")

// Query runs SQL that reads and calls each with the names of the columns and every row: nil, int64, float64, string or []byte a cell.
// It is called once with a nil row where there is none. What would change anything is refused before it runs, also in a file
// that could be written. Errors: [ErrQuery] with SQLite's words; those of each; the cause of ctx's end.
func (s *Store) Query(ctx context.Context, query string, each func(columns []string, row []any) error) (err error) {
	if strings.TrimSpace(query) == "" {
		return s.explain("query", fmt.Errorf("%w: want SQL, got nothing", ErrQuery))
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return s.explain("query", err)
	}
	defer conn.Close()
	if err := guard(conn, onlyReads); err != nil {
		return s.explain("query", err)
	}
	defer func() { err = errors.Join(err, guard(conn, nil)) }()
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return s.explain("query", wrongQuery(ctx, err))
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return s.explain("query", err)
	}
	some := false
	for rows.Next() {
		some = true
		row, pointers := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			pointers[i] = &row[i]
		}
		if err := rows.Scan(pointers...); err != nil {
			return s.explain("query", err)
		}
		if err := each(columns, row); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return s.explain("query", wrongQuery(ctx, err))
	}
	if !some {
		return each(columns, nil)
	}
	return nil
}

// guard sets what a connection allows; nil allows everything.
func guard(conn *sql.Conn, allows func(action int, first, second, database string) int) error {
	return conn.Raw(func(driver any) error {
		driver.(*sqlite3.SQLiteConn).RegisterAuthorizer(allows)
		return nil
	})
}

// onlyReads allows what reads: SELECT with its parts, and pragmas that are asked and not set.
func onlyReads(action int, first, second, _ string) int {
	const recursive = 33 // SQLITE_RECURSIVE, which the driver has no name for
	switch action {
	case sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, recursive:
		return sqlite3.SQLITE_OK
	case sqlite3.SQLITE_FUNCTION:
		if second == "load_extension" {
			return sqlite3.SQLITE_DENY
		}
		return sqlite3.SQLITE_OK
	case sqlite3.SQLITE_PRAGMA:
		switch first { // of the many, those that tell what there is
		case "table_list", "table_info", "table_xinfo", "index_list", "index_info", "foreign_key_list", "integrity_check", "quick_check":
			return sqlite3.SQLITE_OK
		case "user_version", "application_id", "page_count", "page_size", "freelist_count", "compile_options", "database_list":
			if second == "" { // asked, not set
				return sqlite3.SQLITE_OK
			}
		}
	}
	return sqlite3.SQLITE_DENY
}

// wrongQuery explains what SQLite says of a query.
func wrongQuery(ctx context.Context, err error) error {
	var e sqlite3.Error
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !errors.As(err, &e):
		return err
	case e.Code == sqlite3.ErrAuth:
		return fmt.Errorf("%w: only what reads is allowed, such as SELECT", ErrQuery)
	case e.Code == sqlite3.ErrError:
		return fmt.Errorf("%w: %s", ErrQuery, e.Error())
	}
	return err
}
