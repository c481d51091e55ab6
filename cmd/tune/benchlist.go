package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tune/configs"
	"tune/internal/chart"
	"tune/internal/runstore"
	"tune/internal/torch"
)

// listFlags are those of the lists of what was measured.
func listFlags(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{
		&cli.StringSliceFlag{Name: "db", Usage: "the database of runs; may be repeated, to join those of several machines", Value: cli.NewStringSlice("runs.db")},
		&cli.StringFlag{Name: "model", Usage: "only models with `TEXT` in their path"},
		&cli.StringFlag{Name: "device", Usage: "only this `DEVICE`: mps, cuda, cpu, or a part of the machine's name"},
		jsonFlag(),
		&cli.BoolFlag{Name: "markdown", Usage: "write a Markdown table, to publish"},
	}, more...)
}

func benchListCommand() *cli.Command {
	return &cli.Command{Name: "list", Usage: "list every measurement", Flags: listFlags(), Action: listBenchmarks}
}

func benchTableCommand() *cli.Command {
	return &cli.Command{
		Name:  "table",
		Usage: "compare machines and models: benchmarks and training runs in one table",
		Description: "One line for each machine, model and kind of work: generate and train are measurements of tune bench, run\n" +
			"are training runs that are done. Only like is put together: the same prompt length, batch, dtype and threads.\n" +
			"tok/s is the median of all measurements of a line, not the best of them; newest is the last one made.\n\n" +
			"   tune bench table\n" +
			"   tune bench table --db runs.db --db from-the-mac.db --markdown\n" +
			"   tune bench table --model gemma-3-1b --device mps --csv",
		Flags:  listFlags(csvFlag()),
		Action: benchTable,
	}
}

func listBenchmarks(c *cli.Context) error {
	if err := errors.Join(noArguments(c), oneFormat(c, "json", "markdown")); err != nil {
		return err
	}
	m, err := readSpeeds(c.Context, "db", c.StringSlice("db"), false)
	if err != nil {
		return err
	}
	m.filter(c)
	return writeBenchmarks(c, m.benchmarks, true)
}

// unmeasured is a number that nobody has measured.
var unmeasured = runstore.Real(math.NaN())

// speeds is what databases say of speed.
type speeds struct {
	benchmarks []runstore.Benchmark
	runs       []measuredRun // that are done
}

// measuredRun is a run, with what only its config says.
type measuredRun struct {
	runstore.RunSummary
	quantize      string // int8, int4 or empty
	checkpointing bool
}

// readSpeeds reads databases, which a flag names, each measurement once however often it is there.
func readSpeeds(ctx context.Context, flag string, paths []string, runs bool) (*speeds, error) {
	m := &speeds{}
	for _, path := range paths {
		store, err := openRunsAt(ctx, flag, path)
		if err != nil {
			return nil, err
		}
		if err := closing(store, m.read(ctx, store, runs)); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *speeds) read(ctx context.Context, store *runstore.Store, runs bool) error {
	rows, err := store.Benchmarks(ctx, "")
	if err != nil {
		return err
	}
	for _, b := range rows {
		if !slices.ContainsFunc(m.benchmarks, func(x runstore.Benchmark) bool { return sameMeasurement(&x, &b) }) {
			m.benchmarks = append(m.benchmarks, b)
		}
	}
	if !runs {
		return nil
	}
	done, err := store.Runs(ctx, runstore.Filter{Status: runstore.Done})
	if err != nil {
		return err
	}
	for _, r := range done {
		if slices.ContainsFunc(m.runs, func(x measuredRun) bool { return x.ID == r.ID }) || !r.TokensPerSecond.Finite() {
			continue
		}
		whole, err := store.Run(ctx, r.ID) // with its config
		if err != nil {
			return err
		}
		m.runs = append(m.runs, withConfig(whole))
	}
	return nil
}

// sameMeasurement tells a row that several databases have; its number is another one in each.
func sameMeasurement(a, b *runstore.Benchmark) bool {
	return a.CreatedAt.Equal(b.CreatedAt) && a.Kind == b.Kind && a.Chip == b.Chip && a.DeviceName == b.DeviceName && a.ModelSHA256 == b.ModelSHA256
}

// withConfig adds what the config of a run says of its speed; nothing, where it cannot be read.
func withConfig(r runstore.RunSummary) measuredRun {
	out := measuredRun{RunSummary: r}
	if cfg, err := configs.Parse(r.ID, []byte(r.Config), nil); err == nil {
		out.checkpointing = cfg.Train.GradientCheckpointing
		if cfg.Model.QuantizeBits() > 0 {
			out.quantize = cfg.Model.Quantize
		}
	}
	return out
}

// machineOfRun names what a run was made on as deviceName does.
func machineOfRun(r *runstore.Run) string {
	return deviceName(&runstore.Benchmark{Device: r.Device, DeviceName: r.DeviceName, Chip: r.Chip})
}

// filter leaves what --model and --device ask for.
func (m *speeds) filter(c *cli.Context) {
	model, device := strings.ToLower(c.String("model")), strings.ToLower(c.String("device"))
	other := func(path, on, machine string) bool {
		return !strings.Contains(strings.ToLower(path), model) ||
			device != "" && on != device && !strings.Contains(strings.ToLower(machine), device)
	}
	m.benchmarks = slices.DeleteFunc(m.benchmarks, func(b runstore.Benchmark) bool {
		return other(b.ModelPath, b.Device, deviceName(&b))
	})
	m.runs = slices.DeleteFunc(m.runs, func(r measuredRun) bool {
		return other(r.ModelPath, r.Device, machineOfRun(&r.Run))
	})
}

// benchKey is what measurements must share to be of one line.
type benchKey struct {
	Machine               string `json:"machine"` // the graphics card on CUDA, the chip elsewhere
	Cores                 int    `json:"cores"`
	MemoryBytes           int64  `json:"memory_bytes"`
	Device                string `json:"device"`
	DType                 string `json:"dtype"`
	Threads               int    `json:"threads"` // 0 where the CPU does not compute
	ModelSHA256           string `json:"model_sha256"`
	Kind                  string `json:"kind"` // generate, train or run
	Method                string `json:"method"`
	Adapted               bool   `json:"adapted"` // generated with an adapter
	PrefillTokens         int64  `json:"prefill_tokens"`
	DecodeTokens          int64  `json:"decode_tokens"`
	BatchSize             int    `json:"batch_size"`
	GradientCheckpointing bool   `json:"gradient_checkpointing"`
}

// benchLine is a line of the table: medians over its measurements, as tune bench table --json writes it.
type benchLine struct {
	ModelPath string `json:"model_path"` // of the newest
	benchKey
	Measurements           int           `json:"measurements"`
	NewestAt               time.Time     `json:"newest_at"`
	TokensPerSecond        runstore.Real `json:"tokens_per_second"` // decoded by generate, trained on by the others
	NewestTokensPerSecond  runstore.Real `json:"newest_tokens_per_second"`
	PrefillTokensPerSecond runstore.Real `json:"prefill_tokens_per_second"`
	TimeToFirstToken       runstore.Real `json:"time_to_first_token_seconds"`
	PeakMemoryBytes        int64         `json:"peak_memory_bytes"`
	WallSeconds            runstore.Real `json:"wall_seconds"`
}

// observation is one measurement of a line.
type observation struct {
	key                              benchKey
	model                            string
	at                               time.Time
	speed, prefill, firstToken, wall runstore.Real
	memory                           int64
}

func benchTable(c *cli.Context) error {
	if err := errors.Join(noArguments(c), oneFormat(c, "json", "markdown", "csv")); err != nil {
		return err
	}
	m, err := readSpeeds(c.Context, "db", c.StringSlice("db"), true)
	if err != nil {
		return err
	}
	m.filter(c)
	lines := linesOf(m.observations())
	switch w := c.App.Writer; {
	case c.Bool("json"):
		return writeJSON(w, append([]benchLine{}, lines...)) // [] and not null
	case c.Bool("csv"):
		return writeCSV(w, lines)
	case len(lines) == 0:
		_, err := fmt.Fprintln(w, "nothing was measured yet; tune bench --model models/pocket is a beginning")
		return err
	case c.Bool("markdown"):
		return writeMarkdown(w, lineColumns(lines, screenOf(w)))
	default:
		return screenOf(w).writeTable(w, lineColumns(lines, screenOf(w)))
	}
}

// observations lists every measurement with the line it belongs to.
func (m *speeds) observations() []observation {
	var out []observation
	for i := range m.benchmarks {
		out = append(out, observedBenchmark(&m.benchmarks[i]))
	}
	for i := range m.runs {
		out = append(out, observedRun(&m.runs[i]))
	}
	return out
}

func observedBenchmark(b *runstore.Benchmark) observation {
	speed := b.DecodeTokensPerSecond.Median
	if b.Kind == runstore.BenchmarkTrain {
		speed = b.TrainTokensPerSecond.Median
	}
	return observation{
		key: benchKey{Machine: deviceName(b), Cores: b.Cores, MemoryBytes: b.MemoryBytes, Device: b.Device, DType: b.DType,
			Threads: threadsThatCount(b.Device, b.Threads), ModelSHA256: cmp.Or(b.ModelSHA256, b.ModelPath), Kind: string(b.Kind),
			Adapted: b.Adapter != "", PrefillTokens: b.PrefillTokens, DecodeTokens: b.DecodeTokens, BatchSize: b.BatchSize,
			GradientCheckpointing: b.GradientCheckpointing},
		model: b.ModelPath, at: b.CreatedAt, speed: speed, prefill: b.PrefillTokensPerSecond.Median,
		firstToken: b.TimeToFirstToken.Median, wall: unmeasured, memory: benchMemory(b),
	}
}

func observedRun(r *measuredRun) observation {
	memory := benchMemory(&runstore.Benchmark{Device: r.Device, PeakMemoryBytes: r.PeakMemoryBytes, DevicePeakMemoryBytes: r.DevicePeakMemoryBytes})
	dtype := r.DType
	if r.quantize != "" {
		dtype += "+" + r.quantize
	}
	return observation{
		key: benchKey{Machine: machineOfRun(&r.Run), Cores: r.Cores, MemoryBytes: r.MemoryBytes, Device: r.Device, DType: dtype,
			Threads: threadsThatCount(r.Device, r.Threads), ModelSHA256: cmp.Or(r.ModelSHA256, r.ModelPath), Kind: "run",
			Method: r.Method, BatchSize: r.BatchSize, GradientCheckpointing: r.checkpointing},
		model: r.ModelPath, at: r.CreatedAt, speed: r.TokensPerSecond, prefill: unmeasured, firstToken: unmeasured, wall: r.WallSeconds,
		memory: memory,
	}
}

// threadsThatCount is how many threads compute: a GPU does not care.
func threadsThatCount(device string, threads int) int {
	if device == torch.CPU.String() {
		return threads
	}
	return 0
}

// linesOf puts measurements into lines: those of a model and kind together, the fastest first.
func linesOf(observations []observation) []benchLine {
	grouped := map[benchKey][]observation{}
	for _, o := range observations {
		grouped[o.key] = append(grouped[o.key], o)
	}
	var lines []benchLine
	for key, of := range grouped {
		slices.SortStableFunc(of, func(a, b observation) int { return a.at.Compare(b.at) })
		newest := of[len(of)-1]
		lines = append(lines, benchLine{
			ModelPath: newest.model, benchKey: key, Measurements: len(of), NewestAt: newest.at,
			TokensPerSecond: medianOf(of, func(o observation) float64 { return float64(o.speed) }), NewestTokensPerSecond: newest.speed,
			PrefillTokensPerSecond: medianOf(of, func(o observation) float64 { return float64(o.prefill) }),
			TimeToFirstToken:       medianOf(of, func(o observation) float64 { return float64(o.firstToken) }),
			PeakMemoryBytes:        int64(medianOf(of, func(o observation) float64 { return float64(o.memory) })),
			WallSeconds:            medianOf(of, func(o observation) float64 { return float64(o.wall) }),
		})
	}
	slices.SortFunc(lines, func(a, b benchLine) int {
		return cmp.Or(cmp.Compare(a.ModelSHA256, b.ModelSHA256), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.work(), b.work()),
			cmp.Compare(b.TokensPerSecond, a.TokensPerSecond), cmp.Compare(fmt.Sprint(a.benchKey), fmt.Sprint(b.benchKey)))
	})
	return lines
}

// medianOf is the median of what is known; NaN where nothing is.
func medianOf(of []observation, value func(o observation) float64) runstore.Real {
	var values []float64
	for _, o := range of {
		if v := value(o); runstore.Real(v).Finite() {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return unmeasured
	}
	return runstore.SpreadOf(values).Median
}

// work says what was done, beside its kind.
func (l *benchLine) work() string {
	if l.Kind == string(runstore.BenchmarkGenerate) {
		text := fmt.Sprintf("%s %d+%d", l.Kind, l.PrefillTokens, l.DecodeTokens)
		if l.Adapted {
			text += " + LoRA"
		}
		return text
	}
	text := l.Kind
	if l.Method == "full" {
		text += ", full"
	}
	text += fmt.Sprintf(", batch %d", l.BatchSize)
	if l.GradientCheckpointing {
		text += ", checkpointing"
	}
	return text
}

// machine names the hardware as far as it matters: a graphics card by itself, a processor with its cores and memory.
func (l *benchLine) machine() string {
	if l.Device == torch.CUDA.String() || l.Cores == 0 {
		return l.Machine
	}
	return fmt.Sprintf("%s, %d cores, %.0f GiB", l.Machine, l.Cores, float64(l.MemoryBytes)/(1<<30))
}

// lineColumns are the columns of the table.
func lineColumns(lines []benchLine, s screen) []tableColumn {
	column := func(title string, drop int, right bool, cell func(l *benchLine) string) tableColumn {
		t := tableColumn{title: title, drop: drop, right: right}
		for i := range lines {
			t.cells = append(t.cells, printable(cell(&lines[i])))
		}
		return t
	}
	perSecond := func(v runstore.Real) string {
		if !v.Finite() {
			return "-"
		}
		return perSecondText(float64(v))
	}
	return []tableColumn{
		column("machine", 0, false, (*benchLine).machine),
		column("device", 4, false, func(l *benchLine) string {
			if l.Threads > 0 {
				return l.Device + ", " + countOf(l.Threads, "thread")
			}
			return l.Device
		}),
		column("dtype", 1, false, func(l *benchLine) string { return l.DType }),
		column("model", 0, false, func(l *benchLine) string { return filepath.Base(l.ModelPath) }),
		column("kind", 0, false, (*benchLine).work),
		column("tok/s", 0, true, func(l *benchLine) string { return perSecond(l.TokensPerSecond) }),
		column("newest", 7, true, func(l *benchLine) string { return perSecond(l.NewestTokensPerSecond) }),
		column("prefill tok/s", 6, true, func(l *benchLine) string { return perSecond(l.PrefillTokensPerSecond) }),
		column("TTFT", 5, true, func(l *benchLine) string { return chart.FormatDuration(float64(l.TimeToFirstToken)) }),
		column("peak memory", 3, true, func(l *benchLine) string { return bytesOf(l.PeakMemoryBytes) }),
		column("wall time", 8, true, func(l *benchLine) string { return chart.FormatDuration(float64(l.WallSeconds)) }),
		column("n", 2, true, func(l *benchLine) string { return fmt.Sprint(l.Measurements) }),
		column("date", 9, false, func(l *benchLine) string { return l.NewestAt.Local().Format(time.DateOnly) }),
	}
}
