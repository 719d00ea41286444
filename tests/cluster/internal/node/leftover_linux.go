package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// How long the kernel may take to end all that a killed cluster ran.
const endLimit = 10 * time.Second

// clearUp removes what there may be of a cluster that has ended, or was killed
// just now. Nobody but its own processes can be in the way.
func clearUp() error {
	return errors.Join(endFirstProcess(), removeWire(), removeCgroups())
}

// nameFirstProcess makes this process known to endFirstProcess, also while it
// is dying and has no command line any more.
func nameFirstProcess() error {
	return os.WriteFile("/proc/self/comm", []byte(firstProcess), 0)
}

// endFirstProcess waits until the kernel has ended a killed cluster's first
// process: that is the last one to go.
func endFirstProcess() error {
	statuses, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return err
	}
	for _, each := range statuses {
		status, err := os.ReadFile(each)
		if err != nil || !isFirstProcess(string(status)) {
			continue // it ended, or is somebody else
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(each)))
		if err != nil {
			return err
		}
		if err := endProcess(pid); err != nil {
			return fmt.Errorf("ending process %d of a killed cluster: %w", pid, err)
		}
	}
	return nil
}

func endProcess(pid int) error {
	process, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(process)
	if err := unix.PidfdSendSignal(process, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	// Readable once it has ended.
	for deadline := time.Now().Add(endLimit); ; {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, max(0, int(time.Until(deadline).Milliseconds())))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case ready == 0:
			return fmt.Errorf("it is still there after %s", endLimit)
		default:
			return nil
		}
	}
}

// isFirstProcess reads the content of /proc/PID/status.
func isFirstProcess(status string) bool {
	var named, first bool
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		switch fields := strings.Fields(value); name {
		case "Name":
			named = strings.TrimSpace(value) == firstProcess
		case "NSpid":
			first = len(fields) > 1 && fields[len(fields)-1] == "1"
		}
	}
	return named && first
}

// removeWire is only ahead of the kernel, which removes the wire some time
// after the network namespace at its other end.
func removeWire() error {
	found, err := netlink.LinkByName(machineWire)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(found)
	}
	if err != nil && !errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("removing the link %s: %w", machineWire, err)
	}
	return nil
}
