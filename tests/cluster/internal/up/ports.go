package up

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports are taken from below the range from which kernels take the source ports
// of outgoing connections (from 32768 on Linux): a component that is stopped
// and started again finds its port free, and nobody who calls it meanwhile
// connects to itself.
const (
	firstPort = 20000
	lastPort  = 32000
)

// freePorts picks ports on which nobody listens now. They are picked at random,
// so that clusters that start at the same time do not meet.
func freePorts(count int) ([]int, error) {
	var ports []int
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		// Held until all are found, or one could be found twice.
		defer listener.Close()
		if ports = append(ports, port); len(ports) == count {
			return ports, nil
		}
	}
	return nil, errors.New("no free port on 127.0.0.1")
}
