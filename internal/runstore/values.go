package runstore

import (
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Real is a float column. NaN and the infinities are written as NULL, which reads back as NaN: a broken number
// must never fail an insert in the middle of a run, nor make JSON invalid.
type Real float64

// Finite reports whether r is a number: neither NaN nor infinite.
func (r Real) Finite() bool { return !math.IsNaN(float64(r)) && !math.IsInf(float64(r), 0) }

// Value stores r, or NULL when it is not finite.
func (r Real) Value() (driver.Value, error) {
	if !r.Finite() {
		return nil, nil
	}
	return float64(r), nil
}

// Scan reads a float, or NaN from NULL.
func (r *Real) Scan(v any) error {
	var n sql.NullFloat64
	if err := n.Scan(v); err != nil {
		return err
	}
	*r = Real(n.Float64)
	if !n.Valid {
		*r = Real(math.NaN())
	}
	return nil
}

// MarshalJSON writes the number, or null when it is not finite: JSON has no NaN.
func (r Real) MarshalJSON() ([]byte, error) {
	if !r.Finite() {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(r), 'g', -1, 64), nil
}

// column is one column of a row with where its value lives in a struct: a pointer that both stores and scans,
// so that one list serves the insert and the select and the two cannot drift apart.
type column struct {
	name  string
	value any
}

func names(columns []column) []string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = c.name
	}
	return out
}

func values(columns []column) []any {
	out := make([]any, len(columns))
	for i, c := range columns {
		out[i] = c.value
	}
	return out
}

// text is a NOT NULL text column. SQLite stores any bytes; a reply cut inside a character, which byte fallback
// can make, would otherwise reach readers as invalid UTF-8.
type text[T ~string] struct{ p *T }

func (t text[T]) Value() (driver.Value, error) {
	return strings.ToValidUTF8(string(*t.p), "\uFFFD"), nil
}

func (t text[T]) Scan(v any) error {
	var s sql.NullString
	if err := s.Scan(v); err != nil {
		return err
	}
	*t.p = T(s.String)
	return nil
}

// maybeText is a text column in which the empty string is NULL in the file: a reference to nothing.
type maybeText struct{ p *string }

func (t maybeText) Value() (driver.Value, error) {
	if *t.p == "" {
		return nil, nil
	}
	return text[string](t).Value()
}

func (t maybeText) Scan(v any) error { return text[string](t).Scan(v) }

// maybe is a whole-number column in which 0 means unknown and is NULL in the file, so that avg and min skip it.
type maybe[T ~int | ~int64] struct{ p *T }

func (m maybe[T]) Value() (driver.Value, error) {
	if *m.p == 0 {
		return nil, nil
	}
	return int64(*m.p), nil
}

func (m maybe[T]) Scan(v any) error {
	var n sql.NullInt64
	if err := n.Scan(v); err != nil {
		return err
	}
	*m.p = T(n.Int64)
	return nil
}

// orUnknown is a whole-number column in which -1 means unknown and is NULL in the file.
type orUnknown struct{ p *int64 }

func (m orUnknown) Value() (driver.Value, error) {
	if *m.p < 0 {
		return nil, nil
	}
	return *m.p, nil
}

func (m orUnknown) Scan(v any) error {
	var n sql.NullInt64
	if err := n.Scan(v); err != nil {
		return err
	}
	*m.p = n.Int64
	if !n.Valid {
		*m.p = -1
	}
	return nil
}

// jsonList is a text column that holds a JSON array.
type jsonList[T any] struct{ p *[]T }

func (l jsonList[T]) Value() (driver.Value, error) {
	b, err := json.Marshal(append([]T{}, *l.p...)) // none is [], not null
	return string(b), err
}

func (l jsonList[T]) Scan(v any) error {
	var s sql.NullString
	if err := s.Scan(v); err != nil {
		return err
	}
	*l.p = []T{}
	if s.String == "" {
		return nil
	}
	return json.Unmarshal([]byte(s.String), l.p)
}

// flag is a column of 0 or 1, or NULL in rows from before there was one, which means no.
type flag struct{ p *bool }

func (f flag) Value() (driver.Value, error) { return *f.p, nil }

func (f flag) Scan(v any) error {
	var b sql.NullBool
	err := b.Scan(v)
	*f.p = b.Bool
	return err
}

// positive is a float column in which 0 means unknown and is NULL in the file.
type positive struct{ p *Real }

func (f positive) Value() (driver.Value, error) {
	if *f.p == 0 {
		return nil, nil
	}
	return f.p.Value()
}

func (f positive) Scan(v any) error {
	if v == nil {
		*f.p = 0
		return nil
	}
	return f.p.Scan(v)
}

// timeLayout has a fixed width, so that text order is time order, and is read by SQLite's date functions.
// strftime('%Y-%m-%dT%H:%M:%fZ', 'now') writes the same.
const timeLayout = "2006-01-02T15:04:05.000Z"

// utc is a time column; the zero time is NULL.
type utc struct{ p *time.Time }

func (u utc) Value() (driver.Value, error) {
	if u.p.IsZero() {
		return nil, nil
	}
	return u.p.UTC().Format(timeLayout), nil
}

func (u utc) Scan(v any) error {
	var s sql.NullString
	if err := s.Scan(v); err != nil {
		return err
	}
	*u.p = time.Time{}
	if s.String == "" {
		return nil
	}
	t, err := time.Parse(time.RFC3339, s.String)
	if err != nil {
		return fmt.Errorf("time %q: want one like %s", s.String, timeLayout)
	}
	*u.p = t.UTC()
	return nil
}

// lossNote is the loss_note column beside a loss: why the loss is NULL, or empty. Scanned after the loss, it
// gives the infinities back.
type lossNote struct{ p *Real }

func (l lossNote) Value() (driver.Value, error) {
	switch x := float64(*l.p); {
	case math.IsNaN(x):
		return "NaN", nil
	case math.IsInf(x, 1):
		return "+Inf", nil
	case math.IsInf(x, -1):
		return "-Inf", nil
	}
	return "", nil
}

func (l lossNote) Scan(v any) error {
	var s sql.NullString
	if err := s.Scan(v); err != nil {
		return err
	}
	switch s.String {
	case "+Inf":
		*l.p = Real(math.Inf(1))
	case "-Inf":
		*l.p = Real(math.Inf(-1))
	}
	return nil
}
