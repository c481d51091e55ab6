// Package gguf writes adapters and models as llama.cpp, Ollama and LM Studio read them, and reads such files back.
//
//	file.go      the format: reading
//	write.go     the format: writing, tensor by tensor
//	numbers.go   float16, bfloat16 and Q8_0
//	names.go     what tensors are called here and there
//	adapter.go   LoRA adapters
//	model.go     merged models of Gemma 1, 2 and 3
//	vocab.go     the tokenizer inside a model file
//	modelfile.go Ollama's Modelfile
//
// Source: ggml-org/ggml, docs/gguf.md; ggml-org/llama.cpp, gguf-py/gguf/constants.py and convert_hf_to_gguf.py.
package gguf
