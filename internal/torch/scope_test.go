package torch

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// inScope runs tensor work and fails the test with its error.
func inScope(t testing.TB, f func(s *Scope) error) {
	t.Helper()
	if err := Run(f); err != nil {
		t.Fatal(err)
	}
}

// step is a small forward and backward pass, with everything a training step makes.
func step(s *Scope, w Tensor) error {
	return s.Nest(func(s *Scope) error {
		x := s.Float32s([]float32{1, 2, 3, 4, 5, 6}, 3, 2)
		s.Grad(true, func() {
			h := s.Local(func(s *Scope) Tensor { return s.GELU(s.Linear(x, w)) })
			s.Backward(s.Sum(s.Square(h)), Tensor{})
		})
		return s.Err()
	})
}

func TestNoTensorOutlivesItsScope(t *testing.T) {
	before := Live()
	var warm int64
	inScope(t, func(s *Scope) error {
		flat := s.NewFlat(CPU, [][]int64{{64, 2}})
		if err := s.Err(); err != nil {
			return err
		}
		inUse := Live()
		for i := range 10_000 {
			if err := step(s, flat.Leaves[0]); err != nil {
				return err
			}
			if got := Live(); got != inUse {
				return fmt.Errorf("step %d: %d tensors live, %d before it", i, got, inUse)
			}
			if i == 1000 { // allocators and caches have settled
				warm = ProcessMemory().Now
			}
		}
		return nil
	})
	if got := Live(); got != before {
		t.Errorf("%d tensors live after the run, %d before", got, before)
	}
	// 9,000 steps that each lost one tensor of the step, 3 x 64 floats, would show as 7 MB.
	if grown := ProcessMemory().Now - warm; grown > 4<<20 {
		t.Errorf("resident memory grew by %d bytes in 9,000 steps", grown)
	}
}

func TestKeep(t *testing.T) {
	before := Live()
	var kept Tensor
	inScope(t, func(s *Scope) error {
		err := s.Nest(func(inner *Scope) error {
			kept = inner.Keep(inner.Float32s([]float32{1, 2}))
			inner.Float32s([]float32{3})
			return nil
		})
		if got := s.ReadFloat32s(kept); !slices.Equal(got, []float32{1, 2}) {
			t.Errorf("kept out of the nested scope: %v", got)
		}
		s.Keep(kept) // and out of the run
		return err
	})
	if got := Live(); got != before+1 {
		t.Errorf("%d tensors live, want the kept one and the %d before", got, before)
	}
	inScope(t, func(s *Scope) error { // another run may use it
		if got := s.ReadFloat32s(s.Scale(kept, 2)); !slices.Equal(got, []float32{2, 4}) {
			t.Errorf("in another run: %v", got)
		}
		return s.Err()
	})
	kept.Free()
	if got := Live(); got != before {
		t.Errorf("%d tensors live after Free, want %d", got, before)
	}
}

func TestLocalKeepsOnlyItsResult(t *testing.T) {
	inScope(t, func(s *Scope) error {
		x := s.Float32s([]float32{1, 2, 3})
		before := Live()
		y := s.Local(func(s *Scope) Tensor { return s.Square(s.AddScalar(s.Scale(x, 2), 1)) })
		if got := Live() - before; got != 1 {
			t.Errorf("Local left %d tensors, want 1", got)
		}
		if got := s.ReadFloat32s(y); !slices.Equal(got, []float32{9, 25, 49}) {
			t.Errorf("got %v", got)
		}
		// A result that an outer scope owns already stays there.
		if z := s.Local(func(*Scope) Tensor { return x }); z != x || !slices.Equal(s.ReadFloat32s(x), []float32{1, 2, 3}) {
			t.Error("Local took over a tensor of the outer scope")
		}
		return s.Err()
	})
}

func TestFirstErrorIsKept(t *testing.T) {
	inner := errors.New("what f made of it")
	err := Run(func(s *Scope) error {
		x := s.Float32s([]float32{1, 2, 3, 4, 5, 6}, 2, 3)
		y := s.MatMul(x, x) // (2, 3) by (2, 3)
		if y.Defined() {
			t.Error("a failed operator returned a tensor")
		}
		z := s.Add(s.GELU(y), x)
		if z.Defined() || s.ReadFloat32s(z) != nil {
			t.Error("an operator ran after the error")
		}
		return inner
	})
	var op *OpError
	if !errors.As(err, &op) || op.Op != "matmul" {
		t.Fatalf("got %v, want the matmul's error", err)
	}
	if !slices.Equal(op.Shapes[0], []int64{2, 3}) || !strings.Contains(op.Message, "cannot be multiplied") || strings.Contains(op.Message, "\n") {
		t.Errorf("got %v: want the shapes and one line", err)
	}
	if errors.Is(err, ErrOutOfMemory) {
		t.Error("a wrong shape counts as out of memory")
	}
	inScope(t, func(s *Scope) error { return s.Err() }) // the next run starts clean
}

func TestErrorsArriveWhereTheyAreCaused(t *testing.T) {
	var wait sync.WaitGroup
	for g := range 16 {
		wait.Go(func() {
			for i := range 50 {
				rows := int64(g + 2)
				bad := (g+i)%2 == 0
				err := Run(func(s *Scope) error {
					x := s.Zeros(Float32, CPU, rows, 7)
					runtime.Gosched()
					if bad {
						s.Linear(x, s.Zeros(Float32, CPU, 3, rows+7))
					} else {
						s.Linear(x, s.Zeros(Float32, CPU, 3, 7))
					}
					return s.Err()
				})
				var op *OpError
				switch {
				case !bad && err != nil:
					t.Errorf("goroutine %d: %v, want no error", g, err)
				case bad && (!errors.As(err, &op) || op.Op != "linear" || op.Shapes[0][0] != rows || op.Shapes[1][1] != rows+7):
					t.Errorf("goroutine %d: got %v, want linear's error with %d rows", g, err, rows)
				}
			}
		})
	}
	wait.Wait()
}

func TestNoExceptionEscapes(t *testing.T) {
	for kind, want := range []string{"thrown on purpose", "bad_alloc", "unknown C++ exception"} {
		err := Run(func(s *Scope) error {
			throw(kind)
			s.fail("throw")
			return s.Err()
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("kind %d: got %v, want %q", kind, err, want)
		}
		if errors.Is(err, ErrOutOfMemory) != (want == "bad_alloc") {
			t.Errorf("kind %d: out of memory is %v", kind, errors.Is(err, ErrOutOfMemory))
		}
	}
}

func TestOutOfMemoryIsAnErrorOfItsOwn(t *testing.T) {
	err := Run(func(s *Scope) error {
		s.Empty(Float32, CPU, 1<<40, 1<<10) // 4 PiB
		return s.Err()
	})
	if !errors.Is(err, ErrOutOfMemory) {
		t.Errorf("got %v, want ErrOutOfMemory", err)
	}
}

func TestZeroTensorIsAnError(t *testing.T) {
	err := Run(func(s *Scope) error {
		s.Add(Tensor{}, s.Float32s([]float32{1}))
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "add") {
		t.Errorf("got %v, want add's error", err)
	}
}

func TestGradModeIsRestored(t *testing.T) {
	inScope(t, func(s *Scope) error {
		w := s.Leaf(s.Float32s([]float32{3}))
		recorded := func() bool { return s.Square(w).RequiresGrad() }
		if recorded() {
			t.Error("a run starts with gradients on")
		}
		s.Grad(true, func() {
			if !recorded() {
				t.Error("gradients are off inside Grad(true)")
			}
			s.Grad(false, func() {
				if recorded() {
					t.Error("gradients are on inside Grad(false)")
				}
			})
			if !recorded() {
				t.Error("the inner mode outlived its function")
			}
		})
		func() {
			defer func() { _ = recover() }()
			s.Grad(true, func() { panic("in the middle") })
		}()
		if recorded() {
			t.Error("a panic left gradients on")
		}
		return s.Err()
	})
}

func TestSeedAndGeneratorState(t *testing.T) {
	inScope(t, func(s *Scope) error {
		ones := s.AddScalar(s.Zeros(Float32, CPU, 1000), 1)
		draw := func() []float32 { return s.ReadFloat32s(s.Dropout(ones, 0.5)) }
		Seed(7)
		first, state := draw(), s.GeneratorState(CPU)
		second := draw()
		s.SetGeneratorState(CPU, state)
		if !slices.Equal(draw(), second) {
			t.Error("the restored state draws other numbers")
		}
		Seed(7)
		if !slices.Equal(draw(), first) {
			t.Error("the same seed draws other numbers")
		}
		if slices.Equal(first, second) {
			t.Error("two draws are equal")
		}
		return s.Err()
	})
}

func TestWarningsAreCollected(t *testing.T) {
	Warnings()
	inScope(t, func(s *Scope) error {
		warn("look here", false)
		return nil
	})
	if got := Warnings(); len(got) != 1 || !strings.Contains(got[0], "look here") {
		t.Errorf("got %q, want the one warning", got)
	}
	if got := Warnings(); len(got) != 0 {
		t.Errorf("taken twice: %q", got)
	}
}

// TestEveryFallbackIsTold: libtorch names the first operator that falls back from MPS to the CPU and no other, where it is not
// asked for more.
func TestEveryFallbackIsTold(t *testing.T) {
	Warnings()
	t.Setenv("PYTORCH_ENABLE_MPS_FALLBACK", "1")
	inScope(t, func(s *Scope) error {
		for _, text := range []string{"first operator", "second operator", "first operator"} {
			warn(text, true)
		}
		return nil
	})
	if got := Warnings(); len(got) != 2 || !strings.Contains(got[0], "first") || !strings.Contains(got[1], "second") {
		t.Errorf("got %q, want each of the two once", got)
	}
	os.Unsetenv("PYTORCH_ENABLE_MPS_FALLBACK") // as before the test, to which Setenv returns
	inScope(t, func(s *Scope) error {
		warn("third operator", true)
		warn("fourth operator", true)
		return nil
	})
	if got := Warnings(); len(got) > 1 {
		t.Errorf("without fallback: %q, want what libtorch says by itself", got)
	}
}

func TestParseDevice(t *testing.T) {
	present := Devices()
	if present[len(present)-1] != CPU {
		t.Fatalf("devices %v: want the cpu, last", present)
	}
	if d, err := ParseDevice("auto"); err != nil || d != present[0] {
		t.Errorf("auto is %v (%v), want %v", d, err, present[0])
	}
	for _, d := range []Device{MPS, CUDA, CPU} {
		got, err := ParseDevice(d.String())
		if slices.Contains(present, d) {
			if err != nil || got != d {
				t.Errorf("%v: got %v, %v", d, got, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), "cpu") {
			t.Errorf("%v is absent: got %v, want an error that names what is present", d, err)
		}
	}
	if _, err := ParseDevice("gpu"); err == nil || !strings.Contains(err.Error(), `unknown device "gpu"`) {
		t.Errorf("gpu: got %v", err)
	}
}

// TestPeakIsOnesOwn: a process that a large one started has not been large itself.
func TestPeakIsOnesOwn(t *testing.T) {
	const asked = "TUNE_TEST_PRINT_PEAK"
	if os.Getenv(asked) != "" {
		fmt.Printf("peak %d\n", ProcessMemory().Peak)
		return
	}
	large := make([]byte, 1<<30)
	for i := 0; i < len(large); i += 4096 {
		large[i] = 1
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestPeakIsOnesOwn$")
	cmd.Env = append(os.Environ(), asked+"=1")
	out, err := cmd.Output()
	runtime.KeepAlive(large)
	var peak int64
	if _, scanned := fmt.Sscanf(string(out), "peak %d", &peak); err != nil || scanned != nil {
		t.Fatalf("%v, %v: %s", err, scanned, out)
	}
	if peak <= 0 || peak >= 1<<30 {
		t.Errorf("the peak of a process that did nothing is %d bytes", peak)
	}
}

func TestProcessMemoryCounts(t *testing.T) {
	const size = 64 << 20
	before := ProcessMemory()
	if before.Now <= 0 || before.Peak < before.Now/2 {
		t.Fatalf("memory %+v", before)
	}
	// Not a tensor: the pool may have its pages from an earlier one.
	block := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		block[i] = 1
	}
	after := ProcessMemory()
	if grown := after.Now - before.Now; grown < size*9/10 {
		t.Errorf("a block of %d bytes grew memory by %d", size, grown)
	}
	if after.Peak < before.Now+size*9/10 {
		t.Errorf("peak %d after a block of %d on top of %d", after.Peak, size, before.Now)
	}
	runtime.KeepAlive(block)
}

// TestPoolCountsTensors: to the byte but for rounding, and what is freed serves the next tensor.
func TestPoolCountsTensors(t *testing.T) {
	inScope(t, func(s *Scope) error {
		const size = 1 << 20
		start, _ := CPU.DeviceMemory()
		x := s.Zeros(Float32, CPU, size/4)
		held, _ := CPU.DeviceMemory()
		if got := held.Now - start.Now; got != size {
			t.Errorf("a tensor of %d bytes counts %d", size, got)
		}
		s.Drop(x)
		freed, _ := CPU.DeviceMemory()
		if freed.Now != start.Now || freed.Peak < held.Now {
			t.Errorf("freed, %d bytes are in tensors, %d before; the peak is %d", freed.Now, start.Now, freed.Peak)
		}
		for range 100 {
			s.Drop(s.Zeros(Float32, CPU, size/4))
		}
		if again, _ := CPU.DeviceMemory(); again.Peak != freed.Peak {
			t.Errorf("one tensor after the other moved the peak from %d to %d", freed.Peak, again.Peak)
		}
		return s.Err()
	})
}

func TestThreads(t *testing.T) {
	before := Threads()
	defer SetThreads(before)
	SetThreads(1)
	if got := Threads(); got != 1 {
		t.Errorf("%d threads, want 1", got)
	}
}

func TestFlatUpdateIsAdamW(t *testing.T) {
	inScope(t, func(s *Scope) error {
		flat := s.NewFlat(CPU, [][]int64{{2}, {1, 3}})
		start := []float32{1, -2, 3, 0.5, -0.25}
		s.Copy(flat.Leaves[0], s.Float32s(start[:2]))
		s.Copy(flat.Leaves[1], s.Float32s(start[2:], 1, 3))
		o := AdamW{LR: 0.1, Beta1: 0.9, Beta2: 0.99, Epsilon: 1e-8, WeightDecay: 0.01}

		p, m, v := make([]float64, 5), make([]float64, 5), make([]float64, 5)
		for i := range p {
			p[i] = float64(start[i])
		}
		for step := 1; step <= 3; step++ {
			s.Zero(flat.Grad)
			s.Grad(true, func() { // gradient of Σ x² over both leaves is 2x
				sum := s.Add(s.Sum(s.Square(flat.Leaves[0])), s.Sum(s.Square(flat.Leaves[1])))
				s.Backward(sum, Tensor{})
			})
			flat.Update(s, o)
			for i := range p { // the paper's algorithm, in float64
				g := 2 * p[i]
				m[i] = o.Beta1*m[i] + (1-o.Beta1)*g
				v[i] = o.Beta2*v[i] + (1-o.Beta2)*g*g
				mHat, vHat := m[i]/(1-math.Pow(o.Beta1, float64(step))), v[i]/(1-math.Pow(o.Beta2, float64(step)))
				p[i] -= o.LR*o.WeightDecay*p[i] + o.LR*mHat/(math.Sqrt(vHat)+o.Epsilon)
			}
			for i, got := range s.ReadFloat32s(flat.Data) {
				if math.Abs(float64(got)-p[i]) > 1e-6 { // float32, values of order 1
					t.Errorf("step %d: parameter %d is %g, want %g", step, i, got, p[i])
				}
			}
		}
		return s.Err()
	})
}

func TestAttentionMatchesItsFormula(t *testing.T) {
	inScope(t, func(s *Scope) error {
		fill := func(n int64, shape ...int64) Tensor {
			v := make([]float32, n)
			for i := range v {
				v[i] = float32(math.Sin(float64(i)*0.7 + float64(n)))
			}
			return s.Float32s(v, shape...)
		}
		q, k, v := fill(2*4*5*8, 2, 4, 5, 8), fill(2*2*5*8, 2, 2, 5, 8), fill(2*2*5*8+0, 2, 2, 5, 8)
		mask := s.CausalMask(5, 5, 3, CPU)
		qs, ks, vs := s.ReadFloat32s(q), s.ReadFloat32s(k), s.ReadFloat32s(v)
		for _, softCap := range []float64{0, 1.5} { // without one libtorch's own kernel is used where there is one
			got := s.ReadFloat32s(s.Attention(q, k, v, mask, 0.3, softCap))
			for b := range 2 {
				for h := range 4 {
					for i := range 5 {
						var weights [5]float64
						total := 0.0
						for j := max(0, i-2); j <= i; j++ { // a window of 3 sees itself and 2 before
							dot := 0.0
							for e := range 8 {
								dot += float64(qs[((b*4+h)*5+i)*8+e]) * float64(ks[((b*2+h/2)*5+j)*8+e])
							}
							score := 0.3 * dot
							if softCap > 0 {
								score = softCap * math.Tanh(score/softCap)
							}
							weights[j] = math.Exp(score)
							total += weights[j]
						}
						for e := range 8 {
							want := 0.0
							for j := range 5 {
								want += weights[j] / total * float64(vs[((b*2+h/2)*5+j)*8+e])
							}
							if g := got[((b*4+h)*5+i)*8+e]; math.Abs(float64(g)-want) > 1e-5 { // float32, sums of 8
								t.Fatalf("cap %g, (%d, %d, %d, %d): got %g, want %g", softCap, b, h, i, e, g, want)
							}
						}
					}
				}
			}
		}
		return s.Err()
	})
}

func BenchmarkOperator(b *testing.B) {
	inScope(b, func(s *Scope) error {
		x := s.Float32s([]float32{1, 2, 3, 4})
		for b.Loop() {
			err := s.Nest(func(s *Scope) error {
				for range 100 {
					s.Add(x, x)
				}
				return s.Err()
			})
			if err != nil {
				return err
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/operator")
		return nil
	})
}
