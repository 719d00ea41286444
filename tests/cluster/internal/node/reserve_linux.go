package node

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// reservation is a socket address in the abstract namespace: it leaves no file,
// and the kernel frees it at the end of the process.
const reservation = "@ecr-pull-secrets-test-node"

// Reservation is the right to run the machine's one cluster with a node.
type Reservation struct {
	lock net.Listener
}

// Reserve reserves the machine for the cluster in a folder, and removes what a
// killed cluster left behind. It fails while another cluster runs.
func Reserve(folder string) (*Reservation, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a cluster with a node needs root")
	}
	lock, err := net.Listen("unix", reservation)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("a cluster with a node is running on this machine%s: one at a time", owner())
	}
	if err != nil {
		return nil, err
	}
	go answer(lock, fmt.Sprintf(" (process %d, folder %s)", os.Getpid(), folder))
	r := &Reservation{lock: lock}
	if err := clearUp(); err != nil {
		lock.Close()
		return nil, err
	}
	return r, nil
}

// Release removes what the kernel does not remove, and frees the machine for the
// next cluster. The cluster's processes must have ended.
func (r *Reservation) Release() error {
	defer r.lock.Close()
	return clearUp()
}

// answer sends the text to every client: it names the owner of the machine.
func answer(lock net.Listener, text string) {
	for {
		connection, err := lock.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(connection, text)
		connection.Close()
	}
}

func owner() string {
	connection, err := net.DialTimeout("unix", reservation, time.Second)
	if err != nil {
		return ""
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(time.Second))
	text, _ := io.ReadAll(connection)
	return string(text)
}

// Confine prepares a command to run in its own namespaces, as their first
// process: everything that it starts ends with it. The command must call Enter.
func (r *Reservation) Confine(command *exec.Cmd) error {
	machine, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return err
	}
	command.ExtraFiles = []*os.File{machine} // file descriptor 3
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
	}
	return makeCgroups()
}

// CheckFolder refuses folders that the cluster cannot see, because it mounts
// other folders over them.
func CheckFolder(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	for _, hidden := range append([]string{"/run", "/var/run"}, overlaid...) {
		if path == hidden || strings.HasPrefix(path, hidden+"/") {
			return fmt.Errorf("%s cannot hold a cluster with a node: choose a folder outside of %s", path, hidden)
		}
	}
	return nil
}
