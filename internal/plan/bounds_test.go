package plan

import (
	"os"
	"regexp"
	"strconv"
	"testing"
)

// TestBoundsAreTheKernels: the sizes that decide what kernels keep stand here again, as a plan needs no libtorch. Whoever
// changes one there has to change it here.
func TestBoundsAreTheKernels(t *testing.T) {
	for _, tc := range []struct {
		file, pattern string
		want          int64
	}{
		{"../torch/fused.cpp", `constexpr int64_t keptWidth = (\d+);`, keptWidth},
		{"../torch/fused.cpp", `constexpr int64_t cache = (\d+) << 20;`, fusedBytes >> 20},
		{"../torch/fused.cpp", `std::max<int64_t>\((\d+), cache / \(all`, 2048},
		{"../model/head.go", `const fusedRows = (\d+)`, fusedRows},
		{"../model/head.go", `const chunkBytes = (\d+) \* 262144 \* 4`, logitsBytes / 262144 / float},
	} {
		text, err := os.ReadFile(tc.file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(tc.pattern).FindSubmatch(text)
		if found == nil {
			t.Errorf("%s has no %s", tc.file, tc.pattern)
			continue
		}
		if got, _ := strconv.ParseInt(string(found[1]), 10, 64); got != tc.want {
			t.Errorf("%s: %s is %d there and %d here", tc.file, tc.pattern, got, tc.want)
		}
	}
}
