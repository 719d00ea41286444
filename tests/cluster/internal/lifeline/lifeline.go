// Package lifeline runs one command that ends at the latest with its starter.
//
// The command runs as long as the writing end of this program's stdin is open:
// the kernel closes that pipe when the starter ends, also by a crash or a kill.
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
Kills COMMAND when the stdin of lifeline ends. Lines on stdin: freeze, thaw, interrupt, terminate, kill.
`

// signals maps each line on stdin to its signal. Lines get no answer.
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

	// Before the start, so that a signal in between does not kill this process.
	forward := make(chan os.Signal, 8)
	signal.Notify(forward, syscall.SIGTERM, syscall.SIGINT)

	command := exec.Command(args[0], args[1:]...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	running, err := child.Start(command)
	if err != nil {
		fmt.Fprintf(os.Stderr, "lifeline: cannot start %s: %v\n", args[0], err)
		return 127
	}

	stdinEnded := make(chan struct{})
	go func() {
		defer close(stdinEnded)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			if wanted, ok := signals[lines.Text()]; ok {
				_ = running.Signal(wanted) // fails only for an ended command, and Done reports that
			} else {
				fmt.Fprintf(os.Stderr, "lifeline: unknown line on stdin: %q\n", lines.Text())
			}
		}
	}()

	for {
		select {
		case received := <-forward:
			_ = running.Signal(received.(syscall.Signal))
		case <-stdinEnded:
			running.Kill()
			return running.ExitCode()
		case <-running.Done():
			return running.ExitCode()
		}
	}
}
