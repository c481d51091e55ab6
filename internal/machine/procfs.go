package machine

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// What follows reads Linux's /proc and /sys below a root, so that tests can show it the files of any machine.

// linuxFacts returns what the files under root say.
func linuxFacts(root fs.FS) (Facts, error) {
	all := onlineCPUs(root)
	f := Facts{
		Chip:         linuxChip(root),
		Model:        linuxModel(root),
		OS:           linuxName(root),
		MemoryBytes:  memTotal(root),
		Cores:        physical(root, all),
		LogicalCores: len(all),
	}
	f.PerformanceCores = physical(root, fast(root, all))
	var unknown []string
	if f.Chip == "" {
		unknown = append(unknown, "chip (/proc/cpuinfo)")
	}
	if f.MemoryBytes == 0 {
		unknown = append(unknown, "memory (/proc/meminfo)")
	}
	return f, missing(unknown...)
}

// linuxAllowedCores counts the physical cores that this process may run on.
func linuxAllowedCores(root fs.FS) int {
	allowed, ok := field(root, "proc/self/status", "Cpus_allowed_list")
	if !ok {
		return physical(root, onlineCPUs(root))
	}
	return physical(root, parseList(allowed))
}

// linuxChip returns the name of the processor: x86 spells it out, ARM gives numbers.
func linuxChip(root fs.FS) string {
	if name, ok := field(root, "proc/cpuinfo", "model name"); ok && name != "" {
		return strings.Join(strings.Fields(name), " ")
	}
	if name, ok := field(root, "proc/cpuinfo", "Hardware"); ok && name != "" { // older ARM kernels
		return name
	}
	return armChip(root)
}

// armChip names the kinds of ARM cores, such as "Cortex-A78 + Cortex-A55", fastest last core first.
func armChip(root fs.FS) string {
	var kinds []string
	var implementer string
	eachField(root, "proc/cpuinfo", func(key, value string) {
		switch key {
		case "CPU implementer":
			implementer = value
		case "CPU part":
			name, ok := armCores[implementer+" "+value]
			if !ok {
				name = fmt.Sprintf("ARM core (implementer %s, part %s)", implementer, value)
			}
			for _, k := range kinds {
				if k == name {
					return
				}
			}
			kinds = append([]string{name}, kinds...) // the big cores have the highest numbers
		}
	})
	return strings.Join(kinds, " + ")
}

// armCores names cores by implementer and part number, as util-linux does in sys-utils/lscpu-arm.c: those of
// servers and small boards of the last years.
var armCores = map[string]string{
	"0x41 0xd03": "Cortex-A53", "0x41 0xd05": "Cortex-A55", "0x41 0xd07": "Cortex-A57", "0x41 0xd08": "Cortex-A72",
	"0x41 0xd09": "Cortex-A73", "0x41 0xd0a": "Cortex-A75", "0x41 0xd0b": "Cortex-A76", "0x41 0xd0c": "Neoverse-N1",
	"0x41 0xd0d": "Cortex-A77", "0x41 0xd40": "Neoverse-V1", "0x41 0xd41": "Cortex-A78", "0x41 0xd42": "Cortex-A78AE",
	"0x41 0xd44": "Cortex-X1", "0x41 0xd46": "Cortex-A510", "0x41 0xd47": "Cortex-A710", "0x41 0xd48": "Cortex-X2",
	"0x41 0xd49": "Neoverse-N2", "0x41 0xd4b": "Cortex-A78C", "0x41 0xd4d": "Cortex-A715", "0x41 0xd4e": "Cortex-X3",
	"0x41 0xd4f": "Neoverse-V2", "0x41 0xd80": "Cortex-A520", "0x41 0xd81": "Cortex-A720", "0x41 0xd82": "Cortex-X4",
	"0x41 0xd84": "Neoverse-V3", "0x41 0xd85": "Cortex-X925", "0x41 0xd87": "Cortex-A725", "0x41 0xd8e": "Neoverse-N3",
	"0xc0 0xac3": "Ampere-1", "0xc0 0xac4": "Ampere-1a", "0x51 0x001": "Oryon",
	"0x61 0x022": "Apple M1 Icestorm", "0x61 0x023": "Apple M1 Firestorm",
	"0x61 0x024": "Apple M1 Pro Icestorm", "0x61 0x025": "Apple M1 Pro Firestorm",
	"0x61 0x028": "Apple M1 Max Icestorm", "0x61 0x029": "Apple M1 Max Firestorm",
	"0x61 0x032": "Apple M2 Blizzard", "0x61 0x033": "Apple M2 Avalanche",
}

// linuxModel returns the name of the machine: from the device tree on boards, from the firmware on PCs.
func linuxModel(root fs.FS) string {
	for _, file := range []string{"proc/device-tree/model", "sys/devices/virtual/dmi/id/product_name"} {
		if s := line(root, file); s != "" {
			return s
		}
	}
	return ""
}

// linuxName returns the distribution and the kernel.
func linuxName(root fs.FS) string {
	kernel := strings.TrimSpace("Linux " + line(root, "proc/sys/kernel/osrelease"))
	for _, file := range []string{"etc/os-release", "usr/lib/os-release"} { // os-release(5)
		b, err := fs.ReadFile(root, file)
		if err != nil {
			continue
		}
		for text := range strings.Lines(string(b)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(text), "PRETTY_NAME="); ok {
				if name = strings.Trim(name, `"'`); name != "" {
					return name + ", " + kernel
				}
			}
		}
	}
	return kernel
}

// memTotal returns the memory in bytes; /proc/meminfo gives KiB, which it calls kB.
func memTotal(root fs.FS) uint64 {
	s, _ := field(root, "proc/meminfo", "MemTotal")
	n, err := strconv.ParseUint(strings.TrimSuffix(s, " kB"), 10, 54) // 54 bits of KiB are 64 of bytes
	if err != nil {
		return 0
	}
	return n << 10
}

// linuxMemory returns the memory that this process may use in all, and what of it nobody uses now: the machine's, and
// no more than the limits of the control groups that it is in. 0 is unknown.
func linuxMemory(root fs.FS) (limit, available uint64) {
	kib := func(key string) uint64 {
		s, _ := field(root, "proc/meminfo", key)
		n, _ := strconv.ParseUint(strings.TrimSuffix(s, " kB"), 10, 54)
		return n * 1024
	}
	limit, available = memTotal(root), kib("MemAvailable")
	bytes := func(name string) (uint64, bool) {
		n, err := strconv.ParseUint(line(root, name), 10, 64) // "max" where there is no limit
		return n, err == nil
	}
	restrict := func(limitFile, usedFile string) {
		most, ok := bytes(limitFile)
		if !ok || most >= limit && limit > 0 {
			return
		}
		limit = most
		if used, ok := bytes(usedFile); ok {
			available = min(available, most-min(used, most))
		}
	}
	group := controlGroup(root)
	for at := group; ; at = path.Dir(at) { // a group's parents limit it too
		dir := path.Join("sys/fs/cgroup", at)
		restrict(path.Join(dir, "memory.max"), path.Join(dir, "memory.current"))
		if at == "." || at == "/" || at == "" {
			break
		}
	}
	restrict("sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory/memory.usage_in_bytes") // version 1
	return limit, available
}

// controlGroup returns the path of this process's group below /sys/fs/cgroup, in version 2's single tree.
func controlGroup(root fs.FS) string {
	b, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return "."
	}
	for _, l := range strings.Split(string(b), "\n") {
		if at, ok := strings.CutPrefix(l, "0::/"); ok && fs.ValidPath(path.Clean(at)) {
			return path.Clean(at)
		}
	}
	return "."
}

// onlineCPUs returns the numbers of the logical CPUs.
func onlineCPUs(root fs.FS) []int {
	if cpus := parseList(line(root, "sys/devices/system/cpu/online")); len(cpus) > 0 {
		return cpus
	}
	var cpus []int
	eachField(root, "proc/cpuinfo", func(key, value string) {
		if n, err := strconv.Atoi(value); key == "processor" && err == nil {
			cpus = append(cpus, n)
		}
	})
	return cpus
}

// physical counts the physical cores behind logical CPUs. A CPU whose topology is unknown counts as one.
func physical(root fs.FS, cpus []int) int {
	cores := map[string]bool{}
	for _, cpu := range cpus {
		dir := path.Join("sys/devices/system/cpu", "cpu"+strconv.Itoa(cpu), "topology")
		core := line(root, path.Join(dir, "thread_siblings_list")) // the same text for each thread of a core
		if core == "" {
			core = "cpu " + strconv.Itoa(cpu)
		}
		cores[core] = true
	}
	return len(cores)
}

// fast returns the CPUs of the fast kind, or all when there is one kind.
func fast(root fs.FS, cpus []int) []int {
	// Hybrid Intel processors list their performance cores as a performance-counter device of its own.
	if p := parseList(line(root, "sys/devices/cpu_core/cpus")); len(p) > 0 {
		return p
	}
	// ARM's big.LITTLE: capacity is relative to the fastest core, 1024. Little cores lie below half.
	var out []int
	most := 0
	capacity := map[int]int{}
	for _, cpu := range cpus {
		n, err := strconv.Atoi(line(root, fmt.Sprintf("sys/devices/system/cpu/cpu%d/cpu_capacity", cpu)))
		if err != nil {
			return cpus
		}
		capacity[cpu], most = n, max(most, n)
	}
	for _, cpu := range cpus {
		if 2*capacity[cpu] > most {
			out = append(out, cpu)
		}
	}
	return out
}

// maxCPU bounds the numbers that parseList believes; Linux itself stops at 8192 (CONFIG_NR_CPUS).
const maxCPU = 1 << 16

// parseList reads a kernel list such as 0-3,8,10-11; nil when it is none.
func parseList(s string) []int {
	var out []int
	for part := range strings.SplitSeq(strings.TrimSpace(s), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err1 != nil || err2 != nil || from < 0 || to < from || to > maxCPU {
			return nil
		}
		for i := from; i <= to; i++ {
			out = append(out, i)
		}
	}
	return out
}

// line returns a file of one line without its end; empty when there is none. Device-tree texts end in NUL.
func line(root fs.FS, name string) string {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.TrimRight(string(b), "\x00\n"))
}

// field returns the first value of a key in a file of "key: value" lines.
func field(root fs.FS, name, key string) (value string, ok bool) {
	eachField(root, name, func(k, v string) {
		if k == key && !ok {
			value, ok = v, true
		}
	})
	return value, ok
}

// eachField calls f for each "key: value" line of a file; never when there is none.
func eachField(root fs.FS, name string, f func(key, value string)) {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		if k, v, ok := strings.Cut(lines.Text(), ":"); ok {
			f(strings.TrimSpace(k), strings.TrimSpace(v))
		}
	}
}
