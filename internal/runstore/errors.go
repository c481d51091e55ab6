package runstore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mattn/go-sqlite3"
)

// What callers may ask of an error with errors.Is.
var (
	// ErrNoDatabase says that the file does not exist: nothing has been run here yet.
	ErrNoDatabase = errors.New("no such database")
	// ErrNotFound says that no run has this id, name or prefix.
	ErrNotFound = errors.New("no such run")
	// ErrRunning says that another process trains the run.
	ErrRunning = errors.New("is running")
	// ErrNewer says that the file was written by a tune with a later schema.
	ErrNewer = errors.New("made by a newer tune")
	// ErrForeign says that the file is a SQLite database of another program.
	ErrForeign = errors.New("a SQLite database, but not one of tune's")
	// ErrDamaged says that the file is no SQLite database, or a broken one.
	ErrDamaged = errors.New("not a SQLite database, or a damaged one")
	// ErrFull says that the disk has no room. What was recorded before stays readable.
	ErrFull = errors.New("no room on the disk")
	// ErrLocked says that another program held the file for longer than we wait.
	ErrLocked = errors.New("locked by another program")
	// ErrReadOnly says that the file, its folder or this Store cannot be written.
	ErrReadOnly = errors.New("read-only")
)

// AmbiguousError is returned when a prefix fits more than one run.
type AmbiguousError struct {
	Ref        string   // what was asked for
	Candidates []string // the ids that start with it, newest first, at most maxCandidates
	More       int      // how many others do
}

func (e *AmbiguousError) Error() string {
	list := strings.Join(e.Candidates, ", ")
	if e.More > 0 {
		list += fmt.Sprintf(" and %d more", e.More)
	}
	return fmt.Sprintf("run %q: fits more than one run (have %s)", e.Ref, list)
}

// explain names the file and what was being done, and puts SQLite's code into one of the errors above.
func (s *Store) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %s: %w", s.path, doing, translate(err))
}

// translate wraps an error of SQLite with the sentinel that it means, so that callers need not know the driver.
func translate(err error) error {
	e, ok := errors.AsType[sqlite3.Error](err)
	if !ok {
		return err
	}
	switch e.Code {
	case sqlite3.ErrBusy, sqlite3.ErrLocked:
		return fmt.Errorf("%w (%w); close the program that holds it and try again", ErrLocked, err)
	case sqlite3.ErrNotADB, sqlite3.ErrCorrupt:
		return fmt.Errorf("%w (%w)", ErrDamaged, err)
	case sqlite3.ErrFull:
		return fmt.Errorf("%w (%w)", ErrFull, err)
	case sqlite3.ErrReadonly, sqlite3.ErrPerm:
		return fmt.Errorf("%w (%w)", ErrReadOnly, err)
	}
	if e.ExtendedCode == sqlite3.ErrConstraintForeignKey {
		return ErrNotFound // the only foreign key is run_id
	}
	return err
}

// isConstraint reports whether err is SQLite's refusal of a row that the schema does not allow.
func isConstraint(err error) bool { return isCode(err, sqlite3.ErrConstraint, sqlite3.ErrMismatch) }

// isCode reports whether err is one of SQLite's with a code among these.
func isCode(err error, codes ...sqlite3.ErrNo) bool {
	e, ok := errors.AsType[sqlite3.Error](err)
	if !ok {
		return false
	}
	for _, c := range codes {
		if e.Code == c {
			return true
		}
	}
	return false
}
