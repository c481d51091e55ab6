package tokenizer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// jsonFile is the part of tokenizer.json that decides about ids. The post-processor, which adds <bos>, and the
// settings for truncation and padding are left to the caller.
type jsonFile struct {
	AddedTokens  []addedToken  `json:"added_tokens"`
	Normalizer   *jsonStep     `json:"normalizer"`
	PreTokenizer *jsonStep     `json:"pre_tokenizer"`
	Decoder      *jsonStep     `json:"decoder"`
	Model        jsonModelPart `json:"model"`
}

// addedToken is a fixed piece.
type addedToken struct {
	ID         int64  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// jsonStep is a normalizer, a pre-tokenizer or a decoder.
type jsonStep struct {
	Type    string `json:"type"`
	Pattern struct {
		String string `json:"String"`
	} `json:"pattern"`
	Content     string     `json:"content"`
	Invert      bool       `json:"invert"`
	Normalizers []jsonStep `json:"normalizers"`
	Decoders    []jsonStep `json:"decoders"`
}

type jsonModelPart struct {
	Type                    string           `json:"type"`
	Dropout                 *float64         `json:"dropout"`
	ContinuingSubwordPrefix *string          `json:"continuing_subword_prefix"`
	EndOfWordSuffix         *string          `json:"end_of_word_suffix"`
	ByteFallback            bool             `json:"byte_fallback"`
	IgnoreMerges            bool             `json:"ignore_merges"`
	Vocab                   map[string]int64 `json:"vocab"`
	Merges                  []jsonMerge      `json:"merges"`
}

// jsonMerge is a pair of pieces, written as ["a", "b"] or, in files made before late 2024, as "a b".
type jsonMerge [2]string

func (m *jsonMerge) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '[' {
		var parts []string
		if err := json.Unmarshal(raw, &parts); err != nil || len(parts) != 2 {
			return fmt.Errorf("model.merges: %.60s is not a pair of pieces", raw)
		}
		m[0], m[1] = parts[0], parts[1]
		return nil
	}
	var joined string
	if err := json.Unmarshal(raw, &joined); err != nil {
		return fmt.Errorf("model.merges: %.60s is neither a pair nor a string", raw)
	}
	left, right, ok := strings.Cut(joined, " ")
	if !ok || strings.Contains(right, " ") {
		return fmt.Errorf("model.merges: %q does not hold one space between two pieces", joined)
	}
	m[0], m[1] = left, right
	return nil
}

// parseJSON reads a tokenizer.json. What would change the ids and is not Gemma's way is refused by name.
func parseJSON(raw []byte, names specialNames) (*vocabulary, error) {
	var f jsonFile
	if err := json.Unmarshal(raw, &f); err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) {
			return nil, fmt.Errorf("%s: found a %s at byte %d",
				cmp.Or(wrongType.Field, "file"), wrongType.Value, wrongType.Offset)
		}
		return nil, err
	}
	if err := f.checkPipeline(); err != nil {
		return nil, err
	}
	if err := f.Model.check(); err != nil {
		return nil, err
	}
	pieces, err := f.pieces(names)
	if err != nil {
		return nil, err
	}
	v, err := newVocabulary(pieces)
	if err != nil {
		return nil, err
	}
	return v, f.addMerges(v)
}

// checkPipeline accepts the steps around the model that Gemma has: spaces become ▁ and back.
func (f *jsonFile) checkPipeline() error {
	if f.Normalizer == nil || !f.Normalizer.replacesSpaces() {
		return fmt.Errorf("normalizer: is %s, want Replace \" \" by %q", f.Normalizer.describe(), space)
	}
	// Splitting at spaces does nothing: the normalizer has left none.
	if p := f.PreTokenizer; p != nil && (p.Type != "Split" || p.Pattern.String != " " || p.Invert) {
		return fmt.Errorf("pre_tokenizer: is %s, want null or Split at \" \"", p.describe())
	}
	if f.Decoder == nil || f.Decoder.Type != "Sequence" || !f.Decoder.restoresSpaces() {
		return fmt.Errorf("decoder: is %s, want Sequence of Replace %q by \" \", ByteFallback, Fuse",
			f.Decoder.describe(), space)
	}
	return nil
}

func (s *jsonStep) describe() string {
	if s == nil {
		return "null"
	}
	parts := s.Normalizers
	if len(parts) == 0 {
		parts = s.Decoders
	}
	if len(parts) == 0 {
		return fmt.Sprintf("%q", s.Type)
	}
	var types []string
	for _, part := range parts {
		types = append(types, part.Type)
	}
	return fmt.Sprintf("%q of %s", s.Type, strings.Join(types, ", "))
}

// replacesSpaces reports whether the step is Replace " " by ▁, alone or as the only one of a sequence.
func (s *jsonStep) replacesSpaces() bool {
	if s.Type == "Sequence" && len(s.Normalizers) == 1 {
		return s.Normalizers[0].replacesSpaces()
	}
	return s.Type == "Replace" && s.Pattern.String == " " && s.Content == space
}

// restoresSpaces reports whether the decoders are Replace ▁ by " ", ByteFallback, Fuse.
func (s *jsonStep) restoresSpaces() bool {
	d := s.Decoders
	return len(d) == 3 && d[0].Type == "Replace" && d[0].Pattern.String == space && d[0].Content == " " &&
		d[1].Type == "ByteFallback" && d[2].Type == "Fuse"
}

func (m *jsonModelPart) check() error {
	switch {
	case m.Type != "BPE":
		return fmt.Errorf("model.type: is %q, want \"BPE\"", m.Type)
	case !m.ByteFallback:
		return errors.New("model.byte_fallback: is false, want true")
	case m.IgnoreMerges:
		return errors.New("model.ignore_merges: is true, want false")
	case m.Dropout != nil && *m.Dropout != 0:
		return fmt.Errorf("model.dropout: is %v, want null", *m.Dropout)
	case m.ContinuingSubwordPrefix != nil && *m.ContinuingSubwordPrefix != "":
		return fmt.Errorf("model.continuing_subword_prefix: is %q, want null", *m.ContinuingSubwordPrefix)
	case m.EndOfWordSuffix != nil && *m.EndOfWordSuffix != "":
		return fmt.Errorf("model.end_of_word_suffix: is %q, want null", *m.EndOfWordSuffix)
	}
	return nil
}

// pieces puts the vocabulary and the added tokens in the order of their ids.
func (f *jsonFile) pieces(names specialNames) ([]piece, error) {
	size := int64(0)
	note := func(field, text string, id int64) error {
		if id < 0 || id >= maxVocabSize {
			return fmt.Errorf("%s: %q has the id %d, want 0 to %d", field, text, id, maxVocabSize-1)
		}
		size = max(size, id+1)
		return nil
	}
	for text, id := range f.Model.Vocab {
		if err := note("model.vocab", text, id); err != nil {
			return nil, err
		}
	}
	for _, added := range f.AddedTokens {
		if err := note("added_tokens", added.Content, added.ID); err != nil {
			return nil, err
		}
	}
	pieces := make([]piece, size)
	for text, id := range f.Model.Vocab {
		if other := pieces[id]; other.kind != unused {
			return nil, fmt.Errorf("model.vocab: %q and %q share the id %d", min(text, other.text), max(text, other.text), id)
		}
		k := normal
		if _, ok := parseByte(text); ok {
			k = byteful
		}
		pieces[id] = piece{text: text, kind: k}
	}
	for _, added := range f.AddedTokens {
		p, err := added.piece(names)
		if err != nil {
			return nil, err
		}
		if other := pieces[added.ID]; other.kind != unused && other.text != added.Content {
			return nil, fmt.Errorf("added_tokens: %q and %q share the id %d", added.Content, other.text, added.ID)
		}
		pieces[added.ID] = p
	}
	return pieces, checkPieces(pieces)
}

func (a addedToken) piece(names specialNames) (piece, error) {
	if a.SingleWord || a.LStrip || a.RStrip {
		return piece{}, fmt.Errorf("added_tokens: %q has single_word, lstrip or rstrip, which no Gemma file does", a.Content)
	}
	p := piece{text: a.Content, kind: fixed, special: a.Special, normalized: a.Normalized}
	switch a.Content {
	case names.bos, names.eos, names.pad:
		p.kind = control
	case names.unk:
		p.kind = unknown
	}
	return p, nil
}

// addMerges adds the merges in their order, which is the order in which they were learned.
func (f *jsonFile) addMerges(v *vocabulary) error {
	v.merges = make(map[pair]merge, len(f.Model.Merges))
	for rank, m := range f.Model.Merges {
		var ids [3]int32
		for i, text := range []string{m[0], m[1], m[0] + m[1]} {
			id, ok := f.Model.Vocab[text]
			if !ok {
				return fmt.Errorf("model.merges: merge %d, %q + %q: %q is not in the vocabulary", rank, m[0], m[1], text)
			}
			ids[i] = int32(id)
		}
		v.addMerge(ids[0], ids[1], ids[2], int32(rank))
	}
	return nil
}
