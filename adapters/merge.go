package adapters

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"tune/internal/adapterfile"
	"tune/internal/checkpoint"
	"tune/internal/model"
	"tune/internal/safetensors"
	"tune/internal/torch"
)

// Merged is a model folder whose weights are read with an adapter added to them. A few rows of one weight are in
// memory at a time, so a model that is larger than memory can be merged and converted.
//
// Every weight is computed in float32 on the CPU and rounded last: rounding the update first loses it in bfloat16.
type Merged struct {
	// Progress, where there is one, hears of every piece that was read and how many numbers it has.
	Progress func(numbers int64)

	config  *checkpoint.Config
	dir     string
	set     *safetensors.Set
	stored  map[string]string              // the text model's name of a weight → its name in the files
	modules map[string]*adapterfile.Module // by a weight's name in the files
}

// OpenMerged opens the model in dir and checks that it is whole and that the adapter is one for it; without an
// adapter, nil, the weights are the model's own.
//
// Errors name the file and the weight, or the adapter's module: see [Fits].
func OpenMerged(dir string, adapter *adapterfile.Adapter) (*Merged, error) {
	config, err := checkpoint.ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	if adapter != nil {
		if err := Fits(adapter, config); err != nil {
			return nil, err
		}
	}
	set, err := safetensors.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	m := &Merged{config: config, dir: dir, set: set, stored: map[string]string{}, modules: map[string]*adapterfile.Module{}}
	if err := m.checkWeights(); err != nil {
		return nil, errors.Join(err, set.Close())
	}
	if adapter != nil {
		for i := range adapter.Modules {
			module := &adapter.Modules[i]
			m.modules[m.stored[module.Name+".weight"]] = module
		}
	}
	return m, nil
}

// Fits reports every module of an adapter that the model does not have, and every one that was made for a linear
// layer of another size.
func Fits(adapter *adapterfile.Adapter, config *checkpoint.Config) error {
	shapes := map[string][2]int64{} // out, in
	for layer := range config.NumHiddenLayers {
		for _, module := range checkpoint.LinearModules() {
			out, in := config.LinearShape(module)
			shapes[checkpoint.LinearName(layer, module)] = [2]int64{out, in}
		}
	}
	var problems []error
	for _, module := range adapter.Modules {
		shape, known := shapes[module.Name]
		switch {
		case !known:
			problems = append(problems, fmt.Errorf("%s is no linear layer of this %s with %d layers", module.Name, config.Name(),
				config.NumHiddenLayers))
		case shape != [2]int64{int64(module.Out), int64(module.In)}:
			problems = append(problems, fmt.Errorf("%s maps %d numbers to %d, in this %s %d to %d", module.Name, module.In, module.Out,
				config.Name(), shape[1], shape[0]))
		}
	}
	if len(adapter.Modules) == 0 {
		problems = append(problems, errors.New("it adapts nothing"))
	}
	if len(problems) == 0 {
		return nil
	}
	if len(problems) > 3 { // one tells; a hundred would hide it
		problems = append(problems[:3], fmt.Errorf("and %d more", len(problems)-3))
	}
	return fmt.Errorf("the adapter is for another model: %w", errors.Join(problems...))
}

// checkWeights finds every weight that config.json asks for: a model with a hole must not be written on.
func (m *Merged) checkWeights() error {
	for _, name := range m.set.Names() {
		if plain, text := checkpoint.PlainName(name); text {
			m.stored[plain] = name
		}
	}
	var problems []error
	for _, w := range m.config.Weights() {
		name, ok := m.stored[w.Name]
		if !ok {
			problems = append(problems, fmt.Errorf("%s: weight %s is missing", m.dir, w.Name))
			continue
		}
		info, _ := m.set.Info(name)
		if !slices.Equal(info.Shape, w.Shape) {
			problems = append(problems, fmt.Errorf("%s: weight %s has shape %v, config.json says %v", m.set.File(name), name, info.Shape, w.Shape))
		} else if _, ok := model.FloatType(info.DType); !ok {
			problems = append(problems, fmt.Errorf("%s: weight %s has dtype %s (want BF16, F32 or F16)", m.set.File(name), name, info.DType))
		}
	}
	if len(problems) > 10 {
		problems = append(problems[:10], fmt.Errorf("and %d more", len(problems)-10))
	}
	return errors.Join(problems...)
}

// Config returns the model's config.json.
func (m *Merged) Config() *checkpoint.Config { return m.config }

// DType returns the dtype that most of the text model's numbers are stored in.
func (m *Merged) DType() safetensors.DType {
	count := map[safetensors.DType]int64{}
	for _, w := range m.config.Weights() {
		info, _ := m.set.Info(m.stored[w.Name])
		count[info.DType] += w.Len()
	}
	most := safetensors.BF16
	for _, dtype := range slices.Sorted(maps.Keys(count)) {
		if count[dtype] > count[most] {
			most = dtype
		}
	}
	return most
}

// Len returns how many numbers the files hold, an image tower's too; Config().Count() are the text model's.
func (m *Merged) Len() (n int64) {
	for _, name := range m.set.Names() {
		info, _ := m.set.Info(name)
		n += info.NumElements()
	}
	return n
}

func (m *Merged) progress(numbers int64) {
	if m.Progress != nil {
		m.Progress(numbers)
	}
}

// Close unmaps the model's files.
func (m *Merged) Close() error { return m.set.Close() }

// Save writes the model to dir, which must exist: the files of the base with their names, each with the same
// tensors, the index of the shards, and config.json. What the adapter does not touch, an image tower too, is carried
// over bit for bit.
//
// dtype is what float tensors become, safetensors.BF16 or F32; "" leaves each as it is stored in the base.
// An end of ctx ends it between two pieces of a weight, with ctx's error.
func (m *Merged) Save(ctx context.Context, dir string, dtype safetensors.DType) error {
	var total int64
	for _, path := range m.set.Paths() {
		size, err := m.saveFile(ctx, path, filepath.Join(dir, filepath.Base(path)), dtype)
		if err != nil {
			return err
		}
		total += size
	}
	if err := m.saveIndex(dir, total); err != nil {
		return err
	}
	return m.saveConfig(dir, dtype)
}

// saveFile writes one file of the base anew and returns the bytes of its tensors.
func (m *Merged) saveFile(ctx context.Context, from, to string, dtype safetensors.DType) (int64, error) {
	file, err := safetensors.Open(from) // mapped a second time, for its metadata
	if err != nil {
		return 0, err
	}
	defer file.Close()
	var total int64
	var tensors []safetensors.Tensor
	for _, name := range file.Names() {
		info, _ := file.Info(name)
		t := safetensors.Tensor{Name: name, DType: info.DType, Shape: info.Shape}
		if _, float := model.FloatType(info.DType); float && dtype != "" {
			t.DType = dtype
		}
		t.Data = func(w io.Writer) error { return m.write(ctx, w, name, t.DType) }
		tensors = append(tensors, t)
		total += info.NumElements() * t.DType.Size()
	}
	return total, safetensors.Write(to, tensors, file.Metadata())
}

// saveIndex writes the base's index with the new total size; a base of one file has none.
func (m *Merged) saveIndex(dir string, total int64) error {
	if paths := m.set.Paths(); len(paths) == 1 && filepath.Base(paths[0]) == safetensors.SingleFileName {
		return nil
	}
	path := filepath.Join(m.dir, safetensors.IndexFileName)
	fields, err := readObject(path)
	if err != nil {
		return err
	}
	metadata, ok := fields["metadata"].(map[string]any)
	if !ok {
		metadata = map[string]any{}
		fields["metadata"] = metadata
	}
	metadata["total_size"] = total
	return writeObject(filepath.Join(dir, safetensors.IndexFileName), fields)
}

// saveConfig writes config.json, the base's own where the dtype stays.
func (m *Merged) saveConfig(dir string, dtype safetensors.DType) error {
	to := filepath.Join(dir, "config.json")
	if dtype == "" {
		return os.WriteFile(to, m.config.Raw, 0o644)
	}
	fields, err := parseObject(m.config.Raw)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(m.dir, "config.json"), err)
	}
	torchType, _ := model.FloatType(dtype)
	setDType(fields, torchType.String())
	if _, spelled := fields["dtype"]; !spelled { // transformers 5's name; older files have the other
		fields["torch_dtype"] = torchType.String()
	}
	return writeObject(to, fields)
}

// setDType changes torch_dtype and dtype wherever a config has them: a multimodal one also in its parts.
func setDType(fields map[string]any, dtype string) {
	for key, value := range fields {
		if part, ok := value.(map[string]any); ok {
			setDType(part, dtype)
		}
		if _, text := value.(string); text && (key == "torch_dtype" || key == "dtype") {
			fields[key] = dtype
		}
	}
}

// readObject reads a JSON object with its numbers as they are spelled.
func readObject(path string) (map[string]any, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	fields, err := parseObject(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return fields, nil
}

func parseObject(b []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.UseNumber() // a float64 in between would respell 1000000.0
	var fields map[string]any
	err := decoder.Decode(&fields)
	return fields, err
}

func writeObject(path string, fields map[string]any) error {
	b, err := json.MarshalIndent(fields, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// pieceElements bounds what of a weight is in memory at a time: 16 Mi numbers are 64 MB in float32, and a few such
// tensors exist while a piece is computed.
var pieceElements int64 = 16 << 20

// write writes a tensor of the files as dtype, with the adapter added where it has a module for it.
func (m *Merged) write(ctx context.Context, w io.Writer, name string, dtype safetensors.DType) error {
	info, _ := m.set.Info(name)
	if m.modules[name] == nil && info.DType == dtype {
		return m.copy(ctx, w, name, info.DType.Size())
	}
	to, _ := model.FloatType(dtype)
	return m.eachPiece(ctx, name, func(s *torch.Scope, values torch.Tensor) error {
		b := s.ReadBytes(s.Cast(values, to))
		if err := s.Err(); err != nil {
			return err
		}
		_, err := w.Write(b)
		return err
	})
}

// copy writes a tensor, whose elements have size bytes, as it is.
func (m *Merged) copy(ctx context.Context, w io.Writer, name string, size int64) error {
	data, ok := m.set.Bytes(name)
	if !ok {
		return fs.ErrClosed
	}
	for piece := range slices.Chunk(data, int(size*pieceElements)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := w.Write(piece); err != nil {
			return err
		}
		m.progress(int64(len(piece)) / size)
	}
	return nil
}

// Read calls each with the numbers of a weight, by its name in the text model, in order and piece by piece, with
// the adapter added. The slice is each's to keep.
//
// Errors: those of each, and ctx's; a weight that the model does not have.
func (m *Merged) Read(ctx context.Context, name string, each func([]float32) error) error {
	stored, ok := m.stored[name]
	if !ok {
		return fmt.Errorf("%s: weight %s is missing", m.dir, name)
	}
	return m.eachPiece(ctx, stored, func(s *torch.Scope, values torch.Tensor) error {
		numbers := s.ReadFloat32s(values)
		if err := s.Err(); err != nil {
			return err
		}
		return each(numbers)
	})
}

// eachPiece calls f with the rows of a stored float tensor, a piece at a time, in float32 with the adapter added.
func (m *Merged) eachPiece(ctx context.Context, name string, f func(s *torch.Scope, values torch.Tensor) error) error {
	info, _ := m.set.Info(name)
	data, ok := m.set.Bytes(name)
	if !ok {
		return fs.ErrClosed
	}
	dtype, _ := model.FloatType(info.DType)
	elements := info.NumElements()
	width := int64(1) // without an adapter any cut will do: an image tower has tensors of four dimensions
	module := m.modules[name]
	if module != nil {
		width = int64(module.In)
	}
	rows, step := elements/width, max(1, pieceElements/width)
	for from := int64(0); from < rows; from += step {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(step, rows-from)
		err := torch.Run(func(s *torch.Scope) error {
			size := width * dtype.Size()
			w := s.Bytes(data[from*size:(from+n)*size], dtype, []int64{n, width}, torch.Float32, torch.CPU, safetensors.Release)
			if module != nil {
				w = mergeRows(s, w, module, from)
			}
			return f(s, w)
		})
		if err != nil {
			return err
		}
		m.progress(n * width)
	}
	return nil
}

// mergeRows returns rows of W + Scale·B·A; with DoRA each is scaled to its magnitude. w (n, in) holds W's rows from
// the given one on, in float32.
//
// Source: arXiv:2106.09685, section 4.1; arXiv:2402.09353, equation 5.
func mergeRows(s *torch.Scope, w torch.Tensor, module *adapterfile.Module, from int64) torch.Tensor {
	n, r := w.Dim(0), int64(module.Rank)
	a := s.Float32s(module.A, r, int64(module.In))
	b := s.Float32s(module.B[from*r:(from+n)*r], n, r)
	w = s.Add(w, s.Scale(s.MatMul(b, a), module.Scale))
	if module.Magnitude != nil {
		norms := s.Sqrt(s.SumLast(s.Square(w))) // (n)
		w = s.Mul(w, s.View(s.Div(s.Float32s(module.Magnitude[from:from+n]), norms), n, 1))
	}
	return w
}
