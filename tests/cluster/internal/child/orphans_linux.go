package child

import (
	"os"
	"os/signal"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ReapOrphans makes this process take leave of processes that others left to
// it, as the first process of a namespace has to. Children are not touched:
// whoever started them waits for them.
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
		// It hides the next one until it is waited for.
		lock.Unlock()
		time.Sleep(time.Millisecond)
		lock.Lock()
		return true
	}
	_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
	return true
}

// endedProcess is a process that can be waited for, or 0. It stays that.
func endedProcess() int {
	// A siginfo_t of SIGCHLD, on 64 bits.
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
