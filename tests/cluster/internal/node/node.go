// Package node runs a cluster's node (kubelet, containerd and pods) on a machine
// that stays as it was.
//
// The whole cluster runs in its own namespaces, which its first process opens.
// So the kernel cleans up, however that process ends: with the process namespace
// end all shims and containers, with the mount namespace the mounts of
// containerd and the kubelet, with the network namespace the bridge, the pods'
// interfaces, the iptables rules and the network settings. Two things are in no
// namespace: a folder in each control group hierarchy, and the wire between the
// machine and the cluster. Both have a fixed name, by which the next cluster or
// a sweep removes them.
//
// The machine reaches the cluster's Services and pods over that wire. In the
// other direction, pods reach the listeners on the machine's end of the wire and
// the shared ports of its loopback, and nothing else. The cluster changes no
// setting, firewall rule or file of the machine, except below its own folder
// (and see enableControllers). It needs root and Linux, and one machine runs at
// most one cluster with a node at a time.
package node

const (
	// Name is the name of the Node.
	Name = "node"
	// Address is the address of the node and of the API server, on the pods' bridge.
	Address = "10.88.0.1"
	// Services is the range of cluster IPs.
	Services = "10.88.128.0/17"
	// Kubernetes is the cluster IP of the API server: always the first of the range.
	Kubernetes = "10.88.128.1"
	// HostAddress is this machine's address for pods.
	HostAddress = "10.88.1.1"

	network  = "10.88.0.0/16" // contains all the addresses above
	pods     = "10.88.0.0/24"
	wireEnd  = "10.88.1.2" // the cluster's end of the wire
	wireBits = 30
	podBits  = 24

	// Names of links, a process and control groups. Links and processes have names
	// of at most 15 bytes.
	bridge       = "pods"
	wire         = "host"
	machineWire  = "ecr-test-node"
	firstProcess = "ecr-test-node"
	cgroup       = "ecr-pull-secrets-test-node"
)
