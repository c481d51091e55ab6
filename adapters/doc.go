// Package adapters is LoRA: small trained matrices A and B beside a frozen weight W, so that a linear module
// gives x·Wᵀ + Scale·(x·Aᵀ)·Bᵀ.
//
//	adapter.go   an adapter on a model: fresh, and what is common to all
//	modules.go   which modules are adapted, with which rank and scale
//	linear.go    an adapted linear module
//	peft.go      adapters from files, and into them
//	merge.go     a model's weights with an adapter added, read and written piece by piece
//
// Sources: Hu et al. 2021, arXiv:2106.09685; Kalajdzievski 2023, arXiv:2312.03732 (rsLoRA); Liu et al. 2024,
// arXiv:2402.09353 (DoRA); Hayou et al. 2024, arXiv:2402.12354 (LoRA+); PEFT, src/peft/tuners/lora/layer.py.
package adapters
