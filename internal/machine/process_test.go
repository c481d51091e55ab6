package machine

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

const waitVariable = "MACHINE_TEST_WAIT"

func TestProcess(t *testing.T) {
	if os.Getenv(waitVariable) != "" {
		time.Sleep(time.Minute)
		return
	}
	mark, alive := Process(os.Getpid())
	again, _ := Process(os.Getpid())
	if !alive || mark != again {
		t.Errorf("this process: alive %v, marks %q and %q", alive, mark, again)
	}
	if mark == "" && (runtime.GOOS == "linux" || runtime.GOOS == "darwin") {
		t.Error("this process has no mark")
	}
	if _, alive := Process(os.Getppid()); !alive {
		t.Error("the process that started this one is not alive")
	}

	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-test.run=^TestProcess$")
	cmd.Env = append(os.Environ(), waitVariable+"=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if other, alive := Process(pid); !alive || (other == "") != (mark == "") {
		t.Errorf("a process begun later: alive %v, mark %q, ours %q", alive, other, mark)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "linux" || runtime.GOOS == "darwin" { // until Wait it is there, but as a zombie
		deadline := time.Now().Add(10 * time.Second)
		for _, alive := Process(pid); alive; _, alive = Process(pid) {
			if time.Now().After(deadline) {
				t.Fatal("a zombie is alive")
			}
			time.Sleep(time.Millisecond)
		}
	}
	cmd.Wait()
	for _, pid := range []int{pid, 0, -1} {
		if _, alive := Process(pid); alive {
			t.Errorf("process %d is alive", pid)
		}
	}
}
