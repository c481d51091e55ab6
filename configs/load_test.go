package configs_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tune/configs"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// TestPresets loads every YAML file that ships beside this package.
func TestPresets(t *testing.T) {
	found := 0
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "testdata":
			return fs.SkipDir
		case filepath.Ext(path) != ".yaml", path == "prices.yaml": // no run: TestShippedPrices
			return nil
		case strings.HasPrefix(path, "sweep-"): // TestSweepPresets
			return nil
		}
		found++
		cfg, err := configs.Load(path, nil)
		if err != nil {
			t.Error(err)
			return nil
		}
		if want := strings.TrimSuffix(filepath.Base(path), ".yaml"); cfg.Name != want {
			t.Errorf("%s: name: want the file's own, %q, got %q", path, want, cfg.Name)
		}
		for _, warning := range cfg.Warnings() {
			t.Errorf("%s: warns about itself: %s", path, warning)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 3 {
		t.Errorf("want at least bluey, bluey-original and pocket, got %d presets", found)
	}
}

// TestOriginalRecipe pins what was published, so that nobody tunes it by accident.
func TestOriginalRecipe(t *testing.T) {
	got, err := configs.Load("bluey-original.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := configs.Default()
	want.Name, want.Method, want.Model.DType = "bluey-original", "full", "float32"
	want.Model.Path = got.Model.Path
	want.Data = configs.Data{Train: got.Data.Train, Validation: got.Data.Validation, MaxLength: 512, LossOn: "all",
		Shuffle: true, PadToMaxLength: true}
	want.Train.NumTrainEpochs, want.Train.BatchSize, want.Train.LearningRate = 5, 4, 5e-5
	want.Train.WarmupSteps, want.Train.WeightDecay, want.Train.GradientCheckpointing = 10, 0.01, true
	want.Train.AutoCheckpointing = false
	want.Sample = got.Sample
	if diff := cmp.Diff(want, *got); diff != "" {
		t.Errorf("bluey-original.yaml (-published +shipped):\n%s", diff)
	}
}

// TestGood compares each testdata/*.good.yaml, resolved, with the golden file beside it.
func TestGood(t *testing.T) {
	for _, path := range glob(t, "testdata/*.good.yaml") {
		cfg, err := configs.Load(path, nil)
		if err != nil {
			t.Error(err)
			continue
		}
		resolved, err := cfg.YAML()
		if err != nil {
			t.Error(err)
			continue
		}
		golden(t, strings.TrimSuffix(path, ".yaml")+".golden", string(resolved))
	}
}

// TestBad compares the error of each testdata/*.bad.yaml with the golden file beside it.
func TestBad(t *testing.T) {
	for _, path := range glob(t, "testdata/*.bad.yaml") {
		_, err := configs.Load(path, nil)
		if err == nil {
			t.Errorf("%s: want an error, got none", path)
			continue
		}
		if !errors.Is(err, configs.ErrInvalid) {
			t.Errorf("%s: want ErrInvalid, got %v", path, err)
		}
		golden(t, strings.TrimSuffix(path, ".yaml")+".golden", filepath.ToSlash(err.Error())+"\n")
	}
}

func TestUnreadable(t *testing.T) {
	big := filepath.Join(t.TempDir(), "big.yaml")
	if err := os.WriteFile(big, make([]byte, 65<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, path, want string }{
		{"near another", "bluy.yaml", `bluy.yaml: no such file, did you mean "bluey.yaml"?`},
		{"alone", "testdata/nowhere/x.yaml", "testdata/nowhere/x.yaml: no such file"},
		{"folder", "testdata", "testdata: is a folder, want a YAML file"},
		{"empty path", "", "the path of the configuration is empty, no such file"},
		{"too large", big, big + ": larger than 64 KiB: is this a configuration?"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := configs.Load(tc.path, nil)
			if err == nil || err.Error() != tc.want {
				t.Errorf("want %q, got %v", tc.want, err)
			}
			if !errors.Is(err, configs.ErrInvalid) {
				t.Errorf("want ErrInvalid, got %v", err)
			}
			if gone := strings.Contains(tc.want, "no such file"); gone != errors.Is(err, fs.ErrNotExist) {
				t.Errorf("errors.Is(err, fs.ErrNotExist): want %v", gone)
			}
		})
	}
}

// glob fails the test when nothing matches, so that a moved folder cannot pass.
func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s matches nothing (%v)", pattern, err)
	}
	return paths
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	if diff := cmp.Diff(strings.ReplaceAll(string(want), "\r\n", "\n"), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// TestThreadsAreBoundedByTheMachine: a number that would hang it is refused, with what it has.
func TestThreadsAreBoundedByTheMachine(t *testing.T) {
	c := configs.Default()
	c.Model.Path, c.Data.Train, c.Threads = "model", "train.jsonl", configs.MaxThreads()
	if err := c.Validate(); err != nil {
		t.Errorf("%d threads: %v", c.Threads, err)
	}
	c.Threads = 100000
	want := fmt.Sprintf("threads: must be at most %d, got 100000: this machine has %d logical CPUs", 4*runtime.NumCPU(), runtime.NumCPU())
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
