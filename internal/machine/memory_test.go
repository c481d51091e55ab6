package machine

import (
	"testing"
	"testing/fstest"
)

func TestLinuxMemory(t *testing.T) {
	const gib = 1 << 30
	meminfo := "MemTotal: 16777216 kB\nMemFree: 1 kB\nMemAvailable: 8388608 kB\n"
	for _, tc := range []struct {
		name             string
		files            map[string]string
		limit, available uint64
	}{
		{"a machine", map[string]string{"proc/meminfo": meminfo}, 16 * gib, 8 * gib},
		{"a container", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n",
			"sys/fs/cgroup/memory.max": "4294967296\n", "sys/fs/cgroup/memory.current": "1073741824\n"}, 4 * gib, 3 * gib},
		{"a group without a limit", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/user.slice\n",
			"sys/fs/cgroup/user.slice/memory.max": "max\n"}, 16 * gib, 8 * gib},
		{"a limit of the parent", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "2147483648\n",
			"sys/fs/cgroup/a/memory.current": "0\n"}, 2 * gib, 2 * gib},
		{"a limit above what is there", map[string]string{"proc/meminfo": meminfo,
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 16 * gib, 8 * gib},
		{"version 1", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "4:memory:/docker/x\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n",
			"sys/fs/cgroup/memory/memory.usage_in_bytes": "2147483648\n"}, 1 * gib, 0},
		{"nothing", nil, 0, 0},
	} {
		root := fstest.MapFS{}
		for name, text := range tc.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if limit, available := linuxMemory(root); limit != tc.limit || available != tc.available {
			t.Errorf("%s: %d of %d, want %d of %d", tc.name, available, limit, tc.available, tc.limit)
		}
	}
}
