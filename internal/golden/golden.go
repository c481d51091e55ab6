// Package golden reads the reference vectors that tests compare with. Their layout and the tolerances are
// described in testdata/golden/README.md.
package golden

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"tune/internal/safetensors"
)

// Dir returns the folder of the reference vectors: $TUNE_GOLDEN, or the project's own copy.
func Dir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("TUNE_GOLDEN"); dir != "" {
		return dir
	}
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("golden: cannot find the source folder")
	}
	return filepath.Join(filepath.Dir(file), "..", "..", "testdata", "golden")
}

// Cases returns the folders of the reference models whose name starts with prefix, such as gemma3. It fails
// the test when there is none: a golden test that compares nothing would hide a broken copy.
func Cases(t testing.TB, prefix string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(Dir(t), prefix+"*", "case.json"))
	if err != nil || len(all) == 0 {
		t.Fatalf("golden: no case %s*/case.json in %s", prefix, Dir(t))
	}
	for i := range all {
		all[i] = filepath.Dir(all[i])
	}
	return all
}

// Tensor is a reference tensor; Floats or Ints is set.
type Tensor struct {
	Shape  []int64
	Floats []float32
	Ints   []int64
}

// Row returns row i of an integer tensor's first dimension.
func (t Tensor) Row(i int) []int64 {
	width := len(t.Ints) / int(t.Shape[0])
	return t.Ints[i*width : (i+1)*width]
}

// Tensors reads a whole safetensors file.
func Tensors(t testing.TB, path string) map[string]Tensor {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string]Tensor{}
	for _, name := range f.Names() {
		info, _ := f.Info(name)
		b, _ := f.Bytes(name)
		out := Tensor{Shape: info.Shape}
		switch info.DType {
		case safetensors.I64:
			for ; len(b) > 0; b = b[8:] {
				out.Ints = append(out.Ints, int64(binary.LittleEndian.Uint64(b)))
			}
		case safetensors.F32:
			for ; len(b) > 0; b = b[4:] {
				out.Floats = append(out.Floats, math.Float32frombits(binary.LittleEndian.Uint32(b)))
			}
		case safetensors.BF16:
			out.Floats = make([]float32, len(b)/2)
			safetensors.BF16ToF32(out.Floats, b)
		default:
			t.Fatalf("%s: tensor %s has dtype %s", path, name, info.DType)
		}
		all[name] = out
	}
	return all
}

// JSON reads a file into v.
func JSON(t testing.TB, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// Near fails the test when two tensors differ by more than tolerance anywhere, and says where most.
func Near(t testing.TB, what string, got, want []float32, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	worst, at := 0.0, 0
	for i := range got {
		d := math.Abs(float64(got[i]) - float64(want[i]))
		if math.IsNaN(d) {
			t.Fatalf("%s: got %g at %d, want %g", what, got[i], i, want[i])
		}
		if d > worst {
			worst, at = d, i
		}
	}
	if worst > tolerance {
		t.Errorf("%s: differs by up to %.3g at %d: got %g, want %g (allowed %g)", what, worst, at, got[at], want[at], tolerance)
	}
}

// NearNorm fails the test when the 2-norm of the difference is more than tolerance times want's own.
func NearNorm(t testing.TB, what string, got, want []float32, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	var difference, size float64
	for i := range got {
		d := float64(got[i]) - float64(want[i])
		difference += d * d
		size += float64(want[i]) * float64(want[i])
	}
	if relative := math.Sqrt(difference / size); !(relative <= tolerance) {
		t.Errorf("%s: relative difference %.3g (allowed %g)", what, relative, tolerance)
	}
}

// Batch is a reference batch as the model's flat input: rows without their padding, and the target that
// follows each token.
type Batch struct {
	IDs, Positions, Targets []int64
	Starts                  []int
	Places                  []int // where each token stands in the padded (B, T) batch
}

// Flatten turns padded rows into a flat batch.
func Flatten(ids, mask, labels [][]int64) Batch {
	b := Batch{Starts: []int{0}}
	for r := range ids {
		for t := range ids[r] {
			if mask[r][t] == 0 {
				continue
			}
			target := int64(-100)
			if t+1 < len(ids[r]) && mask[r][t+1] != 0 {
				target = labels[r][t+1]
			}
			b.IDs = append(b.IDs, ids[r][t])
			b.Positions = append(b.Positions, int64(t))
			b.Targets = append(b.Targets, target)
			b.Places = append(b.Places, r*len(ids[r])+t)
		}
		b.Starts = append(b.Starts, len(b.IDs))
	}
	return b
}

// ForwardBatch is the batch of a forward.safetensors file.
func ForwardBatch(f map[string]Tensor) Batch {
	rows := func(name string) (all [][]int64) {
		for i := range int(f[name].Shape[0]) {
			all = append(all, f[name].Row(i))
		}
		return all
	}
	return Flatten(rows("input_ids"), rows("attention_mask"), rows("labels"))
}

// TrainBatch is one of the batches of a train folder's batches.safetensors, whose first dimension counts them.
func TrainBatch(f map[string]Tensor, index int) Batch {
	rows := func(name string) (all [][]int64) {
		batch, count := f[name].Row(index), int(f[name].Shape[1])
		width := len(batch) / count
		for i := range count {
			all = append(all, batch[i*width:(i+1)*width])
		}
		return all
	}
	return Flatten(rows("input_ids"), rows("attention_mask"), rows("labels"))
}

// At picks the rows of a padded (..., B·T, width) tensor that hold real tokens, in the order of the flat batch.
func (b Batch) At(padded []float32, width int) []float32 {
	var out []float32
	for _, place := range b.Places {
		out = append(out, padded[place*width:(place+1)*width]...)
	}
	return out
}

// TargetTokens counts the positions that are learned.
func (b Batch) TargetTokens() int {
	n := 0
	for _, id := range b.Targets {
		if id != -100 {
			n++
		}
	}
	return n
}
