package child

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const limit = 10 * time.Second

// parent is the environment variable that makes the test binary a program that
// starts a child, prints the child's process id and waits to be killed.
const parent = "CHILD_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parent) == "" {
		os.Exit(m.Run())
	}
	started, err := Start(exec.Command("sleep", "600"))
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString(strconv.Itoa(started.Pid()) + "\n")
	select {}
}

func TestKillEndsFrozenProcess(t *testing.T) {
	started, err := Start(exec.Command("sleep", "600"))
	if err != nil {
		t.Fatal(err)
	}
	if err := started.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	started.Kill()
	if code := started.ExitCode(); code != 128+9 {
		t.Fatalf("exit code %d, want the one of SIGKILL", code)
	}
}

func TestExitCodeIsReported(t *testing.T) {
	started, err := Start(exec.Command("sh", "-c", "exit 7"))
	if err != nil {
		t.Fatal(err)
	}
	if code := started.ExitCode(); code != 7 {
		t.Fatalf("exit code %d, want 7", code)
	}
	if err := started.Signal(syscall.SIGTERM); err == nil {
		t.Fatal("a signal to an ended process succeeds")
	}
}

func TestChildEndsWithItsKilledParent(t *testing.T) {
	if !hasParentDeathSignal {
		t.Skip("needs Linux: this system has no parent death signal")
	}
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), parent+"=1")
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	pid := readPid(t, output)
	command.Process.Kill()
	command.Wait()
	awaitEnd(t, pid)
}

func TestProcessGroupEndsWithTheChild(t *testing.T) {
	output, input, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	command := exec.Command("sh", "-c", "sleep 600 & echo $!")
	command.Stdout = input
	started, err := Start(command)
	input.Close()
	if err != nil {
		t.Fatal(err)
	}
	pid := readPid(t, output)
	<-started.Done()
	awaitEnd(t, pid)
}

func readPid(t *testing.T, from io.Reader) int {
	t.Helper()
	line, err := bufio.NewReader(from).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(limit); alive(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d still runs", pid)
		}
	}
}

// alive counts a zombie as dead: its new parent may reap it much later.
func alive(pid int) bool {
	state, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(state), ") ")
	return !strings.HasPrefix(rest, "Z")
}
