// Package adapters is LoRA: small trained matrices A and B beside a frozen weight W, so that a linear module
// gives x·Wᵀ + Scale·(x·Aᵀ)·Bᵀ. It wraps a model's modules, and saves and loads adapters in the PEFT format.
//
// Sources: Hu et al. 2021, arXiv:2106.09685; Kalajdzievski 2023, arXiv:2312.03732 (rsLoRA); Liu et al. 2024,
// arXiv:2402.09353 (DoRA); PEFT, src/peft/tuners/lora/layer.py.
package adapters
