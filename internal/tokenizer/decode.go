package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Decode returns the text of ids. <pad>, <bos> and <eos> give nothing, other marks their spelling, an id that is
// not in the vocabulary U+FFFD; so does every byte that is not part of valid UTF-8.
func (t *Tokenizer) Decode(ids []int64) string {
	d := t.NewDecoder()
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(d.Next(id))
	}
	b.WriteString(d.Close())
	return b.String()
}

// Decoder turns ids into text as they come. Characters that take several byte pieces arrive whole.
type Decoder struct {
	// ShowSpecial makes <pad>, <bos> and <eos> give their spelling.
	ShowSpecial bool

	tokenizer *Tokenizer
	pending   []byte // of a character that is not complete yet
}

// NewDecoder returns a Decoder for one text. It is for one goroutine.
func (t *Tokenizer) NewDecoder() *Decoder { return &Decoder{tokenizer: t} }

// Next returns the text that is certain with this id: "" while a character is incomplete.
func (d *Decoder) Next(id int64) string {
	t := d.tokenizer
	if id < 0 || id >= int64(len(t.vocabulary.pieces)) || t.vocabulary.pieces[id].kind == unused {
		return d.Close() + string(utf8.RuneError)
	}
	if b, ok := t.vocabulary.byteValue[int32(id)]; ok {
		d.pending = append(d.pending, b)
		return d.complete()
	}
	before := d.Close()
	if !d.ShowSpecial && (id == t.pad || id == t.bos || id == t.eos) {
		return before
	}
	return before + strings.ReplaceAll(t.vocabulary.pieces[id].text, space, " ")
}

// complete takes the characters off pending that no further byte can change.
func (d *Decoder) complete() string {
	var b strings.Builder
	for len(d.pending) > 0 && utf8.FullRune(d.pending) {
		r, size := utf8.DecodeRune(d.pending) // U+FFFD and 1 for a byte that is wrong here
		b.WriteRune(r)
		d.pending = append(d.pending[:0], d.pending[size:]...)
	}
	return b.String()
}

// Close returns what is left when the ids end within a character: one U+FFFD for each byte. The Decoder can then
// start on another text.
func (d *Decoder) Close() string {
	if len(d.pending) == 0 {
		return ""
	}
	left := strings.Repeat(string(utf8.RuneError), len(d.pending))
	d.pending = d.pending[:0]
	return left
}
