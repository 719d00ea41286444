package child

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestOrphansAreReapedWithoutChildren(t *testing.T) {
	// This process then adopts orphans, as the first process of a namespace does.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	ReapOrphans()
	for range 20 {
		output, input, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer output.Close()
		command := exec.Command("sh", "-c", "sleep 600 & echo $!; exit 7")
		command.Stdout = input
		started, err := Start(command)
		input.Close()
		if err != nil {
			t.Fatal(err)
		}
		pid := readPid(t, output)
		if code := started.ExitCode(); code != 7 {
			t.Fatalf("exit code %d, want 7", code)
		}
		awaitReaped(t, pid)
	}
	if len(children) > 0 {
		t.Errorf("%d children are still known", len(children))
	}
}

// awaitReaped waits until not even a zombie has this process id.
func awaitReaped(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); os.IsNotExist(err) {
			return
		}
		if time.Now().After(deadline) {
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			t.Fatalf("process %d still exists:\n%s", pid, status)
		}
	}
}
