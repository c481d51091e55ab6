package gguf

import (
	"fmt"

	"tune/internal/tokenizer"
)

// vocabulary returns the keys of the tokenizer, filled up with unused pieces to the rows of the embedding. llama.cpp
// calls SentencePiece's merging by scores "llama"; Gemma's spelling of spaces and bytes is its own already.
// Source: ggml-org/llama.cpp, convert_hf_to_gguf.py, _set_vocab_sentencepiece, and src/llama-vocab.cpp.
func vocabulary(tok *tokenizer.Tokenizer, rows int64) ([]KV, error) {
	pieces := tok.Pieces()
	if int64(len(pieces)) > rows {
		return nil, fmt.Errorf("the tokenizer has %d ids, the model %d", len(pieces), rows)
	}
	texts, scores, kinds := make([]string, rows), make([]float32, rows), make([]int32, rows)
	for i := range texts {
		texts[i], scores[i], kinds[i] = fmt.Sprintf("[PAD%d]", i), -10000, int32(tokenizer.Unused)
	}
	for i, p := range pieces {
		texts[i], scores[i], kinds[i] = p.Text, p.Score, int32(p.Type)
	}
	metadata := []KV{
		{"tokenizer.ggml.model", "llama"}, {"tokenizer.ggml.pre", "default"},
		{"tokenizer.ggml.tokens", texts}, {"tokenizer.ggml.scores", scores}, {"tokenizer.ggml.token_type", kinds},
		{"tokenizer.ggml.add_bos_token", true}, {"tokenizer.ggml.add_eos_token", false},
		{"tokenizer.ggml.add_space_prefix", false},
	}
	for _, special := range []struct {
		key string
		id  int64
	}{
		{"bos", tok.BOS()}, {"eos", tok.EOS()}, {"unknown", tok.UNK()}, {"padding", tok.PAD()}, {"eot", tok.EndOfTurn()},
	} {
		if special.id >= 0 {
			metadata = append(metadata, KV{"tokenizer.ggml." + special.key + "_token_id", uint32(special.id)})
		}
	}
	if template := tok.ChatTemplate(); template != "" {
		metadata = append(metadata, KV{"tokenizer.chat_template", template})
	}
	return metadata, nil
}
