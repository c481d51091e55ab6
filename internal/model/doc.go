// Package model holds decoder models whose fields carry the names in config.json and the weight files.
//
// A model takes a flat batch: N tokens of B sequences one after the other, without padding (Input). Everything
// but attention works on the N tokens; attention lines the sequences up as (B, T) and back.
//
//	config.go    config.json, in its old and new spellings
//	gemma3.go    the forward pass
//	pass.go      what one batch shares between layers: positions, masks, the way to (B, T) and back
//	head.go      the LM head and the loss over target tokens, its gradient by hand
//	load.go      weights from safetensors, and back
//	generate.go  writing text with a key/value cache
package model
