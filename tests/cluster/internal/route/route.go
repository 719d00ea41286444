// Package route has the local addresses behind each Service, and the next one in
// turn. It is pure: it opens no connection and calls no API server.
package route

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
)

// Service names a Service of the cluster.
type Service struct {
	Namespace, Name string
}

func (s Service) String() string { return s.Namespace + "/" + s.Name }

// Route is the addresses behind one Service. A Service without an address
// refuses connections.
type Route struct {
	Service   Service
	Addresses []string // HOST:PORT each
}

// Parse parses NAMESPACE/NAME=HOST:PORT,HOST:PORT.
func Parse(text string) (Route, error) {
	service, addresses, found := strings.Cut(text, "=")
	if !found {
		return Route{}, fmt.Errorf("%q: want NAMESPACE/NAME=HOST:PORT,…", text)
	}
	return New(service, addresses)
}

// New makes a route from NAMESPACE/NAME and a list of addresses, separated by
// commas, which may be empty.
func New(service, addresses string) (Route, error) {
	namespace, name, found := strings.Cut(service, "/")
	if !found || namespace == "" || name == "" || strings.Contains(name, "/") {
		return Route{}, fmt.Errorf("%q: want NAMESPACE/NAME", service)
	}
	made := Route{Service: Service{Namespace: namespace, Name: name}}
	if addresses == "" {
		return made, nil
	}
	for _, address := range strings.Split(addresses, ",") {
		if err := checkAddress(address); err != nil {
			return Route{}, err
		}
		made.Addresses = append(made.Addresses, address)
	}
	return made, nil
}

// checkAddress accepts only loopback IP addresses, because a test must not reach
// another machine or be reachable from there.
func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q: want HOST:PORT", address)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%q: want a loopback address", address)
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
		return fmt.Errorf("%q: want a port from 1 to 65535", address)
	}
	return nil
}

// Table is the routes in force. It is safe for concurrent use.
type Table struct {
	lock   sync.Mutex
	routes map[Service]*turns
}

type turns struct {
	addresses []string
	next      int
}

// Set replaces the addresses of a Service. Only new connections use them, as with
// a Service whose endpoints change.
func (t *Table) Set(r Route) {
	t.lock.Lock()
	defer t.lock.Unlock()
	if t.routes == nil {
		t.routes = map[Service]*turns{}
	}
	t.routes[r.Service] = &turns{addresses: r.Addresses}
}

// Has is whether a Service has a route.
func (t *Table) Has(service Service) bool {
	t.lock.Lock()
	defer t.lock.Unlock()
	return t.routes[service] != nil
}

// Next returns the address for the next connection to a Service, each in turn.
// It returns false for a Service without an address.
func (t *Table) Next(service Service) (address string, ok bool) {
	t.lock.Lock()
	defer t.lock.Unlock()
	turns := t.routes[service]
	if turns == nil || len(turns.addresses) == 0 {
		return "", false
	}
	address = turns.addresses[turns.next%len(turns.addresses)]
	turns.next++
	return address, true
}
