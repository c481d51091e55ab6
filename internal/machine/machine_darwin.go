package machine

import "golang.org/x/sys/unix"

// readFacts asks sysctl; the names are those of sysctl(3) and of hw.perflevel0 on Apple silicon.
func readFacts() (Facts, error) {
	var f Facts
	var unknown []string
	text := func(into *string, what, name string) {
		v, err := unix.Sysctl(name)
		if err != nil {
			unknown = append(unknown, what+" (sysctl "+name+")")
		}
		*into = v
	}
	text(&f.Chip, "chip", "machdep.cpu.brand_string")
	text(&f.Model, "model", "hw.model")
	text(&f.OS, "version of macOS", "kern.osproductversion")
	if f.OS != "" {
		f.OS = "macOS " + f.OS
	}
	var err error
	if f.MemoryBytes, err = unix.SysctlUint64("hw.memsize"); err != nil {
		unknown = append(unknown, "memory (sysctl hw.memsize)")
	}
	f.Cores = count("hw.physicalcpu")
	f.LogicalCores = count("hw.logicalcpu")
	f.PerformanceCores = count("hw.perflevel0.physicalcpu") // level 0 is the fastest; absent on Intel
	return f, missing(unknown...)
}

// allowedCores is all cores: macOS binds no process to some of them.
func allowedCores() int { return count("hw.physicalcpu") }

// count returns a number that sysctl gives, 0 when it does not.
func count(name string) int {
	n, err := unix.SysctlUint32(name)
	if err != nil {
		return 0
	}
	return int(n)
}

// readMemory knows no more than what is installed: macOS gives what others hold back when it is asked for, by writing
// it out, and has no number for what is free.
func readMemory() (limit, available uint64) {
	installed, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0, 0
	}
	return installed, installed
}
