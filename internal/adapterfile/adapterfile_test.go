package adapterfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tune/internal/checkpoint"
	"tune/internal/golden"
	"tune/internal/safetensors"
)

// goldenAdapters finds every folder that PEFT wrote beside the reference models.
func goldenAdapters(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(golden.Dir(t), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == configFile {
			all = append(all, filepath.Dir(path))
		}
		return err
	})
	if err != nil || len(all) < 12 {
		t.Fatalf("found %d adapters: %v", len(all), err)
	}
	return all
}

// TestGoldenAdaptersAreWrittenAsPEFTDid: what PEFT wrote comes back from ReadPEFT and WritePEFT with the same bytes in
// every tensor and the same value of every key.
func TestGoldenAdaptersAreWrittenAsPEFTDid(t *testing.T) {
	for _, from := range goldenAdapters(t) {
		a, err := Read(from)
		if err != nil {
			t.Error(err)
			continue
		}
		to := filepath.Join(t.TempDir(), "adapter")
		if err := a.WritePEFT(to, PEFTOptions{Multimodal: a.Multimodal}); err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(rawTensors(t, filepath.Join(from, peftWeights)), rawTensors(t, filepath.Join(to, peftWeights))); diff != "" {
			t.Errorf("%s: tensors (-PEFT +ours):\n%s", from, diff)
		}
		var want, got map[string]any
		golden.JSON(t, filepath.Join(from, configFile), &want)
		golden.JSON(t, filepath.Join(to, configFile), &got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s (-PEFT +ours):\n%s", from, configFile, diff)
		}
		again, err := Read(to)
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(a, again); diff != "" {
			t.Errorf("%s: (-read +read again):\n%s", from, diff)
		}
	}
}

// TestMultimodalNamesAreTheSameAdapter: the two folders differ in names only.
func TestMultimodalNamesAreTheSameAdapter(t *testing.T) {
	dir := filepath.Join(golden.Dir(t), "gemma3_mm")
	plain, err := Read(filepath.Join(dir, "adapter"))
	if err != nil {
		t.Fatal(err)
	}
	multimodal, err := Read(filepath.Join(dir, "adapter_multimodal_names"))
	if err != nil {
		t.Fatal(err)
	}
	if plain.Multimodal || !multimodal.Multimodal {
		t.Error("the class must show in Multimodal")
	}
	multimodal.Multimodal = false
	if diff := cmp.Diff(plain, multimodal); diff != "" {
		t.Errorf("(-text names +multimodal names):\n%s", diff)
	}
}

// rawTensors are a file's tensors as dtype, shape and bytes.
func rawTensors(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string]string{}
	for _, name := range f.Names() {
		info, _ := f.Info(name)
		b, _ := f.Bytes(name)
		all[name] = fmt.Sprintf("%s%v %x", info.DType, info.Shape, b)
	}
	return all
}

// drawAdapter makes an adapter of a small model: any modules of any layers, ranks and scales of their own.
func drawAdapter(t *rapid.T) *Adapter {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	numbers := func(n int) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = float32(r.NormFloat64())
		}
		return out
	}
	a := &Adapter{Base: "google/gemma-3-270m", Rank: rapid.IntRange(1, 5).Draw(t, "rank"),
		Alpha:   rapid.SampledFrom([]float64{1, 8, 12.5, 1. / 3}).Draw(t, "alpha"),
		Dropout: rapid.SampledFrom([]float64{0, 0.1}).Draw(t, "dropout"), UseRSLoRA: rapid.Bool().Draw(t, "rslora"),
		UseDoRA: rapid.Bool().Draw(t, "dora"), Multimodal: rapid.Bool().Draw(t, "multimodal")}
	layers := rapid.SliceOfNDistinct(rapid.IntRange(0, 11), 1, 3, rapid.ID[int]).Draw(t, "layers")
	modules := rapid.SliceOfNDistinct(rapid.SampledFrom(checkpoint.LinearModules()), 1, 3, rapid.ID[string]).Draw(t, "modules")
	varied := rapid.Bool().Draw(t, "varied")
	for i, layer := range layers {
		for j, module := range modules {
			if varied && i+j > 0 && rapid.Bool().Draw(t, "left out") {
				continue
			}
			m := Module{Name: checkpoint.LinearName(layer, module), Rank: a.Rank, In: 3, Out: 4}
			alpha := a.Alpha
			if varied {
				m.Rank = rapid.IntRange(1, 5).Draw(t, "its rank")
				alpha = rapid.SampledFrom([]float64{a.Alpha, 7, 0.3}).Draw(t, "its alpha")
			}
			m.Scale = Scale(alpha, m.Rank, a.UseRSLoRA)
			m.A, m.B = numbers(m.Rank*m.In), numbers(m.Out*m.Rank)
			if a.UseDoRA {
				m.Magnitude = numbers(m.Out)
			}
			a.Modules = append(a.Modules, m)
		}
	}
	a.finish()
	return a
}

// product returns Scale·B·A in float64: (out, in).
func product(m Module) []float64 {
	out := make([]float64, m.Out*m.In)
	for o := range m.Out {
		for i := range m.In {
			for r := range m.Rank {
				out[o*m.In+i] += m.Scale * float64(m.B[o*m.Rank+r]) * float64(m.A[r*m.In+i])
			}
		}
	}
	return out
}

// TestPEFTRoundTrip: whatever the ranks and scales, PEFT's files give the same numbers to the last bit.
func TestPEFTRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "adapter")
	rapid.Check(t, func(t *rapid.T) {
		a := drawAdapter(t)
		if err := a.WritePEFT(dir, PEFTOptions{Multimodal: a.Multimodal}); err != nil {
			t.Fatal(err)
		}
		got, err := Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		got.RankPattern, got.AlphaPattern, got.LayersToTransform = nil, nil, nil // the modules say it
		if diff := cmp.Diff(a, got); diff != "" {
			t.Fatalf("(-written +read):\n%s", diff)
		}
	})
}

// TestMLXRoundTrip: PEFT to MLX and back gives the same products: to the last bit where all modules have one scale,
// and to B's rounding elsewhere.
func TestMLXRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "adapter")
	rapid.Check(t, func(t *rapid.T) {
		a := drawAdapter(t)
		a.NumHiddenLayers = rapid.SampledFrom([]int{0, 12}).Draw(t, "layers of the base")
		if err := a.WriteMLX(dir); err != nil {
			t.Fatal(err)
		}
		got, err := Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got.Base != a.Base || got.UseDoRA != a.UseDoRA || got.Dropout != a.Dropout || got.Multimodal != a.Multimodal ||
			!slices.Equal(got.TargetModules, a.TargetModules) || len(got.Modules) != len(a.Modules) {
			t.Fatalf("settings came back as %+v", got)
		}
		one := true
		for _, m := range a.Modules {
			one = one && m.Scale == a.Modules[0].Scale
		}
		for i, m := range got.Modules {
			was := a.Modules[i]
			if m.Name != was.Name || !slices.Equal(m.Magnitude, was.Magnitude) {
				t.Fatalf("%s came back as %s", was.Name, m.Name)
			}
			want := product(was)
			for j, v := range product(m) {
				if one && v != want[j] || math.Abs(v-want[j]) > 1e-5 { // B's rounding, 6e-8 of numbers up to 40
					t.Fatalf("%s: product[%d] is %g, was %g", m.Name, j, v, want[j])
				}
			}
		}
	})
}

// TestMLXFiles looks at what mlx-lm would read, without ReadMLX.
func TestMLXFiles(t *testing.T) {
	a, err := Read(filepath.Join(golden.Dir(t), "gemma3", "rslora", "adapter"))
	if err != nil {
		t.Fatal(err)
	}
	a.Modules = slices.DeleteFunc(a.Modules, func(m Module) bool { layer, _, _ := place(m.Name); return layer < 2 })
	a.NumHiddenLayers, a.Multimodal = 6, true
	dir := filepath.Join(t.TempDir(), "mlx")
	if err := a.WriteMLX(dir); err != nil {
		t.Fatal(err)
	}
	var c struct {
		FineTuneType   string `json:"fine_tune_type"`
		NumLayers      int    `json:"num_layers"`
		LoRAParameters struct {
			Rank    int
			Scale   float64
			Dropout float64
			Keys    []string
		} `json:"lora_parameters"`
	}
	golden.JSON(t, filepath.Join(dir, configFile), &c)
	if c.FineTuneType != "lora" || c.NumLayers != 4 || c.LoRAParameters.Rank != a.Rank ||
		c.LoRAParameters.Scale != a.Alpha/math.Sqrt(float64(a.Rank)) || !slices.Contains(c.LoRAParameters.Keys, "self_attn.q_proj") {
		t.Errorf("settings %+v", c)
	}
	tensors := golden.Tensors(t, filepath.Join(dir, mlxWeights))
	for _, m := range a.Modules {
		loraA, loraB := tensors["language_model."+m.Name+".lora_a"], tensors["language_model."+m.Name+".lora_b"]
		if !slices.Equal(loraA.Shape, []int64{int64(m.In), int64(m.Rank)}) || !slices.Equal(loraB.Shape, []int64{int64(m.Rank), int64(m.Out)}) {
			t.Fatalf("%s: shapes %v and %v", m.Name, loraA.Shape, loraB.Shape)
		}
		x := make([]float64, m.In)
		for i := range x {
			x[i] = math.Sin(float64(i))
		}
		want := product(m)
		for o := range m.Out { // scale·(x·lora_a)·lora_b, as mlx_lm/tuner/lora.py has it
			var y, reference float64
			for r := range m.Rank {
				var low float64
				for i := range x {
					low += x[i] * float64(loraA.Floats[i*m.Rank+r])
				}
				y += c.LoRAParameters.Scale * low * float64(loraB.Floats[r*m.Out+o])
			}
			for i := range x {
				reference += x[i] * want[o*m.In+i]
			}
			if math.Abs(y-reference) > 1e-9 { // float64 sums in another order
				t.Fatalf("%s: output %d is %g, want %g", m.Name, o, y, reference)
			}
		}
	}
	if len(tensors) != 2*len(a.Modules) {
		t.Errorf("%d tensors for %d modules", len(tensors), len(a.Modules))
	}
}

// TestMatchPattern: PEFT's rule, re.match(r"(.*\.)?(key)$", name).
func TestMatchPattern(t *testing.T) {
	const name = "model.layers.1.self_attn.q_proj"
	for key, want := range map[string]bool{
		"q_proj": true, "proj": false, "self_attn.q_proj": true, "layers.1.self_attn.q_proj": true,
		"model.layers.1.self_attn.q_proj": true, "layers.11.self_attn.q_proj": false, "q_proj|v_proj": true,
		"v_proj|k_proj": false, `layers\.[0-3]\..*`: true, "ayers.1.self_attn.q_proj": false, "": false,
	} {
		got, err := MatchPattern(key, name)
		if err != nil || got != want {
			t.Errorf("%q: got %v (%v), want %v", key, got, err, want)
		}
	}
	if _, err := MatchPattern("(?=x)", name); err == nil || !strings.Contains(err.Error(), `"(?=x)" is no regular expression`) {
		t.Errorf("got %v", err)
	}
}

// TestTargetModulesNameTheTextModelOnly: PEFT takes a list by the ends of names and a text as a regular expression
// for the whole name, and the image tower has projections of the same names.
func TestTargetModulesNameTheTextModelOnly(t *testing.T) {
	const vision = "model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj"
	rapid.Check(t, func(t *rapid.T) {
		a := drawAdapter(t)
		for _, o := range []PEFTOptions{{}, {Multimodal: true}} {
			targets, layers := a.targets(o)
			adapted := func(name string, layer int) bool {
				if expression, ok := targets.(string); ok {
					return layers == nil && regexp.MustCompile("^(?:"+expression+")$").MatchString(name)
				}
				named := slices.ContainsFunc(targets.([]string), func(end string) bool {
					return name == end || strings.HasSuffix(name, "."+end)
				})
				return named && (layers == nil || slices.Contains(layers, layer))
			}
			want := map[string]bool{}
			for _, m := range a.Modules {
				want[m.Name] = true
			}
			for layer := range slices.Max(a.layers()) + 1 {
				for _, module := range checkpoint.LinearModules() {
					name := checkpoint.LinearName(layer, module)
					if got := adapted(o.name(name), layer); got != want[name] {
						t.Fatalf("%v, layers %v: %s is adapted: %v, want %v", targets, layers, o.name(name), got, want[name])
					}
				}
			}
			if o.Multimodal && adapted(vision, 0) {
				t.Fatalf("%v: adapts the image tower", targets)
			}
		}
	})
}

func TestHalfToFloat(t *testing.T) {
	for bits, want := range map[uint16]float32{0: 0, 0x3c00: 1, 0xc000: -2, 0x7bff: 65504, 0x0400: 0x1p-14, 0x0001: 0x1p-24,
		0x03ff: 1023 * 0x1p-24, 0x3555: 0.333251953125, 0x7c00: float32(math.Inf(1)), 0xfc00: float32(math.Inf(-1))} {
		if got := halfToFloat(bits); got != want {
			t.Errorf("%#04x is %g, want %g", bits, got, want)
		}
	}
	if v := halfToFloat(0x7e00); v == v {
		t.Errorf("0x7e00 is %g, want NaN", v)
	}
	if v := halfToFloat(0x8000); v != 0 || !math.Signbit(float64(v)) {
		t.Errorf("0x8000 is %g, want -0", v)
	}
}

func TestAlphaOfGivesScaleBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alpha, rank, rs := rapid.Float64Range(1e-3, 1e3).Draw(t, "alpha"), rapid.IntRange(1, 300).Draw(t, "rank"), rapid.Bool().Draw(t, "rslora")
		scale := Scale(alpha, rank, rs)
		if got := Scale(alphaOf(scale, rank, rs), rank, rs); got != scale {
			t.Fatalf("scale %g became %g", scale, got)
		}
	})
}

func TestCardNamesTheBase(t *testing.T) {
	a, err := Read(filepath.Join(golden.Dir(t), "gemma3", "dora", "adapter"))
	if err != nil {
		t.Fatal(err)
	}
	a.Base = `odd: "name" #1`
	card := string(a.card())
	for _, want := range []string{"---\nbase_model: \"odd: \\\"name\\\" #1\"\nlibrary_name: peft\n", "A DoRA adapter"} {
		if !strings.Contains(card, want) {
			t.Errorf("the card lacks %q:\n%s", want, card)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	for want, edit := range map[string]func(*Adapter){
		"has no module":                    func(a *Adapter) { a.Modules = nil },
		"rank 0 (want 1 to":                func(a *Adapter) { a.Rank = 0 },
		"q_proj is there twice":            func(a *Adapter) { a.Modules[1].Name = a.Modules[0].Name },
		"lm_head is no linear module":      func(a *Adapter) { a.Modules[0].Name = "lm_head" },
		"A has 1 numbers":                  func(a *Adapter) { a.Modules[0].A = a.Modules[0].A[:1] },
		"0 magnitudes for":                 func(a *Adapter) { a.UseDoRA = true },
		"scale NaN is no finite number":    func(a *Adapter) { a.Modules[0].Scale = math.NaN() },
		"dropout 1 (want":                  func(a *Adapter) { a.Dropout = 1 },
		"rank -1, in":                      func(a *Adapter) { a.Modules[0].Rank = -1 },
		"layer 5, the base has 3 layers":   func(a *Adapter) { a.NumHiddenLayers = 3 },
		"takes B beyond float32":           func(a *Adapter) { a.Modules[0].Scale, a.Modules[0].B[0] = 1e30, 1e30 },
		"model.layers.01.self_attn.q_proj": func(a *Adapter) { a.Modules[0].Name = "model.layers.01.self_attn.q_proj" },
	} {
		a, err := Read(filepath.Join(golden.Dir(t), "gemma3", "adapter"))
		if err != nil {
			t.Fatal(err)
		}
		edit(a)
		dir := filepath.Join(t.TempDir(), "adapter")
		err = a.WriteMLX(dir)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a folder was left: %v", want, err)
		}
	}
}

func ExampleRead() {
	a, err := Read("../../testdata/golden/gemma3/adapter")
	if err != nil {
		fmt.Println(err)
		return
	}
	m := a.Modules[0]
	fmt.Println(len(a.Modules), m.Name, m.Rank, m.Scale)
	b, _ := json.Marshal(a.TargetModules)
	fmt.Println(string(b))
	// Output:
	// 42 model.layers.0.self_attn.q_proj 8 2
	// ["q_proj","k_proj","v_proj","o_proj","gate_proj","up_proj","down_proj"]
}
