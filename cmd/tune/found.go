package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"tune/adapters"
	"tune/internal/checkpoint"
	"tune/internal/tokenizer"
)

// foundModel is what can be read of a model before its weights: of one of the Hub they are gigabytes, and what is
// refused is refused before they are fetched.
type foundModel struct {
	path   string // as the user called it
	dir    string // its folder
	commit string // of a model of the Hub; "" for a folder
	config *checkpoint.Config
	tok    *tokenizer.Tokenizer
}

const modelHint = "a model is a Hugging Face folder (config.json, tokenizer, safetensors), or a name on the Hub such as google/gemma-3-1b-it"

// findModel finds the model that what names, such as "model.path: nowhere", and reads its config.json and its tokenizer.
// The name of a model of the Hub counts where hub is set; of that nothing else is fetched.
func findModel(ctx context.Context, stderr io.Writer, what, path, revision string, onHub bool) (*foundModel, error) {
	m := &foundModel{path: path, dir: path}
	var err error
	if onHub {
		if m.dir, m.commit, err = resolveTokenizer(ctx, stderr, path, revision); err != nil {
			return nil, err
		}
	}
	if err := checkModelFolder(what, m.dir); err != nil {
		return nil, err
	}
	if m.config, err = checkpoint.ReadConfig(m.dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: no model folder: there is no config.json in it", what)
		}
		return nil, badInput{err, modelHint}
	}
	if m.tok, err = tokenizer.Open(m.dir); err != nil {
		return nil, badInput{err, modelHint}
	}
	if m.tok.VocabSize() > int(m.config.VocabSize) {
		return nil, badInput{fmt.Errorf("%s: the tokenizer has %d ids, the model %d", path, m.tok.VocabSize(), m.config.VocabSize), ""}
	}
	return m, nil
}

// checkModelFolder refuses a path that is no folder.
func checkModelFolder(what, dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return badInput{fmt.Errorf("%s: no such folder", what), modelHint}
	case err != nil:
		return badInput{fmt.Errorf("%s: %w", what, pathless(err)), modelHint}
	case !info.IsDir():
		return badInput{fmt.Errorf("%s: is a file, want a folder", what), modelHint}
	}
	return nil
}

// fetchWeights brings the weights of a model of the Hub, of the very commit that was found, and checks that all are there.
func (m *foundModel) fetchWeights(ctx context.Context, stderr io.Writer) error {
	if m.commit != "" {
		dir, _, err := resolveModel(ctx, stderr, m.path, m.commit)
		if err != nil {
			return err
		}
		m.dir = dir
	}
	return m.checkWeights()
}

// checkWeights refuses a folder whose weights are missing, cut off, or others than config.json says. It reads the headers
// of the files.
func (m *foundModel) checkWeights() error {
	merged, err := adapters.OpenMerged(m.dir, nil)
	if err != nil {
		return badInput{err, ""}
	}
	return merged.Close()
}
