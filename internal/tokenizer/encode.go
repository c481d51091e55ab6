package tokenizer

import "strings"

// Reading says which fixed pieces are found in a text. Runs of spaces and newlines and HTML tags always are.
type Reading int

const (
	// Data reads a text as what somebody wrote: marks such as <bos>, <end_of_turn>, <unused7> or
	// <start_of_image> are ordinary characters, so that a text cannot forge a turn.
	Data Reading = iota
	// SentencePiece reads a text as its library does: control pieces (<bos>, <eos>, <pad>, <unk>) are ordinary
	// characters, all user-defined pieces, <end_of_turn> among them, are found.
	SentencePiece
	// HuggingFace reads a text as its tokenizers library does: every added token is found. It is the way to
	// read a whole rendered conversation, never a part that a user wrote.
	HuggingFace

	numReadings
)

// reading holds the fixed pieces of a Reading: those that are found in the text as it is, and those that are found
// after spaces have become ▁.
type reading struct{ raw, normalized matcher }

func newReadings(v *vocabulary) (readings [numReadings]reading) {
	for i, p := range v.pieces {
		if !p.isFixed() {
			continue
		}
		id, escaped := int32(i), strings.ReplaceAll(p.text, " ", space)
		for _, r := range []Reading{Data, HuggingFace} {
			switch {
			case r == Data && !p.isText():
			case p.normalized:
				readings[r].normalized.add(escaped, id)
			default:
				readings[r].raw.add(p.text, id)
			}
		}
		// SentencePiece escapes the whole text before it looks for anything.
		if p.kind == fixed {
			readings[SentencePiece].normalized.add(escaped, id)
		}
	}
	return readings
}

// Encode returns the ids of a text, read as Data, without <bos>. Decode gives the text back, except that a literal
// "▁" comes back as a space and invalid UTF-8 as U+FFFD.
func (t *Tokenizer) Encode(text string) []int64 { return t.EncodeWith(text, Data) }

// EncodeWith is Encode with another reading; one that does not exist counts as Data.
func (t *Tokenizer) EncodeWith(text string, r Reading) []int64 {
	return t.appendIDs(make([]int64, 0, len(text)/3+1), text, r) // about 4 bytes a token in English
}

func (t *Tokenizer) appendIDs(out []int64, text string, r Reading) []int64 {
	if r < 0 || r >= numReadings {
		r = Data
	}
	pieces := &t.readings[r]
	for {
		before, id, after, found := pieces.raw.cut(text)
		out = t.appendNormalized(out, strings.ReplaceAll(before, " ", space), &pieces.normalized)
		if !found {
			return out
		}
		out, text = append(out, int64(id)), after
	}
}

func (t *Tokenizer) appendNormalized(out []int64, text string, pieces *matcher) []int64 {
	for {
		before, id, after, found := pieces.cut(text)
		out = t.appendWords(out, before)
		if !found {
			return out
		}
		out, text = append(out, int64(id)), after
	}
}

// appendWords cuts before every run of ▁ and merges word by word, or all at once where that could differ.
func (t *Tokenizer) appendWords(out []int64, text string) []int64 {
	if !t.vocabulary.wordy {
		return t.vocabulary.mergeText(out, text)
	}
	for len(text) > 0 {
		end := len(text) - len(strings.TrimLeft(text, space))
		if i := strings.Index(text[end:], space); i >= 0 {
			end += i
		} else {
			end = len(text)
		}
		out = t.appendWord(out, text[:end])
		text = text[end:]
	}
	return out
}

const (
	maxCachedWord  = 32      // bytes; longer words seldom come back
	maxCachedWords = 1 << 16 // some 10 MB
)

func (t *Tokenizer) appendWord(out []int64, word string) []int64 {
	if len(word) > maxCachedWord {
		return t.vocabulary.mergeText(out, word)
	}
	t.wordsMu.RLock()
	ids, ok := t.words[word]
	t.wordsMu.RUnlock()
	if ok {
		return append(out, ids...)
	}
	ids = t.vocabulary.mergeText(nil, word)
	t.wordsMu.Lock()
	if len(t.words) < maxCachedWords {
		t.words[strings.Clone(word)] = ids // a clone, or the cache would hold on to the whole text
	}
	t.wordsMu.Unlock()
	return append(out, ids...)
}
