package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/internal/adapterfile"
)

func importCommand() *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "take over an adapter that another program has made",
		ArgsUsage: "DIR|FILE",
		Description: "DIR is an adapter in PEFT's or MLX's format, FILE a GGUF adapter. It is compared with its base model and\n" +
			"written in PEFT's format, which generate --adapter, export and lora.from take.\n\n" +
			"   tune import adapters-mlx --base models/gemma-3-1b-it\n" +
			"   tune import lora.gguf --base models/gemma-3-1b-it --out imported/lora",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "base", Usage: "the `MODEL` that the adapter is for, a folder or a name on the Hub; without it the one that it names"},
			&cli.StringFlag{Name: "out", Usage: "the `DIR` to write; imported/NAME without it"},
			&cli.BoolFlag{Name: "force", Usage: "replace an earlier import"},
		},
		Action: importAction,
	}
}

func importAction(c *cli.Context) error {
	path, err := argument(c, "an adapter", "tune import adapters --base models/gemma-3-1b-it")
	if err != nil {
		return err
	}
	ctx, stop := untilInterrupted(c.Context)
	defer stop()
	adapter, from, err := openAdapter(path)
	if err != nil {
		return err
	}
	if c.IsSet("base") {
		from.model, from.revision = c.String("base"), ""
	}
	base, err := findBase(ctx, c, path, from, resolveTokenizer)
	if err != nil {
		return err
	}
	if adapter, _, err = checkFit(path, adapter, from, base); err != nil {
		return err
	}
	out := c.String("out")
	if out == "" {
		absolute, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		name := filepath.Base(absolute)
		out = filepath.Join("imported", strings.TrimSuffix(name, filepath.Ext(name)))
	}
	if isGGUF(out) {
		return badInput{fmt.Errorf("tune import: --out %s: an import is a folder in PEFT's format", out), "tune export writes GGUF"}
	}
	if err := checkOut(out, c.Bool("force"), path, base); err != nil {
		return err
	}

	if err := ctx.Err(); err != nil {
		return exportError(ctx, out, err)
	}
	if err := adapter.WritePEFT(out, adapterfile.PEFTOptions{Multimodal: adapter.Multimodal}); err != nil {
		return exportError(ctx, out, err)
	}
	return tellImport(c, out, from.model, adapter)
}

// tellImport prints what the adapter is and what to type next.
func tellImport(c *cli.Context, out, base string, adapter *adapterfile.Adapter) error {
	w := c.App.Writer
	var modules []string
	for _, m := range adapter.Modules {
		if short := m.Name[strings.LastIndex(m.Name, ".")+1:]; !slices.Contains(modules, short) {
			modules = append(modules, short)
		}
	}
	fmt.Fprintf(w, "wrote %s\n", out)
	fmt.Fprintf(w, "  rank %d, %s parameters in %d modules: %s\n", adapter.Rank, count(adapter.Size()), len(adapter.Modules),
		strings.Join(modules, ", "))
	fmt.Fprintf(w, "\nnext\n")
	fmt.Fprintf(w, "  tune generate --model %s --adapter %s Hello\n", quoted(base), quoted(out))
	fmt.Fprintf(w, "  tune export %s --to merged\n", quoted(out))
	return nil
}
