// Package adapterfile holds LoRA adapters as numbers, and reads and writes the files of PEFT and of MLX. It computes
// no model and needs no libtorch.
//
//	adapter.go   an adapter as numbers, and what must hold in one
//	peft.go      PEFT's folder: adapter_model.safetensors and a model card
//	config.go    PEFT's adapter_config.json, of every version, and which of its settings are refused
//	pattern.go   rank_pattern and alpha_pattern
//	mlx.go       mlx-lm's folder: adapters.safetensors and its adapter_config.json
//	tensor.go    stored tensors as float32
//	json.go      fields of a JSON object, with errors that name them
package adapterfile
