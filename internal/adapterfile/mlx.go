package adapterfile

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tune/internal/checkpoint"
	"tune/internal/files"
	"tune/internal/safetensors"
)

// mlxPrefix stands before the names of a multimodal model's text part in mlx-lm.
const mlxPrefix = "language_model."

// ReadMLX reads a folder that mlx-lm has written: adapter_config.json and adapters.safetensors, whose lora_a (in, R)
// and lora_b (R, out) are PEFT's A and B the other way round. Its scale is alpha/rank.
//
// Errors name the file, and the key or the tensor.
// Source: mlx-lm, mlx_lm/tuner/utils.py (load_adapters), lora.py and dora.py in the same folder.
func ReadMLX(dir string) (*Adapter, error) {
	a, scale, err := readMLXConfig(configPath(dir))
	if err != nil {
		return nil, err
	}
	file, err := safetensors.Open(filepath.Join(dir, mlxWeights))
	if err != nil {
		return nil, err
	}
	defer file.Close()

	names := map[string]string{} // plain name of a module → its name in the file
	for _, key := range file.Names() {
		path, part := key[:max(0, strings.LastIndexByte(key, '.'))], lastPart(key)
		plain, text := checkpoint.PlainName(path)
		_, _, ok := place(plain)
		if !text || !ok || part != "lora_a" && part != "lora_b" && part != "m" {
			return nil, fmt.Errorf("%s: tensor %s belongs to no linear module of a Gemma text model (have %s, each with lora_a, "+
				"lora_b and, for DoRA, m)", file.Path(), key, strings.Join(checkpoint.LinearModules(), ", "))
		}
		if other, twice := names[plain]; twice && other != path {
			return nil, fmt.Errorf("%s: tensor %s names the module %s a second time, after %s", file.Path(), key, plain, other)
		}
		names[plain] = path
		a.Multimodal = a.Multimodal || path != plain
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: holds no tensor", file.Path())
	}
	for _, plain := range slices.Sorted(maps.Keys(names)) { // in order, so that one file gives one error
		path := names[plain]
		m, err := a.mlxModule(file, path)
		if err != nil {
			return nil, err
		}
		m.Name, m.Scale = plain, scale
		if a.Rank == 0 {
			a.Rank = m.Rank
		}
		if m.Rank != a.Rank {
			return nil, fmt.Errorf("%s: tensor %s.lora_a has rank %d, want %d as lora_parameters.rank and the other modules have",
				file.Path(), path, m.Rank, a.Rank)
		}
		a.Modules = append(a.Modules, *m)
	}
	a.Alpha = alphaOf(scale, a.Rank, false)
	a.finish()
	return a, nil
}

// readMLXConfig returns the settings, and the factor of B·A. A rank that is not there follows from the tensors.
func readMLXConfig(path string) (*Adapter, float64, error) {
	fields, err := readObject(path)
	if err != nil {
		return nil, 0, err
	}
	o := &object{path: path, fields: fields}
	a := &Adapter{}
	o.get("model", "a text", &a.Base)

	kind := "lora" // as mlx-lm takes it where an older version wrote none
	switch o.get("fine_tune_type", "a text", &kind); kind {
	case "lora":
	case "dora":
		a.UseDoRA = true
	case "full":
		o.bad("fine_tune_type", "full: the file holds whole weights and no adapter")
	default:
		o.bad("fine_tune_type", "want lora or dora, got %q", kind)
	}

	p := &object{path: path, parent: "lora_parameters."}
	if !o.get("lora_parameters", "an object", &p.fields) {
		o.bad("lora_parameters", "is missing: it must hold rank and scale")
		return nil, 0, errors.Join(o.problems...)
	}
	if p.whole("rank", &a.Rank) && (a.Rank < 1 || a.Rank > maxRank) {
		p.bad("rank", "must be from 1 to %d, got %d", maxRank, a.Rank)
	}
	var scale float64
	if !p.get("scale", "a number", &scale) && len(p.problems) == 0 {
		p.bad("scale", "is missing, and without it nothing says how strong the adapter is; mlx-lm refuses such a file too")
	}
	if p.get("dropout", "a number", &a.Dropout); !(a.Dropout >= 0 && a.Dropout < 1) {
		p.bad("dropout", "must be from 0 to below 1, got %g", a.Dropout)
	}
	// The first versions, which counted lora_layers, multiplied by scale·alpha/rank; later ones still wrote alpha and
	// no longer read it. A file of the first has two meanings where alpha is not the rank.
	alpha := float64(a.Rank)
	if p.get("alpha", "a number", &alpha); o.isSet("lora_layers") && alpha != float64(a.Rank) {
		p.bad("alpha", "%g: the mlx-lm that wrote lora_layers multiplied by scale·alpha/rank, today's by scale alone. Delete "+
			"alpha, and set scale to what it should be: %g was meant then", alpha, scale*alpha/float64(a.Rank))
	}
	return a, scale, errors.Join(append(o.problems, p.problems...)...)
}

// mlxModule reads the tensors of one module, turned round as PEFT has them.
func (a *Adapter) mlxModule(file *safetensors.File, path string) (*Module, error) {
	for _, part := range []string{".lora_a", ".lora_b", ".m"} {
		_, there := file.Info(path + part)
		switch {
		case there && part == ".m" && !a.UseDoRA:
			return nil, fmt.Errorf("%s: tensor %s.m is not part of an adapter with fine_tune_type lora", file.Path(), path)
		case !there && (part != ".m" || a.UseDoRA):
			return nil, fmt.Errorf("%s: tensor %s%s is missing", file.Path(), path, part)
		}
	}
	loraA, shapeA, err := floats(file, path+".lora_a", 2)
	if err != nil {
		return nil, err
	}
	loraB, shapeB, err := floats(file, path+".lora_b", 2)
	if err != nil {
		return nil, err
	}
	m := &Module{In: shapeA[0], Rank: shapeA[1], Out: shapeB[1]}
	if shapeB[0] != m.Rank || m.Rank > maxRank {
		return nil, fmt.Errorf("%s: tensor %s.lora_b has shape %v beside lora_a's %v, want one rank, of at most %d",
			file.Path(), path, shapeB, shapeA, maxRank)
	}
	m.A, m.B = transposed(loraA, m.In, m.Rank), transposed(loraB, m.Rank, m.Out)
	if a.UseDoRA {
		m.Magnitude, err = readMagnitude(file, path+".m", m.Out)
	}
	return m, err
}

// mlxConfig is adapter_config.json as mlx-lm writes it, without what only its training reads.
type mlxConfig struct {
	FineTuneType   string        `json:"fine_tune_type"`
	LoRAParameters mlxParameters `json:"lora_parameters"`
	Model          string        `json:"model"`
	NumLayers      int           `json:"num_layers"`
}

type mlxParameters struct {
	Dropout float64  `json:"dropout"`
	Keys    []string `json:"keys"` // modules by their path in a layer
	Rank    int      `json:"rank"`
	Scale   float64  `json:"scale"`
}

// WriteMLX writes the adapter to dir as mlx-lm does, in float32. The folder appears whole or not at all, in the place
// of one that was there. Set Multimodal and NumHiddenLayers from the base before: mlx-lm finds modules by their path
// in the model, and counts layers from the last; without NumHiddenLayers num_layers is -1, all of them.
//
// MLX has one rank and one scale an adapter. Modules of a smaller rank are filled up with zeros, which changes no
// product; modules of another scale have theirs folded into B, exact up to its rounding to float32. Where only some
// layers or modules are adapted, mlx-lm makes room in the others too and leaves them at B = 0, which changes nothing.
//
// Errors: an adapter whose numbers do not fit together; layers that the base does not have; a B that overflows.
func (a *Adapter) WriteMLX(dir string) error {
	if err := a.check(); err != nil {
		return err
	}
	rank, scale := 0, a.commonScale()
	for _, m := range a.Modules {
		rank = max(rank, m.Rank)
	}
	config := mlxConfig{FineTuneType: "lora", Model: a.Base, NumLayers: -1,
		LoRAParameters: mlxParameters{Dropout: a.Dropout, Keys: a.mlxKeys(), Rank: rank, Scale: scale}}
	if a.UseDoRA {
		config.FineTuneType = "dora"
	}
	if layers := a.layers(); a.NumHiddenLayers > 0 {
		if last := layers[len(layers)-1]; last >= a.NumHiddenLayers {
			return fmt.Errorf("adapter: has a module in layer %d, the base has %d layers", last, a.NumHiddenLayers)
		}
		config.NumLayers = a.NumHiddenLayers - layers[0]
	}
	settings, err := marshal(config)
	if err != nil {
		return err
	}

	var tensors []safetensors.Tensor
	for _, m := range a.Modules {
		name := m.Name
		if a.Multimodal {
			name = mlxPrefix + name
		}
		tensors = append(tensors, byRow(name+".lora_a", m.In, rank, m.mlxA),
			byRow(name+".lora_b", rank, m.Out, func(r int, row []float32) error { return m.mlxB(r, row, scale) }))
		if m.Magnitude != nil {
			tensors = append(tensors, tensorOf(name+".m", m.Magnitude, m.Out))
		}
	}
	return files.ReplaceDir(dir, func(dir string) error {
		if err := safetensors.Write(filepath.Join(dir, mlxWeights), tensors, map[string]string{"format": "mlx"}); err != nil {
			return err
		}
		return os.WriteFile(configPath(dir), settings, 0o644)
	})
}

// byRow is a tensor whose rows are made one at a time as they are written: turning A and B round, and filling them up,
// takes no memory.
func byRow(name string, rows, columns int, fill func(i int, row []float32) error) safetensors.Tensor {
	t := tensorOf(name, nil, rows, columns)
	t.Data = func(w io.Writer) error {
		row, buffer := make([]float32, columns), make([]byte, 0, 1<<12)
		for i := range rows {
			if err := fill(i, row); err != nil {
				return err
			}
			if err := writeFloats(w, row, buffer); err != nil {
				return err
			}
		}
		return nil
	}
	return t
}

// mlxA fills row i of lora_a (in, rank); what is above the module's own rank stays zero.
func (m Module) mlxA(i int, row []float32) error {
	for r := range m.Rank {
		row[r] = m.A[r*m.In+i]
	}
	return nil
}

// mlxB fills row r of lora_b (rank, out) of an adapter of the given scale: with zeros above the module's own rank.
func (m Module) mlxB(r int, row []float32, scale float64) error {
	clear(row)
	if r >= m.Rank {
		return nil
	}
	factor := 1.0
	if m.Scale != scale {
		factor = m.Scale / scale
	}
	for o := range row {
		v := m.B[o*m.Rank+r]
		row[o] = float32(float64(v) * factor)
		if math.IsInf(float64(row[o]), 0) && !math.IsInf(float64(v), 0) {
			return fmt.Errorf("scale %g instead of %g takes B beyond float32", m.Scale, scale)
		}
	}
	return nil
}

// commonScale returns the scale that most modules have, so that the fewest are folded; 0 only where all have 0, since
// nothing folds into it.
func (a *Adapter) commonScale() float64 {
	count := map[float64]int{}
	for _, m := range a.Modules {
		count[m.Scale]++
	}
	best, most := 0.0, 0
	for _, m := range a.Modules { // in order: of two that are equally frequent the first
		if m.Scale != 0 && count[m.Scale] > most {
			best, most = m.Scale, count[m.Scale]
		}
	}
	return best
}

// mlxKeys returns the modules by their path in a layer, such as self_attn.q_proj.
func (a *Adapter) mlxKeys() []string {
	var keys []string
	for _, module := range a.modules() {
		keys = append(keys, strings.TrimPrefix(checkpoint.LinearName(0, module), "model.layers.0."))
	}
	slices.Sort(keys)
	return keys
}
