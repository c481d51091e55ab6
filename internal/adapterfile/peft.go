package adapterfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tune/internal/checkpoint"
	"tune/internal/files"
	"tune/internal/safetensors"
)

// prefix stands before a module's path in PEFT's keys: the path through its own wrapper classes.
const prefix = "base_model.model."

// PEFTOptions says for which class of transformers a PEFT folder is meant.
type PEFTOptions struct {
	// Multimodal: the base is Gemma3ForConditionalGeneration, whose text model is model.language_model. PEFT finds
	// modules by their path in the class.
	Multimodal bool
}

// name returns a module's path in the class.
func (o PEFTOptions) name(plain string) string {
	if o.Multimodal {
		return "model.language_model." + strings.TrimPrefix(plain, "model.")
	}
	return plain
}

// ReadPEFT reads a folder that PEFT, or a trainer built on it, has written: adapter_config.json of any version and
// adapter_model.safetensors in float32, bfloat16 or float16, with the names of the text class or of the multimodal
// one, with or without the adapter's name. Which modules are adapted follows from the tensors.
//
// Errors name the file, and the key or the tensor: settings that change the result and are not computed, with the
// reason; a tensor of a wrong shape or of no linear module; A without B.
func ReadPEFT(dir string) (*Adapter, error) {
	c, err := readPEFTConfig(configPath(dir))
	if err != nil {
		return nil, err
	}
	file, err := safetensors.Open(filepath.Join(dir, peftWeights))
	if errors.Is(err, fs.ErrNotExist) {
		if _, statErr := os.Stat(filepath.Join(dir, peftPickle)); statErr == nil {
			return nil, pickleError(dir)
		}
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()

	found, err := findTensors(file)
	if err != nil {
		return nil, err
	}
	a := c.Adapter
	a.Multimodal = found.multimodal
	for _, path := range found.paths() {
		m, err := c.module(file, path, found.modules[path])
		if err != nil {
			return nil, err
		}
		a.Modules = append(a.Modules, *m)
	}
	a.finish()
	return &a, nil
}

// stored are the keys of one module's tensors.
type stored struct{ name, a, b, magnitude string }

// foundTensors are the tensors of a PEFT file by the path of their module in the class.
type foundTensors struct {
	modules    map[string]*stored
	multimodal bool
}

func (f *foundTensors) paths() []string {
	all := make([]string, 0, len(f.modules))
	for path := range f.modules {
		all = append(all, path)
	}
	slices.Sort(all)
	return all
}

// findTensors sorts the keys of a PEFT file into modules. Paths that name the same module of the text model, and two
// adapters in one file, are errors.
func findTensors(file *safetensors.File) (*foundTensors, error) {
	f := &foundTensors{modules: map[string]*stored{}}
	adapterName, first := "", "" // of the keys that have one, and such a key
	paths := map[string]string{} // by plain name
	for _, key := range file.Names() {
		bad := func(format string, args ...any) error {
			return fmt.Errorf("%s: tensor %s %s", file.Path(), key, fmt.Sprintf(format, args...))
		}
		path, part, adapter, why := splitKey(key)
		if why != "" {
			return nil, bad("%s", why)
		}
		plain, text := checkpoint.PlainName(path)
		if _, _, ok := place(plain); !text || !ok {
			return nil, bad("belongs to no linear module of a Gemma text model (have %s)",
				strings.Join(checkpoint.LinearModules(), ", "))
		}
		if other, twice := paths[plain]; twice && other != path {
			return nil, bad("names the module %s a second time, after %s", plain, other)
		}
		if adapter != "" && adapterName != "" && adapter != adapterName {
			return nil, bad("is of the adapter %q, and %s of another: want one adapter a file", adapter, first)
		}
		if adapter != "" {
			adapterName, first = adapter, key
		}
		m := f.modules[path]
		if m == nil {
			m = &stored{name: plain}
			f.modules[path], paths[plain] = m, path
		}
		f.multimodal = f.multimodal || path != plain
		slot := map[string]*string{"lora_A": &m.a, "lora_B": &m.b, "lora_magnitude_vector": &m.magnitude}[part]
		if *slot != "" {
			return nil, bad("says the same as %s", *slot)
		}
		*slot = key
	}
	if len(f.modules) == 0 {
		return nil, fmt.Errorf("%s: holds no tensor", file.Path())
	}
	return f, nil
}

// splitKey splits base_model.model.….q_proj.lora_A.default.weight into the module's path, lora_A and default. Files
// from training states keep the adapter's name, which PEFT drops when it saves; magnitudes of DoRA lost their .weight
// in PEFT 0.10. why says what else a key is.
func splitKey(key string) (path, part, adapter, why string) {
	parts := strings.Split(strings.TrimPrefix(key, prefix), ".")
	at := slices.IndexFunc(parts, func(p string) bool { return strings.HasPrefix(p, "lora_") })
	if at < 1 {
		return "", "", "", "is no LoRA tensor: whole weights beside an adapter (modules_to_save, a resized embedding) " +
			"are not supported"
	}
	path, part = strings.Join(parts[:at], "."), parts[at]
	rest := parts[at+1:]
	switch {
	case strings.HasPrefix(part, "lora_embedding"):
		return "", "", "", "adapts the embedding, which in Gemma is the head too: not supported"
	case part != "lora_A" && part != "lora_B" && part != "lora_magnitude_vector":
		return "", "", "", fmt.Sprintf("has an unknown part %q (want lora_A, lora_B or lora_magnitude_vector)", part)
	case len(rest) > 0 && rest[len(rest)-1] == "bias":
		return "", "", "", "is a bias (lora_bias), and Gemma's linear modules have none: not supported"
	case lastPart(path) == "lm_head" || lastPart(path) == "embed_tokens":
		return "", "", "", "adapts the head, which in Gemma is the embedding too: not supported"
	}
	if len(rest) > 0 && rest[len(rest)-1] == "weight" {
		rest = rest[:len(rest)-1]
	} else if part != "lora_magnitude_vector" {
		return "", "", "", "does not end with .weight"
	}
	if len(rest) > 1 {
		return "", "", "", fmt.Sprintf("has more than an adapter's name behind %s", part)
	}
	return path, part, strings.Join(rest, ""), ""
}

// module reads one module. path is that of the class, which patterns and target_modules speak of.
func (c *peftConfig) module(file *safetensors.File, path string, s *stored) (*Module, error) {
	for _, missing := range []struct{ part, key string }{{".lora_A.weight", s.a}, {".lora_B.weight", s.b}} {
		if missing.key == "" {
			return nil, fmt.Errorf("%s: tensor %s%s%s is missing", file.Path(), prefix, path, missing.part)
		}
	}
	switch {
	case c.UseDoRA && s.magnitude == "":
		return nil, fmt.Errorf("%s: tensor %s%s.lora_magnitude_vector is missing, %s has use_dora", file.Path(), prefix, path,
			configFile)
	case !c.UseDoRA && s.magnitude != "":
		return nil, fmt.Errorf("%s: tensor %s is not part of an adapter with use_dora false", file.Path(), s.magnitude)
	case !c.targeted(path):
		return nil, fmt.Errorf("%s: tensor %s: target_modules in %s does not name its module, so PEFT would leave it out",
			file.Path(), s.a, configFile)
	}
	rank := int(lookup(c.ranks, path, float64(c.Rank)))
	m := &Module{Name: s.name, Rank: rank, Scale: Scale(lookup(c.alphas, path, c.Alpha), rank, c.UseRSLoRA)}
	a, err := sizes(file, s.a, 2)
	if err != nil {
		return nil, err
	}
	b, err := sizes(file, s.b, 2)
	if err != nil {
		return nil, err
	}
	m.In, m.Out = a[1], b[0]
	if err := wantShape(file, s.a, rank, m.In); err != nil {
		return nil, err
	}
	if err := wantShape(file, s.b, m.Out, rank); err != nil {
		return nil, err
	}
	if m.A, _, err = floats(file, s.a, 2); err != nil {
		return nil, err
	}
	if m.B, _, err = floats(file, s.b, 2); err != nil {
		return nil, err
	}
	if s.magnitude != "" {
		m.Magnitude, err = readMagnitude(file, s.magnitude, m.Out)
	}
	return m, err
}

// targeted reports whether target_modules names a module. A regular expression, Python's own, is not asked.
func (c *peftConfig) targeted(path string) bool {
	return c.targets == nil || slices.ContainsFunc(c.targets, func(target string) bool {
		return path == target || strings.HasSuffix(path, "."+target)
	})
}

// wantShape checks a tensor against what the settings say.
func wantShape(file *safetensors.File, key string, want ...int) error {
	got, err := sizes(file, key, len(want))
	if err == nil && !slices.Equal(got, want) {
		err = fmt.Errorf("%s: tensor %s has shape %v, with the rank in %s want %v", file.Path(), key, got, configFile, want)
	}
	return err
}

// readMagnitude reads DoRA's m, (out).
func readMagnitude(file *safetensors.File, key string, out int) ([]float32, error) {
	m, shape, err := floats(file, key, 1)
	if err == nil && shape[0] != out {
		err = fmt.Errorf("%s: tensor %s has shape %v, want [%d] as the module has outputs", file.Path(), key, shape, out)
	}
	return m, err
}

// WritePEFT writes the adapter to dir as PEFT 0.17 does: adapter_config.json, adapter_model.safetensors in float32,
// and a model card. The folder appears whole or not at all, in the place of one that was there.
//
// Errors: an adapter whose numbers do not fit together; those of the file system.
func (a *Adapter) WritePEFT(dir string, o PEFTOptions) error {
	if err := a.check(); err != nil {
		return err
	}
	var tensors []safetensors.Tensor
	for _, m := range a.Modules {
		name := prefix + o.name(m.Name)
		tensors = append(tensors, tensorOf(name+".lora_A.weight", m.A, m.Rank, m.In),
			tensorOf(name+".lora_B.weight", m.B, m.Out, m.Rank))
		if m.Magnitude != nil {
			tensors = append(tensors, tensorOf(name+".lora_magnitude_vector", m.Magnitude, m.Out)) // PEFT writes no .weight here
		}
	}
	config, err := marshal(a.peftConfig(o))
	if err != nil {
		return err
	}
	return files.ReplaceDir(dir, func(dir string) error {
		if err := safetensors.Write(filepath.Join(dir, peftWeights), tensors, map[string]string{"format": "pt"}); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, modelCard), a.card(), 0o644); err != nil {
			return err
		}
		return os.WriteFile(configPath(dir), config, 0o644)
	})
}

// marshal returns indented JSON without Go's escapes for HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return b.Bytes(), err
}

// card returns README.md, the model card that the Hub reads.
func (a *Adapter) card() []byte {
	kind := "LoRA"
	if a.UseDoRA {
		kind = "DoRA"
	}
	var b bytes.Buffer
	b.WriteString("---\n")
	if a.Base != "" {
		base, _ := json.Marshal(a.Base) // a text in JSON is one in YAML; strings always encode
		fmt.Fprintf(&b, "base_model: %s\n", base)
	}
	fmt.Fprintf(&b, "library_name: peft\npipeline_tag: text-generation\ntags:\n- lora\n---\n\n")
	fmt.Fprintf(&b, "A %s adapter", kind)
	if a.Base != "" {
		fmt.Fprintf(&b, " for `%s`", a.Base)
	}
	fmt.Fprintf(&b, ", written by tune: rank %d, alpha %g, on %s.\n", a.Rank, a.Alpha, strings.Join(a.modules(), ", "))
	return b.Bytes()
}
