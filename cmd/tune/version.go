package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"tune/internal/machine"
	"tune/internal/torch"
)

// versions says what this program is made of, as tune version --json writes it.
type versions struct {
	machine.Build
	LibtorchVersion string `json:"libtorch_version"`
	Commit          string `json:"git_commit"` // empty where the binary was not built from a checkout
	OS              string `json:"os"`
	Arch            string `json:"arch"`
}

func readVersions() versions {
	v := versions{Build: machine.ReadBuild(), LibtorchVersion: torch.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				v.Commit = setting.Value
			}
		}
	}
	return v
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "the versions of tune, libtorch and Go",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			v := readVersions()
			if c.Bool("json") {
				return writeJSON(c.App.Writer, v)
			}
			commit := v.Commit
			if commit == "" {
				commit = "unknown"
			}
			fmt.Fprintf(c.App.Writer, "tune %s\nlibtorch %s\n%s %s/%s\ncommit %s\n", v.Version, v.LibtorchVersion,
				v.GoVersion, v.OS, v.Arch, commit)
			return nil
		},
	}
}
