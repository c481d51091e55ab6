package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tune/internal/chart"
	"tune/internal/machine"
	"tune/internal/model"
	"tune/internal/runstore"
	"tune/internal/torch"
)

func benchCommand() *cli.Command {
	shared := []cli.Flag{
		databaseFlag(), jsonFlag(),
		&cli.BoolFlag{Name: "markdown", Usage: "write a Markdown table, to publish"},
	}
	return &cli.Command{
		Name:  "bench",
		Usage: "measure how fast a model reads and writes here, and keep it",
		Description: "Reads a prompt of --prefill tokens and writes --decode tokens behind the first, as tables of inference\n" +
			"speed have it: once to warm up, then --repetitions times. Shown are the median and, in brackets, the\n" +
			"slowest and the fastest. The measurement goes to the database (runs.db); tune bench list shows all, tune\n" +
			"bench table sets machines and models side by side.\n\n" +
			"   tune bench --model models/pocket\n" +
			"   tune bench --run last --markdown\n" +
			"   tune bench table\n\n" +
			"tune bench train measures training steps, tune bench products the matrix products in them.",
		Flags: flags(voiceFlags(), []cli.Flag{
			&cli.IntFlag{Name: "prefill", Usage: "`N` tokens of prompt", Value: 512},
			&cli.IntFlag{Name: "decode", Usage: "`N` tokens to write after the first", Value: 128},
			&cli.IntFlag{Name: "repetitions", Usage: "measure `N` times", Value: 3},
		}, shared),
		Action: bench,
		Subcommands: []*cli.Command{
			benchListCommand(), benchTableCommand(), benchTrainCommand(), benchProductsCommand(),
		},
	}
}

func bench(c *cli.Context) error {
	if word := c.Args().First(); word != "" {
		return badInput{fmt.Errorf("tune bench: unknown command %q", word), didYouMean("tune bench ", word, []string{"list", "table", "train", "products"}, "--model and --run name what is measured")}
	}
	if err := errors.Join(atLeast(c, "prefill", 1), atLeast(c, "decode", 1), atLeast(c, "repetitions", 1), oneForm(c)); err != nil {
		return err
	}
	ctx, stop := untilInterrupted(c.Context)
	defer stop()
	v, err := findVoice(ctx, c)
	if err != nil {
		return err
	}
	// Before anything is measured: a database that cannot be written would lose it.
	store, err := runstore.Open(c.String("db"))
	if err != nil {
		return err
	}
	row, err := v.bench(ctx, c)
	if err == nil {
		row.ID, err = store.RecordBenchmark(ctx, row)
	}
	if err := closing(store, err); err != nil {
		return err
	}
	return writeBenchmarks(c, []runstore.Benchmark{row}, false)
}

// oneForm refuses two forms of output at once.
func oneForm(c *cli.Context) error {
	if c.Bool("json") && c.Bool("markdown") {
		return badInput{fmt.Errorf("%s: want --json or --markdown, got both", commandOf(c)), ""}
	}
	return nil
}

// bench measures and returns the row for the database.
func (v *voice) bench(ctx context.Context, c *cli.Context) (row runstore.Benchmark, err error) {
	prefill, decode, repetitions := c.Int("prefill"), c.Int("decode"), c.Int("repetitions")
	sum, err := hashModel(v.dir) // now, not beside the measurement
	if err != nil {
		return row, err
	}
	if v.from.sha256 != "" && v.from.sha256 != sum {
		v.warnChanged(c.App.ErrWriter)
	}
	v.from.sha256 = "" // compared already
	var firstToken, prefillRate, decodeRate []float64
	err = torch.Run(func(s *torch.Scope) error {
		if err := v.load(s, c.App.ErrWriter); err != nil {
			return err
		}
		// The last token that is written needs no position: nothing follows it.
		if reach := v.model.Config.MaxPositionEmbeddings; int64(prefill+decode) > reach {
			return badInput{fmt.Errorf("%s: --prefill %d and --decode %d take %d positions, %s has %d (max_position_embeddings)", commandOf(c),
				prefill, decode, prefill+decode, v.name, reach), "smaller ones fit"}
		}
		prompt := benchPrompt(prefill, v.model.Config.VocabSize)
		var expected []int64
		for i := range repetitions + 1 { // the first warms up: kernels are compiled and buffers made
			v.progress(fmt.Sprintf("measuring: %d of %d", i, repetitions))
			var ids []int64
			v.device.Synchronize()
			w, err := v.model.Generate(ctx, s, prompt, model.GenerateOptions{MaxNewTokens: decode + 1},
				func(id int64) bool { ids = append(ids, id); return true })
			v.progress("")
			switch {
			case err != nil:
				return err
			case ctx.Err() != nil:
				return errors.New("bench: interrupted: nothing was recorded")
			case len(ids) != decode+1:
				return fmt.Errorf("bench: %d tokens were written, want %d", len(ids), decode+1)
			case i == 0:
				expected = ids
				continue
			case !slices.Equal(ids, expected):
				// Fast but wrong is no result: the same prompt must give the same text.
				return fmt.Errorf("bench: repetition %d wrote another text than the warm-up: this device does not compute the same twice", i)
			}
			firstToken = append(firstToken, w.FirstToken.Seconds())
			prefillRate = append(prefillRate, w.PrefillTokensPerSecond())
			decodeRate = append(decodeRate, w.DecodeTokensPerSecond())
		}
		return nil
	})
	if err != nil {
		return row, err
	}
	device, _ := v.device.DeviceMemory()
	facts, _ := machine.ReadFacts() // usable with an error, which names what the system does not tell
	build := machine.ReadBuild()
	commit, dirty := machine.GitCommit(ctx, ".")
	return runstore.Benchmark{CreatedAt: time.Now().UTC().Truncate(time.Millisecond), Kind: runstore.BenchmarkGenerate, RunID: v.from.run, ModelPath: v.name, ModelSHA256: sum,
		ModelRevision: v.commit, Adapter: v.from.adapter, TotalParameters: v.model.Config.Count(),
		Device: v.device.String(), DeviceName: v.device.Name(), DType: v.dtype.String(), Threads: torch.Threads(),
		PrefillTokens: int64(prefill), DecodeTokens: int64(decode), Repetitions: repetitions,
		TimeToFirstToken: runstore.SpreadOf(firstToken), PrefillTokensPerSecond: runstore.SpreadOf(prefillRate),
		DecodeTokensPerSecond: runstore.SpreadOf(decodeRate), PeakMemoryBytes: peakMemory(), DevicePeakMemoryBytes: known(device.Peak),
		TuneVersion: build.Version, LibtorchVersion: torch.Version(), GoVersion: runtime.Version(), GitCommit: commit, GitDirty: dirty,
		Chip: facts.Chip, MachineModel: facts.Model, OS: facts.OS, Arch: facts.Arch, Cores: facts.Cores,
		PerformanceCores: facts.PerformanceCores, MemoryBytes: int64(facts.MemoryBytes)}, nil
}

// benchPrompt makes a prompt of n tokens. What they say changes nothing about the speed.
func benchPrompt(n int, vocabulary int64) []int64 {
	r := rand.New(rand.NewPCG(1, 2))
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = r.Int64N(vocabulary)
	}
	return ids
}

// writeBenchmarks writes benchmarks in the form that was asked for; with dates when they are of many days.
func writeBenchmarks(c *cli.Context, rows []runstore.Benchmark, dates bool) error {
	w := c.App.Writer
	if c.Bool("json") {
		if !dates {
			return writeJSON(w, rows[0])
		}
		return writeJSON(w, append([]runstore.Benchmark{}, rows...)) // [] and not null
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(w, "nothing was measured yet; tune bench --model models/pocket is a beginning")
		return err
	}
	s := screenOf(w)
	columns := benchColumns(rows, s, dates)
	if c.Bool("markdown") {
		return writeMarkdown(w, columns)
	}
	if err := s.writeTable(w, columns); err != nil || dates {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n", s.ascii(benchFacts(&rows[0])))
	return err
}

// benchColumns are the columns that such tables have.
func benchColumns(rows []runstore.Benchmark, s screen, dates bool) []tableColumn {
	column := func(title string, drop int, right bool, cell func(b *runstore.Benchmark) string) tableColumn {
		t := tableColumn{title: title, drop: drop, right: right}
		for i := range rows {
			t.cells = append(t.cells, printable(cell(&rows[i])))
		}
		return t
	}
	reads := slices.ContainsFunc(rows, func(b runstore.Benchmark) bool { return b.Kind == runstore.BenchmarkGenerate })
	trains := slices.ContainsFunc(rows, func(b runstore.Benchmark) bool { return b.Kind == runstore.BenchmarkTrain })
	columns := []tableColumn{
		column("model", 0, false, func(b *runstore.Benchmark) string {
			if b.Adapter != "" {
				return b.ModelPath + " + LoRA"
			}
			return b.ModelPath
		}),
	}
	if trains {
		columns = append(columns, column("kind", 6, false, func(b *runstore.Benchmark) string { return string(b.Kind) }))
	}
	columns = append(columns,
		column("params", 4, true, func(b *runstore.Benchmark) string { return count(b.TotalParameters) }),
		column("dtype", 3, false, func(b *runstore.Benchmark) string { return b.DType }),
		column("device", 5, false, func(b *runstore.Benchmark) string { return spaced(b.Device, bracketed(deviceName(b))) }),
	)
	if reads {
		columns = append(columns, generateColumns(column, s)...)
	}
	if trains {
		columns = append(columns,
			column("batch", 7, true, func(b *runstore.Benchmark) string { return numberOf(int64(b.BatchSize)) }),
			column("train tok/s", 0, true, func(b *runstore.Benchmark) string { return spreadText(b.TrainTokensPerSecond, s, perSecondText) }))
	}
	columns = append(columns,
		column("peak memory", 1, true, func(b *runstore.Benchmark) string { return bytesOf(benchMemory(b)) }))
	if dates {
		columns = append(columns,
			column("tune", 8, false, func(b *runstore.Benchmark) string { return b.TuneVersion }),
			column("date", 6, false, func(b *runstore.Benchmark) string { return b.CreatedAt.Local().Format(time.DateOnly) }))
	}
	return columns
}

// numberOf writes a number that is 0 where it says nothing.
func numberOf(n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// generateColumns are those of a prompt read and a reply written.
func generateColumns(column func(title string, drop int, right bool, cell func(b *runstore.Benchmark) string) tableColumn, s screen) []tableColumn {
	return []tableColumn{
		column("prefill", 7, true, func(b *runstore.Benchmark) string { return numberOf(b.PrefillTokens) }),
		column("decode", 7, true, func(b *runstore.Benchmark) string { return numberOf(b.DecodeTokens) }),
		column("TTFT", 2, true, func(b *runstore.Benchmark) string {
			return spreadText(b.TimeToFirstToken, s, func(v float64) string { return chart.FormatDuration(v) })
		}),
		column("prefill tok/s", 0, true, func(b *runstore.Benchmark) string { return spreadText(b.PrefillTokensPerSecond, s, perSecondText) }),
		column("decode tok/s", 0, true, func(b *runstore.Benchmark) string { return spreadText(b.DecodeTokensPerSecond, s, perSecondText) }),
	}
}

// deviceName is what the device is called: a graphics card's own name, or the processor's.
func deviceName(b *runstore.Benchmark) string {
	if b.Device == torch.CUDA.String() && b.DeviceName != "" {
		return b.DeviceName
	}
	return b.Chip
}

// benchMemory is the peak that counts: of a device with memory of its own, or of the process.
func benchMemory(b *runstore.Benchmark) int64 {
	if b.Device == torch.CUDA.String() && b.DevicePeakMemoryBytes > 0 {
		return b.DevicePeakMemoryBytes
	}
	return b.PeakMemoryBytes
}

// spreadText writes a median with the ends of the spread.
func spreadText(x runstore.Spread, s screen, text func(float64) string) string {
	if !x.Median.Finite() || x.Median == 0 { // of what the measurement's kind does not have
		return "-"
	}
	median := text(float64(x.Median))
	if x.Min == x.Max {
		return median
	}
	dash := "-"
	if s.unicode {
		dash = "–"
	}
	return fmt.Sprintf("%s (%s%s%s)", median, text(float64(x.Min)), dash, text(float64(x.Max)))
}

func perSecondText(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// benchFacts says below one measurement what it was made with.
func benchFacts(b *runstore.Benchmark) string {
	parts := []string{fmt.Sprintf("median of %d", b.Repetitions)}
	if b.Repetitions == 1 {
		parts[0] = "measured once"
	}
	switch {
	case b.Device != torch.CPU.String():
	case b.Threads == 1:
		parts = append(parts, "1 thread")
	default:
		parts = append(parts, fmt.Sprintf("%d threads", b.Threads))
	}
	parts = append(parts, spaced("tune", b.TuneVersion), spaced("libtorch", b.LibtorchVersion), b.OS)
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), " · ")
}

// writeMarkdown writes columns as a table of Markdown.
func writeMarkdown(w io.Writer, columns []tableColumn) error {
	var out strings.Builder
	line := func(cell func(c *tableColumn) string) {
		for i := range columns {
			out.WriteString("| " + strings.ReplaceAll(cell(&columns[i]), "|", `\|`) + " ")
		}
		out.WriteString("|\n")
	}
	line(func(c *tableColumn) string { return c.title })
	line(func(c *tableColumn) string {
		if c.right {
			return "---:"
		}
		return "---"
	})
	for row := range columns[0].cells {
		line(func(c *tableColumn) string { return c.cells[row] })
	}
	_, err := io.WriteString(w, out.String())
	return err
}
