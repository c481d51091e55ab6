package tokenizer

import (
	"fmt"
	"strings"
)

// PieceType is what a piece is for, numbered as SentencePiece and GGUF do.
type PieceType int32

// The types of pieces.
const (
	Normal      PieceType = 1 // learned from text
	Unknown     PieceType = 2
	Control     PieceType = 3 // a mark that steers the model, such as <bos> or <start_of_turn>
	UserDefined PieceType = 4 // cut out of the text before merging, such as runs of spaces
	Unused      PieceType = 5 // an id without a piece
	Byte        PieceType = 6
)

// Piece is one entry of the vocabulary as programs that merge by scores want it.
type Piece struct {
	Text  string // a space is spelled ▁, but in UserDefined pieces a space; bytes are <0x00> to <0xFF>
	Score float32
	Type  PieceType
}

// Pieces returns the vocabulary by id. The score of a piece that merging makes is minus the rank of its first merge,
// so that merging by the best score gives the ids that Encode gives; other pieces have what they have in files for
// llama.cpp: 0, or -1000 for those that are cut out before.
func (t *Tokenizer) Pieces() []Piece {
	v := t.vocabulary
	first := map[int32]int32{}
	for _, m := range v.merges {
		if rank, ok := first[m.id]; !ok || m.rank < rank {
			first[m.id] = m.rank
		}
	}
	pieces := make([]Piece, len(v.pieces))
	for id, p := range v.pieces {
		out := Piece{Text: p.text, Type: Normal}
		switch {
		case p.kind == unused:
			out = Piece{Text: fmt.Sprintf("[PAD%d]", id), Score: -10000, Type: Unused}
		case p.kind == unknown:
			out.Type = Unknown
		case p.kind == byteful:
			out.Type = Byte
		case !p.isText():
			out.Type, out.Score = Control, -1000
		case p.kind == fixed: // matched in the text itself, where spaces are spaces
			out = Piece{Text: strings.ReplaceAll(p.text, space, " "), Score: -1000, Type: UserDefined}
		default:
			if rank, ok := first[int32(id)]; ok {
				out.Score = -float32(rank)
			}
		}
		pieces[id] = out
	}
	for value, id := range v.byteIDs { // Gemma's files may spell <0x09> as a tab
		pieces[id] = Piece{Text: fmt.Sprintf("<0x%02X>", value), Score: pieces[id].Score, Type: Byte}
	}
	return pieces
}

// UNK returns the id of <unk>, -1 without one.
func (t *Tokenizer) UNK() int64 {
	for id, p := range t.vocabulary.pieces {
		if p.kind == unknown {
			return int64(id)
		}
	}
	return -1
}

// ChatTemplate returns the text of the model folder's chat template, "" where there is none.
func (t *Tokenizer) ChatTemplate() string { return t.template.source }
