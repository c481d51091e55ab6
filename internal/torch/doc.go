// Package torch is the only one that touches the libtorch binding: tensors, scopes, devices.
//
// libtorch keeps its grad mode and the binding its last error per OS thread, and Go's collector cannot see
// device memory. Run settles all three: it holds one thread, owns every tensor made inside, remembers the
// first error so that maths can read as maths, and frees on return.
//
//	err := torch.Run(func(s *torch.Scope) error {
//		x := s.Float32s([]float32{1, 2, 3, 4}, 2, 2)
//		y := s.MatMul(x, x) // (2, 2)
//		return s.Err()
//	})
//
// Of gotch only libtch, the raw C calls, is used; its ts and nn packages end the process on errors and free
// by finalizer. What libtch lacks is in shim.cpp.
package torch
