package up

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"ecr-pull-secrets.dev/tests/cluster/internal/egress"
	"ecr-pull-secrets.dev/tests/cluster/internal/node"
	"ecr-pull-secrets.dev/tests/cluster/internal/options"
	"ecr-pull-secrets.dev/tests/cluster/internal/route"
)

// report is the line of JSON that reports a ready cluster. Paths are absolute.
type report struct {
	Kubeconfig string         `json:"kubeconfig"`
	Server     string         `json:"server"`
	CA         string         `json:"ca"`
	Etcd       string         `json:"etcd"` // reachable in the cluster's network
	Kubectl    string         `json:"kubectl"`
	Logs       string         `json:"logs"`
	AuditLog   string         `json:"audit_log,omitempty"`
	Node       *nodeReport    `json:"node,omitempty"`
	Pids       map[string]int `json:"pids"`
}

// cluster is a control plane and its way to the webhooks of a test. It may have a
// node.
type cluster struct {
	in         *folder
	limit      time.Duration
	api        *api
	components *components
	routes     *route.Table
	egress     net.Listener
	report     report
	// Both are nil in a cluster without a node.
	inside *node.Inside
	node   *runtime
}

// newCluster writes the files that the components read, and starts nothing. With
// a node, this process is already inside its namespaces.
func newCluster(in *folder, wanted options.Options, inside *node.Inside, died func(error)) (*cluster, error) {
	at, err := newEndpoints(inside != nil)
	if err != nil {
		return nil, err
	}
	with, err := issue(in, at, inside != nil)
	if err != nil {
		return nil, fmt.Errorf("cannot make credentials: %w", err)
	}
	made := &cluster{
		in:         in,
		limit:      wanted.Wait,
		api:        newAPI(at, with),
		components: &components{in: in, died: died, outside: func(pid int) int { return pid }},
		inside:     inside,
		report: report{
			Kubeconfig: with.administrator,
			Server:     at.serverURL(),
			CA:         with.authority,
			Etcd:       at.etcd,
			Kubectl:    in.at("bin", "kubectl"),
			Logs:       in.at("logs"),
		},
	}
	serverFlags := apiServerFlags(in, at, with)
	if inside == nil {
		serverFlags = append(serverFlags, withoutNodeFlags()...)
	} else {
		serverFlags = append(serverFlags, withNodeFlags(with)...)
		made.components.outside = inside.Pid
	}
	// With a node, kube-proxy leads to real Services, so routes are optional.
	if inside == nil || len(wanted.Routes) > 0 {
		selection, err := in.write("egress.yaml", []byte(egressSelection))
		if err != nil {
			return nil, err
		}
		serverFlags = append(serverFlags, egressFlags(selection)...)
		made.routes = &route.Table{}
		for _, each := range wanted.Routes {
			made.routes.Set(each)
		}
	}
	if wanted.Audit {
		policy, err := in.write("audit-policy.yaml", []byte(auditPolicy))
		if err != nil {
			return nil, err
		}
		made.report.AuditLog = in.at("logs", "audit.jsonl")
		serverFlags = append(serverFlags, auditFlags(policy, made.report.AuditLog)...)
	}
	all := []*component{
		{name: "etcd", args: etcdFlags(in, at), ready: made.api.etcdReady},
		{name: "kube-apiserver", args: serverFlags, ready: made.api.serverReady},
		{name: "kube-controller-manager", args: controllerManagerFlags(with)},
	}
	if inside != nil {
		if made.node, err = newRuntime(in, wanted); err != nil {
			return nil, err
		}
		made.report.Node = made.node.report()
		ofNode, err := nodeComponents(in, with, made.node.programs)
		if err != nil {
			return nil, err
		}
		all = append(all, ofNode...)
	}
	for _, each := range all {
		each.args = options.Merge(each.args, wanted.Arguments[each.name])
		if err := made.components.add(each); err != nil {
			return nil, err
		}
	}
	return made, made.components.link("kubectl")
}

// boot starts everything and returns once pods can be created in the namespace
// `default`.
func (c *cluster) boot(ctx context.Context) error {
	// The egress socket has a relative path, for this process and the API server.
	if err := os.Chdir(c.in.path); err != nil {
		return err
	}
	if c.routes != nil {
		if err := c.openEgress(); err != nil {
			return err
		}
	}
	prepared := c.prepareNode(ctx)
	// Does not wait for etcd: kube-apiserver does, which saves a second.
	if _, err := c.components.start("etcd"); err != nil {
		return err
	}
	if err := c.start(ctx, "kube-apiserver"); err != nil {
		return err
	}
	if err := c.start(ctx, "kube-controller-manager"); err != nil {
		return err
	}
	if err := c.bootNode(ctx, prepared); err != nil {
		return err
	}
	if err := await(ctx, c.limit, "no ServiceAccount in namespace default", c.api.defaultAccount); err != nil {
		return err
	}
	c.report.Pids = c.components.pids()
	return nil
}

// start starts a component and waits until it serves.
func (c *cluster) start(ctx context.Context, name string) error {
	started, err := c.components.start(name)
	if err != nil || started.ready == nil {
		return err
	}
	return await(ctx, c.limit, name+" is not ready", started.ready)
}

// openEgress accepts the API server's connections to webhooks.
func (c *cluster) openEgress() error {
	listener, err := net.Listen("unix", egressSocket)
	if err != nil {
		return fmt.Errorf("cannot listen for egress connections: %w", err)
	}
	c.egress = listener
	proxy := &egress.Proxy{Services: c.api.at.services, Find: c.api.serviceAt, Routes: c.routes}
	if c.inside != nil {
		proxy.Loopback, proxy.Real = c.inside.Dial, true
	}
	go func() {
		if err := proxy.Serve(listener); err != nil {
			c.components.died(err)
		}
	}()
	return nil
}

// tearDown kills every process and returns once they have ended.
func (c *cluster) tearDown() {
	c.components.stopAll()
	if c.egress != nil {
		c.egress.Close()
	}
}
