package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	rows := flag.Int("rows", 50000, "training rows")
	valid := flag.Int("valid", 400, "validation rows")
	seed := flag.Uint64("seed", 1, "seed; the same seed gives the same files")
	out := flag.String("out", "datasets/pocket", "folder for train.jsonl, valid.jsonl and the conversations of each, chat-*.jsonl")
	plain := flag.Bool("plain", false, "print the texts of the JSONL files named after the flags, and make none")
	flag.Parse()
	if *plain {
		if err := plainText(os.Stdout, flag.Args()); err != nil {
			fmt.Fprintln(os.Stderr, "pockettext: error:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(*rows, *valid, *seed, *out); err != nil {
		fmt.Fprintln(os.Stderr, "pockettext: error:", err)
		os.Exit(1)
	}
}

func run(rows, valid int, seed uint64, out string) error {
	if rows < 1 || valid < 0 {
		return fmt.Errorf("-rows must be at least 1 and -valid at least 0, got %d and %d", rows, valid)
	}
	content, err := loadContent()
	if err != nil {
		return fmt.Errorf("read content: %w", err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	seen := map[uint64]bool{}
	for _, f := range []struct {
		rows, chat string // all rows, and those that are conversations
		split      Split
		n          int
	}{{"train.jsonl", "chat-train.jsonl", Train, rows}, {"valid.jsonl", "chat-valid.jsonl", Valid, valid}} {
		g := newGenerator(content, seed, f.split, seen)
		path := filepath.Join(out, f.rows)
		stats, err := writeRows(path, filepath.Join(out, f.chat), g, f.n)
		if err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		fmt.Printf("%s: %d rows, %d words, %d distinct, %d draws had come before\n",
			path, f.n, stats.words, len(stats.distinct), g.Repeats)
	}
	return nil
}

// writeRows streams n rows into a file, and those that are conversations into a second one too. Both appear
// whole or not at all.
func writeRows(path, chatPath string, g *Generator, n int) (wordStats, error) {
	stats := wordStats{distinct: map[string]int{}}
	all, err := newRowFile(path)
	if err != nil {
		return stats, err
	}
	defer all.drop()
	chat, err := newRowFile(chatPath)
	if err != nil {
		return stats, err
	}
	defer chat.drop()
	for range n {
		row, err := g.Next()
		if err != nil {
			return stats, err
		}
		stats.add(row)
		line, err := row.marshal()
		if err != nil {
			return stats, err
		}
		if _, err := all.Write(line); err != nil {
			return stats, err
		}
		if len(row.Messages) == 0 {
			continue
		}
		if _, err := chat.Write(line); err != nil {
			return stats, err
		}
	}
	return stats, errors.Join(all.keep(), chat.keep())
}

// rowFile is a file that is written beside its place and renamed when it is whole.
type rowFile struct {
	*bufio.Writer
	file *os.File
	path string
}

func newRowFile(path string) (*rowFile, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return nil, err
	}
	return &rowFile{bufio.NewWriterSize(f, 1<<20), f, path}, nil
}

// keep puts the file in its place.
func (r *rowFile) keep() error {
	if err := r.Flush(); err != nil {
		return err
	}
	if err := r.file.Chmod(0o644); err != nil {
		return err
	}
	if err := r.file.Close(); err != nil {
		return err
	}
	return os.Rename(r.file.Name(), r.path)
}

// drop removes what was not kept.
func (r *rowFile) drop() {
	r.file.Close()
	os.Remove(r.file.Name())
}
