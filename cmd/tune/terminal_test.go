package main

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tune/internal/runstore"
)

func TestUnicodeLocale(t *testing.T) {
	for _, tc := range []struct {
		lcAll, lcCtype, lang string
		want                 bool
	}{
		{"", "", "", true},
		{"", "", "en_US.UTF-8", true},
		{"", "", "C", false},
		{"C", "en_US.UTF-8", "en_US.UTF-8", false},
		{"", "de_DE.utf8", "C", true},
		{"", "de_DE.ISO-8859-1", "de_DE.UTF-8", false},
		{"POSIX", "", "", false},
	} {
		env := map[string]string{"LC_ALL": tc.lcAll, "LC_CTYPE": tc.lcCtype, "LANG": tc.lang}
		if got := unicodeLocale(func(name string) string { return env[name] }); got != tc.want {
			t.Errorf("%v: %v", env, got)
		}
	}
}

func exampleRuns(now time.Time) []runstore.RunSummary {
	nan := runstore.Real(math.NaN())
	return []runstore.RunSummary{
		{Run: runstore.Run{ID: "20261121-061500-bluey-k3f", Status: runstore.Done, Method: "lora", ModelPath: "models/小さい",
			TotalSteps: 140, WallSeconds: 38.2, CreatedAt: now.Add(-3 * time.Minute)}, StepsDone: 140, FirstLoss: 4.1234,
			LastLoss: 1.0, FirstValidationLoss: 4.5, LastValidationLoss: 2.25, TokensPerSecond: 1234, PeakMemoryBytes: 512e6},
		{Run: runstore.Run{ID: "20261121-061000-a-name-that-is-long-k3f", Status: runstore.Running, Method: "full",
			ModelPath: "models/pocket", WallSeconds: nan, StartedAt: now.Add(-time.Hour), CreatedAt: now.Add(-time.Hour)},
			Stale: true, StepsDone: 3, FirstLoss: 12345, LastLoss: nan, FirstValidationLoss: nan, LastValidationLoss: nan,
			TokensPerSecond: nan, LastSeenAt: now.Add(-59 * time.Minute)},
	}
}

func TestRunsTable(t *testing.T) {
	now := time.Date(2026, 11, 21, 6, 18, 0, 0, time.UTC)
	var out bytes.Buffer
	if err := writeRuns(&out, exampleRuns(now), now); err != nil {
		t.Fatal(err)
	}
	want := `run                                      status          steps         loss   validation  wall time  memory  tok/s        when  method  model
20261121-061500-bluey-k3f                done          140/140  4.123→1.000  4.500→2.250     38.2 s  512 MB   1234  3m 00s ago  lora    小さい
20261121-061000-a-name-that-is-long-k3f  interrupted?        3    1.2e+04→-            -     1m 00s       -      -  1h 00m ago  full    pocket
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestTableLeavesColumnsOutOnANarrowTerminal(t *testing.T) {
	columns := func() []tableColumn {
		return []tableColumn{{title: "id", cells: []string{"a-long-id"}}, {title: "second", drop: 1, cells: []string{"x"}},
			{title: "third", drop: 2, cells: []string{"y"}}}
	}
	for _, tc := range []struct {
		width int
		want  string
	}{{24, "id         second  third"}, {23, "id         second"}, {17, "id         second"}, {16, "id"}, {3, "id"}} {
		var out bytes.Buffer
		s := screen{terminal: true, columns: tc.width}
		if err := s.writeTable(&out, columns()); err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(out.String(), "\n")
		if first != tc.want {
			t.Errorf("%d columns: %q, want %q", tc.width, first, tc.want)
		}
	}
}

func TestPrintable(t *testing.T) {
	got := printable("a\x1b[31mb\r\nc\td\u009b")
	if got != "a\uFFFD[31mb\uFFFD\nc\td\uFFFD" || !utf8.ValidString(got) {
		t.Errorf("%q", got)
	}
}

func TestLossText(t *testing.T) {
	for _, tc := range []struct {
		loss float64
		want string
	}{{0, "0.000"}, {1.23456, "1.235"}, {999.9, "999.900"}, {1000, "1e+03"}, {0.0001, "0.0001"}, {math.NaN(), "-"}, {math.Inf(1), "-"}} {
		if got := lossText(runstore.Real(tc.loss)); got != tc.want {
			t.Errorf("%g: %q, want %q", tc.loss, got, tc.want)
		}
	}
}

func TestChartOfABrokenRunIsJSON(t *testing.T) {
	run := exampleRuns(time.Now())[1]
	r := charted(&run, []runstore.Step{{Step: 1, Loss: runstore.Real(math.Inf(1))}}, nil, nil, time.Now())
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), `"loss":[null]`) || strings.Contains(string(b), "NaN") {
		t.Errorf("%s", b)
	}
}

func TestBLAS(t *testing.T) {
	for _, tc := range []struct {
		name, maps, path string
		kind             int
	}{
		{"OpenBLAS with OpenMP", "7f00-7f01 r-xp 0 fe:00 12  /usr/lib/x86_64-linux-gnu/libtorch_cpu.so.1.13\n" +
			"7f00-7f01 r-xp 0 fe:00 13  /usr/lib/x86_64-linux-gnu/openblas-openmp/libblas.so.3\n",
			"/usr/lib/x86_64-linux-gnu/openblas-openmp/libblas.so.3", blasOther},
		{"OpenBLAS with its own threads", "7f00-7f01 r--p 0 fe:00 13  /usr/lib/aarch64-linux-gnu/openblas-pthread/libblas.so.3\n",
			"/usr/lib/aarch64-linux-gnu/openblas-pthread/libblas.so.3", blasPthread},
		{"OpenBLAS under its own name", "7f00-7f01 r--p 0 fe:00 13  /usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblasp-r0.3.21.so\n",
			"/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblasp-r0.3.21.so", blasPthread},
		{"the reference", "7f00-7f01 r--p 0 fe:00 13  /usr/lib/x86_64-linux-gnu/blas/libblas.so.3.11.0\n",
			"/usr/lib/x86_64-linux-gnu/blas/libblas.so.3.11.0", blasReference},
		{"the reference without alternatives", "7f00-7f01 r--p 0 08:01 13  /usr/lib64/libblas.so.3.12\n", "/usr/lib64/libblas.so.3.12", blasReference},
		{"part of libtorch", "7f00-7f01 r--p 0 08:01 13  /opt/libtorch/lib/libtorch_cpu.so\n7ffc r-xp 0 00:00 0  [stack]\n", "", blasOther},
		{"nothing known", "", "", blasOther},
	} {
		path := blasLibrary(tc.maps)
		if path != tc.path || blasKind(path) != tc.kind {
			t.Errorf("%s: %q, kind %d; want %q, kind %d", tc.name, path, blasKind(path), tc.path, tc.kind)
		}
	}
}
