// Package lifeline runs one command for somebody who may die without notice.
//
// The command lives as long as the writing end of this program's stdin is
// open: a pipe that the kernel closes when its owner ends, crashed or killed.
// stdout and stderr are the command's own; it gets no stdin.
package lifeline

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"ecr-pull-secrets.dev/tests/cluster/internal/child"
)

const usage = `usage: lifeline -- COMMAND [ARGUMENT…]
Kills COMMAND at the end of its own stdin. Lines on stdin: freeze, thaw, terminate, kill.
`

// signals are the lines that stdin takes. There is no answer to them.
var signals = map[string]syscall.Signal{
	"freeze":    syscall.SIGSTOP,
	"thaw":      syscall.SIGCONT,
	"interrupt": syscall.SIGINT,
	"terminate": syscall.SIGTERM,
	"kill":      syscall.SIGKILL,
}

// Main runs the command and returns its exit code.
func Main(args []string) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return 2
	}

	// Before the start: a signal that arrives in between is not to kill us.
	forward := make(chan os.Signal, 8)
	signal.Notify(forward, syscall.SIGTERM, syscall.SIGINT)

	command := exec.Command(args[0], args[1:]...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	running, err := child.Start(command)
	if err != nil {
		fmt.Fprintf(os.Stderr, "lifeline: cannot start %s: %v\n", args[0], err)
		return 127
	}

	cut := make(chan struct{})
	go func() {
		defer close(cut)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			if wanted, ok := signals[lines.Text()]; ok {
				_ = running.Signal(wanted) // already gone: Done says so
			} else {
				fmt.Fprintf(os.Stderr, "lifeline: unknown line on stdin: %q\n", lines.Text())
			}
		}
	}()

	for {
		select {
		case received := <-forward:
			_ = running.Signal(received.(syscall.Signal))
		case <-cut:
			running.Kill()
			return running.ExitCode()
		case <-running.Done():
			return running.ExitCode()
		}
	}
}
