// Package node is the place where a cluster's node runs: kubelet, containerd,
// and whatever their pods are, on a machine that is to stay as it was.
//
// The whole cluster lives in namespaces of its own, which its first process
// opens. So the kernel clears up, whichever way that process ends: with its
// process namespace go all shims and containers, with its mount namespace
// containerd's and the kubelet's mounts, with its network namespace the bridge,
// the pods' interfaces, iptables rules and network settings. What is not in a
// namespace has one name, which the next cluster, or a sweep, clears as well: a
// folder in each control group hierarchy, and the wire between the machine and
// the cluster.
//
// The machine reaches the cluster's Services and pods over that wire. In the
// other direction pods reach what listens on the machine's end of the wire, and
// the ports on its loopback that are shared with them; nothing beyond. No
// setting, firewall rule or file of the machine is changed, except below the
// folder of the cluster (and see enableControllers). It needs root and Linux,
// and there is one cluster with a node on a machine at a time.
package node

const (
	// Name is the name of the Node.
	Name = "node"
	// Address is that of the node and of the API server: the bridge of the pods.
	Address = "10.88.0.1"
	// Services is the range of cluster IPs.
	Services = "10.88.128.0/17"
	// Kubernetes is the cluster IP of the API server: the first one, by rule.
	Kubernetes = "10.88.128.1"
	// HostAddress is this machine's, for pods.
	HostAddress = "10.88.1.1"

	network  = "10.88.0.0/16" // all of the above
	pods     = "10.88.0.0/24"
	wireEnd  = "10.88.1.2" // the cluster's end of the wire
	wireBits = 30
	podBits  = 24

	// Names of links, a process and control groups. Those of links and processes
	// end after 15 bytes.
	bridge       = "pods"
	wire         = "host"
	machineWire  = "ecr-test-node"
	firstProcess = "ecr-test-node"
	cgroup       = "ecr-pull-secrets-test-node"
)
