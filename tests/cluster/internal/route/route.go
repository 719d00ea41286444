// Package route holds which local addresses stand behind a Service, and whose
// turn it is. It is pure: it opens no connection and asks no API server.
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

// Route is what one Service leads to. No address means that nobody listens.
type Route struct {
	Service   Service
	Addresses []string // HOST:PORT each
}

// Parse reads NAMESPACE/NAME=HOST:PORT,HOST:PORT.
func Parse(text string) (Route, error) {
	service, addresses, found := strings.Cut(text, "=")
	if !found {
		return Route{}, fmt.Errorf("%q: want NAMESPACE/NAME=HOST:PORT,…", text)
	}
	return New(service, addresses)
}

// New makes a route from NAMESPACE/NAME and a list of addresses with commas
// between them, which may be empty.
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

// checkAddress admits literal loopback addresses only: nothing of a test may
// be reachable from, or reach, another machine.
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

// Table is the routes in force. It is safe for use by many at once.
type Table struct {
	lock   sync.Mutex
	routes map[Service]*turns
}

type turns struct {
	addresses []string
	next      int
}

// Set replaces what a Service leads to. Only new connections see it, as with a
// Service whose endpoints change.
func (t *Table) Set(r Route) {
	t.lock.Lock()
	defer t.lock.Unlock()
	if t.routes == nil {
		t.routes = map[Service]*turns{}
	}
	t.routes[r.Service] = &turns{addresses: r.Addresses}
}

// Has says whether a route was set for a Service.
func (t *Table) Has(service Service) bool {
	t.lock.Lock()
	defer t.lock.Unlock()
	return t.routes[service] != nil
}

// Next returns the address for the next connection to a Service: each in turn.
// It reports false when the Service leads nowhere.
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
