// Package child starts processes that do not outlive this process.
//
// A child has its own process group: Ctrl-C then reaches only this program,
// which decides on the order in which children end. On Linux the kernel kills
// the child when this process ends in any way; elsewhere a SIGKILL of this
// process leaves its children behind.
package child

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// Child is a started process. It is reaped as soon as it ends.
type Child struct {
	command *exec.Cmd
	done    chan struct{}
}

// children are the started processes that are not yet reaped.
var (
	lock     sync.Mutex
	children = map[int]bool{}
)

// spawn passes work to one thread that lives as long as this process. The
// kernel sends the parent death signal at the end of the *thread* that forked,
// and the Go runtime ends threads at any time.
var spawn = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for do := range work {
			do()
		}
	}()
	return work
})

// Start starts the command. Its input and output must be files, or nil. When it
// ends, the rest of its process group is killed.
func Start(command *exec.Cmd) (*Child, error) {
	command.SysProcAttr = attributes(command.SysProcAttr)
	started := make(chan error)
	spawn() <- func() {
		// Held across the start, so that ReapOrphans never sees an unknown child.
		lock.Lock()
		defer lock.Unlock()
		err := command.Start()
		if err == nil {
			children[command.Process.Pid] = true
		}
		started <- err
	}
	if err := <-started; err != nil {
		return nil, err
	}
	c := &Child{command: command, done: make(chan struct{})}
	go func() {
		_ = command.Wait() // ExitCode reads the result from the state
		lock.Lock()
		delete(children, command.Process.Pid)
		lock.Unlock()
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		close(c.done)
	}()
	return c, nil
}

// Pid is the process id, which is also the id of its process group.
func (c *Child) Pid() int { return c.command.Process.Pid }

// Done is closed once the process has ended and is reaped.
func (c *Child) Done() <-chan struct{} { return c.done }

// Signal sends a signal to the whole process group.
func (c *Child) Signal(signal syscall.Signal) error {
	select {
	case <-c.done:
		return os.ErrProcessDone
	default:
		return syscall.Kill(-c.Pid(), signal)
	}
}

// Kill ends the process at once, frozen or not, and returns once it has ended.
func (c *Child) Kill() {
	if err := c.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, syscall.ESRCH) {
		// The group cannot be signalled; the process itself always can.
		_ = c.command.Process.Kill()
	}
	<-c.done
}

// ExitCode is the exit code of an ended process, or 128 plus the number of the
// signal that ended it, as a shell reports it.
func (c *Child) ExitCode() int {
	<-c.done
	status := c.command.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// State says in words how the process ended.
func (c *Child) State() string {
	<-c.done
	return c.command.ProcessState.String()
}
