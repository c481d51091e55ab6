package tokenizer

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// SentencePiece's numbers for the types of a model and of a piece.
// Source: google/sentencepiece, src/sentencepiece_model.proto.
const (
	modelTypeBPE = 2

	pieceNormal      = 1
	pieceUnknown     = 2
	pieceControl     = 3
	pieceUserDefined = 4
	pieceUnused      = 5
	pieceByte        = 6
)

var modelTypeNames = map[uint64]string{1: "UNIGRAM", 2: "BPE", 3: "WORD", 4: "CHAR"}

// spModel is a SentencePiece model file as far as it decides about ids.
type spModel struct {
	pieces []spPiece
	names  specialNames
}

type spPiece struct {
	text  string
	score float32
	kind  kind
}

// parseModel reads a tokenizer.model. What would change the ids and is not Gemma's way is refused by name.
func parseModel(raw []byte) (*spModel, error) {
	m := &spModel{names: specialNames{bos: "<s>", eos: "</s>", pad: "<pad>", unk: "<unk>"}} // the proto's defaults
	trainer := trainerSpec{modelType: 1}
	normalizer := normalizerSpec{addDummyPrefix: true, removeExtraWhitespaces: true, escapeWhitespaces: true}
	var denormalizer normalizerSpec
	err := walkProto(raw, func(f protoField) error {
		var err error
		switch f.number {
		case 1:
			if err = f.expect(wireBytes); err == nil {
				err = m.addPiece(f.bytes)
			}
		case 2:
			if err = f.expect(wireBytes); err == nil {
				err = trainer.parse(f.bytes, &m.names)
			}
		case 3:
			if err = f.expect(wireBytes); err == nil {
				err = normalizer.parse(f.bytes)
			}
		case 5:
			if err = f.expect(wireBytes); err == nil {
				err = denormalizer.parse(f.bytes)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if denormalizer.charsmap > 0 {
		return nil, errors.New("denormalizer_spec: has a character map, want none")
	}
	// The first of them, because a file that is cut off has them all.
	return m, cmp.Or(trainer.check(), normalizer.check(), checkPieces(m.plain()))
}

// addPiece reads one SentencePiece message.
func (m *spModel) addPiece(raw []byte) error {
	if len(m.pieces) == maxVocabSize {
		return fmt.Errorf("more than %d pieces", maxVocabSize)
	}
	p := spPiece{kind: normal}
	err := walkProto(raw, func(f protoField) error {
		switch f.number {
		case 1:
			p.text = string(f.bytes)
			return f.expect(wireBytes)
		case 2:
			p.score = math.Float32frombits(uint32(f.value))
			return f.expect(wireFixed32)
		case 3:
			if err := f.expect(wireVarint); err != nil {
				return err
			}
			var err error
			p.kind, err = pieceKind(f.value)
			return err
		}
		return nil
	})
	if err == nil && p.score != p.score {
		err = errors.New("the score is not a number")
	}
	if _, isByte := parseByte(p.text); err == nil && p.kind == byteful && !isByte {
		err = errors.New("a byte piece must be called <0x00> to <0xFF>")
	}
	if err != nil {
		return fmt.Errorf("piece %d, %q: %w", len(m.pieces), p.text, err)
	}
	m.pieces = append(m.pieces, p)
	return nil
}

func pieceKind(number uint64) (kind, error) {
	switch number {
	case pieceNormal:
		return normal, nil
	case pieceUnknown:
		return unknown, nil
	case pieceControl:
		return control, nil
	case pieceUserDefined:
		return fixed, nil
	case pieceByte:
		return byteful, nil
	case pieceUnused:
		return unused, errors.New("type UNUSED is not supported")
	}
	return unused, fmt.Errorf("type %d is not known", number)
}

// trainerSpec holds the training settings that change how a text is read.
type trainerSpec struct {
	found        bool
	modelType    uint64
	suffix       bool // treat_whitespace_as_suffix
	byteFallback bool
}

func (s *trainerSpec) parse(raw []byte, names *specialNames) error {
	s.found = true
	err := walkProto(raw, func(f protoField) error {
		switch f.number {
		case 3:
			s.modelType = f.value
			return f.expect(wireVarint)
		case 24:
			s.suffix = f.value != 0
			return f.expect(wireVarint)
		case 35:
			s.byteFallback = f.value != 0
			return f.expect(wireVarint)
		case 45:
			names.unk = string(f.bytes)
			return f.expect(wireBytes)
		case 46:
			names.bos = string(f.bytes)
			return f.expect(wireBytes)
		case 47:
			names.eos = string(f.bytes)
			return f.expect(wireBytes)
		case 48:
			names.pad = string(f.bytes)
			return f.expect(wireBytes)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("trainer_spec: %w", err)
	}
	return nil
}

func (s *trainerSpec) check() error {
	switch {
	case !s.found: // it stands behind the pieces
		return errors.New("trainer_spec: is missing: truncated file?")
	case s.modelType != modelTypeBPE:
		return fmt.Errorf("trainer_spec.model_type: is %s, want BPE",
			cmp.Or(modelTypeNames[s.modelType], fmt.Sprint(s.modelType)))
	case s.suffix:
		return errors.New("trainer_spec.treat_whitespace_as_suffix: is true, want false")
	case !s.byteFallback:
		return errors.New("trainer_spec.byte_fallback: is false, want true")
	}
	return nil
}

// normalizerSpec holds what happens to a text before it is cut into pieces; in Gemma only that spaces become ▁.
type normalizerSpec struct {
	charsmap                                                  int // bytes
	addDummyPrefix, removeExtraWhitespaces, escapeWhitespaces bool
}

func (s *normalizerSpec) parse(raw []byte) error {
	err := walkProto(raw, func(f protoField) error {
		switch f.number {
		case 2:
			s.charsmap = len(f.bytes)
			return f.expect(wireBytes)
		case 3:
			s.addDummyPrefix = f.value != 0
			return f.expect(wireVarint)
		case 4:
			s.removeExtraWhitespaces = f.value != 0
			return f.expect(wireVarint)
		case 5:
			s.escapeWhitespaces = f.value != 0
			return f.expect(wireVarint)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("normalizer_spec: %w", err)
	}
	return nil
}

func (s *normalizerSpec) check() error {
	switch {
	case s.charsmap > 0:
		return errors.New("normalizer_spec: has a character map, want the rule \"identity\"")
	case s.addDummyPrefix:
		return errors.New("normalizer_spec.add_dummy_prefix: is true, want false")
	case s.removeExtraWhitespaces:
		return errors.New("normalizer_spec.remove_extra_whitespaces: is true, want false")
	case !s.escapeWhitespaces:
		return errors.New("normalizer_spec.escape_whitespaces: is false, want true")
	}
	return nil
}

// plain returns the pieces without their scores.
func (m *spModel) plain() []piece {
	pieces := make([]piece, len(m.pieces))
	for id, p := range m.pieces {
		pieces[id] = piece{text: p.text, kind: p.kind}
	}
	return pieces
}

// vocabulary rebuilds the merges, which the file does not hold. SentencePiece joins two neighbouring symbols when
// their spellings together are a piece that occurs in text, the best score first and of equal ones the leftmost.
//
// Source: google/sentencepiece, src/bpe_model.cc, Model::SampleEncode with alpha 0.
func (m *spModel) vocabulary() (*vocabulary, error) {
	v, err := newVocabulary(m.plain())
	if err != nil {
		return nil, err
	}
	mergeable := make(map[string]int32, len(m.pieces))
	for id, p := range m.pieces {
		if p.kind == normal || p.kind == fixed {
			mergeable[p.text] = int32(id)
		}
	}
	symbol := func(text string) (int32, bool) {
		if id, ok := mergeable[text]; ok {
			return id, true
		}
		r, size := utf8.DecodeRuneInString(text)
		if size != len(text) {
			return 0, false
		}
		id, ok := v.symbols[r]
		if !ok {
			id = int32(len(v.pieces) + len(v.loose))
			v.symbols[r], v.loose = id, append(v.loose, r)
		}
		return id, true
	}
	ranks := m.ranks()
	for id, p := range m.pieces {
		if p.kind != normal && p.kind != fixed {
			continue
		}
		for cut := range p.text {
			if cut == 0 {
				continue
			}
			left, ok := symbol(p.text[:cut])
			if !ok {
				continue
			}
			if right, ok := symbol(p.text[cut:]); ok {
				v.addMerge(left, right, int32(id), ranks[p.score])
			}
		}
	}
	return v, nil
}

// ranks numbers the scores, the best with 0.
func (m *spModel) ranks() map[float32]int32 {
	ranks := map[float32]int32{}
	var scores []float32
	for _, p := range m.pieces {
		if _, ok := ranks[p.score]; !ok {
			ranks[p.score] = 0
			scores = append(scores, p.score)
		}
	}
	slices.SortFunc(scores, func(a, b float32) int { return cmp.Compare(b, a) })
	for rank, score := range scores {
		ranks[score] = int32(rank)
	}
	return ranks
}
