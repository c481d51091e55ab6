package torch

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// operands are named random tensors of a test: as the kernel takes them, leaves of its graph, and the same numbers in
// float64, leaves of the reference's.
type operands struct {
	s           *Scope
	dtype       DType
	r           *rand.Rand
	fused, wide []Tensor
}

// make adds an operand of numbers around 0; a float32 one stays so in a bfloat16 test.
func (o *operands) make(dtype DType, spread float64, shape ...int64) (fused, wide Tensor) {
	values := make([]float32, count(shape))
	for i := range values {
		values[i] = float32(o.r.NormFloat64() * spread)
	}
	fused = o.s.Leaf(o.s.Cast(o.s.Float32s(values, shape...), dtype))
	wide = o.s.Leaf(o.s.Cast(o.s.Detach(fused), Float64))
	o.fused, o.wide = append(o.fused, fused), append(o.wide, wide)
	return fused, wide
}

// against runs a kernel and its composite in float64 on the same numbers, forward and backward, and compares result and
// gradients, relative to the largest of each.
func against(t *testing.T, dtype DType, build func(o *operands) (kernel, composite func() Tensor)) {
	t.Helper()
	tolerance := 2e-6 // float32
	if dtype == BFloat16 {
		tolerance = 1e-2 // 8 bits, rounded once to four times on the way
	}
	inScope(t, func(s *Scope) error {
		o := &operands{s: s, dtype: dtype, r: rand.New(rand.NewPCG(1, 2))}
		kernel, composite := build(o)
		var got, want Tensor
		s.Grad(true, func() { got, want = kernel(), composite() })
		if err := s.Err(); err != nil {
			return err
		}
		if got.DType() != dtype {
			t.Errorf("the result is %s", got.DType())
		}
		gradient := make([]float32, got.Len())
		for i := range gradient {
			gradient[i] = float32(o.r.NormFloat64())
		}
		g := s.Cast(s.Float32s(gradient, got.Shape()...), dtype)
		s.Backward(got, g)
		s.Backward(want, s.Cast(g, Float64))
		near(t, s, "result", got, want, tolerance)
		for i := range o.fused {
			near(t, s, fmt.Sprintf("gradient of operand %d", i), s.GradOf(o.fused[i]), s.GradOf(o.wide[i]), tolerance)
		}
		return s.Err()
	})
}

func near(t *testing.T, s *Scope, what string, got, want Tensor, tolerance float64) {
	t.Helper()
	g, w := s.ReadFloat32s(s.Cast(s.Detach(got), Float32)), s.ReadFloat32s(s.Cast(s.Detach(want), Float32))
	if len(g) != len(w) || s.Err() != nil {
		t.Errorf("%s: %d numbers, want %d; %v", what, len(g), len(w), s.Err())
		return
	}
	size, worst, at := 0.0, 0.0, 0
	for i := range w {
		size = max(size, math.Abs(float64(w[i])))
		if d := math.Abs(float64(g[i]) - float64(w[i])); !(d <= worst) {
			worst, at = d, i
		}
	}
	if !(worst <= tolerance*size) || size == 0 {
		t.Errorf("%s: %g, want %g at %d: %g of the largest, allowed %g", what, g[at], w[at], at, worst/size, tolerance)
	}
}

// both runs a test in float32 and bfloat16.
func both(t *testing.T, f func(t *testing.T, dtype DType)) {
	for _, dtype := range []DType{Float32, BFloat16} {
		t.Run(dtype.String(), func(t *testing.T) { f(t, dtype) })
	}
}

const testEps = 1e-6

// Rows of 5 and 70 numbers have no whole number of vectors, and 130 rows are more than one block of sums.
func TestFusedNorm(t *testing.T) {
	both(t, func(t *testing.T, dtype DType) {
		for _, shape := range [][]int64{{130, 70}, {3, 5}, {1, 64}} {
			against(t, dtype, func(o *operands) (func() Tensor, func() Tensor) {
				x, x64 := o.make(dtype, 3, shape...)
				w, w64 := o.make(dtype, 0.5, shape[1])
				return func() Tensor { return o.s.RMSNorm(x, w, testEps) }, func() Tensor { return o.s.RMSNorm(x64, w64, testEps) }
			})
			against(t, dtype, func(o *operands) (func() Tensor, func() Tensor) {
				x, x64 := o.make(dtype, 3, shape...)
				w, w64 := o.make(Float32, 0.5, shape[1]) // a trained weight stays float32
				r, r64 := o.make(dtype, 1, shape...)
				return func() Tensor { return o.s.AddRMSNorm(r, x, w, testEps) }, func() Tensor { return o.s.AddRMSNorm(r64, x64, w64, testEps) }
			})
		}
	})
}

func TestFusedRotation(t *testing.T) {
	both(t, func(t *testing.T, dtype DType) {
		const n, heads, e = 37, 3, 10
		for _, normed := range []bool{false, true} {
			against(t, dtype, func(o *operands) (func() Tensor, func() Tensor) {
				x, x64 := o.make(dtype, 2, n, heads, e)
				tables := func(shift float64) (Tensor, Tensor) {
					v := make([]float32, n*e)
					for i := range v {
						v[i] = float32(math.Sin(shift + float64(i/e)*math.Pow(1.7, -float64(i%e%(e/2)))))
					}
					table := o.s.Cast(o.s.Float32s(v, n, 1, e), dtype)
					return table, o.s.Cast(table, Float64)
				}
				cos, cos64 := tables(math.Pi / 2)
				sin, sin64 := tables(0)
				if !normed {
					return func() Tensor { return o.s.Rotate(x, cos, sin) }, func() Tensor { return o.s.Rotate(x64, cos64, sin64) }
				}
				w, w64 := o.make(dtype, 0.5, e)
				return func() Tensor { return o.s.RMSNormRotate(x, w, cos, sin, testEps) },
					func() Tensor { return o.s.RMSNormRotate(x64, w64, cos64, sin64, testEps) }
			})
		}
	})
}

func TestFusedGatedGELU(t *testing.T) {
	both(t, func(t *testing.T, dtype DType) {
		for _, shape := range [][]int64{{1, 1}, {7, 333}} { // the latter is more than one piece
			against(t, dtype, func(o *operands) (func() Tensor, func() Tensor) {
				gate, gate64 := o.make(dtype, 4, shape...)
				up, up64 := o.make(dtype, 2, shape...)
				return func() Tensor { return o.s.GatedGELU(gate, up) }, func() Tensor { return o.s.GatedGELU(gate64, up64) }
			})
		}
	})
}

func TestFlatAttention(t *testing.T) {
	both(t, func(t *testing.T, dtype DType) {
		const heads, e = 4, 6
		starts := []int64{0, 9, 10, 31}
		n := starts[len(starts)-1] + 2 // two rows belong to no sequence
		for _, kv := range []int64{1, 2, 4} {
			for _, window := range []int64{0, 5} {
				for _, softCap := range []float64{0, 1.5} {
					against(t, dtype, func(o *operands) (func() Tensor, func() Tensor) {
						q, q64 := o.make(dtype, 1, n, heads, e)
						k, k64 := o.make(dtype, 1, n, kv, e)
						v, v64 := o.make(dtype, 1, n, kv, e)
						kernel := func() Tensor {
							out, ok := o.s.FlatAttention(q, k, v, starts, 24, window, 0.4, softCap)
							if !ok {
								t.Fatal("no kernel on the cpu")
							}
							return out
						}
						return kernel, func() Tensor { // each sequence by itself
							var parts []Tensor
							for b := range len(starts) - 1 {
								length := starts[b+1] - starts[b]
								rows := func(x Tensor) Tensor {
									return o.s.Transpose(o.s.View(o.s.Narrow(x, 0, starts[b], length), 1, length, x.Dim(1), e), 1, 2)
								}
								out := o.s.Attention(rows(q64), rows(k64), rows(v64), o.s.CausalMask(length, length, window, CPU), 0.4, softCap)
								parts = append(parts, o.s.View(o.s.Transpose(out, 1, 2), length, heads*e))
							}
							parts = append(parts, o.s.Cast(o.s.Zeros(Float32, CPU, 2, heads*e), Float64))
							return o.s.Cat(0, parts...)
						}
					})
				}
			}
		}
	})
}

// TestFlatAttentionOfLongSequences: beyond 512 tokens the weights are computed again in the backward pass.
func TestFlatAttentionOfLongSequences(t *testing.T) {
	for _, softCap := range []float64{0, 1.5} {
		against(t, Float32, func(o *operands) (func() Tensor, func() Tensor) {
			const n, heads, e, window = 520, 2, 4, 100
			q, q64 := o.make(Float32, 1, n, heads, e)
			k, k64 := o.make(Float32, 1, n, 1, e)
			v, v64 := o.make(Float32, 1, n, 1, e)
			line := func(x Tensor) Tensor { return o.s.Transpose(o.s.View(x, 1, n, x.Dim(1), e), 1, 2) }
			return func() Tensor {
					out, _ := o.s.FlatAttention(q, k, v, []int64{0, n}, n, window, 0.4, softCap)
					return out
				}, func() Tensor {
					out := o.s.Attention(line(q64), line(k64), line(v64), o.s.CausalMask(n, n, window, CPU), 0.4, softCap)
					return o.s.View(o.s.Transpose(out, 1, 2), n, heads*e)
				}
		})
	}
}

// TestAdapted: three layers of one input, ranks and scales of their own, in one flat buffer as an adapter has them, and
// with their A apart.
func TestAdapted(t *testing.T) {
	both(t, func(t *testing.T, dtype DType) {
		for _, together := range []bool{true, false} {
			for _, scales := range [][]float64{{2, 2, 2}, {0.5, 1, 3}} {
				inScope(t, func(s *Scope) error {
					const n, in = 19, 24
					outs, ranks := []int64{40, 8, 16}, []int64{4, 3, 6}
					o := &operands{s: s, r: rand.New(rand.NewPCG(3, 4))}
					x, x64 := o.make(dtype, 1, n, in)
					var shapes [][]int64
					for i := range ranks {
						if together {
							shapes = append(shapes, []int64{ranks[i], in})
						} else {
							shapes = append(shapes, []int64{ranks[i], in}, []int64{1})
						}
					}
					for i := range ranks {
						shapes = append(shapes, []int64{outs[i], ranks[i]})
					}
					flat := s.NewFlat(CPU, shapes)
					var layers []Adapted
					var wide [][3]Tensor
					for i := range ranks {
						at := i
						if !together {
							at = 2 * i
						}
						l := Adapted{A: flat.Leaves[at], B: flat.Leaves[len(shapes)-3+i], Scale: scales[i]}
						w, w64 := o.make(dtype, 0.3, outs[i], in)
						a, a64 := o.make(Float32, 0.3, ranks[i], in)
						b, b64 := o.make(Float32, 0.3, outs[i], ranks[i])
						l.W = s.Detach(w)
						s.Copy(l.A, a)
						s.Copy(l.B, b)
						layers, wide = append(layers, l), append(wide, [3]Tensor{w64, a64, b64})
					}
					var got, want Tensor
					s.Grad(true, func() {
						got = s.Cat(1, s.Adapted(x, layers...)...)
						var parts []Tensor
						for i, l := range wide {
							update := s.Scale(s.Linear(s.Linear(x64, l[1]), l[2]), scales[i])
							parts = append(parts, s.Add(s.Linear(x64, l[0]), update))
						}
						want = s.Cat(1, parts...)
					})
					g := make([]float32, got.Len())
					for i := range g {
						g[i] = float32(o.r.NormFloat64())
					}
					gradient := s.Cast(s.Float32s(g, got.Shape()...), dtype)
					for range 2 { // gradients are added to what is there
						s.Grad(true, func() { got = s.Cat(1, s.Adapted(x, layers...)...) })
						s.Backward(got, gradient)
					}
					s.Backward(want, s.Cast(gradient, Float64))
					tolerance := 2e-6
					if dtype == BFloat16 {
						tolerance = 1e-2 // the gradient of x is rounded once for each layer
					}
					near(t, s, "result", got, want, tolerance)
					near(t, s, "gradient of x", s.GradOf(x), s.Scale(s.GradOf(x64), 2), tolerance)
					for i, l := range layers {
						near(t, s, "gradient of A", s.GradOf(l.A), s.Scale(s.GradOf(wide[i][1]), 2), tolerance)
						near(t, s, "gradient of B", s.GradOf(l.B), s.Scale(s.GradOf(wide[i][2]), 2), tolerance)
					}
					return s.Err()
				})
			}
		}
	})
}

// TestAdaptedTrainsTheFirstLayer: an input that nothing is trained before still gives A and B their gradients.
func TestAdaptedTrainsTheFirstLayer(t *testing.T) {
	inScope(t, func(s *Scope) error {
		flat := s.NewFlat(CPU, [][]int64{{1, 2}, {2, 1}})
		s.Copy(flat.Data, s.Float32s([]float32{1, 2, 3, 4}))
		x := s.Float32s([]float32{1, 1}, 1, 2)
		var y Tensor
		s.Grad(true, func() {
			y = s.Adapted(x, Adapted{W: s.Float32s([]float32{1, 0, 0, 1}, 2, 2), A: flat.Leaves[0], B: flat.Leaves[1], Scale: 2})[0]
		})
		s.Backward(y, s.Float32s([]float32{1, 1}, 1, 2))
		// A·x is 3: dB = 2·3 each, dA = 2·(3+4)·x.
		for i, want := range []float32{14, 14, 6, 6} {
			if got := s.ReadFloat32s(flat.Grad)[i]; got != want {
				t.Errorf("gradient %d is %g, want %g", i, got, want)
			}
		}
		return s.Err()
	})
}

// TestHeadLoss: the loss, its gradient and the head's own against float64, over more than one block of the vocabulary
// and rows that do not count.
func TestHeadLoss(t *testing.T) {
	both(t, func(t *testing.T, dtype DType) {
		const rows, real, d, v = 5, 4, 6, 33000
		for _, softCap := range []float64{0, 30} {
			inScope(t, func(s *Scope) error {
				o := &operands{s: s, r: rand.New(rand.NewPCG(5, 6))}
				hidden, _ := o.make(dtype, 3, rows, d)
				head, _ := o.make(dtype, 1.5, v, d)
				h, w := s.ReadFloat32s(s.Cast(s.Detach(hidden), Float32)), s.ReadFloat32s(s.Cast(s.Detach(head), Float32))
				labels := []int64{0, 77, v - 1, 8192, 3}
				sum, headGrad := s.Float32s([]float32{1.5}), s.Zeros(Float32, CPU, v, d)
				dh, ok := s.HeadLoss(sum, s.Detach(hidden), s.Detach(head), headGrad, s.Int64s(labels, rows, 1), real, softCap, true)
				if !ok {
					t.Fatal("no kernel on the cpu")
				}
				loss, wantH, wantHead := 1.5, make([]float32, rows*d), make([]float32, v*d)
				for row := range real {
					z, slope := make([]float64, v), make([]float64, v)
					top, total := math.Inf(-1), 0.0
					for j := range v {
						for k := range d {
							z[j] += float64(h[row*d+k]) * float64(w[j*d+k])
						}
						if dtype == BFloat16 { // as the product rounds it
							z[j] = float64(roundBFloat16(float32(z[j])))
						}
						slope[j] = 1
						if softCap > 0 {
							tanh := math.Tanh(z[j] / softCap)
							z[j], slope[j] = softCap*tanh, 1-tanh*tanh
						}
						top = max(top, z[j])
					}
					for j := range v {
						total += math.Exp(z[j] - top)
					}
					for j := range v {
						g := math.Exp(z[j]-top) / total
						if int64(j) == labels[row] {
							g--
							loss += math.Log(total) + top - z[j]
						}
						g *= slope[j]
						for k := range d {
							wantH[row*d+k] += float32(g * float64(w[j*d+k]))
							wantHead[j*d+k] += float32(g * float64(h[row*d+k]))
						}
					}
				}
				if got := float64(s.ReadFloat32(sum)); math.Abs(got-loss) > 2e-5*loss {
					t.Errorf("cap %g: loss %g, want %g", softCap, got, loss)
				}
				tolerance := 3e-5 // float32, sums of 33,000
				if dtype == BFloat16 {
					tolerance = 1e-2
				}
				near(t, s, "gradient of h", dh, s.Float32s(wantH, rows, d), tolerance)
				near(t, s, "gradient of the head", headGrad, s.Float32s(wantHead, v, d), tolerance)

				again := s.Float32s([]float32{1.5}) // without a gradient the blocks share their memory
				s.HeadLoss(again, s.Detach(hidden), s.Detach(head), Tensor{}, s.Int64s(labels, rows, 1), real, softCap, false)
				if got, want := s.ReadFloat32(again), s.ReadFloat32(sum); got != want {
					t.Errorf("cap %g: the loss alone is %g, with gradient %g", softCap, got, want)
				}
				return s.Err()
			})
		}
	})
}

func roundBFloat16(v float32) float32 {
	bits := math.Float32bits(v)
	return math.Float32frombits((bits + 0x7fff + bits>>16&1) &^ 0xffff)
}

// TestHeadLossOfNoNumber: a NaN or an infinity anywhere is a loss that is no number, which ends a run.
func TestHeadLossOfNoNumber(t *testing.T) {
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
		for _, at := range []int{0, 17, 1999} {
			inScope(t, func(s *Scope) error {
				head := make([]float32, 2*2000)
				head[2*at] = bad
				sum := s.Zeros(Float32, CPU, 1)
				s.HeadLoss(sum, s.Float32s([]float32{1, 1}, 1, 2), s.Float32s(head, 2000, 2), Tensor{}, s.Int64s([]int64{5}, 1, 1), 1, 0, true)
				if got := float64(s.ReadFloat32(sum)); !math.IsNaN(got) && !math.IsInf(got, 0) {
					t.Errorf("%g at %d: loss %g", bad, at, got)
				}
				return s.Err()
			})
		}
	}
}

// TestFusedKernelsDoNotDependOnThreads: one seed gives one result, however many threads there are.
func TestFusedKernelsDoNotDependOnThreads(t *testing.T) {
	before := Threads()
	defer SetThreads(before)
	run := func(threads int) (all []float32) {
		SetThreads(threads)
		inScope(t, func(s *Scope) error {
			o := &operands{s: s, r: rand.New(rand.NewPCG(7, 8))}
			x, _ := o.make(Float32, 1, 300, 512)
			w, _ := o.make(Float32, 1, 512)
			s.Grad(true, func() {
				y := s.GatedGELU(s.RMSNorm(x, w, testEps), s.AddRMSNorm(x, x, w, testEps))
				s.Backward(y, s.Detach(y))
			})
			all = append(s.ReadFloat32s(s.GradOf(x)), s.ReadFloat32s(s.GradOf(w))...)
			return s.Err()
		})
		return all
	}
	one, three := run(1), run(3)
	for i := range one {
		if one[i] != three[i] {
			t.Fatalf("number %d is %g with one thread, %g with three", i, one[i], three[i])
		}
	}
}
