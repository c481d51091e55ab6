// Package model holds decoder models whose fields carry the names in config.json and the weight files.
//
// A model takes a flat batch: N tokens of B sequences one after the other, without padding (Input). Everything
// but attention works on the N tokens; attention lines the sequences up as (B, T) and back.
//
//	model.go     the fields, and what the families' forward passes share
//	gemma.go     a layer of Gemma 1; gemma2.go and gemma3.go of the later ones
//	pass.go      what one batch shares between layers: positions, masks, the way to (B, T) and back
//	head.go      the LM head and the loss over target tokens, its gradient by hand
//	load.go      weights from safetensors, and back
//	generate.go  writing text
//	cache.go     keys and values of the tokens so far; of local layers little more than their window
//	sampler.go   the next token from logits
package model
