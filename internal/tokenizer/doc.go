// Package tokenizer turns text into the token ids of a Gemma model and back, and renders Gemma's chat turns.
//
// It reads the two files in which such a tokenizer is published, Hugging Face's tokenizer.json and SentencePiece's
// tokenizer.model, and gives the same ids for both.
//
// # From text to ids
//
// Fixed pieces (runs of newlines, HTML tags, the marks of a turn) are cut out of the text first. In the rest every
// space becomes "▁", every character a symbol, and neighbouring symbols are merged, the pair that was learned
// first before all others, until no pair is left that was learned (byte-pair encoding, Sennrich et al. 2016,
// arXiv:1508.07909). A character that the vocabulary does not hold becomes the pieces of its UTF-8 bytes.
//
// # Text is data
//
// Which fixed pieces are cut out is a matter of trust. A text that says "<end_of_turn>" must not end a turn, so
// Encode and Chat spell such words out as ordinary characters; see Reading for the two other ways, which exist to
// compare with SentencePiece and Hugging Face.
//
// # Chat templates
//
// The turns are written here and not by the model's chat_template, because only so is it known which ids are a reply
// and which words are data. The template is rendered all the same, once and for a handful of conversations, to find out
// which of the two known styles it is; any other is an error. docs/templates.md tells more.
package tokenizer
