package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// space is how pieces spell a space: U+2581, as in SentencePiece.
const space = "▁"

// maxVocabSize bounds the ids of a file; Gemma has 262,144. A hostile id must not make us allocate the world.
const maxVocabSize = 1 << 20

// kind is what a piece is for.
type kind uint8

const (
	unused  kind = iota // no piece has this id
	normal              // learned from text
	byteful             // one byte of a character that has no piece, such as <0xE2>
	unknown             // <unk>; never made, because bytes stand for everything
	control             // <bos>, <eos>, <pad>: SentencePiece never finds these in a text
	fixed               // cut out of the text before merging: newline runs, HTML tags, <start_of_turn>
)

// piece is one entry of the vocabulary.
type piece struct {
	text       string
	kind       kind
	special    bool // tokenizer.json says so
	normalized bool // tokenizer.json: matched after spaces have become ▁
}

// isFixed reports whether Hugging Face cuts the piece out of a text.
func (p piece) isFixed() bool { return p.kind == unknown || p.kind == control || p.kind == fixed }

// isText reports whether the piece stands for text that a user may write, and not for a mark that steers the model.
//
// tokenizer.model has no word for that difference, and tokenizer.json calls only some of the marks special. So it
// goes by looks: what is set in angle or square brackets is a mark, unless it is an HTML tag that Gemma reads.
func (p piece) isText() bool {
	switch {
	case p.kind == normal || p.kind == byteful:
		return true
	case p.kind != fixed || p.special: // <unk>, <bos> and the like
		return false
	case htmlTags[p.text]:
		return true
	}
	return !(strings.HasPrefix(p.text, "<") && strings.HasSuffix(p.text, ">")) &&
		!(strings.HasPrefix(p.text, "[") && strings.HasSuffix(p.text, "]"))
}

// htmlTags are the fixed pieces of Gemma 1 to 3 that stand for HTML.
var htmlTags = func() map[string]bool {
	tags := map[string]bool{}
	for _, name := range strings.Fields("table caption thead tbody tfoot tr th td h1 h2 h3 h4 h5 h6 blockquote " +
		"strong em b i u s sub sup code") {
		tags["<"+name+">"], tags["</"+name+">"] = true, true
	}
	return tags
}()

// pair is two neighbouring symbols; merge is what they become and how early it was learned.
type (
	pair  struct{ left, right int32 }
	merge struct {
		rank int32 // the smallest goes first
		id   int32
	}
)

// vocabulary is what both file forms are read into.
//
// A symbol is the id of a piece or, from len(pieces) on, a character that occurs in pieces but is none itself:
// tokenizer.model merges by spelling, so such a character may take part in a merge. Where it remains, its bytes
// take its place.
type vocabulary struct {
	pieces  []piece
	merges  map[pair]merge
	symbols map[rune]int32
	loose   []rune // the characters of the symbols from len(pieces) on

	byteIDs   [256]int32
	byteValue map[int32]byte // the inverse
	fixedIDs  map[string]int32

	// wordy tells that no merge reaches over the start of a word. Then words can be merged one at a time, and
	// remembered, without a change in the result.
	wordy bool
}

// newVocabulary completes a vocabulary from its pieces; merges come after.
func newVocabulary(pieces []piece) (*vocabulary, error) {
	v := &vocabulary{
		pieces: pieces, merges: map[pair]merge{}, symbols: map[rune]int32{},
		byteValue: map[int32]byte{}, fixedIDs: map[string]int32{}, wordy: true,
	}
	for id, p := range pieces {
		if p.isFixed() {
			v.fixedIDs[p.text] = int32(id)
		}
		// A mark of one character is spelled by its bytes when a text holds it.
		if r, size := utf8.DecodeRuneInString(p.text); size == len(p.text) && size > 0 && p.isText() {
			v.symbols[r] = int32(id)
		}
	}
	return v, v.findBytes()
}

// findBytes fills the tables of byte pieces.
func (v *vocabulary) findBytes() error {
	for i := range v.byteIDs {
		v.byteIDs[i] = -1
	}
	for id, p := range v.pieces {
		if value, ok := byteOf(p); ok {
			v.byteIDs[value], v.byteValue[int32(id)] = int32(id), value
		}
	}
	for i, id := range v.byteIDs {
		if id >= 0 {
			continue
		}
		// Files for Gemma spell <0x09> as a tab, because transformers' converter does (GemmaConverter.vocab).
		single, ok := v.symbols[rune(i)]
		if !ok || i >= utf8.RuneSelf {
			return fmt.Errorf("vocabulary: the byte piece <0x%02X> is missing (want byte fallback, as Gemma has it)", i)
		}
		v.byteIDs[i] = single
	}
	return nil
}

// byteOf returns the byte that a piece such as <0xE2> stands for.
func byteOf(p piece) (byte, bool) {
	if p.kind != byteful {
		return 0, false
	}
	return parseByte(p.text)
}

// parseByte reads a name such as <0xE2>.
func parseByte(text string) (byte, bool) {
	const hex = "0123456789ABCDEF"
	if len(text) != len("<0xE2>") || text[:3] != "<0x" || text[5] != '>' {
		return 0, false
	}
	high, low := strings.IndexByte(hex, text[3]), strings.IndexByte(hex, text[4])
	if high < 0 || low < 0 {
		return 0, false
	}
	return byte(high<<4 | low), true
}

// fixed returns the id of a piece that is cut out of texts.
func (v *vocabulary) fixed(text string) (int32, bool) {
	id, ok := v.fixedIDs[text]
	return id, ok
}

// addMerge adds what two symbols become. A merge into a mark is left out, because a mark that is spelled out in a
// text must not come together again, and so is one into a byte: "<0x41>" in a text is no "A". SentencePiece has
// neither. A later merge of the same pair takes the place of the earlier, as in Hugging Face's map.
func (v *vocabulary) addMerge(left, right, id, rank int32) {
	if p := v.pieces[id]; !p.isText() || p.kind == byteful {
		return
	}
	v.merges[pair{left, right}] = merge{rank: rank, id: id}
	if inner := strings.TrimLeft(v.pieces[id].text, space); strings.Contains(inner, space) {
		v.wordy = false
	}
}

// checkPieces refuses pieces that no text could give or that a name could stand for twice.
func checkPieces(pieces []piece) error {
	if len(pieces) == 0 {
		return errors.New("vocabulary: is empty")
	}
	ids := make(map[string]int, len(pieces))
	for id, p := range pieces {
		if p.kind == unused {
			continue
		}
		if p.text == "" {
			return fmt.Errorf("vocabulary: piece %d is empty", id)
		}
		if !utf8.ValidString(p.text) {
			return fmt.Errorf("vocabulary: piece %d, %q, is not UTF-8", id, p.text)
		}
		if first, ok := ids[p.text]; ok {
			return fmt.Errorf("vocabulary: %q is piece %d and piece %d", p.text, first, id)
		}
		ids[p.text] = id
	}
	return nil
}
