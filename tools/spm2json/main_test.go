package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/tokenizer"
)

func smallGemma3(name string) string {
	return filepath.Join("..", "..", "testdata", "tokenizers", "small-gemma3", name)
}

// The small Gemma 3 tokenizer was converted by transformers; both files must be the same.
func TestConvert(t *testing.T) {
	dir := t.TempDir()
	if err := run([]string{smallGemma3("tokenizer.model"), dir}, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(smallGemma3(name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what transformers writes", name)
		}
	}
	converted, err := tokenizer.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	model, err := tokenizer.OpenModel(smallGemma3("tokenizer.model"))
	if err != nil {
		t.Fatal(err)
	}
	const text = "Hello  world,\n\n\tnaïve 日本語 <td> 🫠 <end_of_turn>"
	if got, want := converted.Encode(text), model.Encode(text); !slices.Equal(got, want) {
		t.Errorf("ids %v, want %v", got, want)
	}
}

func TestMaxLength(t *testing.T) {
	dir := t.TempDir()
	if err := run([]string{"-max-length", "256", smallGemma3("tokenizer.model"), dir}, io.Discard); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(dir, "tokenizer_config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(config), `"model_max_length": 256,`) {
		t.Errorf("config begins %.300s", config)
	}
}

func TestRunRefuses(t *testing.T) {
	dir := t.TempDir()
	noModel := filepath.Join(dir, "bad.model")
	if err := os.WriteFile(noModel, []byte("no model"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"no arguments", nil, errUsage.Error()},
		{"one argument", []string{noModel}, errUsage.Error()},
		{"unknown flag", []string{"-x", noModel, dir}, errUsage.Error()},
		{"absent model", []string{filepath.Join(dir, "absent"), dir}, "absent"},
		{"no model", []string{noModel, dir}, noModel + ": "},
		{"absent folder", []string{smallGemma3("tokenizer.model"), filepath.Join(dir, "absent")}, "absent"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stderr bytes.Buffer
			err := run(tc.args, &stderr)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			if told := strings.Contains(stderr.String(), "usage: spm2json"); told != errors.Is(err, errUsage) {
				t.Errorf("stderr %q", stderr.String())
			}
		})
	}
}
