package tokenizer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// turnAndImageMarks are the user-defined pieces of Gemma that its tokenizer.json calls special.
var turnAndImageMarks = []string{startOfTurn, endOfTurn, "<start_of_image>", "<end_of_image>"}

// ModelToJSON converts a SentencePiece tokenizer.model to the two files of Hugging Face's form, tokenizer.json and
// tokenizer_config.json, as transformers converts Gemma's. maxLength goes into the latter as model_max_length.
//
// Errors: what OpenModel refuses, and a piece that can only be merged from a character that is no piece, which
// tokenizer.json cannot express.
//
// Source: transformers 4.56, src/transformers/convert_slow_tokenizer.py, GemmaConverter and generate_merges.
func ModelToJSON(model []byte, maxLength int) (tokenizerJSON, configJSON []byte, err error) {
	m, err := parseModel(model)
	if err != nil {
		return nil, nil, err
	}
	v, err := m.vocabulary()
	if err != nil {
		return nil, nil, err
	}
	for p, merged := range v.merges {
		for _, part := range []int32{p.left, p.right} {
			if loose := int(part) - len(v.pieces); loose >= 0 {
				return nil, nil, fmt.Errorf("piece %q is merged from %q, which is no piece: tokenizer.json cannot say that",
					v.pieces[merged.id].text, v.loose[loose])
			}
		}
	}
	added := m.addedTokens()
	tokenizerJSON, err = m.encodeTokenizer(added)
	if err != nil {
		return nil, nil, err
	}
	configJSON, err = m.encodeConfig(added, maxLength)
	return tokenizerJSON, configJSON, err
}

// addedTokens lists the pieces that are not learned.
func (m *spModel) addedTokens() []addedToken {
	var added []addedToken
	for id, p := range m.pieces {
		if p.kind == control || p.kind == unknown || p.kind == fixed {
			special := p.kind != fixed || slices.Contains(turnAndImageMarks, p.text)
			added = append(added, addedToken{ID: int64(id), Content: p.text, Special: special})
		}
	}
	return added
}

// vocabulary entries in the order of their ids; the tab takes the name of its byte, as transformers has it.
func (m *spModel) vocabEntries() []entry {
	hasTab := slices.ContainsFunc(m.pieces, func(p spPiece) bool { return p.text == "\t" })
	entries := make([]entry, len(m.pieces))
	for id, p := range m.pieces {
		name := p.text
		if name == "<0x09>" && !hasTab {
			name = "\t"
		}
		entries[id] = entry{name, id}
	}
	return entries
}

// merges lists the pairs of pieces that make a piece: by score, then the longer left part, then the longer right
// part first; pairs that are equal in all of it stay in the order of their ids.
func (m *spModel) merges() [][2]string {
	ids := make(map[string]int, len(m.pieces))
	for id, p := range m.pieces {
		ids[p.text] = id
	}
	type scored struct {
		parts       [2]string
		left, right int // ids
		score       float32
	}
	var all []scored
	for _, p := range m.pieces {
		first := len(all)
		for cut := range p.text {
			left, okLeft := ids[p.text[:cut]]
			right, okRight := ids[p.text[cut:]]
			if cut > 0 && okLeft && okRight {
				all = append(all, scored{[2]string{p.text[:cut], p.text[cut:]}, left, right, p.score})
			}
		}
		slices.SortFunc(all[first:], func(a, b scored) int {
			return cmp.Or(cmp.Compare(a.left, b.left), cmp.Compare(a.right, b.right))
		})
	}
	slices.SortStableFunc(all, func(a, b scored) int {
		return cmp.Or(
			cmp.Compare(b.score, a.score),
			cmp.Compare(utf8.RuneCountInString(b.parts[0]), utf8.RuneCountInString(a.parts[0])),
			cmp.Compare(utf8.RuneCountInString(b.parts[1]), utf8.RuneCountInString(a.parts[1])),
		)
	})
	merges := make([][2]string, len(all))
	for i, s := range all {
		merges[i] = s.parts
	}
	return merges
}

// entry is a key and a value of a JSON object; object keeps their order, which a Go map would not.
type entry struct {
	key   string
	value any
}

type object []entry

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, e := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := encodeJSON(e.key)
		if err != nil {
			return nil, err
		}
		value, err := encodeJSON(e.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.key, err)
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// encodeJSON is json.Marshal without its escapes for HTML, which would make a vocabulary unreadable.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// encodeTokenizer returns tokenizer.json, whose steps other than the vocabulary are the same for every Gemma.
func (m *spModel) encodeTokenizer(added []addedToken) ([]byte, error) {
	bos := slices.IndexFunc(m.pieces, func(p spPiece) bool { return p.text == m.names.bos })
	if bos < 0 {
		return nil, fmt.Errorf("the bos token %q is missing from the pieces", m.names.bos)
	}
	pattern := func(s string) object { return object{{"String", s}} }
	token := func(id string, typeID int) object {
		return object{{"SpecialToken", object{{"id", id}, {"type_id", typeID}}}}
	}
	sequence := func(id string, typeID int) object {
		return object{{"Sequence", object{{"id", id}, {"type_id", typeID}}}}
	}
	var vocab object = m.vocabEntries()
	return encodeJSON(object{
		{"version", "1.0"}, {"truncation", nil}, {"padding", nil}, {"added_tokens", added},
		{"normalizer", object{{"type", "Replace"}, {"pattern", pattern(" ")}, {"content", space}}},
		{"pre_tokenizer", object{{"type", "Split"}, {"pattern", pattern(" ")},
			{"behavior", "MergedWithPrevious"}, {"invert", false}}},
		{"post_processor", object{{"type", "TemplateProcessing"},
			{"single", []object{token(m.names.bos, 0), sequence("A", 0)}},
			{"pair", []object{token(m.names.bos, 0), sequence("A", 0), token(m.names.bos, 1), sequence("B", 1)}},
			{"special_tokens", object{{m.names.bos, object{
				{"id", m.names.bos}, {"ids", []int{bos}}, {"tokens", []string{m.names.bos}}}}}}}},
		{"decoder", object{{"type", "Sequence"}, {"decoders", []object{
			{{"type", "Replace"}, {"pattern", pattern(space)}, {"content", " "}},
			{{"type", "ByteFallback"}}, {{"type", "Fuse"}}}}}},
		{"model", object{{"type", "BPE"}, {"dropout", nil}, {"unk_token", m.names.unk},
			{"continuing_subword_prefix", nil}, {"end_of_word_suffix", nil}, {"fuse_unk", true},
			{"byte_fallback", true}, {"ignore_merges", false}, {"vocab", vocab}, {"merges", m.merges()}}},
	})
}

// encodeConfig returns tokenizer_config.json.
func (m *spModel) encodeConfig(added []addedToken, maxLength int) ([]byte, error) {
	var decoder object
	for _, a := range added {
		decoder = append(decoder, entry{strconv.FormatInt(a.ID, 10), object{
			{"content", a.Content}, {"lstrip", a.LStrip}, {"normalized", a.Normalized}, {"rstrip", a.RStrip},
			{"single_word", a.SingleWord}, {"special", a.Special}}})
	}
	compact, err := encodeJSON(object{
		{"add_bos_token", true}, {"add_eos_token", false},
		{"bos_token", m.names.bos}, {"eos_token", m.names.eos}, {"pad_token", m.names.pad}, {"unk_token", m.names.unk},
		{"clean_up_tokenization_spaces", false}, {"legacy", nil}, {"model_max_length", maxLength},
		{"sp_model_kwargs", object{}}, {"spaces_between_special_tokens", false},
		{"tokenizer_class", "GemmaTokenizer"}, {"use_default_system_prompt", false},
		{"added_tokens_decoder", decoder},
	})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, compact, "", " "); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
