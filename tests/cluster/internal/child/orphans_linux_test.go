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

func TestOrphansAreReapedAndChildrenAreNot(t *testing.T) {
	// What children leave behind becomes ours, as with a namespace's first process.
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
		awaitNothing(t, pid)
	}
	if len(children) > 0 {
		t.Errorf("%d children are still known", len(children))
	}
}

// awaitNothing waits until there is not even a dead process of that id.
func awaitNothing(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); os.IsNotExist(err) {
			return
		}
		if time.Now().After(deadline) {
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			t.Fatalf("process %d is still there:\n%s", pid, status)
		}
	}
}
