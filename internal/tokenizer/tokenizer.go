package tokenizer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// The names under which a model folder holds its tokenizer.
const (
	jsonFileName  = "tokenizer.json"
	modelFileName = "tokenizer.model"
)

// The marks of a chat turn in Gemma 1 to 3.
const (
	startOfTurn = "<start_of_turn>"
	endOfTurn   = "<end_of_turn>"
)

// Tokenizer encodes and decodes text. It does not change after it is opened, apart from a cache that is guarded, so
// it may be used from many goroutines.
type Tokenizer struct {
	path       string
	vocabulary *vocabulary
	readings   [numReadings]reading
	template   chatTemplate
	style      func() (Style, error) // of the chat, found when it is first asked for

	bos, eos, pad          int64
	startOfTurn, endOfTurn int64 // -1 in a tokenizer without turns

	// words remembers how short words were merged; text repeats them a lot.
	wordsMu sync.RWMutex
	words   map[string][]int64
}

// Open reads the tokenizer of a Hugging Face model folder: tokenizer.json or, where that is absent,
// tokenizer.model. From tokenizer_config.json, where there is one, it takes the names of the special tokens.
//
// A folder with neither file is an error that names both; errors.Is(err, fs.ErrNotExist) tells it.
func Open(dir string) (*Tokenizer, error) {
	beside, err := readSettings(dir)
	if err != nil {
		return nil, err
	}
	for _, form := range []struct {
		name string
		open func(string, settings) (*Tokenizer, error)
	}{{jsonFileName, openJSON}, {modelFileName, openModel}} {
		path := filepath.Join(dir, form.name)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return form.open(path, beside)
	}
	return nil, fmt.Errorf("%s: neither %s nor %s is there: %w", dir, jsonFileName, modelFileName, fs.ErrNotExist)
}

// OpenJSON reads a tokenizer.json alone, with Gemma's names for the special tokens: <bos>, <eos>, <pad>, <unk>.
func OpenJSON(path string) (*Tokenizer, error) { return openJSON(path, settings{}) }

// OpenModel reads a SentencePiece tokenizer.model alone, with the names for the special tokens that it holds.
func OpenModel(path string) (*Tokenizer, error) { return openModel(path, settings{}) }

func openJSON(path string, s settings) (*Tokenizer, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	names := s.names.or(specialNames{bos: "<bos>", eos: "<eos>", pad: "<pad>", unk: "<unk>"})
	v, err := parseJSON(raw, names)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return newTokenizer(path, v, names, s.template)
}

func openModel(path string, s settings) (*Tokenizer, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	m, err := parseModel(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	v, err := m.vocabulary()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return newTokenizer(path, v, s.names.or(m.names), s.template)
}

// newTokenizer looks up the special tokens and prepares the three readings.
func newTokenizer(path string, v *vocabulary, names specialNames, template chatTemplate) (*Tokenizer, error) {
	t := &Tokenizer{path: path, vocabulary: v, template: template, words: map[string][]int64{}}
	for _, special := range []struct {
		what, name string
		id         *int64
	}{{"bos", names.bos, &t.bos}, {"eos", names.eos, &t.eos}, {"pad", names.pad, &t.pad}} {
		id, ok := v.fixed(special.name)
		if !ok {
			return nil, fmt.Errorf("%s: the %s token %q is missing from the special tokens", path, special.what, special.name)
		}
		*special.id = int64(id)
	}
	t.startOfTurn, t.endOfTurn = -1, -1
	if id, ok := v.fixed(startOfTurn); ok {
		t.startOfTurn = int64(id)
	}
	if id, ok := v.fixed(endOfTurn); ok {
		t.endOfTurn = int64(id)
	}
	t.readings = newReadings(v)
	t.style = sync.OnceValues(t.findStyle)
	return t, nil
}

// VocabSize returns the number of ids: one more than the largest.
func (t *Tokenizer) VocabSize() int { return len(t.vocabulary.pieces) }

// BOS returns the id of the token that begins every text, <bos>.
func (t *Tokenizer) BOS() int64 { return t.bos }

// EOS returns the id of the token that ends a text, <eos>.
func (t *Tokenizer) EOS() int64 { return t.eos }

// PAD returns the id of the token that fills batches, <pad>.
func (t *Tokenizer) PAD() int64 { return t.pad }

// StartOfTurn returns the id of <start_of_turn>, or -1 for a tokenizer without chat turns.
func (t *Tokenizer) StartOfTurn() int64 { return t.startOfTurn }

// EndOfTurn returns the id of <end_of_turn>, or -1 for a tokenizer without chat turns.
func (t *Tokenizer) EndOfTurn() int64 { return t.endOfTurn }

// Piece returns a token as the vocabulary spells it, such as "▁the", "<0xE2>" or "<bos>"; "" for an id that the
// vocabulary does not use.
func (t *Tokenizer) Piece(id int64) string {
	if id < 0 || id >= int64(len(t.vocabulary.pieces)) {
		return ""
	}
	return t.vocabulary.pieces[id].text
}
