//go:build unix

package runstore

import (
	"os"
	"os/exec"
	"syscall"
)

// dropPrivileges runs the command as nobody when we are root, whom no permission stops.
func dropPrivileges(cmd *exec.Cmd) {
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
}
