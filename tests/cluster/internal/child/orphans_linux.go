package child

import (
	"os"
	"os/signal"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ReapOrphans makes this process reap orphaned processes, as the first process
// of a namespace must. It does not reap children, because Start waits for them.
func ReapOrphans() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		for range ended {
			for reapOne() {
			}
		}
	}()
}

// reapOne reports whether there may be more.
func reapOne() bool {
	lock.Lock()
	defer lock.Unlock()
	pid := endedProcess()
	if pid == 0 {
		return false
	}
	if children[pid] {
		// The child hides other ended processes until Start has reaped it.
		lock.Unlock()
		time.Sleep(time.Millisecond)
		lock.Lock()
		return true
	}
	_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
	return true
}

// endedProcess is the id of an ended process, or 0. It does not reap it.
func endedProcess() int {
	// The layout of siginfo_t for SIGCHLD on 64 bits.
	var info struct {
		_   [4]int32
		pid int32
		_   [27]int32
	}
	for {
		err := unix.Waitid(unix.P_ALL, 0, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0
		}
		return int(info.pid)
	}
}
