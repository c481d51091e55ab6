package machine

import (
	"bufio"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Meter measures the energy that is used while a process trains, as far as that can be told without rights:
//
//   - nvidia-smi: what the GPU draws, integrated over time; for device cuda.
//   - rapl: the counters of Intel's and AMD's processors, of the whole package. Most kernels since 2020 show them to root alone.
//   - proc_pid_rusage: what macOS puts down to the process, for the processor's cores. The GPU is not in it.
//
// Where two apply they are added. Nothing here ever fails: what cannot be measured is unknown.
type Meter struct {
	stop, done chan struct{}
	once       sync.Once
	joules     float64
	source     string
}

// sampleEvery is how often counters are read: they wrap after many minutes at the earliest, and a process that dies takes what it
// has used since the last time with it.
const sampleEvery = time.Second

// StartMeter begins to measure for a process that trains on a device: mps, cuda or cpu.
func StartMeter(device string, pid int) *Meter {
	gauges := []gauge{newRAPL(os.DirFS("/")), newProcessGauge(pid)}
	if device == "cuda" {
		gauges = append(gauges, newGPU(smiCommand()))
	}
	return startMeter(gauges, sampleEvery)
}

// gauge is one source of energy readings. read returns the joules since the last time; it is called from one goroutine.
type gauge interface {
	name() string
	read() (joules float64, ok bool)
	close()
}

// EnergySources names what can measure energy here, for a process that trains on a device; empty where nothing can.
func EnergySources(device string) []string {
	var found []string
	if _, ok := processEnergy(os.Getpid()); ok {
		found = append(found, "proc_pid_rusage")
	}
	if device == "cuda" {
		if _, err := exec.LookPath(smiCommand()[0]); err == nil {
			found = append(found, "nvidia-smi")
		}
	}
	r := newRAPL(os.DirFS("/"))
	r.read()
	for _, d := range r.domains {
		if d.known {
			return append(found, r.name())
		}
	}
	return found
}

func startMeter(gauges []gauge, every time.Duration) *Meter {
	m := &Meter{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(m.done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		sums, seen := make([]float64, len(gauges)), make([]bool, len(gauges))
		read := func() {
			for i, g := range gauges {
				if joules, ok := g.read(); ok {
					sums[i], seen[i] = sums[i]+joules, true
				}
			}
		}
		read()
		for running := true; running; {
			select {
			case <-tick.C:
			case <-m.stop:
				running = false
			}
			read()
		}
		var names []string
		for i, g := range gauges {
			if seen[i] {
				m.joules += sums[i]
				names = append(names, g.name())
			}
			g.close()
		}
		sort.Strings(names)
		m.source = strings.Join(names, "+")
	}()
	return m
}

// Stop ends the measurement. joules is NaN, and source empty, where nothing could be measured.
func (m *Meter) Stop() (joules float64, source string) {
	m.once.Do(func() { close(m.stop) })
	<-m.done
	if m.source == "" {
		return math.NaN(), ""
	}
	return m.joules, m.source
}

// rapl reads the counters of processor packages below /sys/class/powercap. Domains inside a package, such as its cores and its
// memory controller, are in the package's own count.
type rapl struct {
	root    fs.FS
	domains []raplDomain
}

type raplDomain struct {
	dir   string
	wrap  uint64 // the count begins again behind it
	last  uint64
	known bool
}

func newRAPL(root fs.FS) *rapl {
	r := &rapl{root: root}
	const dir = "sys/class/powercap"
	entries, err := fs.ReadDir(root, dir)
	if err != nil {
		return r
	}
	for _, e := range entries {
		domain := path.Join(dir, e.Name())
		if strings.HasPrefix(line(root, path.Join(domain, "name")), "package") {
			wrap, err := strconv.ParseUint(line(root, path.Join(domain, "max_energy_range_uj")), 10, 64)
			if err == nil {
				r.domains = append(r.domains, raplDomain{dir: domain, wrap: wrap})
			}
		}
	}
	return r
}

func (r *rapl) name() string { return "rapl" }

func (r *rapl) read() (joules float64, ok bool) {
	for i := range r.domains {
		d := &r.domains[i]
		now, err := strconv.ParseUint(line(r.root, path.Join(d.dir, "energy_uj")), 10, 64)
		if err != nil { // for root alone
			continue
		}
		if d.known {
			used := now - d.last
			if now < d.last {
				used = now + d.wrap - d.last
			}
			joules, ok = joules+float64(used)/1e6, true
		}
		d.last, d.known = now, true
	}
	return joules, ok
}

func (r *rapl) close() {}

// counterGauge is a counter of joules that only grows.
type counterGauge struct {
	title string
	count func() (joules float64, ok bool)
	last  float64
	known bool
}

func (g *counterGauge) name() string { return g.title }

func (g *counterGauge) read() (joules float64, ok bool) {
	now, ok := g.count()
	if !ok || now < g.last {
		return 0, false
	}
	joules, ok = now-g.last, g.known
	g.last, g.known = now, true
	return joules, ok
}

func (g *counterGauge) close() {}

// newProcessGauge counts what the system puts down to one process.
func newProcessGauge(pid int) gauge {
	return &counterGauge{title: "proc_pid_rusage", count: func() (float64, bool) { return processEnergy(pid) }}
}

// smiCommand has nvidia-smi tell what the first GPU that this process may use draws, once a second.
func smiCommand() []string {
	first, _, _ := strings.Cut(os.Getenv("CUDA_VISIBLE_DEVICES"), ",")
	if first == "" {
		first = "0"
	}
	return []string{"nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits", "--loop=1", "--id=" + first}
}

// gpu integrates what nvidia-smi says of one GPU.
type gpu struct {
	cmd    *exec.Cmd
	lock   sync.Mutex
	joules float64
	any    bool
	done   chan struct{}
}

func newGPU(command []string) *gpu {
	g := &gpu{cmd: exec.Command(command[0], command[1:]...), done: make(chan struct{})}
	out, err := g.cmd.StdoutPipe()
	if err == nil {
		err = g.cmd.Start()
	}
	if err != nil { // there is none
		g.cmd = nil
		close(g.done)
		return g
	}
	go func() {
		defer close(g.done)
		var last time.Time
		var before float64
		for lines := bufio.NewScanner(out); lines.Scan(); {
			watts, err := strconv.ParseFloat(strings.TrimSpace(lines.Text()), 64)
			if err != nil { // [N/A] of a GPU that does not tell
				continue
			}
			now := time.Now()
			if !last.IsZero() {
				g.lock.Lock()
				g.joules, g.any = g.joules+(watts+before)/2*now.Sub(last).Seconds(), true
				g.lock.Unlock()
			}
			last, before = now, watts
		}
	}()
	return g
}

func (g *gpu) name() string { return "nvidia-smi" }

func (g *gpu) read() (joules float64, ok bool) {
	g.lock.Lock()
	defer g.lock.Unlock()
	joules, ok = g.joules, g.any
	g.joules = 0
	return joules, ok
}

func (g *gpu) close() {
	if g.cmd != nil {
		_ = g.cmd.Process.Kill()
		<-g.done
		_ = g.cmd.Wait()
	}
}
