package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	rows := flag.Int("rows", 40000, "training rows")
	valid := flag.Int("valid", 400, "validation rows")
	seed := flag.Uint64("seed", 1, "seed; the same seed gives the same files")
	out := flag.String("out", "datasets/pocket", "folder for train.jsonl and valid.jsonl")
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
		name  string
		split Split
		rows  int
	}{{"train.jsonl", Train, rows}, {"valid.jsonl", Valid, valid}} {
		g := newGenerator(content, seed, f.split, seen)
		path := filepath.Join(out, f.name)
		stats, err := writeRows(path, g, f.rows)
		if err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		fmt.Printf("%s: %d rows, %d words, %d distinct, %d draws had come before\n",
			path, f.rows, stats.words, len(stats.distinct), g.Repeats)
	}
	return nil
}

// writeRows streams n rows into a temporary file beside path and renames it when it is whole, so that path
// never holds half a data set.
func writeRows(path string, g *Generator, n int) (wordStats, error) {
	stats := wordStats{distinct: map[string]int{}}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return stats, err
	}
	defer os.Remove(f.Name()) // a no-op once renamed
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
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
		if _, err := w.Write(line); err != nil {
			return stats, err
		}
	}
	if err := w.Flush(); err != nil {
		return stats, err
	}
	if err := f.Chmod(0o644); err != nil {
		return stats, err
	}
	if err := f.Close(); err != nil {
		return stats, err
	}
	return stats, os.Rename(f.Name(), path)
}
