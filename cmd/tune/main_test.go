package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

// tune runs the program in this process.
func tune(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(context.Background(), append([]string{"tune"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestWhatIsTypedWrong(t *testing.T) {
	tiny := tinyModel(t)
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"text.yaml": "model: {path: nowhere}",
		"fine.yaml": "model: {path: model}\ndata: {train: bad.jsonl}",
		"bad.jsonl": `{"prompt": "Two plus three?", "completion": "Five."}` + "\n" +
			`{"messages": [{"role": "usr", "content": "Hello"}]}`,
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink(tiny, "model"), os.Symlink("none", "dangling"), os.Mkdir("folder", 0o755),
		os.WriteFile("lora.gguf", []byte("GGUF"), 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args string
		want string // a regular expression for stderr
	}{
		{"charts", `^tune: error: unknown command "charts"\ntune: hint: did you mean tune chart\?\n$`},
		{"frobnicate", `\ntune: hint: tune --help lists the commands\n$`},
		{"run --frobnicate", `^tune: error: tune run: unknown option --frobnicate\n` +
			`tune: hint: tune run --help lists the options\n$`},
		{"run text.yaml --sett a=b", `^tune: error: tune run: unknown option --sett\ntune: hint: did you mean --set\?\n$`},
		{"run text.yaml --set", `tune run: --set: wants a value behind it`},
		{"run --set --set", `tune run: --set: wants a value behind it`},
		{"run", `^tune: error: tune run: want a config file\ntune: hint: tune run configs/bluey.yaml\n$`},
		{"run a.yaml b.yaml", `want a config file, got 2: a.yaml b.yaml`},
		{"run text.yml", `^tune: error: text.yml: no such file, did you mean "text.yaml"\?`},
		{"run fine.yaml --set lora.rnk=8 --set lora.alpha=-1",
			`^tune: error: --set lora.rnk=8: unknown key "lora.rnk", did you mean "lora.rank"\?\n` +
				`tune: error: --set lora.alpha=-1: must be above 0, got -1\n$`},
		{"run fine.yaml --set lora.target_modules=[qproj]", `unknown module "qproj", did you mean "q_proj"\?`},
		{"data fine.yaml", `^tune: error: bad.jsonl:2: messages\[0\].role: .*"usr"`},
		{"runs --limit many", `tune runs: --limit: want a whole number, got "many"`},
		{"runs --limit -3", `--limit: must be at least 0, got -3`},
		{"runs --status broken", `--status: want queued, running, done, failed, diverged, interrupted, or several with commas, got "broken"`},
		{"runs --out x.svg", `tune runs: unknown option --out`},
		{"runs shwo", `did you mean tune runs show\?`},
		{"runs list last", `tune runs list: takes no argument, got "last"`},
		{"runs show", `tune runs show: want a run.*\ntune: hint: tune runs lists them`},
		{"runs show one two", `got 2: one two`},
		{"runs show last", `runs.db: no such database\ntune: hint: tune run configs/bluey.yaml makes the first run`},
		{"runs --db other.db", `other.db: no such database`},
		{"runs --db text.yaml", `text.yaml: .*not a SQLite database`},
		{"data", `want a JSONL file or a config`},
		{"data x.jsonl", `tune data: want --model FOLDER: there is no models/pocket here`},
		{"data x.jsonl --model nowhere", `--model nowhere: no such folder`},
		{"data x.jsonl --model model", `x.jsonl: .*\n`},
		{"data x.jsonl --model model --max-length 1", `--max-length: must be at least 2, got 1`},
		{"data x.jsonl --model model --loss-on none", `--loss-on: want replies, all, got "none"`},
		{"data x.jsonl --rows -1", `--rows: must be at least 0`},
		{"data text.yaml", `text.yaml: data.train: is missing`},
		{"version please", `tune version: takes no argument, got "please"`},
		{"doctor please", `tune doctor: takes no argument, got "please"`},
		{"generate --run last", `tune generate: want a prompt`},
		{"generate Hello", `want --run RUN or --model FOLDER`},
		{"generate --run last Hello", `runs.db: no such database`},
		{"generate --run last --model model Hello", `leave --model and --adapter out`},
		{"generate --model model --temperature hot Hello", `--temperature: want a number, got "hot"`},
		{"generate --model model --temperature -1 Hello", `--temperature: must be from 0 to 100, got -1`},
		{"generate --model model --temperature NaN Hello", `--temperature: must be from 0 to 100, got NaN`},
		{"generate --model model --max-new-tokens 0 Hello", `--max-new-tokens: must be at least 1, got 0`},
		{"generate --model model --dtype float16 Hello", `--dtype: want auto, bfloat16, float32, got "float16"`},
		{"generate --model model --device quantum Hello", `unknown device "quantum" \(want auto, mps, cuda or cpu\)`},
		{"generate --model nowhere Hello", `^tune: error: --model nowhere: no such folder\ntune: hint: a model is`},
		{"chat --model text.yaml", `--model text.yaml: is a file, want a folder`},
		{"bench --model .", `--model .: no model folder: there is no config.json in it`},
		{"plan fine.yaml --set model.path=nowhere", `model.path: nowhere: no such folder`},
		{"plan fine.yaml --set model.path=text.yaml", `model.path: text.yaml: is a file, want a folder`},
		{"models .", `tune models: .: no model folder`},
		{"models nowhere", `tune models: nowhere: no such folder`},
		{"generate --model model --adapter nowhere Hello", `^tune: error: --adapter: nowhere: no such folder\ntune: hint: an adapter is a folder`},
		{"generate --model model --adapter model Hello", `--adapter: model: is a model folder, want an adapter`},
		{"generate --model model --adapter lora.gguf Hello", `--adapter: lora.gguf: is a GGUF file, want an adapter folder\n` +
			`tune: hint: tune import lora.gguf makes a folder of it`},
		{"import model", `^tune: error: model: is a model folder, want an adapter`},
		{"export ./folder --to peft", `folder: has no adapter_config.json, want an adapter folder`},
		{"generate --model model --threads 100000 Hello", `--threads: must be at most [0-9]+, got 100000: this machine has [0-9]+ logical CPUs`},
		{"run fine.yaml --set output.dir=text.yaml", `output.dir: text.yaml: is a file, want a folder`},
		{"plan fine.yaml --set output.dir=text.yaml/runs", `output.dir: text.yaml/runs: cannot be made: text.yaml is a file`},
		{"run fine.yaml --set output.dir=dangling", `output.dir: dangling: cannot be made: dangling is a link to nothing`},
		{"run fine.yaml --set output.database=none/runs.db", `output.database: none/runs.db: there is no folder none`},
		{"run fine.yaml --set output.database=folder", `output.database: folder: is a folder, want a file`},
		{"bench --model model --db folder", `--db: folder: is a folder, want a file`},
		{"runs --db folder", `--db: folder: is a folder, want a file`},
		{"chart", `runs.db: no such database`},
		{"chart --out picture.gif", `--out picture.gif: want a name that ends in .svg, .png or .pdf`},
		{"chart --width -1", `--width: must be at least 0`},
		{"chart --kind loss,speeds", `--kind: want loss, memory, .*, got "speeds"`},
		{"chart --kind loss --by device", `--by: is for --kind time`},
		{"chart --kind time --log", `--log: is for --kind loss, loss-time, loss-tokens`},
		{"chart --kind loss-time --x step", `--x: is for --kind loss, memory, speed, grad-norm, lr`},
		{"chart --smooth 1", `--smooth: want 0 \(none\) to below 1, got 1`},
		{"chart --x hours", `--x: want step, time, tokens or epoch, got "hours"`},
		{"chart --limit -1", `--limit: must be at least 0`},
	} {
		t.Run(tc.args, func(t *testing.T) {
			code, stdout, stderr := tune(t, strings.Fields(tc.args)...)
			if code != exitBadInput {
				t.Errorf("exit code %d, want %d", code, exitBadInput)
			}
			if !regexp.MustCompile(tc.want).MatchString(stderr) {
				t.Errorf("stderr is\n%swant %s", stderr, tc.want)
			}
			if stdout != "" {
				t.Errorf("stdout is not empty:\n%s", stdout)
			}
		})
	}
	if _, err := os.Stat("runs.db"); err == nil {
		t.Error("a command that only reads has made a database")
	}
}

func TestHelp(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"", "COMMANDS:"}, {"--help", "COMMANDS:"}, {"help run", "--set"}, {"run --help", "--set"}, {"run x.yaml -h", "--set"},
		{"runs --help", "show"}, {"runs show --help", "RUN is an id"}, {"--version", "libtorch"},
	} {
		code, stdout, stderr := tune(t, strings.Fields(tc.args)...)
		if code != 0 || stderr != "" || !strings.Contains(stdout, tc.want) {
			t.Errorf("tune %s: exit code %d, stderr %q, stdout without %q:\n%s", tc.args, code, stderr, tc.want, stdout)
		}
	}
}

func TestArrange(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"run a.yaml --set x=1 --set y=[1,2]", "run --set=x=1 --set=y=[1,2] -- a.yaml"},
		{"run -set x=1 a.yaml", "run --set=x=1 -- a.yaml"},
		{"runs", "runs"},
		{"runs --json list --limit 3", "runs list --json --limit=3"},
		{"--db x.db runs show last --json", "runs show --db=x.db --json -- last"},
		{"--json=false runs", "runs --json=false"},
		{"generate --run last list runs", "generate --run=last -- list runs"},
		{"generate help --run last", "generate --run=last -- help"},
		{"generate --model m -", "generate --model=m -- -"},
		{"generate --temperature -1 --model m -- --run is a word", "generate --temperature=-1 --model=m -- --run is a word"},
		{"chart a --out x.svg b", "chart --out=x.svg -- a b"},
		{"help runs", "help -- runs"},
		{"--version", "version"},
	} {
		got, err := arrange(newApp(nil, nil), append([]string{"tune"}, strings.Fields(tc.args)...))
		if err != nil {
			t.Errorf("tune %s: %v", tc.args, err)
			continue
		}
		if diff := cmp.Diff(append([]string{"tune"}, strings.Fields(tc.want)...), got); diff != "" {
			t.Errorf("tune %s (-want +got):\n%s", tc.args, diff)
		}
	}
}

// TestFlagsAreOfOneKind: arrange reads an option before it knows its command, so a name may not take a value
// in one command and none in another.
func TestFlagsAreOfOneKind(t *testing.T) {
	takesValue := map[string]bool{}
	var walk func(commands []*cli.Command)
	walk = func(commands []*cli.Command) {
		for _, c := range commands {
			for _, f := range c.Flags {
				_, isBool := f.(*cli.BoolFlag)
				for _, name := range f.Names() {
					if before, seen := takesValue[name]; seen && before == isBool {
						t.Errorf("%s: --%s takes a value in one command and none in another", c.Name, name)
					}
					takesValue[name] = !isBool
				}
			}
			walk(c.Subcommands)
		}
	}
	walk(newApp(nil, nil).Commands)
	if len(takesValue) < 10 {
		t.Errorf("found only %d flags", len(takesValue))
	}
}

func TestReport(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		code int
		want string
	}{
		{"none", nil, 0, ""},
		{"failure", errors.New("disk full"), 1, "tune: error: disk full\n"},
		{"hint", hinted{errors.New("disk full"), "make room"}, 1, "tune: error: disk full\ntune: hint: make room\n"},
		{"input", badInput{errors.New("no"), ""}, 2, "tune: error: no\n"},
		{"several", errors.Join(badInput{errors.New("a"), ""}, badInput{errors.New("b"), "c"}), 2,
			"tune: error: a\ntune: error: b\n"},
		{"control characters", errors.New("a\x1b[2Jb"), 1, "tune: error: a\uFFFD[2Jb\n"},
	} {
		var out bytes.Buffer
		if code := report(&out, tc.err); code != tc.code || out.String() != tc.want {
			t.Errorf("%s: code %d, %q; want %d, %q", tc.name, code, out.String(), tc.code, tc.want)
		}
	}
}

func TestPanicIsABug(t *testing.T) {
	var out bytes.Buffer
	code := report(&out, catch(func() error {
		var none []int
		return errors.New(string(rune(none[3])))
	}))
	if code != exitFailure {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"tune: error: this is a bug in tune: runtime error: index out of range",
		"tune: hint: please report", "main_test.go"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestReplaceFileKeepsTheOldOne(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.svg")
	for _, content := range []string{"one", "two"} {
		if err := replaceFile(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != content {
			t.Errorf("%q, %v", b, err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(filepath.Join(dir, "folder"), nil); err == nil {
		t.Error("a file took the place of a folder")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("temporary files are left: %v", entries)
	}
}
