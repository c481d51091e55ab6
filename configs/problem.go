package configs

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ErrInvalid is what every error of this package is, for errors.Is: the user's configuration, or the path to
// it, needs a change before anything can run.
var ErrInvalid = errors.New("invalid configuration")

// Problem is one thing to put right in a configuration. errors.Is(p, ErrInvalid) holds.
type Problem struct {
	// Place is where to look: "configs/bluey.yaml:14", "configs/bluey.yaml" where a key is missing,
	// "--set lora.rank=0", or empty for a Config made in Go.
	Place string
	// Key is the YAML key with dots, such as lora.rank or sample.prompts[2]; empty where Text or Place has it.
	Key string
	// Text says what was wanted and what was found.
	Text string
	// Err is the cause, where the operating system found it.
	Err error

	line int // in the file, from 1; 0 where there is none
}

// Error is "place: key: text", without the parts that are empty.
func (p *Problem) Error() string {
	var parts []string
	for _, part := range []string{p.Place, p.Key, p.Text} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// Is reports that every Problem is ErrInvalid.
func (p *Problem) Is(target error) bool { return target == ErrInvalid }

// Unwrap returns the cause, or nil.
func (p *Problem) Unwrap() error { return p.Err }

// join makes one error of all problems, one a line in the order of the file, or nil when there are none. What
// has no line comes after.
func join(problems []*Problem) error {
	slices.SortStableFunc(problems, func(a, b *Problem) int {
		if (a.line == 0) != (b.line == 0) {
			return cmp.Compare(b.line, a.line)
		}
		return cmp.Compare(a.line, b.line)
	})
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}

// unreadable explains why path could not be read, in words that are the same on every system.
func unreadable(path string, err error) *Problem {
	p := &Problem{Place: path, Err: err}
	info, statErr := os.Stat(path)
	switch {
	case path == "":
		p.Text = "the path of the configuration is empty, no such file"
	case errors.Is(err, fs.ErrNotExist):
		p.Text = "no such file" + didYouMean(Nearest(path, siblings(path)))
	case errors.Is(err, fs.ErrPermission):
		p.Text = "no permission to read it"
	case statErr == nil && info.IsDir():
		p.Text = "is a folder, want a YAML file"
	default:
		p.Text = err.Error()
	}
	return p
}

// siblings lists the YAML files in the folder that path names.
func siblings(path string) []string {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil
	}
	var found []string
	for _, entry := range entries {
		if ext := filepath.Ext(entry.Name()); ext == ".yaml" || ext == ".yml" {
			found = append(found, filepath.Join(filepath.Dir(path), entry.Name()))
		}
	}
	return found
}
