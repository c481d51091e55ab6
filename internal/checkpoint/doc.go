// Package checkpoint reads what a Hugging Face model folder says about its model: config.json and the names and
// shapes of the weights. It computes nothing and needs no libtorch.
//
//	config.go    config.json, in its old and new spellings
//	family.go    what every family has, and the list of those known
//	gemma.go     Gemma 1: its defaults
//	gemma2.go    Gemma 2
//	gemma3.go    Gemma 3, the multimodal checkpoints' text model included
//	weights.go   the weights that a config asks for, and their names in files
package checkpoint
