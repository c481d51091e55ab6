package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// maxLineBytes bounds one JSONL line.
const maxLineBytes = 1 << 20

// plainText writes what the rows of JSONL files say, one message or text a line: what a tokenizer trains on.
// Errors name file and line.
func plainText(w io.Writer, paths []string) error {
	out := bufio.NewWriter(w)
	for _, path := range paths {
		if err := plainFile(out, path); err != nil {
			return err
		}
	}
	return out.Flush()
}

func plainFile(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLineBytes)
	for n := 1; lines.Scan(); n++ {
		var row Row
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
		texts := []string{row.Text}
		for _, m := range row.Messages {
			texts = append(texts, m.Content)
		}
		for _, t := range texts {
			if t == "" {
				continue
			}
			if _, err := fmt.Fprintln(w, t); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
