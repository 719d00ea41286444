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

// endLimit is how long the kernel may take to end the processes of a killed
// cluster.
const endLimit = 10 * time.Second

// clearUp removes the remains of a cluster that has ended or was just killed.
// Only the cluster's own processes can delay it.
func clearUp() error {
	return errors.Join(endFirstProcess(), removeWire(), removeCgroups())
}

// nameFirstProcess gives this process the name that endFirstProcess finds it by.
// The name stays readable while the process ends and has no command line left.
func nameFirstProcess() error {
	return os.WriteFile("/proc/self/comm", []byte(firstProcess), 0)
}

// endFirstProcess kills the first process of a killed cluster and waits for its
// end. It is the last process of its namespace to end.
func endFirstProcess() error {
	statuses, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return err
	}
	for _, each := range statuses {
		status, err := os.ReadFile(each)
		if err != nil || !isFirstProcess(string(status)) {
			continue // it has ended, or is another process
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(each)))
		if err != nil {
			return err
		}
		if err := endProcess(pid); err != nil {
			return fmt.Errorf("cannot end process %d of a killed cluster: %w", pid, err)
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
	// The file is readable once the process has ended.
	for deadline := time.Now().Add(endLimit); ; {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, max(0, int(time.Until(deadline).Milliseconds())))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case ready == 0:
			return fmt.Errorf("it still runs after %s", endLimit)
		default:
			return nil
		}
	}
}

// isFirstProcess tells from the content of /proc/PID/status whether the process
// is the first of a cluster.
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

// removeWire removes the wire before the kernel does, which takes some time
// after the end of the network namespace at its other end.
func removeWire() error {
	found, err := netlink.LinkByName(machineWire)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(found)
	}
	if err != nil && !errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("cannot remove the link %s: %w", machineWire, err)
	}
	return nil
}
