// Command spm2json converts a SentencePiece tokenizer to the form of Hugging Face, as transformers converts Gemma's:
//
//	spm2json [-max-length N] tokenizer.model DIR
//
// It writes DIR/tokenizer.json and DIR/tokenizer_config.json. DIR may be the folder of tokenizer.model.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"tune/internal/tokenizer"
)

func main() {
	err := run(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "spm2json: error:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("wrong usage") // the flag package has told the user already

func run(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("spm2json", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: spm2json [-max-length N] tokenizer.model DIR")
		flags.PrintDefaults()
	}
	maxLength := flags.Int("max-length", 8192, "model_max_length in tokenizer_config.json, in tokens")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return errUsage
	}
	if flags.NArg() != 2 {
		flags.Usage()
		return errUsage
	}
	return convert(flags.Arg(0), flags.Arg(1), *maxLength)
}

// convert writes the two files for a model into dir.
func convert(modelPath, dir string, maxLength int) error {
	model, err := os.ReadFile(modelPath)
	if err != nil {
		return err
	}
	tokenizerJSON, configJSON, err := tokenizer.ModelToJSON(model, maxLength)
	if err != nil {
		return fmt.Errorf("%s: %w", modelPath, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), tokenizerJSON, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), configJSON, 0o644)
}
