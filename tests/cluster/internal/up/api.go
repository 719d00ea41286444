package up

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"ecr-pull-secrets.dev/tests/cluster/internal/node"
	"ecr-pull-secrets.dev/tests/cluster/internal/route"
)

const (
	callTimeout  = 5 * time.Second
	pollInterval = 50 * time.Millisecond
	// serviceMemory is how long the Service of a cluster IP is cached. Short, because
	// an address can go to another Service; long enough for a burst of connections.
	serviceMemory = time.Second
)

// api calls the cluster's API as its administrator.
type api struct {
	at     endpoints
	client *http.Client

	lock     sync.Mutex
	services map[netip.Addr]knownService
}

type knownService struct {
	service route.Service
	until   time.Time
}

func newAPI(at endpoints, with *credentials) *api {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(with.authorityPEM)
	return &api{
		at: at,
		client: &http.Client{
			Timeout: callTimeout,
			// No proxy from the environment, because everything is on loopback.
			Transport: &http.Transport{TLSClientConfig: &tls.Config{
				RootCAs:      roots,
				Certificates: []tls.Certificate{with.administratorIdentity},
			}},
		},
		services: map[netip.Addr]knownService{},
	}
}

// get fetches a URL. Any status but 200 is an error.
func (a *api) get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := a.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s: %.200s", url, response.Status, body)
	}
	return body, nil
}

func (a *api) etcdReady(ctx context.Context) error {
	_, err := a.get(ctx, a.at.etcd+"/health")
	return err
}

func (a *api) serverReady(ctx context.Context) error {
	_, err := a.get(ctx, a.at.serverURL()+"/readyz")
	return err
}

// defaultAccount checks for the default ServiceAccount: a pod needs it, and the
// controllers make it once they run.
func (a *api) defaultAccount(ctx context.Context) error {
	_, err := a.get(ctx, a.at.serverURL()+"/api/v1/namespaces/default/serviceaccounts/default")
	return err
}

// nodeReady checks that the scheduler can use the node.
func (a *api) nodeReady(ctx context.Context) error {
	body, err := a.get(ctx, a.at.serverURL()+"/api/v1/nodes/"+node.Name)
	if err != nil {
		return err
	}
	var read struct {
		Spec struct {
			Taints []struct{ Key string }
		}
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := json.Unmarshal(body, &read); err != nil {
		return fmt.Errorf("cannot parse the node: %w", err)
	}
	if taints := read.Spec.Taints; len(taints) > 0 {
		return fmt.Errorf("the node has the taint %s", taints[0].Key)
	}
	for _, each := range read.Status.Conditions {
		if each.Type == "Ready" && each.Status != "True" {
			return errors.New(each.Message)
		}
	}
	return nil
}

// proxyReady calls the API server through its Service, which needs kube-proxy.
func (a *api) proxyReady(ctx context.Context) error {
	// A packet that is sent too early is lost, so each attempt is short.
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := a.get(ctx, "https://"+a.at.kubernetes+"/readyz")
	return err
}

// serviceAt returns the Service with this cluster IP.
func (a *api) serviceAt(ctx context.Context, ip netip.Addr) (route.Service, error) {
	a.lock.Lock()
	known, ok := a.services[ip]
	a.lock.Unlock()
	if ok && time.Now().Before(known.until) {
		return known.service, nil
	}

	body, err := a.get(ctx, a.at.serverURL()+"/api/v1/services?fieldSelector="+url.QueryEscape("spec.clusterIP="+ip.String()))
	if err != nil {
		return route.Service{}, err
	}
	var list struct {
		Items []struct {
			Metadata struct{ Namespace, Name string }
		}
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return route.Service{}, fmt.Errorf("cannot parse the services at %s: %w", ip, err)
	}
	if len(list.Items) == 0 {
		return route.Service{}, fmt.Errorf("no service has the cluster IP %s", ip)
	}
	found := route.Service(list.Items[0].Metadata)

	a.lock.Lock()
	a.services[ip] = knownService{found, time.Now().Add(serviceMemory)}
	a.lock.Unlock()
	return found, nil
}

// await repeats a check until it succeeds, at most until the limit.
func await(ctx context.Context, limit time.Duration, what string, ask func(context.Context) error) error {
	for deadline := time.Now().Add(limit); ; {
		err := ask(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Now().After(deadline):
			return fmt.Errorf("%s after %s: %w", what, limit, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollInterval):
		}
	}
}
