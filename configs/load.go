package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxBytes is far above any configuration and far below a model or a data file given by mistake.
const maxBytes = 64 << 10

// Load returns the configuration in the YAML file at path: defaults, then the file, then each key=value of set
// (dotted keys, values in YAML: "train.max_steps=20", "lora.target_modules=[q_proj, v_proj]").
//
// Name is the file's base name when nothing sets it, and target_modules: all-linear is written out. With lora.from, the
// keys of lora that the adapter decides are zero unless they are given.
// Errors: every problem found, each with its place, one a line; errors.Is(err, ErrInvalid) holds for all of
// them, and errors.Is(err, fs.ErrNotExist) for a file that is not there.
func Load(path string, set []string) (*Config, error) {
	src, err := readSmall(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	return Parse(path, src, set)
}

// Parse is Load for text at hand, such as the resolved configuration that a run keeps. The name stands for the
// file in errors and gives the run its name when the text has none.
func Parse(name string, src []byte, set []string) (*Config, error) {
	flags := make([]assignment, len(set))
	for i, text := range set {
		key, value, ok := strings.Cut(text, "=")
		flags[i] = assignment{place: "--set " + shown(text), key: strings.TrimSpace(key), value: value, malformed: !ok}
	}
	cfg, problems := parse(name, src, flags)
	if err := join(problems); err != nil {
		return nil, err
	}
	return cfg, nil
}

// parse reads a text and then what is assigned over it. The configuration holds only without problems.
func parse(name string, src []byte, over []assignment) (*Config, []*Problem) {
	cfg := Default()
	b := newBinder(name, suggestKey)
	b.autos = cfg.autos()
	root, line, problem := parseYAML(bytes.TrimPrefix(src, []byte("\ufeff")))
	switch {
	case problem != "":
		b.failed[""] = true
		b.problems = append(b.problems, origin{line: line}.problem(name, "", problem))
	case root != nil:
		b.value(root, "", reflect.ValueOf(&cfg).Elem())
	}
	for _, a := range over {
		b.override(a, &cfg)
	}

	if cfg.Name == "" {
		base := filepath.Base(name)
		cfg.Name = strings.TrimSuffix(strings.TrimSuffix(base, ".yaml"), ".yml")
	}
	b.startFromAdapter(&cfg)
	cfg.LoRA.TargetModules = expandAllLinear(cfg.LoRA.TargetModules)

	for _, p := range cfg.problems() {
		if !b.unread(p.Key) {
			b.problems = append(b.problems, b.locate(p))
		}
	}
	return &cfg, b.problems
}

// readSmall reads a file of at most maxBytes.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(src) > maxBytes {
		return nil, fmt.Errorf("larger than %d KiB: is this a configuration?", maxBytes>>10)
	}
	return src, nil
}

// parseYAML returns the content of a YAML text, nil if it is empty, or what is wrong with it and in which line.
func parseYAML(src []byte) (root ast.Node, line int, problem string) {
	if at := invalidUTF8(src); at >= 0 {
		return nil, 1 + bytes.Count(src[:at], []byte("\n")), "not UTF-8 text"
	}
	src = bytes.ReplaceAll(src, []byte("\r\n"), []byte("\n")) // one line break to YAML, two to the parser's count
	// The binder lists all duplicate keys with their names; the parser would stop at the first.
	file, err := parser.ParseBytes(src, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var syntax yaml.Error
		if !errors.As(err, &syntax) || syntax.GetToken() == nil {
			return nil, 1, "not valid YAML: " + err.Error()
		}
		return nil, syntax.GetToken().Position.Line, "not valid YAML: " + syntax.GetMessage()
	}
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case root != nil:
			return nil, lineOf(doc.Body), "a second document starts after ---, want one"
		default:
			root = doc.Body
		}
	}
	return root, 0, ""
}

// invalidUTF8 is the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(src []byte) int {
	for i := 0; i < len(src); {
		r, size := utf8.DecodeRune(src[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// lineOf is the line a node starts in, counted from 1.
func lineOf(n ast.Node) int {
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 1
	}
	return n.GetToken().Position.Line
}
