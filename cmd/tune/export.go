package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"

	"tune/adapters"
	"tune/internal/adapterfile"
	"tune/internal/chart"
	"tune/internal/checkpoint"
	"tune/internal/files"
	"tune/internal/gguf"
	"tune/internal/hub"
	"tune/internal/machine"
	"tune/internal/runstore"
	"tune/internal/safetensors"
	"tune/internal/tokenizer"
	"tune/internal/torch"
)

func exportCommand() *cli.Command {
	return &cli.Command{
		Name:      "export",
		Usage:     "write an adapter, or a model with it, for other programs",
		ArgsUsage: "RUN|DIR",
		Description: "RUN is an id or the start of one, a name, or last: the newest that has left an adapter or a model. DIR is\n" +
			"an adapter in PEFT's or MLX's format, a GGUF adapter, or a model: a folder or a name on the Hub. --to\n" +
			"says what to write:\n\n" +
			"   peft     the adapter for transformers, PEFT and vLLM\n" +
			"   mlx      the adapter for mlx-lm\n" +
			"   gguf     the adapter for llama.cpp; with --merge, or from a whole model, the model for llama.cpp,\n" +
			"            Ollama and LM Studio, its tokenizer inside and a Modelfile beside it\n" +
			"   merged   the base model with the adapter added to its weights, as Hugging Face safetensors\n\n" +
			"   tune export last --to mlx\n" +
			"   tune export bluey --to gguf --merge --type q8_0",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "write `FORMAT`: peft, mlx, gguf or merged"},
			&cli.BoolFlag{Name: "merge", Usage: "with --to gguf: the model with the adapter in it, not the adapter"},
			&cli.StringFlag{Name: "out", Usage: "the `DIR` to write, for gguf also a FILE.gguf; export-FORMAT beside the adapter without it"},
			&cli.StringFlag{Name: "base", Usage: "the `MODEL` that the adapter is for, a folder or a name on the Hub; without it the one that it names"},
			&cli.StringFlag{Name: "type", Usage: "the numbers of a model as `TYPE`: bf16 or f32, for gguf also f16 or q8_0; as in the base without it"},
			&cli.BoolFlag{Name: "force", Usage: "replace an earlier export"},
			databaseFlag(),
		},
		Action: exportAction,
	}
}

// The values of --to.
const (
	toPEFT   = "peft"
	toMLX    = "mlx"
	toGGUF   = "gguf"
	toMerged = "merged"
)

// export is one export from its options to its files.
type export struct {
	c     *cli.Context
	to    string
	whole bool   // a model, not an adapter
	kind  string // of the numbers: "", bf16, f32, f16 or q8_0

	from    source
	hub     string               // the name of a whole model of the Hub; from.model is then its folder in the cache
	run     *runstore.RunSummary // nil for a folder
	adapter *adapterfile.Adapter // nil for a model that needs none
	base    string               // the folder of from.model; "" where an adapter is written and its base is not here
	config  *checkpoint.Config   // of base
	out     string               // a folder, or a file that ends in .gguf
	wrote   []string
}

func exportAction(c *cli.Context) error {
	ctx, stop := untilInterrupted(c.Context) // before anything is read: a large adapter takes its time
	defer stop()
	e := &export{c: c}
	ref, err := argument(c, "a run or an adapter folder", "tune export last --to peft")
	if err != nil {
		return err
	}
	if err := e.readOptions(); err != nil {
		return err
	}
	if err := e.find(ctx, ref); err != nil {
		return err
	}
	if err := e.check(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return exportError(ctx, e.out, err)
	}
	torch.SetThreads(machine.PhysicalCores())
	base := source{model: e.base}
	if e.whole { // only then are the base's weights part of what is written
		base.sha256 = e.from.sha256
	}
	changed := base.changed()
	if err := e.write(ctx); err != nil {
		return exportError(ctx, e.out, err)
	}
	if changed() {
		fmt.Fprintf(c.App.ErrWriter, "warning: %s has other weights than the model that the adapter was trained on\n", e.from.model)
	}
	if err := e.record(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	return e.tell()
}

// readOptions checks the options that can be judged by themselves.
func (e *export) readOptions() error {
	e.to = e.c.String("to")
	bad := func(hint, format string, a ...any) error {
		return badInput{fmt.Errorf("tune export: "+format, a...), hint}
	}
	formats := []string{toPEFT, toMLX, toGGUF, toMerged}
	if !slices.Contains(formats, e.to) {
		hint := "--to merged writes Hugging Face safetensors, --to gguf --merge a model for llama.cpp and Ollama"
		if e.to == "" {
			return bad(hint, "want --to peft, mlx, gguf or merged")
		}
		return bad(didYouMean("--to ", e.to, formats, hint), "--to: want peft, mlx, gguf or merged, got %q", e.to)
	}
	merge := e.c.Bool("merge")
	if merge && (e.to == toPEFT || e.to == toMLX) {
		return bad("--to merged writes a model that transformers and mlx-lm read", "--merge: --to %s writes an adapter", e.to)
	}
	e.whole = merge || e.to == toMerged

	kinds := []string{"bf16", "f32", "f16", "q8_0"}
	longer := map[string]string{"bfloat16": "bf16", "float32": "f32", "float16": "f16"} // as other options spell them
	e.kind = strings.ToLower(e.c.String("type"))
	e.kind = cmp.Or(longer[e.kind], e.kind)
	switch {
	case e.kind == "":
	case !slices.Contains(kinds, e.kind):
		return bad(didYouMean("--type ", e.kind, kinds, ""), "--type: want bf16, f32, f16 or q8_0, got %q", e.c.String("type"))
	case e.to == toPEFT || e.to == toMLX:
		return bad("leave --type out", "--type: --to %s writes the adapter as it was trained, in float32", e.to)
	case e.to == toMerged && e.kind == "f16":
		return bad("--type bf16 is as small", "--type: a Gemma in float16 overflows: its activations pass 65504")
	case e.to == toMerged && e.kind == "q8_0":
		return bad("--to gguf --merge --type q8_0 writes that", "--type: q8_0 is a type of GGUF files")
	}
	return nil
}

// find finds what is to be exported: a run, an adapter or a whole model.
func (e *export) find(ctx context.Context, ref string) (err error) {
	dir, isPath := exportable(ref)
	switch {
	case !isPath:
		return e.findRun(ctx, ref)
	case isModel(dir):
		e.from = source{model: dir}
		return nil
	case isHubName(dir):
		e.hub = dir
		e.from.model, _, err = resolveModel(ctx, e.c.App.ErrWriter, dir, "")
		return err
	}
	e.adapter, e.from, err = openAdapter(dir)
	e.from.model = found(e.from.model, filepath.Dir(e.c.String("db")))
	return err
}

// exportable finds an adapter or a model at a path, or the adapter in the folder of a run, which is what a shell
// completes to.
func exportable(path string) (string, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return path, strings.HasSuffix(path, ".gguf") || strings.ContainsRune(filepath.ToSlash(path), '/')
	}
	if !info.IsDir() {
		return path, true
	}
	for _, inside := range []string{"", "adapter", "model"} {
		if dir := filepath.Join(path, inside); isAdapter(dir) || isModel(dir) {
			return dir, true
		}
	}
	return path, strings.ContainsRune(filepath.ToSlash(path), '/')
}

// isHubName reports whether a path that is not here can be a model of the Hub. A file of ours is none.
func isHubName(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist) && hub.ValidID(path) && !isGGUF(path)
}

func isAdapter(dir string) bool { return isFile(filepath.Join(dir, "adapter_config.json")) }
func isModel(dir string) bool   { return isFile(filepath.Join(dir, "config.json")) && !isAdapter(dir) }

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// openAdapter reads an adapter of any format, a folder of PEFT's or MLX's or a GGUF file, and what it says of its base.
// A GGUF adapter is nil for now: reading it takes the base's sizes, see checkFit.
func openAdapter(path string) (*adapterfile.Adapter, source, error) {
	from := source{hub: true, adapter: path}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, from, badInput{fmt.Errorf("%s: no such adapter", path), "want an adapter folder of PEFT's or MLX's, or a GGUF file"}
	case !info.IsDir() && filepath.Ext(path) != ".safetensors":
		from.model, err = baseOfGGUF(path)
		return nil, from, err
	case !info.IsDir():
		path = filepath.Dir(path)
	}
	adapter, err := adapterfile.Read(path)
	if err != nil {
		return nil, from, badInput{err, ""}
	}
	from.model, from.revision = adapter.Base, adapter.Revision
	return adapter, from, nil
}

// baseOfGGUF returns the model that a GGUF adapter says it is for, "" where it says nothing.
func baseOfGGUF(path string) (string, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return "", badInput{err, "want an adapter folder of PEFT's or MLX's, or a GGUF file"}
	}
	defer f.Close()
	if kind := f.Metadata["general.type"]; kind != "adapter" {
		return "", badInput{fmt.Errorf("%s: general.type: want adapter, got %v", path, kind), "a GGUF model is not read: name the folder it was made of"}
	}
	base, _ := f.Metadata["general.base_model.0.name"].(string)
	return base, nil
}

func (e *export) findRun(ctx context.Context, ref string) error {
	store, err := openRuns(e.c)
	if err != nil {
		return err
	}
	row, artifacts, err := runThatLeft(ctx, store, ref)
	if err := closing(store, err); err != nil {
		return err
	}
	e.run = &row
	if e.from, err = sourceOfRun(&row, artifacts, filepath.Dir(e.c.String("db"))); err != nil || e.from.adapter == "" {
		return err
	}
	e.from.revision = row.ModelRevision
	e.from.hub = e.from.revision != ""
	e.adapter, err = adapterfile.Read(e.from.adapter)
	if err != nil {
		return badInput{err, ""}
	}
	return nil
}

// check refuses what cannot be written before anything is: what needs no base first, since that may have to be fetched.
func (e *export) check(ctx context.Context) error {
	given, adapted := e.c.String("base"), e.from.adapter != ""
	switch {
	case !adapted && (e.to == toPEFT || e.to == toMLX):
		return badInput{fmt.Errorf("tune export: --to %s writes an adapter, and %s is a whole model", e.to, e.subject()),
			"--to merged and --to gguf write models"}
	case !adapted && given != "":
		return badInput{fmt.Errorf("tune export: --base: %s is a whole model and needs none", e.subject()), "leave --base out"}
	case !adapted:
		e.whole, e.base = true, e.from.model
	case given != "":
		e.from.model, e.from.hub, e.from.revision = given, true, ""
	}
	if e.to == toGGUF && !e.whole {
		switch {
		case e.kind != "" && e.kind != "f32" && e.kind != "f16":
			return badInput{fmt.Errorf("tune export: --type: a GGUF adapter is f32 or f16, got %q", e.c.String("type")), "--merge writes a model, of any type"}
		case e.adapter != nil && e.adapter.UseDoRA:
			return badInput{fmt.Errorf("%s: %w", e.subject(), gguf.ErrDoRA), "--merge writes a model with it"}
		}
	}
	e.out = cmp.Or(e.c.String("out"), e.defaultOut())
	if isGGUF(e.out) && e.to != toGGUF {
		return badInput{fmt.Errorf("tune export: --out %s: --to %s writes a folder", e.out, e.to), ""}
	}
	if err := checkOut(e.out, e.c.Bool("force"), e.from.model, e.from.adapter); err != nil || !adapted {
		return err
	}
	return e.findBase(ctx)
}

// subject names what is exported, for messages.
func (e *export) subject() string {
	if e.run != nil {
		return "run " + e.run.ID
	}
	return cmp.Or(e.from.adapter, e.hub, e.from.model)
}

// findBase checks the adapter against its base model. PEFT's and MLX's formats can be rewritten as each other without
// it; a GGUF adapter takes its config.json, a model with the adapter in it all of it, fetched if need be.
func (e *export) findBase(ctx context.Context) (err error) {
	switch {
	case e.whole:
		e.base, err = findBase(ctx, e.c, e.subject(), e.from, resolveModel)
	case e.adapter == nil || e.to == toGGUF || e.c.IsSet("base") || isHere(e.from):
		e.base, err = findBase(ctx, e.c, e.subject(), e.from, resolveTokenizer)
	default:
		why := fmt.Sprintf("there is no folder %q here", e.from.model)
		if e.from.model == "" {
			why = "it does not say which"
		}
		fmt.Fprintf(e.c.App.ErrWriter, "warning: not compared with its base model: %s, --base names it\n", why)
		return nil
	}
	if err != nil {
		return err
	}
	e.adapter, e.config, err = checkFit(e.subject(), e.adapter, e.from, e.base)
	return err
}

// isHere reports whether a model can be read without fetching it.
func isHere(from source) bool {
	if isModel(from.model) {
		return true
	}
	if !from.hub || !hub.ValidID(from.model) {
		return false
	}
	client, err := hub.FromEnvironment()
	if err != nil {
		return false // who fetches reports it
	}
	_, err = client.Cached(from.model, from.revision)
	return err == nil
}

// findBase returns the folder of the model that an adapter is for. from.model is --base, or what the adapter says.
func findBase(ctx context.Context, c *cli.Context, subject string, from source,
	fetch func(ctx context.Context, stderr io.Writer, path, revision string) (dir, commit string, err error)) (dir string, err error) {
	if from.model == "" {
		return "", badInput{fmt.Errorf("%s: %s does not say which model it is for", commandOf(c), subject), "--base MODEL names it"}
	}
	dir = from.model
	if from.hub {
		if isModel(dir) {
			from.revision = "" // of the Hub's model of that name
		}
		if dir, _, err = fetch(ctx, c.App.ErrWriter, dir, from.revision); err != nil {
			return "", err
		}
	}
	if isModel(dir) {
		return dir, nil
	}
	if c.IsSet("base") {
		return "", badInput{fmt.Errorf("%s: --base %s: no model folder: there is no config.json in it", commandOf(c), from.model),
			"a model is a Hugging Face folder, or a name on the Hub such as google/gemma-3-1b-it"}
	}
	return "", badInput{fmt.Errorf("%s: %s is for the model %q, and there is no such model folder here", commandOf(c), subject, from.model),
		"--base MODEL says where it is"}
}

// checkFit compares an adapter with its base model's config.json in dir, and has it say which model that is. An adapter
// that is nil is read from its GGUF file.
func checkFit(subject string, adapter *adapterfile.Adapter, from source, dir string) (*adapterfile.Adapter, *checkpoint.Config, error) {
	config, err := checkpoint.ReadConfig(dir)
	if err != nil {
		return nil, nil, badInput{err, ""}
	}
	if adapter == nil {
		adapter, err = gguf.ReadAdapter(from.adapter, config)
	}
	if err == nil {
		err = adapters.Fits(adapter, config)
	}
	if err != nil {
		return nil, nil, badInput{fmt.Errorf("%s and %s: %w", subject, from.model, err), "--base MODEL names the model that it was trained on"}
	}
	adapter.Base, adapter.Revision = from.model, from.revision
	adapter.Multimodal, adapter.NumHiddenLayers = config.Multimodal, config.NumHiddenLayers
	return adapter, config, nil
}

// defaultOut is a folder beside the adapter in a run's own folder, and one of this folder for what comes from elsewhere.
func (e *export) defaultOut() string {
	dir := filepath.Clean(cmp.Or(e.from.adapter, e.hub, e.from.model))
	if absolute, err := filepath.Abs(dir); err == nil && dir == "." {
		dir = absolute
	}
	name := filepath.Join(filepath.Dir(dir), "export-"+e.to)
	if base := filepath.Base(dir); base != "adapter" && base != "model" {
		name = strings.TrimSuffix(base, ".gguf") + "-" + e.to
	}
	if e.to == toGGUF && e.whole && e.from.adapter != "" {
		name += "-merged"
	}
	if e.kind != "" {
		name += "-" + e.kind
	}
	return name
}

func isGGUF(path string) bool { return strings.HasSuffix(path, ".gguf") }

// checkOut refuses to write over what is there. Even when forced, only files such as an export writes are replaced,
// and never the folders that are read.
func checkOut(out string, force bool, sources ...string) error {
	// A folder, or a file, is made beside its place and moved there: what is above must take it.
	if err := checkNewDir(filepath.Dir(filepath.Clean(out))); err != nil {
		return badInput{fmt.Errorf("--out %s: was not written: %w", out, err), "--out DIR names another place"}
	}
	info, err := os.Stat(out)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return badInput{fmt.Errorf("--out %s: %w", out, pathless(err)), ""}
	}
	for _, from := range sources {
		if read, err := os.Stat(from); err == nil && os.SameFile(info, read) {
			return badInput{fmt.Errorf("--out %s: that is what is read", out), "--out DIR names another"}
		}
	}
	if here, err := os.Stat("."); err == nil && os.SameFile(info, here) {
		return badInput{fmt.Errorf("--out %s: is the folder that this runs in", out), "--out DIR names one to make"}
	}
	if entries, err := os.ReadDir(out); err == nil && len(entries) == 0 && !isGGUF(out) {
		return nil // made for this
	}
	if !force {
		return badInput{fmt.Errorf("%s: exists", out), "--force replaces it; --out writes elsewhere"}
	}
	if isGGUF(out) {
		if info.IsDir() {
			return badInput{fmt.Errorf("--out %s: is a folder, want a file", out), ""}
		}
		return nil
	}
	if !info.IsDir() {
		return badInput{fmt.Errorf("--out %s: is a file, want a folder", out), ""}
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		return badInput{fmt.Errorf("--out: %w", err), ""}
	}
	for _, entry := range entries {
		if entry.IsDir() || !exportWrites(entry.Name()) {
			return badInput{fmt.Errorf("--out %s: holds %s, which no export has written: it is not replaced", out, entry.Name()),
				"--out DIR names another"}
		}
	}
	return nil
}

// exportWrites reports whether a file could be one of an export's.
func exportWrites(name string) bool {
	return slices.Contains([]string{".safetensors", ".json", ".gguf", ".jinja", ".Modelfile"}, filepath.Ext(name)) ||
		slices.Contains([]string{"Modelfile", "README.md", "tokenizer.model"}, name)
}

// write makes the files, whole or not at all.
func (e *export) write(ctx context.Context) error {
	switch {
	case e.to == toPEFT:
		return e.adapter.WritePEFT(e.out, adapterfile.PEFTOptions{Multimodal: e.adapter.Multimodal})
	case e.to == toMLX:
		return e.adapter.WriteMLX(e.out)
	}
	if e.to == toGGUF && !e.whole {
		return e.inGGUF("adapter", func(path string) error {
			kind, err := gguf.ParseType(cmp.Or(e.kind, "f32"))
			if err != nil {
				return err
			}
			return gguf.WriteAdapter(path, e.adapter, e.config, kind)
		})
	}
	m, err := adapters.OpenMerged(e.base, e.adapter)
	if err != nil {
		return loadError(err)
	}
	defer m.Close()
	if e.to == toMerged {
		defer showProgress(e.c.App.ErrWriter, m, m.Len())()
		return e.writeMerged(ctx, m)
	}
	return e.writeModelGGUF(ctx, m)
}

// showProgress draws a bar of the numbers that are written, on a terminal; the function it returns takes it away.
func showProgress(w io.Writer, m *adapters.Merged, total int64) (done func()) {
	s := screenOf(w)
	if !s.terminal {
		return func() {}
	}
	theme := progressbar.Theme{Saucer: "━", SaucerHead: "━", SaucerPadding: "─"}
	if !s.unicode {
		theme = progressbar.Theme{Saucer: "=", SaucerHead: ">", SaucerPadding: " ", BarStart: "[", BarEnd: "]"}
	}
	bar := progressbar.NewOptions64(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription("writing"),
		progressbar.OptionSetWidth(24), progressbar.OptionThrottle(barEvery), progressbar.OptionSetTheme(theme))
	m.Progress = func(numbers int64) { _ = bar.Add64(numbers) } // an error here only means that the terminal went away
	return func() { _ = bar.Clear() }
}

// besideWeights are what a model folder has besides weights and config.json, an image processor's settings among them.
var besideWeights = []string{"preprocessor_config.json", "processor_config.json", "chat_template.json"}

// writeMerged writes a folder as transformers saves a model.
func (e *export) writeMerged(ctx context.Context, m *adapters.Merged) error {
	dtype := map[string]safetensors.DType{"bf16": safetensors.BF16, "f32": safetensors.F32}[e.kind]
	return files.ReplaceDir(e.out, func(dir string) error {
		if err := copyFiles(e.base, dir, append(besideWeights, tokenizerFiles...)); err != nil {
			return err
		}
		return m.Save(ctx, dir, dtype)
	})
}

// writeModelGGUF writes a model with its tokenizer, and Ollama's Modelfile.
func (e *export) writeModelGGUF(ctx context.Context, m *adapters.Merged) error {
	tok, err := tokenizer.Open(e.base)
	if err != nil {
		return badInput{err, "a GGUF model has its tokenizer inside"}
	}
	kind, err := gguf.ParseType(cmp.Or(e.kind, strings.ToLower(string(m.DType())))) // F32, F16 and BF16 are the same words
	if err != nil {
		return err
	}
	advice, _, err := readAdvice(e.base)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	defer showProgress(e.c.App.ErrWriter, m, m.Config().Count())() // an image tower stays behind
	return e.inGGUF("model", func(path string) error {
		narrow, err := gguf.WriteModel(ctx, path, m.Config(), tok, m, gguf.ModelOptions{Name: e.name(), Type: kind})
		if err != nil {
			return ggufError(err)
		}
		if len(narrow) > 0 {
			fmt.Fprintf(e.c.App.ErrWriter, "note: %d matrices are f16, their rows are no multiple of 32: %s\n", len(narrow), strings.Join(narrow, ", "))
		}
		return files.ReplaceFile(modelfileOf(path), func(w io.Writer) error {
			_, err := io.WriteString(w, gguf.Modelfile("./"+filepath.Base(path), "", advice))
			return err
		})
	})
}

// ggufError tells a model that GGUF cannot say from a file that cannot be written.
func ggufError(err error) error {
	_, path := errors.AsType[*fs.PathError](err)
	_, link := errors.AsType[*os.LinkError](err)
	if path || link || errors.Is(err, context.Canceled) {
		return err
	}
	return badInput{err, "--to merged writes every model"}
}

// inGGUF has write make the file that --out names, or name.gguf in a folder.
func (e *export) inGGUF(name string, write func(path string) error) error {
	if !isGGUF(e.out) {
		return files.ReplaceDir(e.out, func(dir string) error { return write(filepath.Join(dir, name+".gguf")) })
	}
	if err := os.MkdirAll(filepath.Dir(e.out), 0o755); err != nil {
		return err
	}
	return write(e.out)
}

// modelfileOf names the Modelfile beside a GGUF file: in a folder of its own it needs no other name.
func modelfileOf(path string) string {
	if filepath.Base(path) == "model.gguf" {
		return filepath.Join(filepath.Dir(path), "Modelfile")
	}
	return strings.TrimSuffix(path, ".gguf") + ".Modelfile"
}

// ggufPath is the GGUF file that was written.
func (e *export) ggufPath() string {
	switch {
	case isGGUF(e.out):
		return e.out
	case e.whole:
		return filepath.Join(e.out, "model.gguf")
	}
	return filepath.Join(e.out, "adapter.gguf")
}

// name is what the result is called: like the run, or like the folder that it comes from.
func (e *export) name() string {
	if e.run != nil {
		return e.run.Name
	}
	absolute, err := filepath.Abs(e.subject())
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(filepath.Base(absolute), ".gguf")
}

// exportError says why nothing was written.
func exportError(ctx context.Context, out string, err error) error {
	switch {
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted: %s was not written", out)
	case errors.Is(err, syscall.ENOSPC):
		return hinted{fmt.Errorf("%s was not written: %w", out, err), "--out names a folder on another disk"}
	}
	// The folder that is being filled has a name that nobody has typed.
	if p, ok := errors.AsType[*fs.PathError](err); ok && strings.HasPrefix(p.Path, filepath.Join(filepath.Dir(out), "."+filepath.Base(out))) {
		return fmt.Errorf("%s was not written: %w", out, p.Err)
	}
	return err
}

// record tells runs.db what the run's export has written.
func (e *export) record(ctx context.Context) (err error) {
	if e.wrote, err = filesOf(e.out); err != nil || e.run == nil {
		return err
	}
	store, err := openStore("--db", e.c.String("db"))
	if err != nil {
		return err
	}
	for _, path := range e.wrote {
		sum, size, err := files.SHA256(path)
		if err == nil && filepath.Dir(e.c.String("db")) != "." {
			path, err = filepath.Abs(path) // paths in the database start at the folder of the run, which this is not
		}
		if err == nil {
			err = store.RecordArtifact(ctx, e.run.ID, runstore.Artifact{Kind: "export", Path: path, Bytes: size, SHA256: sum})
		}
		if err != nil {
			return closing(store, err)
		}
	}
	return closing(store, nil)
}

// filesOf returns the files that out stands for: those of a folder, or a GGUF file and the Modelfile that goes with it.
func filesOf(out string) ([]string, error) {
	if isGGUF(out) {
		names := []string{out}
		if beside := modelfileOf(out); isFile(beside) {
			names = append(names, beside)
		}
		return names, nil
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		names = append(names, filepath.Join(out, entry.Name()))
	}
	return names, nil
}

// tell prints what was written and what to type next.
func (e *export) tell() error {
	w := e.c.App.Writer
	fmt.Fprintf(w, "wrote %s\n", e.out)
	width := 0
	for _, path := range e.wrote {
		width = max(width, len(filepath.Base(path)))
	}
	for _, path := range e.wrote {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "  %-*s  %7s\n", width, filepath.Base(path), chart.FormatBytes(float64(info.Size())))
	}
	fmt.Fprintf(w, "\nnext\n")
	for _, command := range e.next() {
		fmt.Fprintf(w, "  %s\n", command)
	}
	return nil
}

// next returns the commands that try what was written.
func (e *export) next() []string {
	out, base := quoted(e.out), quoted(cmp.Or(e.from.model, "BASE"))
	switch {
	case e.to == toPEFT:
		python := "python3 -c " + quoted(fmt.Sprintf("from peft import AutoPeftModelForCausalLM as M; M.from_pretrained(%q)", e.out))
		if e.adapter.UseDoRA { // vLLM has none
			return []string{python}
		}
		return []string{python, fmt.Sprintf("vllm serve %s --enable-lora%s --lora-modules tuned=%s", base, e.vllmRank(), out)}
	case e.to == toMLX:
		return []string{fmt.Sprintf("mlx_lm.generate --model %s --adapter-path %s --prompt Hello", base, out)}
	case e.to == toMerged:
		return []string{
			fmt.Sprintf("tune generate --model %s Hello", out),
			fmt.Sprintf("mlx_lm.generate --model %s --prompt Hello", out),
			fmt.Sprintf("vllm serve %s", out),
		}
	case !e.whole:
		return []string{
			fmt.Sprintf("tune export %s --to gguf --out base.gguf", base),
			fmt.Sprintf("llama-cli -m base.gguf --lora %s -p Hello", quoted(e.ggufPath())),
		}
	}
	return []string{
		fmt.Sprintf("ollama create %s -f %s", e.ollamaName(), quoted(modelfileOf(e.ggufPath()))),
		fmt.Sprintf("llama-cli -m %s -p Hello", quoted(e.ggufPath())),
	}
}

// vllmRank is the option that vLLM wants for a rank above 16; it takes powers of two.
func (e *export) vllmRank() string {
	highest, limit := 0, 16
	for _, m := range e.adapter.Modules {
		highest = max(highest, m.Rank)
	}
	for limit < highest {
		limit *= 2
	}
	if limit == 16 {
		return ""
	}
	return fmt.Sprintf(" --max-lora-rank %d", limit)
}

// ollamaName is the name in a form that Ollama takes.
func (e *export) ollamaName() string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '-'
	}, strings.ToLower(e.name()))
	return cmp.Or(strings.Trim(name, "-._"), "tuned")
}

// quoted writes a word so that a shell takes it as one.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./=:,@+", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// copyFiles copies those of the named files that are there.
func copyFiles(from, to string, names []string) error {
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}
