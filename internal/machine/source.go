package machine

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// gitTimeout bounds the wait for git: a large tree on a slow disk must not hold a run up.
const gitTimeout = 5 * time.Second

// GitCommit returns the commit that dir is at and whether its tracked files differ from it. The commit is empty
// when git is not installed, dir is in no repository or the repository has no commit. A tree that git could not
// compare in time counts as dirty: it is not proven clean.
func GitCommit(ctx context.Context, dir string) (commit string, dirty bool) {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	commit, err := git(ctx, dir, "rev-parse", "--verify", "--quiet", "HEAD")
	if err != nil {
		return "", false
	}
	changes, err := git(ctx, dir, "status", "--porcelain", "--untracked-files=no")
	return commit, err != nil || changes != ""
}

// git runs a command that reads and returns what it printed.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	// No fsmonitor: it is a program that the repository's own settings name.
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "core.fsmonitor=false"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0") // do not write the index while others use it
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	return string(bytes.TrimSpace(out)), err
}

// Build says which tune this is.
type Build struct {
	Version   string `json:"tune_version"` // v1.2.3; devel and the commit when built from a checkout
	GoVersion string `json:"go_version"`
}

// ReadBuild returns what the Go tools wrote into this binary.
func ReadBuild() Build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Build{Version: "devel", GoVersion: runtime.Version()}
	}
	return build(info)
}

// build puts the version of a build together.
func build(info *debug.BuildInfo) Build {
	b := Build{Version: info.Main.Version, GoVersion: info.GoVersion}
	if b.Version != "" && b.Version != "(devel)" {
		return b // a release, or Go's own name for a commit
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	parts := []string{"devel"}
	if rev := settings["vcs.revision"]; rev != "" {
		parts = append(parts, rev[:min(12, len(rev))])
	}
	if settings["vcs.modified"] == "true" {
		parts = append(parts, "dirty")
	}
	b.Version = strings.Join(parts, "-")
	return b
}
