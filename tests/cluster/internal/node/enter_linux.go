package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// machineNetwork is the file descriptor of the machine's network namespace,
// which Confine passes.
const machineNetwork = 3

const dialTimeout = 30 * time.Second

// Inside is the cluster's access to the machine from within its namespaces.
type Inside struct {
	network   *os.File // the machine's
	processes *os.File // the machine's /proc

	lock   sync.Mutex
	shared map[int]bool
}

// Enter sets up the namespaces. Only the process that Confine prepared may call
// it. The cluster's folder must exist.
func Enter(folder string) (*Inside, error) {
	if os.Getpid() != 1 {
		return nil, errors.New("this process is not the first of its namespace: start it by `up --node`")
	}
	unix.CloseOnExec(machineNetwork)
	if err := nameFirstProcess(); err != nil {
		return nil, err
	}
	processes, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	inside := &Inside{
		network:   os.NewFile(machineNetwork, "network namespace"),
		processes: processes,
		shared:    map[int]bool{},
	}
	if err := mountAll(folder); err != nil {
		return nil, err
	}
	return inside, connect(inside.network)
}

// Pid translates the id of one of our processes to its id on the machine.
func (i *Inside) Pid(pid int) int {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0 // the process has just ended
	}
	defer unix.Close(process)
	// The machine's /proc shows the machine's ids.
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/self/fdinfo/%d", i.processes.Fd(), process))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(info)) {
		if number, found := strings.CutPrefix(line, "Pid:"); found {
			outside, _ := strconv.Atoi(strings.TrimSpace(number))
			return outside
		}
	}
	return 0
}

// Dial connects to an IP address in the machine's network.
func (i *Inside) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	// A socket stays in the network of the thread that makes it.
	runtime.LockOSThread()
	ours, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer ours.Close()
	if err := unix.Setns(int(i.network.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("cannot enter the machine's network: %w", err)
	}
	connection, err := new(net.Dialer).DialContext(ctx, network, address)
	// If the return fails, the thread stays locked and ends with its goroutine.
	if unix.Setns(int(ours.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return connection, err
}

// Share makes a port on the machine's loopback reachable: on the node's loopback
// for containerd, and at the node's address for pods.
func (i *Inside) Share(port int) error {
	i.lock.Lock()
	defer i.lock.Unlock()
	if i.shared[port] {
		return nil
	}
	var opened []net.Listener
	for _, address := range []string{"127.0.0.1", Address} {
		listener, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
		if err != nil {
			for _, each := range opened {
				each.Close()
			}
			return fmt.Errorf("cannot share port %d of the machine: %w", port, err)
		}
		opened = append(opened, listener)
	}
	i.shared[port] = true
	for _, each := range opened {
		go i.carryAll(each, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	}
	return nil
}

func (i *Inside) carryAll(from net.Listener, to string) {
	for {
		client, err := from.Accept()
		if err != nil {
			return
		}
		go i.carry(client.(*net.TCPConn), to)
	}
}

func (i *Inside) carry(client *net.TCPConn, to string) {
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	connection, err := i.Dial(ctx, "tcp", to)
	if err != nil {
		_ = client.SetLinger(0) // resets the connection, as a closed port does
		return
	}
	defer connection.Close()
	server := connection.(*net.TCPConn)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, client)
		_ = server.CloseWrite()
	}()
	_, _ = io.Copy(client, server)
	_ = client.CloseWrite()
	<-done
}
