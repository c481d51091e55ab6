package torch

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// TestFrozenWeightInBFloat16: float32 activations meet a weight in bfloat16, forward and backward, as exactly as they meet
// the same weight in float32. Shapes are of part of a tile, of rows in several chunks, of sums in several pieces, of
// few rows and many columns; 40 columns are none that tiles take, where a processor has them.
func TestFrozenWeightInBFloat16(t *testing.T) {
	for _, shape := range [][3]int64{{1, 32, 32}, {15, 64, 96}, {33, 640, 256}, {700, 96, 64}, {40, 2080, 64}, {3, 64, 1056}, {70, 1056, 640}, {9, 96, 40}} {
		n, in, out := shape[0], shape[1], shape[2]
		for _, dtype := range []DType{Float32, BFloat16} {
			t.Run(fmt.Sprintf("%s %dx%dx%d", dtype, n, in, out), func(t *testing.T) {
				frozen := func(o *operands) (w, w64 Tensor) {
					values := make([]float32, out*in)
					for i := range values {
						values[i] = float32(o.r.NormFloat64())
					}
					w = o.s.Cast(o.s.Float32s(values, out, in), BFloat16)
					return w, o.s.Cast(w, Float64)
				}
				against(t, dtype, func(o *operands) (func() Tensor, func() Tensor) {
					x, x64 := o.make(dtype, 1, n, in)
					w, w64 := frozen(o)
					return func() Tensor { return o.s.FrozenLinear(x, w) }, func() Tensor { return o.s.Linear(x64, w64) }
				})
				// Two layers that read the same x, whose gradients with respect to it are added.
				against(t, dtype, func(o *operands) (func() Tensor, func() Tensor) {
					x, x64 := o.make(dtype, 1, n, in)
					const rank = 4
					var layers []Adapted
					var a64, b64, w64 []Tensor
					flat := o.s.NewFlat(CPU, [][]int64{{rank, in}, {rank, in}, {out, rank}, {out, rank}})
					for i := range 2 {
						w, wide := frozen(o)
						for j, leaf := range []Tensor{flat.Leaves[i], flat.Leaves[2+i]} {
							values := make([]float32, leaf.Len())
							for k := range values {
								values[k] = float32(o.r.NormFloat64())
							}
							o.s.Copy(leaf, o.s.Float32s(values, leaf.Shape()...))
							wide := o.s.Leaf(o.s.Cast(o.s.Detach(leaf), Float64))
							o.fused, o.wide = append(o.fused, leaf), append(o.wide, wide)
							if j == 0 {
								a64 = append(a64, wide)
							} else {
								b64 = append(b64, wide)
							}
						}
						w64 = append(w64, wide)
						layers = append(layers, Adapted{W: w, A: flat.Leaves[i], B: flat.Leaves[2+i], Scale: 0.5})
					}
					kernel := func() Tensor {
						ys := o.s.Adapted(x, layers...)
						return o.s.Add(ys[0], ys[1])
					}
					return kernel, func() Tensor {
						var sum Tensor
						for i := range 2 {
							y := o.s.Add(o.s.Linear(x64, w64[i]), o.s.Scale(o.s.Linear(o.s.Linear(x64, a64[i]), b64[i]), 0.5))
							if sum.Defined() {
								y = o.s.Add(sum, y)
							}
							sum = y
						}
						return sum
					}
				})
			})
		}
	}
}

// TestFloat32IsTakenApartExactly: times a matrix of ones and zeros, numbers that need all of float32's bits come back as
// they were.
func TestFloat32IsTakenApartExactly(t *testing.T) {
	inScope(t, func(s *Scope) error {
		const n, width = 20, 64
		values, one := make([]float32, n*width), make([]float32, width*width)
		for i := range values {
			values[i] = math.Float32frombits(0x3f800001+uint32(i)*0x1abcd%0x04000000) * float32(1-2*(i%2))
		}
		for i := range width {
			one[i*width+i] = 1
		}
		x, w := s.Float32s(values, n, width), s.Cast(s.Float32s(one, width, width), BFloat16)
		if got := s.ReadFloat32s(s.FrozenLinear(x, w)); !slices.Equal(got, values) {
			for i := range got {
				if got[i] != values[i] {
					t.Fatalf("number %d: %g came back as %g", i, values[i], got[i])
				}
			}
		}
		return s.Err()
	})
}

// TestThreadsChangeNoNumber: a product is the same to the last bit with any number of threads, shared out by rows or by
// columns.
func TestThreadsChangeNoNumber(t *testing.T) {
	before := Threads()
	defer SetThreads(before)
	for _, shape := range [][3]int64{{300, 1056, 96}, {5, 64, 2048}} {
		inScope(t, func(s *Scope) error {
			n, in, out := shape[0], shape[1], shape[2]
			values := func(count int64) []float32 {
				v := make([]float32, count)
				for i := range v {
					v[i] = float32(math.Sin(float64(i * i)))
				}
				return v
			}
			x, w := s.Float32s(values(n*in), n, in), s.Cast(s.Float32s(values(out*in), out, in), BFloat16)
			var first []float32
			for _, threads := range []int{1, 2, 3, 5} {
				SetThreads(threads)
				got := s.ReadFloat32s(s.FrozenLinear(x, w))
				if first == nil {
					first = got
				} else if !slices.Equal(got, first) {
					t.Errorf("%v: %d threads give other numbers", shape, threads)
				}
			}
			return s.Err()
		})
	}
}

// TestHeadLossInBFloat16: the head may stay in bfloat16 beside float32 rows. Its vocabulary is met in several blocks.
func TestHeadLossInBFloat16(t *testing.T) {
	const rows, width, vocabulary = 40, 64, 4096 + 32
	if !CPU.KeepsBFloat16([]int64{vocabulary, width}) {
		t.Skip("this processor does not multiply bfloat16 in tiles: float32 models keep float32 weights")
	}
	inScope(t, func(s *Scope) error {
		numbers := func(count int, spread float64) []float32 {
			v := make([]float32, count)
			for i := range v {
				v[i] = float32(spread * math.Sin(float64(i*i)))
			}
			return v
		}
		h := s.Float32s(numbers(rows*width, 1), rows, width)
		head := s.Cast(s.Float32s(numbers(vocabulary*width, 0.5), vocabulary, width), BFloat16)
		labels := make([]int64, rows)
		for i := range labels {
			labels[i] = int64(i*103) % vocabulary
		}
		run := func(head Tensor) (float32, Tensor) {
			sum := s.Zeros(Float32, CPU, 1)
			dh, ok := s.HeadLoss(sum, h, head, Tensor{}, s.Int64s(labels, rows, 1), rows-3, 0, true)
			if !ok {
				t.Fatal("no kernel")
			}
			return s.ReadFloat32(sum), dh
		}
		kept, gradient := run(head)
		wide, reference := run(s.Cast(head, Float32))
		if math.Abs(float64(kept-wide)) > 1e-6*float64(wide) {
			t.Errorf("loss %g, with the head in float32 %g", kept, wide)
		}
		near(t, s, "gradient", gradient, reference, 2e-6)
		return s.Err()
	})
}

// BenchmarkFrozenLinear is x·Wᵀ for the tokens of four chats, with one weight and with as many as a model has, so that
// they come from memory.
func BenchmarkFrozenLinear(b *testing.B) {
	for _, dtypes := range [][2]DType{{BFloat16, BFloat16}, {Float32, BFloat16}, {Float32, Float32}} {
		for _, shape := range [][2]int64{{2048, 640}, {640, 2048}, {1024, 256}, {256, 1024}, {512, 128}} {
			for _, weights := range []int{1, 40} {
				b.Run(fmt.Sprintf("%s·%s/%dx%d/%d", dtypes[0], dtypes[1], shape[0], shape[1], weights), func(b *testing.B) {
					const rows = 416
					err := Run(func(s *Scope) error {
						x := s.Zeros(dtypes[0], CPU, rows, shape[1])
						var w []Tensor
						for range weights {
							w = append(w, s.Zeros(dtypes[1], CPU, shape[0], shape[1]))
						}
						for i := 0; b.Loop(); i++ {
							if err := s.Nest(func(s *Scope) error { s.FrozenLinear(x, w[i%weights]); return s.Err() }); err != nil {
								return err
							}
						}
						return s.Err()
					})
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(2*rows*float64(shape[0]*shape[1])*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
				})
			}
		}
	}
}
