package datasets

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// ErrInvalid is what every error of Open is, for errors.Is: a file of the user's, or the path to it, needs a change.
var ErrInvalid = errors.New("invalid data")

// maxProblems is how many problems an error lists; a file with one systematic fault has as many as rows.
const maxProblems = 20

// Problem is one thing to put right in a data file. errors.Is(p, ErrInvalid) holds.
type Problem struct {
	// Path is the file as it was named to Open.
	Path string
	// Line counts from 1; 0 stands for the file as a whole.
	Line int
	// Field is where in the row, such as messages[1].role; empty for the row as a whole.
	Field string
	// Text says what was wanted and what was found.
	Text string
	// Err is the cause, where the operating system found it.
	Err error
}

// Error is "path:line: field: text", without the parts that are empty.
func (p *Problem) Error() string {
	text := p.Text
	if p.Field != "" {
		text = p.Field + ": " + text
	}
	if p.Line > 0 {
		return fmt.Sprintf("%s:%d: %s", p.Path, p.Line, text)
	}
	return fmt.Sprintf("%s: %s", p.Path, text)
}

// Is reports that every Problem is ErrInvalid.
func (p *Problem) Is(target error) bool { return target == ErrInvalid }

// Unwrap returns the cause, or nil.
func (p *Problem) Unwrap() error { return p.Err }

// problems collects the first maxProblems of a file and counts the rest.
type problems struct {
	path string
	errs []error
	more int
}

func (ps *problems) add(line int, faults ...fault) {
	for _, f := range faults {
		if len(ps.errs) == maxProblems {
			ps.more++
			continue
		}
		ps.errs = append(ps.errs, &Problem{Path: ps.path, Line: line, Field: f.field, Text: f.text})
	}
}

// err is nil when there is no problem, and otherwise has one problem a line.
func (ps *problems) err() error {
	if ps.more > 0 {
		return errors.Join(append(ps.errs, fmt.Errorf("and %d more", ps.more))...)
	}
	return errors.Join(ps.errs...)
}

// fault is a problem of a row whose place in the file the caller knows.
type fault struct{ field, text string }

func faultf(field, format string, args ...any) fault {
	return fault{field, fmt.Sprintf(format, args...)}
}

// unreadable explains why path could not be read, in words that are the same on every system.
func unreadable(path string, err error) *Problem {
	p := &Problem{Path: path, Err: err}
	info, statErr := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.Text = "no such file"
	case errors.Is(err, fs.ErrPermission):
		p.Text = "no permission to read it"
	case statErr == nil && info.IsDir():
		p.Text = "is a folder, want a JSONL file"
	default:
		p.Text = err.Error()
	}
	return p
}
