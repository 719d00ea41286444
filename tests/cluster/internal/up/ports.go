package up

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports are below the range of source ports for outgoing connections (from 32768
// on Linux). So a restarted component finds its port free, and a client that
// calls a stopped component never connects to itself.
const (
	firstPort = 20000
	lastPort  = 32000
)

// freePorts picks free ports at random, so that clusters that start at the same
// time hardly pick the same ones.
func freePorts(count int) ([]int, error) {
	var ports []int
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		// Held until all are found, so that no port is picked twice.
		defer listener.Close()
		if ports = append(ports, port); len(ports) == count {
			return ports, nil
		}
	}
	return nil, errors.New("no free port on 127.0.0.1")
}
