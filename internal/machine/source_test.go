package machine

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

func TestGitCommit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	dir := t.TempDir()
	t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(dir)) // a repository above must not answer
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	// Repository variables that a hook sets would lead git elsewhere.
	for _, name := range []string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"} {
		if v, ok := os.LookupEnv(name); ok {
			os.Unsetenv(name)
			t.Cleanup(func() { os.Setenv(name, v) })
		}
	}
	run := func(args ...string) string {
		t.Helper()
		as := []string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}
		cmd := exec.Command("git", append(as, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := func(when, commit string, dirty bool) {
		t.Helper()
		gotCommit, gotDirty := GitCommit(t.Context(), dir)
		if gotCommit != commit || gotDirty != dirty {
			t.Errorf("%s: %q, dirty %v, want %q, %v", when, gotCommit, gotDirty, commit, dirty)
		}
	}

	want("no repository", "", false)
	run("init", "-q")
	want("no commit", "", false)
	write("a", "1")
	run("add", "a")
	run("commit", "-q", "-m", "one")
	head := run("rev-parse", "HEAD")
	want("clean", head, false)
	write("b", "untracked, such as results")
	want("an untracked file", head, false)
	write("a", "2")
	want("a changed file", head, true)
	if commit, dirty := GitCommit(t.Context(), filepath.Join(dir, "none")); commit != "" || dirty {
		t.Errorf("no such folder: %q, %v", commit, dirty)
	}
	t.Setenv("PATH", t.TempDir())
	want("no git", "", false)
}

func TestBuild(t *testing.T) {
	setting := func(key, value string) debug.BuildSetting { return debug.BuildSetting{Key: key, Value: value} }
	for _, tc := range []struct {
		name, main, want string
		settings         []debug.BuildSetting
	}{
		{"release", "v1.2.3", "v1.2.3", nil},
		{"no version control", "(devel)", "devel", nil},
		{"nothing at all", "", "devel", nil},
		{"a commit", "(devel)", "devel-0123456789ab", []debug.BuildSetting{setting("vcs.revision", "0123456789abcdef")}},
		{"changed", "", "devel-0123-dirty", []debug.BuildSetting{
			setting("vcs.revision", "0123"), setting("vcs.modified", "true")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := build(&debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: tc.main}, Settings: tc.settings})
			if want := (Build{Version: tc.want, GoVersion: "go1.26.0"}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
	if b := ReadBuild(); b.Version == "" || b.GoVersion == "" {
		t.Errorf("this binary: %+v, want both", b)
	}
}
