package up

import (
	"fmt"
	"net/netip"
)

const (
	serviceRange          = "10.0.0.0/16"
	clusterIPOfKubernetes = "10.0.0.1" // the first of the range, by rule

	// Relative to the folder of the cluster, where every component runs: the
	// path of a Unix socket ends after some hundred bytes, a folder's may not.
	egressSocket = "egress.sock"
)

var serviceAddresses = netip.MustParsePrefix(serviceRange)

const egressSelection = `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport: {uds: {udsName: ` + egressSocket + `}}
`

// auditPolicy notes who did what, with the annotations of admission, and no
// body: a body would put tokens on disk.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
`

// endpoints are the addresses of the components.
type endpoints struct {
	etcd, etcdPeer string // http URLs
	server         string // https URL
	serverPort     int
}

func newEndpoints() (endpoints, error) {
	ports, err := freePorts(3)
	if err != nil {
		return endpoints{}, err
	}
	return endpoints{
		etcd:       fmt.Sprintf("http://127.0.0.1:%d", ports[0]),
		etcdPeer:   fmt.Sprintf("http://127.0.0.1:%d", ports[1]),
		server:     fmt.Sprintf("https://127.0.0.1:%d", ports[2]),
		serverPort: ports[2],
	}, nil
}

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
		// The default of 2 GiB ends a long test with many objects.
		"--quota-backend-bytes=8589934592",
	}
}

func apiServerFlags(in *folder, at endpoints, with *credentials, egress string) []string {
	return []string{
		"--etcd-servers=" + at.etcd,
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", at.serverPort),
		// Loopback is no valid endpoint of the Service `kubernetes`, and no pod
		// runs that could want one. Without the address it looks for a network.
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		"--cert-dir=" + in.at("pki"),
		"--tls-cert-file=" + with.serving,
		"--tls-private-key-file=" + with.servingKey,
		"--client-ca-file=" + with.authority,
		"--authorization-mode=Node,RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + with.signingKey,
		"--service-account-signing-key-file=" + with.signingKey,
		"--service-cluster-ip-range=" + serviceRange,
		"--egress-selector-config-file=" + egress,
		// A webhook's Service is dialled at its cluster IP, as without the flag.
		"--enable-aggregator-routing=false",
		"--allow-privileged=true",
	}
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
		"--secure-port=0", // nobody asks it anything
		// Each controller is held to 20 writes a second by default; a thousand
		// namespaces, each with its ServiceAccount, would take minutes.
		"--kube-api-qps=1000",
		"--kube-api-burst=2000",
		"--concurrent-namespace-syncs=50",
	}
}
