// Package egress carries the API server's calls into the cluster to loopback.
//
// kube-apiserver dials an admission webhook's Service at its cluster IP, which
// needs kube-proxy, and kube-proxy needs root. Its egress selector hands those
// connections to a CONNECT proxy instead, here on a Unix socket, and the proxy
// goes where the routes say. So Service and registration stay as a user would
// install them, and the API server's resolver, TLS server name and connection
// pool are the real ones. The bytes pass through untouched. Nothing is dialled
// that is not on loopback: a cluster IP could be somebody's real address. Only
// in a network that is the cluster's own, the rest is what it seems to be.
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
	"time"

	"ecr-pull-secrets.dev/tests/cluster/internal/route"
)

const (
	// The API server gives its webhooks 30 s at most.
	dialTimeout = 30 * time.Second
	// The socket is local: whoever connects has its request ready.
	requestTimeout = 10 * time.Second
)

// Proxy answers CONNECT requests.
type Proxy struct {
	// Services is the range of cluster IPs.
	Services netip.Prefix
	// Find says which Service has a cluster IP.
	Find func(ctx context.Context, ip netip.Addr) (route.Service, error)
	// Routes says what is behind a Service.
	Routes *route.Table
	// Loopback connects to an address on it; nil is for this process's own.
	Loopback func(ctx context.Context, network, address string) (net.Conn, error)
	// Real is whether this process's network is the cluster's: where no route
	// leads, a Service and all else can be dialled.
	Real bool
}

// errReal is for a target that no route leads to, where that is no problem.
var errReal = errors.New("it can be dialled")

// Serve accepts connections until the listener is closed.
func (p *Proxy) Serve(listener net.Listener) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("accepting egress connections: %w", err)
		}
		go p.handle(connection.(*net.UnixConn))
	}
}

func (p *Proxy) handle(client *net.UnixConn) {
	defer client.Close()
	_ = client.SetDeadline(time.Now().Add(requestTimeout))
	request, err := http.ReadRequest(bufio.NewReader(client))
	if err != nil {
		return
	}
	if request.Method != http.MethodConnect {
		refuse(client, http.StatusMethodNotAllowed, errors.New("only CONNECT is served here"))
		return
	}

	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	_ = client.SetDeadline(time.Now().Add(dialTimeout))
	server, err := p.dial(ctx, request.Host)
	if err != nil {
		refuse(client, http.StatusBadGateway, err)
		return
	}
	defer server.Close()

	// What follows may idle for as long as the two keep it open.
	_ = client.SetDeadline(time.Time{})
	if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	splice(client, server)
}

// dial opens the connection that the API server asked for.
func (p *Proxy) dial(ctx context.Context, target string) (*net.TCPConn, error) {
	dial := new(net.Dialer).DialContext
	address, err := p.resolve(ctx, target)
	switch {
	case errors.Is(err, errReal):
		address = target
	case err != nil:
		return nil, err
	case p.Loopback != nil:
		dial = p.Loopback
	}
	connection, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return connection.(*net.TCPConn), nil
}

// resolve turns a cluster IP into an address behind its Service.
func (p *Proxy) resolve(ctx context.Context, target string) (string, error) {
	at, err := netip.ParseAddrPort(target)
	if err != nil {
		return "", fmt.Errorf("%q: want IP:PORT", target)
	}
	if at.Addr().IsLoopback() {
		return target, nil
	}
	if !p.Services.Contains(at.Addr()) {
		if p.Real {
			return "", errReal
		}
		return "", fmt.Errorf("%s is neither a cluster IP nor on loopback", target)
	}
	service, err := p.Find(ctx, at.Addr())
	if err != nil {
		return "", err
	}
	if p.Real && !p.Routes.Has(service) {
		return "", errReal
	}
	address, ok := p.Routes.Next(service)
	if !ok {
		// The words of the kernel, as with a Service without endpoints.
		return "", fmt.Errorf("dial tcp %s: connect: connection refused (no route for service %s)", target, service)
	}
	return address, nil
}

// refuse puts the reason where the API server's own error shows it: in the
// status line.
func refuse(client io.Writer, code int, reason error) {
	fmt.Fprintf(client, "HTTP/1.1 %d %s\r\nContent-Length: 0\r\n\r\n", code, reason)
}

// splice copies both ways until both sides are done. An orderly end of one
// direction is passed on as such; an error ends both, as it would on one wire.
func splice(client *net.UnixConn, server *net.TCPConn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		carry(server, client, server, client)
	}()
	carry(client, server, client, server)
	<-done
}

type halfCloser interface {
	io.Writer
	CloseWrite() error
}

func carry(to halfCloser, from io.Reader, ends ...io.Closer) {
	_, err := io.Copy(to, from)
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		for _, end := range ends {
			end.Close()
		}
	}
}
