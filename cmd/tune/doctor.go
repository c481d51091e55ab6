package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tune/internal/chart"
	"tune/internal/machine"
	"tune/internal/runstore"
	"tune/internal/torch"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "what this machine has, how fast it is, and what to fix",
		Description: "Takes about a second: it multiplies matrices to measure the speed. Warnings are no errors: the exit\n" +
			"code is 0 all the same.",
		Flags: []cli.Flag{databaseFlag(), jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			r, err := examine(c)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return writeJSON(c.App.Writer, r)
			}
			r.write(c.App.Writer)
			return nil
		},
	}
}

// diagnosis is what tune doctor found, as its --json writes it.
type diagnosis struct {
	Versions       versions         `json:"versions"`
	FusedAttention bool             `json:"fused_attention"`
	FusedRMSNorm   bool             `json:"fused_rms_norm"`
	Machine        machine.Facts    `json:"machine"`
	Threads        int              `json:"threads"`
	BLAS           string           `json:"blas"` // the library file; empty where it is part of libtorch
	Devices        []deviceReport   `json:"devices"`
	MemoryBytes    int64            `json:"memory_bytes"` // of this process, now
	Thermal        string           `json:"thermal"`      // empty where the system does not tell
	SwapBytes      int64            `json:"swap_bytes"`   // in use by all; -1 where the system does not tell
	LoadAverage    runstore.Real    `json:"load_average"`
	EnergySources  []string         `json:"energy_sources"` // what can measure a run's energy
	Database       databaseReport   `json:"database"`
	Terminal       terminalReport   `json:"terminal"`
	Warnings       []doctorsWarning `json:"warnings"`
}

type deviceReport struct {
	Device         string  `json:"device"`
	Name           string  `json:"name"`
	Float32        float64 `json:"float32_gflops"` // measured, 10⁹ operations a second
	BFloat16       float64 `json:"bfloat16_gflops"`
	BFloat16IsFast bool    `json:"bfloat16_is_fast"` // in hardware: what dtype auto takes
}

type databaseReport struct {
	Path  string `json:"path"`
	Runs  int    `json:"runs"`
	Stale int    `json:"stale"` // running in the file, but not in fact
	Error string `json:"error"`
	bytes int64
}

type terminalReport struct {
	Terminal bool `json:"terminal"`
	Columns  int  `json:"columns"`
	Color    bool `json:"color"`
	Unicode  bool `json:"unicode"`
}

type doctorsWarning struct {
	Text string `json:"text"`
	Fix  string `json:"fix"`
}

func (r *diagnosis) warn(text, fix string) {
	r.Warnings = append(r.Warnings, doctorsWarning{text, fix})
}

// examine looks at everything.
func examine(c *cli.Context) (*diagnosis, error) {
	s := screenOf(c.App.Writer)
	facts, err := machine.ReadFacts()
	r := &diagnosis{Versions: readVersions(), FusedAttention: torch.HasSDPA(), FusedRMSNorm: torch.HasRMSNorm(),
		Machine: facts, Terminal: terminalReport{s.terminal, s.columns, s.color, s.unicode}, Warnings: []doctorsWarning{}}
	if err != nil {
		r.warn("the system does not tell everything about the machine: "+err.Error(), "")
	}
	torch.SetThreads(machine.PhysicalCores()) // as tune run does
	r.Threads = torch.Threads()

	for _, d := range torch.Devices() {
		report := deviceReport{Device: d.String(), Name: d.Name(), BFloat16IsFast: d.BFloat16IsFast()}
		if report.Float32, err = speed(d, torch.Float32); err != nil {
			return nil, err
		}
		if report.BFloat16, err = speed(d, torch.BFloat16); err != nil {
			return nil, err
		}
		r.Devices = append(r.Devices, report)
	}
	r.lookAtBLAS()
	r.lookAtDatabase(c)
	r.MemoryBytes = torch.ProcessMemory().Now
	now := conditions()
	r.Thermal, r.SwapBytes, r.LoadAverage = now.Thermal, now.SwapBytes, now.LoadAverage
	r.EnergySources = append([]string{}, machine.EnergySources(torch.Devices()[0].String())...)
	return r, nil
}

// speed multiplies square matrices for a third of a second and returns billions of operations a second.
func speed(device torch.Device, dtype torch.DType) (gflops float64, err error) {
	size := int64(512) // a slow library still ends: 0.3 billion operations
	if device != torch.CPU {
		size = 4096 // a small one would measure how fast kernels start
	}
	err = torch.Run(func(s *torch.Scope) error {
		a := s.Zeros(dtype, device, size, size)
		multiply := func(times int) (time.Duration, error) {
			began := time.Now()
			err := s.Nest(func(s *torch.Scope) error {
				for range times {
					s.Drop(s.MatMul(a, a))
				}
				device.Synchronize()
				return s.Err()
			})
			return time.Since(began), err
		}
		if _, err := multiply(1); err != nil { // the first call prepares the library
			return err
		}
		const long = time.Second / 3
		times, elapsed := 0, time.Duration(0)
		for n := 1; elapsed < long; n *= 2 {
			took, err := multiply(n)
			if err != nil {
				return err
			}
			times, elapsed = times+n, elapsed+took
		}
		gflops = 2 * float64(size*size*size) * float64(times) / elapsed.Seconds() / 1e9
		return nil
	})
	return gflops, err
}

// slowPerThread is below what any processor of the last ten years reaches with a library made for it, in
// billions of float32 operations a second: AVX2 alone allows about 50 to 100.
const slowPerThread = 5

// lookAtBLAS warns of a library that makes training many times slower.
func (r *diagnosis) lookAtBLAS() {
	if runtime.GOOS == "linux" {
		maps, _ := os.ReadFile("/proc/self/maps") // without it nothing is known, and nothing is said
		r.BLAS = blasLibrary(string(maps))
		switch blasKind(r.BLAS) {
		case blasReference:
			r.warn("matrix products use the reference BLAS, which is up to 50 times slower than OpenBLAS: "+r.BLAS, blasFix)
		case blasPthread:
			r.warn("OpenBLAS's own threads fight with libtorch's for the cores, which makes training many times slower: "+
				r.BLAS, blasFix)
		}
		// Debian's names for BLAS play no part where libtorch brings its own.
		if slow, fixes := slowBLASLinks("/etc/alternatives"); r.BLAS != "" && len(slow) > 0 {
			r.warn("not every BLAS library is OpenBLAS's OpenMP build: "+strings.Join(slow, ", "),
				"apt-get install libopenblas0-openmp if it is not there, then "+strings.Join(fixes, "; "))
		}
	}
	if blasKind(r.BLAS) != blasOther {
		return // it is slow, and why is known
	}
	for _, d := range r.Devices {
		if d.Device == torch.CPU.String() && d.Float32 < slowPerThread*float64(r.Threads) {
			r.warn(fmt.Sprintf("the CPU multiplies float32 at %.0f GFLOP/s with %s, which is slow", d.Float32,
				countOf(r.Threads, "thread")),
				"look for other busy programs, and run tune doctor again")
		}
	}
}

// lookAtDatabase says how the record of runs stands.
func (r *diagnosis) lookAtDatabase(c *cli.Context) {
	d := &r.Database
	d.Path = c.String("db")
	runs, err := readRuns(c, &runFilter{})
	if err != nil {
		d.Error = err.Error()
		r.warn("the database cannot be read: "+d.Error, hintOf(err))
		return
	}
	d.Runs = len(runs)
	for i := range runs {
		if runs[i].Stale {
			d.Stale++
		}
	}
	if d.Stale > 0 {
		r.warn(countOf(d.Stale, "run")+" marked as running without a process", "tune runs --status running lists them")
	}
	if info, err := os.Stat(d.Path); err == nil {
		d.bytes = info.Size()
	} else if !errors.Is(err, os.ErrNotExist) {
		d.Error = err.Error()
	}
}

func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func yesNo(yes bool, no string) string {
	if yes {
		return "yes"
	}
	return no
}

// yesOr returns text, or what stands for none.
func yesOr(text, none string) string {
	if text == "" {
		return none
	}
	return text
}

// write shows the diagnosis to people.
func (r *diagnosis) write(w io.Writer) {
	s := screenOf(w)
	cores := fmt.Sprint(r.Machine.Cores)
	if p := r.Machine.PerformanceCores; p > 0 && p < r.Machine.Cores {
		cores += fmt.Sprintf(", %d of them fast", p)
	}
	s.writeFields(w, "", []field{
		{"tune", r.Versions.Version},
		{"Go", r.Versions.GoVersion},
		{"libtorch", r.Versions.LibtorchVersion},
		{"  attention", yesNo(r.FusedAttention, "composed; fused from libtorch 2.1 on")},
		{"  RMSNorm", yesNo(r.FusedRMSNorm, "composed; fused from libtorch 2.4 on")},
		{"  BLAS", r.BLAS},
	})
	s.writeFields(w, "machine", []field{
		{"chip", r.Machine.Chip}, {"model", r.Machine.Model}, {"system", spaced(r.Machine.OS, r.Machine.Arch)},
		{"cores", fmt.Sprintf("%s; %d threads", cores, r.Threads)},
		{"memory", fmt.Sprintf("%s; tune uses %s now", chart.FormatBytes(float64(r.Machine.MemoryBytes)),
			chart.FormatBytes(float64(r.MemoryBytes)))},
	})
	s.writeFields(w, "now", []field{
		{"thermal", yesOr(r.Thermal, "this system does not tell")},
		{"swap", yesOr(sizeOrNothing(r.SwapBytes), "this system does not tell")},
		{"load", yesOr(loadText(r.LoadAverage), "this system does not tell")},
		{"energy", yesOr(strings.Join(r.EnergySources, ", "), "nothing here measures it without rights: tune cost takes --watts")},
	})
	fmt.Fprintf(w, "\n%s\n", s.paint(bold, "devices"))
	for i, d := range r.Devices {
		first := ""
		if i == 0 {
			first = "; what device auto takes"
		}
		slow := ""
		if !d.BFloat16IsFast {
			slow = ", not in hardware"
		}
		fmt.Fprintf(w, "  %-13s %s\n", d.Device, spaced(d.Name, fmt.Sprintf("float32 %.0f GFLOP/s, bfloat16 %.0f GFLOP/s%s%s",
			d.Float32, d.BFloat16, slow, first)))
	}
	database := fmt.Sprintf("%s: %s, %s", r.Database.Path, countOf(r.Database.Runs, "run"),
		chart.FormatBytes(float64(r.Database.bytes)))
	switch {
	case r.Database.Error != "":
		database = r.Database.Error
	case r.Database.bytes == 0:
		database = r.Database.Path + ": not there yet, the first run makes it"
	}
	terminal := "none: output goes to a file or a pipe"
	if r.Terminal.Terminal {
		terminal = fmt.Sprintf("%d columns", r.Terminal.Columns)
	}
	s.writeFields(w, "here", []field{
		{"database", database},
		{"terminal", terminal},
		{"  colours", yesNo(r.Terminal.Color, "no")},
		{"  Unicode", yesNo(r.Terminal.Unicode, "no: charts are drawn with plain letters")},
	})
	fmt.Fprintln(w)
	if len(r.Warnings) == 0 {
		fmt.Fprintln(w, s.paint(green, "nothing to fix"))
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(w, "%s %s\n", s.paint(yellow, "warning:"), printable(warning.Text))
		if warning.Fix != "" {
			fmt.Fprintf(w, "  fix: %s\n", warning.Fix)
		}
	}
}
