package machine

import (
	"fmt"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// files makes a root from file names and contents.
func files(pairs map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, text := range pairs {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return root
}

// merged adds the files of others to root.
func merged(root map[string]string, others ...map[string]string) map[string]string {
	for _, other := range others {
		for name, text := range other {
			root[name] = text
		}
	}
	return root
}

// siblings writes the topology of CPUs whose thread siblings are given in order.
func siblings(lists ...string) map[string]string {
	out := map[string]string{}
	for i, list := range lists {
		out[fmt.Sprintf("sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", i)] = list + "\n"
	}
	return out
}

func TestLinuxFacts(t *testing.T) {
	for _, tc := range []struct {
		name    string
		files   map[string]string
		want    Facts
		allowed int
		errs    int
	}{
		{
			name: "a PC with two threads a core, half of it ours",
			files: merged(map[string]string{
				"proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD  EPYC 7763  64-Core Processor\nflags\t: fpu\n\n" +
					"processor\t: 1\nmodel name\t: AMD EPYC 7763 64-Core Processor\n",
				"proc/meminfo":                            "MemTotal:       16384000 kB\nMemFree:  1 kB\n",
				"proc/self/status":                        "Name:\tx\nCpus_allowed_list:\t0,2\n",
				"proc/sys/kernel/osrelease":               "6.1.0-28-amd64\n",
				"etc/os-release":                          "NAME=Debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
				"sys/devices/system/cpu/online":           "0-3\n",
				"sys/devices/virtual/dmi/id/product_name": "PowerEdge R6525\n",
			}, siblings("0,2", "1,3", "0,2", "1,3")),
			want: Facts{Chip: "AMD EPYC 7763 64-Core Processor", Model: "PowerEdge R6525",
				OS: "Debian GNU/Linux 12 (bookworm), Linux 6.1.0-28-amd64", MemoryBytes: 16384000 << 10, Cores: 2,
				PerformanceCores: 2, LogicalCores: 4},
			allowed: 1,
		},
		{
			name: "a hybrid Intel processor",
			files: merged(map[string]string{
				"proc/cpuinfo":                  "model name\t: 13th Gen Intel(R) Core(TM) i5-1340P\n",
				"proc/meminfo":                  "MemTotal: 1024 kB\n",
				"sys/devices/system/cpu/online": "0-5\n",
				"sys/devices/cpu_core/cpus":     "0-3\n",
			}, siblings("0-1", "0-1", "2-3", "2-3", "4", "5")),
			want: Facts{Chip: "13th Gen Intel(R) Core(TM) i5-1340P", OS: "Linux", MemoryBytes: 1 << 20, Cores: 4,
				PerformanceCores: 2, LogicalCores: 6},
			allowed: 4,
		},
		{
			name: "an ARM board with big and little cores",
			files: map[string]string{
				"proc/cpuinfo": "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd05\n\n" +
					"processor\t: 1\nCPU implementer\t: 0x41\nCPU part\t: 0xd05\n\n" +
					"processor\t: 2\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n",
				"proc/meminfo":                             "MemTotal: 4096 kB\n",
				"proc/device-tree/model":                   "Radxa ROCK 5B\x00",
				"sys/devices/system/cpu/cpu0/cpu_capacity": "400\n",
				"sys/devices/system/cpu/cpu1/cpu_capacity": "400\n",
				"sys/devices/system/cpu/cpu2/cpu_capacity": "1024\n",
				"usr/lib/os-release":                       "PRETTY_NAME='Test Linux'\n",
			},
			want: Facts{Chip: "Cortex-A76 + Cortex-A55", Model: "Radxa ROCK 5B", OS: "Test Linux, Linux",
				MemoryBytes: 4 << 20, Cores: 3, PerformanceCores: 1, LogicalCores: 3},
			allowed: 3,
		},
		{
			name: "an ARM server with cores we do not know",
			files: map[string]string{
				"proc/cpuinfo": "processor\t: 0\nCPU implementer\t: 0x99\nCPU part\t: 0x123\n",
				"proc/meminfo": "MemTotal: 1 kB\n",
			},
			want: Facts{Chip: "ARM core (implementer 0x99, part 0x123)", OS: "Linux", MemoryBytes: 1024, Cores: 1,
				PerformanceCores: 1, LogicalCores: 1},
			allowed: 1,
		},
		{name: "no files at all", want: Facts{OS: "Linux"}, errs: 2},
		{
			name: "files full of nonsense",
			files: map[string]string{
				"proc/cpuinfo": "processor\nmodel name\n: :\nprocessor : x\nCPU part\n", "proc/meminfo": "MemTotal: -1 kB\n",
				"etc/os-release": "PRETTY_NAME=\n", "sys/devices/system/cpu/online": "3-1,9999999999\n",
				"proc/self/status": "Cpus_allowed_list:\t0-4294967295\n",
			},
			want: Facts{OS: "Linux"}, errs: 2,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := linuxFacts(files(tc.files))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			var joined interface{ Unwrap() []error }
			if joined, _ = err.(interface{ Unwrap() []error }); (joined == nil) != (tc.errs == 0) ||
				joined != nil && len(joined.Unwrap()) != tc.errs {
				t.Errorf("error %v, want %d facts missing", err, tc.errs)
			}
			if n := linuxAllowedCores(files(tc.files)); n != tc.allowed {
				t.Errorf("%d cores allowed, want %d", n, tc.allowed)
			}
		})
	}
}

func TestParseListReadsWhatTheKernelWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := rapid.SliceOfDistinct(rapid.IntRange(0, 300), rapid.ID[int]).Draw(t, "set")
		slices.Sort(set)
		var text string
		for i := 0; i < len(set); {
			j := i
			for j+1 < len(set) && set[j+1] == set[j]+1 {
				j++
			}
			if text != "" {
				text += ","
			}
			text += fmt.Sprint(set[i])
			if j > i {
				text += fmt.Sprint("-", set[j])
			}
			i = j + 1
		}
		if got := parseList(text + "\n"); !slices.Equal(got, set) {
			t.Fatalf("%q: got %v, want %v", text, got, set)
		}
	})
}
