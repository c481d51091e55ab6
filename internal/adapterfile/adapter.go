package adapterfile

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"tune/internal/checkpoint"
)

// Adapter is a LoRA adapter as numbers, whatever file it came from. Modules are what counts: the settings above
// them say how they came to be, and become keys in files.
type Adapter struct {
	Base     string // PEFT's base_model_name_or_path, mlx-lm's model
	Revision string // of the base; "" for its newest

	Rank               int     // of modules that RankPattern does not name
	Alpha              float64 // of modules that AlphaPattern does not name
	Dropout            float64 // in training, from 0 to below 1
	UseRSLoRA, UseDoRA bool
	TargetModules      []string           // last parts of the modules' names, such as q_proj
	LayersToTransform  []int              // nil for every layer
	RankPattern        map[string]int     // ranks by PEFT's patterns; nil or empty for none
	AlphaPattern       map[string]float64 // alphas by PEFT's patterns; nil or empty for none
	Modules            []Module           // in the order of the layers and of a layer's forward pass

	// What WriteMLX needs of the base's config.json. ReadPEFT and ReadMLX take Multimodal from the names of the
	// tensors and cannot know the number of layers: set both where the base is at hand.
	Multimodal      bool // the base also has an image tower: its text model stands below language_model
	NumHiddenLayers int  // 0 where it is not known
}

// Module is the adapter of one linear module: W becomes W + Scale·B·A, with DoRA its rows scaled to Magnitude.
type Module struct {
	Name          string    // model.layers.0.self_attn.q_proj: the text model's own name
	Rank, In, Out int       // sizes of A and B
	Scale         float64   // what B·A is multiplied by
	A             []float32 // (R, in), row by row
	B             []float32 // (out, R), row by row
	Magnitude     []float32 // (out), DoRA's m; nil without DoRA
}

// Names of the files of an adapter folder. Both formats call their settings adapter_config.json.
const (
	configFile  = "adapter_config.json"
	peftWeights = "adapter_model.safetensors"
	peftPickle  = "adapter_model.bin"
	mlxWeights  = "adapters.safetensors"
	mlxNPZ      = "adapters.npz"
	modelCard   = "README.md"
)

// maxRank is far above any use. It keeps a file that lies from making others large: MLX pads to the largest rank.
const maxRank = 1 << 16

// Read reads the adapter in dir, PEFT's or MLX's by the files that are there.
//
// Errors name the file, and the key or the tensor; *NoAdapterError says what dir is instead.
func Read(dir string) (*Adapter, error) {
	if err := look(dir); err != nil {
		return nil, err
	}
	has := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}
	switch {
	case has(peftWeights) && has(mlxWeights): // some tools leave both; the settings are of one
		fields, err := readObject(filepath.Join(dir, configFile))
		if err != nil {
			return nil, err
		}
		if _, peft := fields["peft_type"]; peft {
			return ReadPEFT(dir)
		}
		return ReadMLX(dir)
	case has(peftWeights):
		return ReadPEFT(dir)
	case has(mlxWeights):
		return ReadMLX(dir)
	case has(peftPickle):
		return nil, pickleError(dir)
	case has(mlxNPZ):
		return nil, fmt.Errorf("%s: the format of the first mlx-lm versions is not read: let mlx.core load it and "+
			"save_safetensors write %s", filepath.Join(dir, mlxNPZ), mlxWeights)
	}
	return nil, fmt.Errorf("%s: has neither %s (PEFT) nor %s (MLX) beside %s", dir, peftWeights, mlxWeights, configFile)
}

// NoAdapterError says that a path holds no adapter, what is there instead, and in Hint, "" where nobody knows, what to
// try next. errors.Is(err, fs.ErrNotExist) tells that nothing of an adapter is there.
type NoAdapterError struct {
	Path, Text, Hint string
	missing          bool
}

func (e *NoAdapterError) Error() string { return e.Path + ": " + e.Text }

func (e *NoAdapterError) Is(target error) bool { return e.missing && target == fs.ErrNotExist }

// look refuses what cannot be an adapter folder, by what is likely meant.
func look(dir string) error {
	holds := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}
	no := func(hint, text string) *NoAdapterError { return &NoAdapterError{Path: dir, Text: text, Hint: hint} }
	const what = "an adapter is a folder in PEFT's or MLX's format"
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e := no(what, "no such folder")
		e.missing = true
		return e
	case err != nil:
		return err
	case !info.IsDir() && filepath.Ext(dir) == ".gguf":
		return no("tune import "+dir+" makes a folder of it", "is a GGUF file, want an adapter folder")
	case !info.IsDir():
		return no("the folder that it is in may be one", "is a file, want an adapter folder")
	case holds(configFile), holds(peftWeights), holds(mlxWeights), holds(peftPickle), holds(mlxNPZ):
		return nil
	case holds("adapter/" + configFile): // of a run
		return no("did you mean "+filepath.Join(dir, "adapter")+"?", "has no "+configFile+", want an adapter folder")
	case holds("config.json"):
		return no("", "is a model folder, want an adapter")
	}
	e := no(what, "has no "+configFile+", want an adapter folder")
	e.missing = true
	return e
}

// pickleError explains why adapter_model.bin is not opened: a pickle is a program, and reading it runs it.
func pickleError(dir string) error {
	return fmt.Errorf("%s: a pickle can run any code when it is opened, so it is not read; this line, in %s, writes it as "+
		"safetensors: python -c \"import torch, safetensors.torch as s; s.save_file({k: v.contiguous() for k, v in "+
		"torch.load('%s', map_location='cpu', weights_only=True).items()}, '%s', {'format': 'pt'})\"",
		filepath.Join(dir, peftPickle), dir, peftPickle, peftWeights)
}

// Size returns how many numbers the adapter has: Σ rank·(in+out), with DoRA + out.
func (a *Adapter) Size() int64 {
	var n int64
	for _, m := range a.Modules {
		n += int64(m.Rank)*int64(m.In+m.Out) + int64(len(m.Magnitude))
	}
	return n
}

// Scale is LoRA's factor of B·A: alpha/rank, or alpha/√rank.
// Source: arXiv:2106.09685, section 4.1; arXiv:2312.03732 for rsLoRA.
func Scale(alpha float64, rank int, rslora bool) float64 {
	if rslora {
		return alpha / math.Sqrt(float64(rank))
	}
	return alpha / float64(rank)
}

// alphaOf is the alpha for which Scale gives scale again, to the last bit where there is such an alpha.
func alphaOf(scale float64, rank int, rslora bool) float64 {
	alpha := scale * float64(rank)
	if rslora {
		alpha = scale * math.Sqrt(float64(rank))
	}
	for _, near := range []float64{alpha, math.Nextafter(alpha, math.Inf(1)), math.Nextafter(alpha, math.Inf(-1))} {
		if Scale(near, rank, rslora) == scale {
			return near
		}
	}
	return alpha
}

// place returns where a module's name stands in a model: its layer, and its place in the layer's forward pass.
func place(name string) (layer, at int, ok bool) {
	parts := strings.Split(name, ".")
	if len(parts) != 5 {
		return 0, 0, false
	}
	layer, err := strconv.Atoi(parts[2])
	at = slices.Index(checkpoint.LinearModules(), parts[4])
	return layer, at, err == nil && layer >= 0 && at >= 0 && checkpoint.LinearName(layer, parts[4]) == name
}

// lastPart returns q_proj of model.layers.0.self_attn.q_proj.
func lastPart(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

// finish puts the modules of an adapter that was read in order and says which they are.
func (a *Adapter) finish() {
	slices.SortFunc(a.Modules, func(x, y Module) int {
		xLayer, xAt, _ := place(x.Name)
		yLayer, yAt, _ := place(y.Name)
		return cmp.Or(cmp.Compare(xLayer, yLayer), cmp.Compare(xAt, yAt))
	})
	a.TargetModules = a.modules()
}

// modules returns the last parts of the modules' names, each once, in the order of a layer.
func (a *Adapter) modules() []string {
	var all []string
	for _, module := range checkpoint.LinearModules() {
		if slices.ContainsFunc(a.Modules, func(m Module) bool { return lastPart(m.Name) == module }) {
			all = append(all, module)
		}
	}
	return all
}

// layers returns the layers that have a module, in order.
func (a *Adapter) layers() []int {
	seen := map[int]bool{}
	var all []int
	for _, m := range a.Modules {
		if layer, _, ok := place(m.Name); ok && !seen[layer] {
			seen[layer] = true
			all = append(all, layer)
		}
	}
	slices.Sort(all)
	return all
}

// check returns what keeps an adapter from being written, each problem on a line.
func (a *Adapter) check() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf("adapter: "+format, args...)) }
	if len(a.Modules) == 0 {
		bad("has no module")
	}
	if a.Rank < 1 || a.Rank > maxRank {
		bad("rank %d (want 1 to %d)", a.Rank, maxRank)
	}
	if !finite(a.Alpha) || !(a.Dropout >= 0 && a.Dropout < 1) {
		bad("alpha %g and dropout %g (want a finite number, and one from 0 to below 1)", a.Alpha, a.Dropout)
	}
	seen := map[string]bool{}
	for _, m := range a.Modules {
		_, _, known := place(m.Name)
		switch {
		case !known:
			bad("%s is no linear module of a Gemma text model", m.Name)
		case seen[m.Name]:
			bad("%s is there twice", m.Name)
		case m.Rank < 1 || m.Rank > maxRank || m.In < 1 || m.Out < 1:
			bad("%s: rank %d, in %d, out %d must be at least 1", m.Name, m.Rank, m.In, m.Out)
		case len(m.A) != m.Rank*m.In || len(m.B) != m.Out*m.Rank:
			bad("%s: A has %d numbers and B %d, want %d·%d and %d·%d", m.Name, len(m.A), len(m.B), m.Rank, m.In, m.Out, m.Rank)
		case a.UseDoRA && len(m.Magnitude) != m.Out, !a.UseDoRA && m.Magnitude != nil:
			bad("%s: %d magnitudes for %d outputs with use_dora %v", m.Name, len(m.Magnitude), m.Out, a.UseDoRA)
		case !finite(m.Scale):
			bad("%s: scale %g is no finite number", m.Name, m.Scale)
		}
		seen[m.Name] = true
	}
	return errors.Join(problems...)
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
