package up

import (
	"fmt"
	"net/netip"

	"ecr-pull-secrets.dev/tests/cluster/internal/node"
)

const (
	// egressSocket is relative to the cluster's folder, in which every component
	// runs. The path of a Unix socket has at most about a hundred bytes; that of the
	// folder may be longer.
	egressSocket = "egress.sock"
)

const egressSelection = `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport: {uds: {udsName: ` + egressSocket + `}}
`

// auditPolicy logs user, action and the annotations of admission. It logs no
// body, because a body would put tokens on disk.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
`

// endpoints are the addresses of the components and of Services.
type endpoints struct {
	etcd, etcdPeer string         // http URLs
	server         netip.AddrPort // serves https
	services       netip.Prefix
	kubernetes     string // the API server's cluster IP: always the first of the range
}

// newEndpoints finds ports for a control plane on loopback or, with a node, in
// the node's network.
func newEndpoints(withNode bool) (endpoints, error) {
	ports, err := freePorts(3)
	if err != nil {
		return endpoints{}, err
	}
	made := endpoints{
		etcd:       fmt.Sprintf("http://127.0.0.1:%d", ports[0]),
		etcdPeer:   fmt.Sprintf("http://127.0.0.1:%d", ports[1]),
		server:     netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(ports[2])),
		services:   netip.MustParsePrefix("10.0.0.0/16"),
		kubernetes: "10.0.0.1",
	}
	if withNode {
		// The usual port, because every port is free in that network.
		made.server = netip.AddrPortFrom(netip.MustParseAddr(node.Address), 6443)
		made.services = netip.MustParsePrefix(node.Services)
		made.kubernetes = node.Kubernetes
	}
	return made, nil
}

func (e endpoints) serverURL() string { return "https://" + e.server.String() }

func etcdFlags(in *folder, at endpoints) []string {
	return []string{
		"--name=test",
		"--data-dir=" + in.at("etcd"),
		"--listen-client-urls=" + at.etcd,
		"--advertise-client-urls=" + at.etcd,
		"--listen-peer-urls=" + at.etcdPeer,
		"--initial-advertise-peer-urls=" + at.etcdPeer,
		"--initial-cluster=test=" + at.etcdPeer,
		"--unsafe-no-fsync",
		// A long test with many objects exceeds the default of 2 GiB.
		"--quota-backend-bytes=8589934592",
	}
}

func apiServerFlags(in *folder, at endpoints, with *credentials) []string {
	return []string{
		"--etcd-servers=" + at.etcd,
		"--bind-address=" + at.server.Addr().String(),
		fmt.Sprintf("--secure-port=%d", at.server.Port()),
		"--advertise-address=" + at.server.Addr().String(),
		"--cert-dir=" + in.at("pki"),
		"--tls-cert-file=" + with.serving,
		"--tls-private-key-file=" + with.servingKey,
		"--client-ca-file=" + with.authority,
		"--authorization-mode=Node,RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + with.signingKey,
		"--service-account-signing-key-file=" + with.signingKey,
		"--service-cluster-ip-range=" + at.services.String(),
		// The API server dials a webhook's Service at its cluster IP, as by default.
		"--enable-aggregator-routing=false",
		"--allow-privileged=true",
	}
}

// withoutNodeFlags disable the endpoints of the Service `kubernetes`: loopback is
// not a valid endpoint, and no pod runs that could use one.
func withoutNodeFlags() []string { return []string{"--endpoint-reconciler-type=none"} }

// withNodeFlags let the API server reach kubelets, and restrict each kubelet to
// its own pods.
func withNodeFlags(with *credentials) []string {
	return []string{
		"--kubelet-client-certificate=" + with.kubeletClient,
		"--kubelet-client-key=" + with.kubeletClientKey,
		"--kubelet-preferred-address-types=InternalIP",
		"--enable-admission-plugins=NodeRestriction",
	}
}

func egressFlags(selection string) []string {
	return []string{"--egress-selector-config-file=" + selection}
}

func auditFlags(policy, log string) []string {
	return []string{"--audit-policy-file=" + policy, "--audit-log-path=" + log}
}

func controllerManagerFlags(with *credentials) []string {
	return []string{
		"--kubeconfig=" + with.controllerManager,
		"--service-account-private-key-file=" + with.signingKey,
		"--root-ca-file=" + with.authority,
		"--use-service-account-credentials=true",
		"--leader-elect=false",
		"--secure-port=0", // it needs no server
		// By default, each controller writes at most 20 times a second. A thousand
		// namespaces, each with its ServiceAccount, would take minutes.
		"--kube-api-qps=1000",
		"--kube-api-burst=2000",
		"--concurrent-namespace-syncs=50",
	}
}

func schedulerFlags(with *credentials) []string {
	return []string{
		"--kubeconfig=" + with.scheduler,
		"--leader-elect=false",
		"--secure-port=0",
	}
}
