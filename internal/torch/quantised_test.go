package torch

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// bytesOf are the bytes of numbers in memory.
func bytesOf(v []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}

// randomMatrix is one of numbers around 0, some of which are 0, with a row of zeros where there are several.
func randomMatrix(r *rand.Rand, out, in int64, spread float64) []float32 {
	v := make([]float32, out*in)
	for i := range v {
		if r.IntN(10) > 0 && (out == 1 || int64(i) >= in) {
			v[i] = float32(r.NormFloat64() * spread)
		}
	}
	return v
}

// eachFormat runs f for both numbers of bits.
func eachFormat(t *testing.T, f func(t *testing.T, bits int)) {
	for _, bits := range []int{8, 4} {
		t.Run(fmt.Sprintf("int%d", bits), func(t *testing.T) { f(t, bits) })
	}
}

// TestQuantisedIsNear: every number comes back to half a step of its group's scale, 0 as 0; the last group of a row may
// be short, and a group of no numbers but 0 has no scale.
func TestQuantisedIsNear(t *testing.T) {
	eachFormat(t, func(t *testing.T, bits int) {
		for _, shape := range [][]int64{{1, 1}, {3, 64}, {5, 63}, {4, 65}, {7, 200}, {2, 3}, {16, 640}} {
			for _, spread := range []float64{1e-30, 1e-4, 0.02, 1, 1e4} {
				inScope(t, func(s *Scope) error {
					out, in := shape[0], shape[1]
					v := randomMatrix(rand.New(rand.NewPCG(uint64(out), uint64(in))), out, in, spread)
					q := s.Quantise(bytesOf(v), Float32, shape, bits, CPU, nil)
					if q.Bits() != bits {
						t.Errorf("%d bits", q.Bits())
					}
					got, scales := s.ReadFloat32s(s.Dequantise(q, Float32)), s.ReadFloat32s(q.Scales)
					groups := q.Scales.Dim(1)
					if err := s.Err(); err != nil {
						return err
					}
					for i, want := range v {
						row, column := int64(i)/in, int64(i)%in
						scale := scales[row*groups+column/GroupSize]
						if diff := math.Abs(float64(got[i] - want)); diff > float64(scale)*0.5000001 || want == 0 && got[i] != 0 {
							t.Fatalf("%v, spread %g: number %d is %g, was %g, scale %g", shape, spread, i, got[i], want, scale)
						}
					}
					return nil
				})
			}
		}
	})
}

// TestQuantisedStepsAreSmall: a scale is no wider than the group's numbers ask for, but for its rounding to 8 bits.
func TestQuantisedStepsAreSmall(t *testing.T) {
	inScope(t, func(s *Scope) error {
		v := randomMatrix(rand.New(rand.NewPCG(1, 1)), 8, 64, 1)
		for bits, steps := range map[int]func(low, high float32) float32{
			8: func(low, high float32) float32 { return max(-low, high) / 127 },
			4: func(low, high float32) float32 { return (high - low) / 15 },
		} {
			scales := s.ReadFloat32s(s.Quantise(bytesOf(v), Float32, []int64{8, 64}, bits, CPU, nil).Scales)
			for row, scale := range scales {
				group := v[64*row : 64*row+64]
				if want := steps(min(0, slices.Min(group)), max(0, slices.Max(group))); scale < want || scale > want*(1+1.0/128) {
					t.Errorf("int%d: scale %g of row %d, want %g", bits, scale, row, want)
				}
			}
		}
		return s.Err()
	})
}

// TestZeroOfItsOwnIsNearer: of 4 bits, a zero for each group leaves less error than q from -7 to 7.
func TestZeroOfItsOwnIsNearer(t *testing.T) {
	inScope(t, func(s *Scope) error {
		const out, in = 64, 640
		r := rand.New(rand.NewPCG(5, 6))
		v := make([]float32, out*in)
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
		got := s.ReadFloat32s(s.Dequantise(s.Quantise(bytesOf(v), Float32, []int64{out, in}, 4, CPU, nil), Float32))
		var asymmetric, symmetric, eight float64
		for i := 0; i < len(v); i += GroupSize {
			group := v[i : i+GroupSize]
			scale := float64(max(-slices.Min(group), slices.Max(group))) / 7
			for j, x := range group {
				d, e := float64(got[i+j]-x), math.RoundToEven(float64(x)/scale)*scale-float64(x)
				asymmetric, symmetric = asymmetric+d*d, symmetric+e*e
			}
		}
		for i, x := range s.ReadFloat32s(s.Dequantise(s.Quantise(bytesOf(v), Float32, []int64{out, in}, 8, CPU, nil), Float32)) {
			eight += float64(x-v[i]) * float64(x-v[i])
		}
		n := float64(len(v))
		t.Logf("root of the mean square error of N(0, 1): int8 %.5f, int4 %.4f, int4 from -7 to 7 %.4f", math.Sqrt(eight/n),
			math.Sqrt(asymmetric/n), math.Sqrt(symmetric/n))
		if asymmetric > 0.8*symmetric {
			t.Errorf("squared error %g, from -7 to 7 %g", asymmetric, symmetric)
		}
		return s.Err()
	})
}

// TestQuantisedFromEveryDType: the bytes of a file are read as what they are, in pieces that are handed back in order.
func TestQuantisedFromEveryDType(t *testing.T) {
	eachFormat(t, func(t *testing.T, bits int) {
		inScope(t, func(s *Scope) error {
			const out, in = 9, 70
			v := s.Float32s(randomMatrix(rand.New(rand.NewPCG(2, 2)), out, in, 1), out, in)
			for _, dtype := range []DType{Float32, BFloat16, Float16} {
				stored := s.Cast(v, dtype)
				seen := 0
				got := s.Quantise(s.ReadBytes(stored), dtype, []int64{out, in}, bits, CPU, func(piece []byte) { seen += len(piece) })
				want := s.Quantise(bytesOf(s.ReadFloat32s(stored)), Float32, []int64{out, in}, bits, CPU, nil)
				if !slices.Equal(s.ReadBytes(got.Data), s.ReadBytes(want.Data)) || !slices.Equal(s.ReadBytes(got.Scales), s.ReadBytes(want.Scales)) {
					t.Errorf("%s is read as other numbers", dtype)
				}
				if seen != int(out*in*dtype.Size()) {
					t.Errorf("%s: %d bytes handed back", dtype, seen)
				}
			}
			return s.Err()
		})
	})
}

// TestDequantiseComposed: devices without the kernel get the very same numbers.
func TestDequantiseComposed(t *testing.T) {
	eachFormat(t, func(t *testing.T, bits int) {
		for _, in := range []int64{64, 130, 20} {
			for _, dtype := range []DType{Float32, BFloat16} {
				inScope(t, func(s *Scope) error {
					q := s.Quantise(bytesOf(randomMatrix(rand.New(rand.NewPCG(3, 3)), 6, in, 0.1)), Float32, []int64{6, in}, bits, CPU, nil)
					kernel, composed := s.Dequantise(q, dtype), s.dequantise(q, dtype, 1)
					if kernel.DType() != dtype || !slices.Equal(kernel.Shape(), []int64{6, in}) {
						t.Errorf("%s %v", kernel.DType(), kernel.Shape())
					}
					if a, b := s.ReadFloat32s(kernel), s.ReadFloat32s(composed); !slices.Equal(a, b) {
						t.Errorf("%s, %d wide: %v\nwant %v", dtype, in, b, a)
					}
					return s.Err()
				})
			}
		}
	})
}

// TestQuantisedLayers: a quantised weight gives, forward and backward, bit for bit what its numbers as a plain weight do.
func TestQuantisedLayers(t *testing.T) {
	eachFormat(t, func(t *testing.T, bits int) {
		both(t, func(t *testing.T, dtype DType) {
			inScope(t, func(s *Scope) error {
				const n, in, rank = 11, 100, 3
				r := rand.New(rand.NewPCG(4, uint64(bits)))
				values := func(spread float64, shape ...int64) Tensor {
					v := make([]float32, count(shape))
					for i := range v {
						v[i] = float32(r.NormFloat64() * spread)
					}
					return s.Float32s(v, shape...)
				}
				outs := []int64{48, 16}
				flat := s.NewFlat(CPU, [][]int64{{rank, in}, {rank, in}, {outs[0], rank}, {outs[1], rank}})
				s.Copy(flat.Data, values(0.3, flat.Data.Len()))
				var quantised, plain []Adapted
				for i, out := range outs {
					q := s.Quantise(bytesOf(s.ReadFloat32s(values(0.3, out, in))), Float32, []int64{out, in}, bits, CPU, nil)
					l := Adapted{A: flat.Leaves[i], B: flat.Leaves[2+i], Scale: 2}
					l.Q = q
					quantised = append(quantised, l)
					l.Q, l.W = Quantised{}, s.Dequantise(q, dtype)
					plain = append(plain, l)
				}
				x, g := s.Cast(values(1, n, in), dtype), s.Cast(values(1, n, outs[0]+outs[1]), dtype)
				// pass returns the output and every gradient.
				pass := func(forward func(x Tensor) []Tensor) (all [][]float32) {
					leaf := s.Leaf(x)
					s.Zero(flat.Grad)
					var y Tensor
					s.Grad(true, func() { y = s.Cat(1, forward(leaf)...) })
					s.Backward(y, g)
					return [][]float32{s.ReadFloat32s(y), s.ReadFloat32s(s.GradOf(leaf)), s.ReadFloat32s(flat.Grad)}
				}
				same := func(what string, got, want [][]float32) {
					for i, part := range []string{"output", "gradient of x", "gradients of A and B"} {
						if !slices.Equal(got[i], want[i]) {
							t.Errorf("%s: its %s differs", what, part)
						}
					}
				}
				same("adapted", pass(func(x Tensor) []Tensor { return s.Adapted(x, quantised...) }),
					pass(func(x Tensor) []Tensor { return s.Adapted(x, plain...) }))
				got := pass(func(x Tensor) []Tensor {
					return []Tensor{s.QuantisedLinear(x, quantised[0].Q), s.QuantisedLinear(x, quantised[1].Q)}
				})
				want := pass(func(x Tensor) []Tensor { return []Tensor{s.Linear(x, plain[0].W), s.Linear(x, plain[1].W)} })
				tolerance := 2e-6 // float32, another order of additions: products of oneDNN and of BLAS
				if dtype == BFloat16 {
					tolerance = 1e-2
				}
				for i, part := range []string{"output", "gradient of x"} {
					near(t, s, "linear: "+part, s.Float32s(got[i]), s.Float32s(want[i]), tolerance)
				}
				return s.Err()
			})
		})
	})
}

// TestQuantisedLinearKeepsNoWeight: between forward and backward there is no more than the output.
func TestQuantisedLinearKeepsNoWeight(t *testing.T) {
	inScope(t, func(s *Scope) error {
		const out, in = 512, 512
		q := s.Quantise(bytesOf(make([]float32, out*in)), Float32, []int64{out, in}, 8, CPU, nil)
		x := s.Leaf(s.Zeros(Float32, CPU, 4, in))
		before, _ := CPU.DeviceMemory()
		var y Tensor
		s.Grad(true, func() { y = s.QuantisedLinear(x, q) })
		after, _ := CPU.DeviceMemory()
		if more := after.Now - before.Now; before.Now >= 0 && more > 4*4*out+1<<12 {
			t.Errorf("the forward pass left %d bytes, its output has %d", more, 4*4*out)
		}
		s.Backward(y, s.Zeros(Float32, CPU, 4, out))
		return s.Err()
	})
}

func TestQuantiseRefuses(t *testing.T) {
	nan, infinite := float32(math.NaN()), float32(math.Inf(1))
	for _, tc := range []struct {
		name  string
		v     []float32
		shape []int64
		bits  int
		want  string
	}{
		{"NaN", []float32{1, nan}, []int64{1, 2}, 8, "not finite"},
		{"infinity", []float32{1, infinite}, []int64{2, 1}, 4, "not finite"},
		{"a vector", []float32{1}, []int64{1}, 8, "8 bits wanted"},
		{"bits", []float32{1}, []int64{1, 1}, 3, "3 bits wanted"},
		{"too few bytes", []float32{1}, []int64{1, 2}, 8, "4 bytes"},
	} {
		err := Run(func(s *Scope) error {
			s.Quantise(bytesOf(tc.v), Float32, tc.shape, tc.bits, CPU, nil)
			return s.Err()
		})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}
