// Fitgotch fits the vendored copy of gotch's libtch to the libtorch of this machine.
//
// gotch is written for one libtorch: against any other, a hundred of its 2,500 generated wrappers do not compile. We
// call some sixty. So fitgotch
//
//   - finds libtorch: $LIBTORCH, a PyTorch wheel of python3, Homebrew's pytorch, Debian's libtorch-dev,
//     /usr/local/libtorch (libtorch.go);
//   - reads in our Go sources which names of libtch they use (uses.go): there is no list to maintain;
//   - takes libtch's Go and C++ apart into top-level declarations and keeps those that the names lead to (gosrc.go,
//     cxx.go, fit.go), with a few habits of gotch corrected on the way (wrapper.go);
//   - writes the cgo flags for that libtorch into libtch and into internal/torch (flags.go).
//
// It always starts from gotch as Go's module cache has it, and writes nothing when nothing has changed since the last
// fit (stamp.go), so that Go's build cache stays warm.
//
// Usage, after `go mod vendor`:
//
//	go run ./tools/fitgotch
package main
