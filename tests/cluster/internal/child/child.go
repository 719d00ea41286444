// Package child starts processes that do not outlive this one.
//
// A child has its own process group, so that Ctrl-C reaches this program alone
// and the order of the end is ours. On Linux the kernel kills the child when
// this process dies, however it dies; elsewhere a SIGKILL of this process
// leaves its children behind.
package child

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// Child is a process that was started. It is reaped as soon as it ends.
type Child struct {
	command *exec.Cmd
	done    chan struct{}
}

// children are the processes that were started and not yet waited for.
var (
	lock     sync.Mutex
	children = map[int]bool{}
)

// spawn hands work to one thread that lives as long as this process: the
// kernel's parent death signal fires at the end of the *thread* that forked,
// and the Go runtime ends threads as it sees fit.
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

// Start starts the command. Its input and output must be files, or nil. What it leaves
// running in its process group when it ends is killed.
func Start(command *exec.Cmd) (*Child, error) {
	command.SysProcAttr = attributes(command.SysProcAttr)
	started := make(chan error)
	spawn() <- func() {
		// Held across the start: see ReapOrphans.
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
		_ = command.Wait() // the state, read through ExitCode, says it all
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

// Done is closed once the process has ended and was waited for.
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

// Kill ends the process at once, frozen or not, and returns when it is gone.
func (c *Child) Kill() {
	if err := c.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, syscall.ESRCH) {
		// The group could not be signalled; the process itself always can.
		_ = c.command.Process.Kill()
	}
	<-c.done
}

// ExitCode is the code of a process that has ended, or 128 and the number of
// the signal that ended it, as a shell reports it.
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
