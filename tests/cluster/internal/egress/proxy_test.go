package egress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ecr-pull-secrets.dev/tests/cluster/internal/route"
)

var (
	webhook   = route.Service{Namespace: "a", Name: "webhook"}
	clusterIP = netip.MustParseAddr("10.0.0.7")
)

// proxyTo runs a proxy for one Service with these addresses and returns the path
// of its socket.
func proxyTo(t *testing.T, addresses ...string) string {
	t.Helper()
	var table route.Table
	table.Set(route.Route{Service: webhook, Addresses: addresses})
	proxy := &Proxy{
		Services: netip.MustParsePrefix("10.0.0.0/16"),
		Routes:   &table,
		Find: func(_ context.Context, ip netip.Addr) (route.Service, error) {
			if ip != clusterIP {
				return route.Service{}, errors.New("no service there")
			}
			return webhook, nil
		},
	}
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go proxy.Serve(listener)
	return socket
}

// connect requests a target and returns the connection and the status line.
func connect(t *testing.T, socket, target string) (net.Conn, string) {
	t.Helper()
	connection, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	connection.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(connection, "CONNECT %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", target)
	response, err := http.ReadResponse(bufio.NewReader(connection), &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatal(err)
	}
	return connection, response.Status
}

// echo runs a server that reads each connection to its end and sends the bytes
// back.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			content, _ := io.ReadAll(connection)
			connection.Write(content)
			connection.Close()
		}
	}()
	return listener.Addr().String()
}

func TestClusterIPCallReachesItsRouteAndEnd(t *testing.T) {
	connection, status := connect(t, proxyTo(t, echo(t)), "10.0.0.7:443")
	if status != "200 OK" {
		t.Fatalf("status %q", status)
	}
	io.WriteString(connection, "ping")
	// The echo answers only after our end, so the proxy must pass the end on.
	connection.(*net.UnixConn).CloseWrite()
	if answer, err := io.ReadAll(connection); err != nil || string(answer) != "ping" {
		t.Fatalf("answer %q, %v", answer, err)
	}
}

func TestStatusLineHasTheRefusalsReason(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := closed.Addr().String()
	closed.Close()

	for _, each := range []struct {
		name, target, want string
		addresses          []string
	}{
		{"service without addresses", "10.0.0.7:443", "connection refused", nil},
		{"address without a listener", "10.0.0.7:443", "connection refused", []string{down}},
		{"cluster IP without a service", "10.0.0.8:443", "no service there", nil},
		{"address outside the cluster", "192.0.2.1:443", "neither a cluster IP nor on loopback", nil},
		{"host name", "example.com:443", "want IP:PORT", nil},
	} {
		t.Run(each.name, func(t *testing.T) {
			_, status := connect(t, proxyTo(t, each.addresses...), each.target)
			if !strings.HasPrefix(status, "502 ") || !strings.Contains(status, each.want) {
				t.Fatalf("status %q, want 502 with %q", status, each.want)
			}
		})
	}
}

func TestOnlyRoutesAreRedirectedInTheClustersNetwork(t *testing.T) {
	other := route.Service{Namespace: "a", Name: "other"}
	services := map[netip.Addr]route.Service{clusterIP: webhook, clusterIP.Next(): other}
	var table route.Table
	table.Set(route.Route{Service: webhook}) // no address, so that resolve fails
	proxy := &Proxy{
		Services: netip.MustParsePrefix("10.0.0.0/16"),
		Routes:   &table,
		Real:     true,
		Find:     func(_ context.Context, ip netip.Addr) (route.Service, error) { return services[ip], nil },
	}
	for target, real := range map[string]bool{"10.0.0.7:443": false, "10.0.0.8:443": true, "10.88.0.1:10250": true} {
		if _, err := proxy.resolve(t.Context(), target); err == nil || errors.Is(err, errReal) != real {
			t.Errorf("%s: %v", target, err)
		}
	}
}
