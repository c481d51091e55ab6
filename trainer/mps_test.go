package trainer

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tune/adapters"
	"tune/configs"
	"tune/datasets"
	"tune/internal/checkpoint"
	"tune/internal/golden"
	"tune/internal/model"
	"tune/internal/torch"
)

var update = flag.Bool("update", false, "write the golden files anew")

// mpsKernels reads how an Apple GPU runs each operator: by a kernel, or as other operators.
func mpsKernels(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile("testdata/mps_kernels.txt")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if name, kind, ok := strings.Cut(strings.TrimSpace(line), " "); ok && !strings.HasPrefix(line, "#") {
			kinds[name] = kind
		}
	}
	if len(kinds) < 1000 || kinds["mm"] != "kernel" || kinds["linalg_qr"] == "kernel" {
		t.Fatalf("testdata/mps_kernels.txt has %d operators", len(kinds))
	}
	return kinds
}

// TestMPSOperators: every operator that loading, training, an evaluation and a generation dispatch on an Apple GPU has a
// kernel there or is made of ones that have, by the table that ships with PyTorch 1.13.1; none is given float64. The CPU
// stands in, made to take the same path. A new operator has to be looked at: it shows in the golden file.
func TestMPSOperators(t *testing.T) {
	kinds := mpsKernels(t)
	stop := torch.Compose()
	defer stop()
	seen := map[string]map[string]bool{} // dtypes by operator
	ways := map[string]func(*configs.Train, *configs.LoRA, *model.Options){
		"LoRA": func(*configs.Train, *configs.LoRA, *model.Options) {},
		"several rates, scales": func(o *configs.Train, l *configs.LoRA, _ *model.Options) {
			l.LoRAPlusLRRatio, l.UseRSLoRA = 4, true
			l.AlphaPattern = configs.Pattern[float64]{{Key: "k_proj", Value: 3}}
		},
		"checkpointing, decay": func(o *configs.Train, _ *configs.LoRA, _ *model.Options) {
			o.GradientCheckpointing, o.WeightDecay = true, 0.1
		},
		"dropout, DoRA": func(_ *configs.Train, l *configs.LoRA, _ *model.Options) { l.Dropout, l.UseDoRA = 0.2, true },
		"int8":          func(_ *configs.Train, _ *configs.LoRA, m *model.Options) { m.QuantizeBits = 8 },
		"int4":          func(_ *configs.Train, _ *configs.LoRA, m *model.Options) { m.QuantizeBits = 4 },
		"full":          nil,
	}
	for _, dir := range golden.Cases(t, "gemma") {
		if filepath.Base(dir) == "gemma3_mm" { // the text model of a multimodal one is Gemma 3
			continue
		}
		batch := batchOf(golden.ForwardBatch(golden.Tensors(t, filepath.Join(dir, "forward.safetensors"))))
		for _, dtype := range []torch.DType{torch.Float32, torch.BFloat16} {
			for _, way := range slices.Sorted(maps.Keys(ways)) {
				for name, dtypes := range operatorsOf(t, filepath.Join(dir, "model"), dtype, ways[way], batch) {
					if seen[name] == nil {
						seen[name] = map[string]bool{}
					}
					for _, d := range dtypes {
						seen[name][d] = true
					}
				}
			}
		}
	}
	var table strings.Builder
	fmt.Fprintln(&table, "# Operators on the way to an Apple GPU, how it runs them, and what they are given. See TestMPSOperators.")
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		plain, ours := strings.CutPrefix(name, "aten::")
		kind := kinds[plain]
		switch {
		case name == "tune::quantise": // on the host, before a weight goes to its device
			continue
		case !ours:
			t.Errorf("%s is no operator of libtorch: it has no kernel for MPS", name)
		case kind == "":
			t.Errorf("%s has no kernel for MPS and is not made of others", name)
		case seen[name]["Double"]:
			t.Errorf("%s is given float64, which an Apple GPU has not", name)
		}
		fmt.Fprintf(&table, "%-44s %-10s %s\n", name, kind, strings.Join(slices.Sorted(maps.Keys(seen[name])), " "))
	}
	const path = "testdata/mps_operators.golden"
	if *update {
		if err := os.WriteFile(path, []byte(table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(torch.Version(), "1.13") {
		t.Skipf("libtorch %s has other operators than the golden file's 1.13: their kernels were looked at above", torch.Version())
	}
	if diff := cmp.Diff(string(want), table.String()); diff != "" {
		t.Errorf("%s (-was +is; -update writes it anew):\n%s", path, diff)
	}
}

// operatorsOf returns the operators of a small run with everything in it, and the dtypes that each was given.
func operatorsOf(t *testing.T, dir string, dtype torch.DType, way func(*configs.Train, *configs.LoRA, *model.Options), batch datasets.Batch) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := torch.Run(func(s *torch.Scope) error {
		recording, err := torch.RecordTypes()
		if err != nil {
			return err
		}
		defer func() {
			for _, o := range recording.Stop() {
				words := strings.Fields(o.Name)
				found[words[0]] = append(found[words[0]], words[1:]...)
			}
		}()
		train := options()
		train.MaxSteps, train.EvalSteps = 2, 1
		lora := configs.LoRA{Rank: 4, Alpha: 8, TargetModules: checkpoint.LinearModules()}
		load := model.Options{DType: dtype, Device: torch.CPU}
		if way != nil {
			way(&train, &lora, &load)
		}
		m, err := model.Load(s, dir, load)
		if err != nil {
			return err
		}
		m.Bucket = model.Bucket(torch.MPS, dtype)
		var adapter *adapters.Adapter
		if way != nil {
			if adapter, err = adapters.New(s, m, lora, 1); err != nil {
				return err
			}
		}
		short := rows(6)
		if _, err := Run(t.Context(), s, Job{Model: m, Adapter: adapter, Options: train, Seed: 1, Recorder: &memoryRecorder{}, Now: time.Now,
			Train: datasets.NewBatcher(short, datasets.BatchOptions{BatchSize: 3}), Validation: []datasets.Batch{batch}}); err != nil {
			return err
		}
		// Past the sliding window, so that the cache turns over.
		_, err = m.Generate(t.Context(), s, []int64{2, 5, 6, 7}, model.GenerateOptions{MaxNewTokens: 24, Temperature: 0.8, Seed: 1, TopK: 20, TopP: 0.9},
			func(int64) bool { return true })
		return errors.Join(err, s.Err())
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestFellBack, in libtorch's words.
func TestFellBack(t *testing.T) {
	const words = "The operator 'aten::lerp_.Scalar_out' is not currently supported on the MPS backend and will fall back to run on the CPU. " +
		"This may have performance implications. (function operator())"
	if got := fellBack(words); got != "aten::lerp_.Scalar_out" {
		t.Errorf("got %q", got)
	}
	if got := fellBack("aten::x is deprecated"); got != "" {
		t.Errorf("another warning: %q", got)
	}
}
