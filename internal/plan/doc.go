// Package plan predicts what a training run needs before it begins: its peak memory, by what it is for, and its
// arithmetic. It computes from sizes alone and needs no libtorch.
//
//	plan.go         what goes in and what comes out
//	activations.go  what the backward pass needs of the forward pass, operator by operator
//	work.go         floating-point operations
//	change.go       the cheapest change that makes a run fit
//
// The formulas follow internal/torch, internal/model and adapters: who changes there what autograd keeps changes
// them here. `make bench-plan` compares them with what runs have measured.
package plan
