// Package egress carries the API server's calls into the cluster to loopback.
//
// kube-apiserver dials an admission webhook's Service at its cluster IP, which
// needs kube-proxy, and kube-proxy needs root. Instead, its egress selector
// passes those connections to this CONNECT proxy on a Unix socket, and the proxy
// dials the address of the Service's route. So Service and registration stay as
// a user installs them, and the API server's resolver, TLS server name and
// connection pool are the real ones. The proxy does not change the bytes. It
// dials loopback only, because a cluster IP could be a real address elsewhere.
// In a network of the cluster's own, it dials all other addresses directly.
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
	// The API server waits at most 30 s for a webhook.
	dialTimeout = 30 * time.Second
	// The socket is local, and a client sends its request at once.
	requestTimeout = 10 * time.Second
)

// Proxy answers CONNECT requests.
type Proxy struct {
	// Services is the range of cluster IPs.
	Services netip.Prefix
	// Find returns the Service with a cluster IP.
	Find func(ctx context.Context, ip netip.Addr) (route.Service, error)
	// Routes has the addresses behind each Service.
	Routes *route.Table
	// Loopback connects to a loopback address of the machine; nil means that this
	// process is in the machine's network.
	Loopback func(ctx context.Context, network, address string) (net.Conn, error)
	// Real is whether this process is in the cluster's network. A Service without a
	// route, and any other address, can then be dialled directly.
	Real bool
}

// errReal marks a target without a route that can be dialled directly.
var errReal = errors.New("the target can be dialled directly")

// Serve accepts connections until the listener is closed.
func (p *Proxy) Serve(listener net.Listener) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("cannot accept egress connections: %w", err)
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
		refuse(client, http.StatusMethodNotAllowed, errors.New("only CONNECT is supported"))
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

	// The connection may idle as long as both sides keep it open.
	_ = client.SetDeadline(time.Time{})
	if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	splice(client, server)
}

// dial opens the connection that the API server requests.
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

// resolve maps a cluster IP to an address behind its Service.
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
		// The kernel's message, as for a Service without endpoints.
		return "", fmt.Errorf("dial tcp %s: connect: connection refused (no route for service %s)", target, service)
	}
	return address, nil
}

// refuse puts the reason into the status line, because the API server's own
// error shows it.
func refuse(client io.Writer, code int, reason error) {
	fmt.Fprintf(client, "HTTP/1.1 %d %s\r\nContent-Length: 0\r\n\r\n", code, reason)
}

// splice copies in both directions until both have ended. It passes on the
// orderly end of one direction; an error ends both, as on a single connection.
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
