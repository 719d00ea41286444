package node

import (
	"encoding/json"
	"fmt"
	"runtime"
)

// Paths as the node's programs see them: the usual ones, each private to the
// cluster and below its folder.
const (
	Socket     = "/run/containerd/containerd.sock"
	kubeletDir = "/var/lib/kubelet"
	podLogs    = "/var/log/pods"

	// PauseImage is the name of the image that keeps a pod's namespaces open. It is
	// also the smallest application. No registry serves it: it is imported.
	PauseImage = "cluster.test/pause:1"
)

type object = map[string]any

// Containerd is containerd's configuration. Its arguments are the folders of CNI
// plugins, of the network's definition and of registries.
func Containerd(plugins, networks, registries string) []byte {
	return fmt.Appendf(nil, `version = 3
disabled_plugins = ['io.containerd.nri.v1.nri']

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = %q

[plugins.'io.containerd.cri.v1.images'.registry]
config_path = %q

[plugins.'io.containerd.cri.v1.runtime']
# Without these, runc fails where CAP_SYS_RESOURCE or AppArmor's tools are missing.
restrict_oom_score_adj = true
disable_apparmor = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = [%q]
conf_dir = %q
`, PauseImage, registries, plugins, networks)
}

// Network is the pods' network: an existing bridge, and addresses from a list in
// a file. It needs no masquerading, because no packet leaves the cluster.
func Network() []byte {
	return marshal(object{
		"cniVersion": "1.0.0",
		"name":       "pods",
		"plugins": []object{{
			"type":        "bridge",
			"bridge":      bridge,
			"isGateway":   true,
			"hairpinMode": true, // a pod can call its own Service
			"ipam": object{
				"type":   "host-local",
				"ranges": [][]object{{{"subnet": pods, "gateway": Address}}},
				"routes": []object{{"dst": "0.0.0.0/0"}},
			},
		}},
	})
}

// Kubelet is the kubelet's configuration. It differs as little as possible from
// the default, because tests check what the kubelet does with pull secrets,
// images and pods.
func Kubelet(authority, resolver, pluginDir string) []byte {
	never := "0%"
	return marshal(object{
		"apiVersion":               "kubelet.config.k8s.io/v1beta1",
		"kind":                     "KubeletConfiguration",
		"address":                  Address,
		"containerRuntimeEndpoint": "unix://" + Socket,
		"authentication":           object{"x509": object{"clientCAFile": authority}},
		"cgroupDriver":             "cgroupfs",
		"cgroupRoot":               "/" + cgroup,
		"failCgroupV1":             false,
		"failSwapOn":               false,
		// The kernel's settings appear as the kubelet requires them: see mounts_linux.go.
		"protectKernelDefaults": true,
		"oomScoreAdj":           0,
		"podLogsDir":            podLogs,
		"volumePluginDir":       pluginDir,
		"resolvConf":            resolver,
		// No server answers DNS: a query fails at once. Without an address, every pod
		// would get a warning Event.
		"clusterDomain": "cluster.local",
		"clusterDNS":    []string{Address},
		// A full disk of the machine does not affect the cluster.
		"enforceNodeAllocatable": []string{},
		// The pods of all tests are on this one node, and pull at the same time.
		"registryPullQPS":             0,
		"imageGCHighThresholdPercent": 100,
		"evictionHard": object{
			"memory.available": never, "nodefs.available": never, "nodefs.inodesFree": never,
			"imagefs.available": never, "imagefs.inodesFree": never,
		},
	})
}

// KubeletFlags are the kubelet's settings that exist only as flags.
func KubeletFlags(kubeconfig, configuration string) []string {
	return []string{
		"--config=" + configuration,
		"--kubeconfig=" + kubeconfig,
		"--hostname-override=" + Name,
		"--node-ip=" + Address,
		"--root-dir=" + kubeletDir,
		"--cert-dir=" + kubeletDir + "/pki",
	}
}

// ProxyFlags are the flags of kube-proxy.
func ProxyFlags(kubeconfig string) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--hostname-override=" + Name,
		"--proxy-mode=iptables",
		"--cluster-cidr=" + pods,
		// Pods share a bridge. Where bridged packets do not pass through iptables, an
		// answer would go directly to the client pod. The rule that restores the
		// Service's address would then not see it.
		"--masquerade-all",
		"--oom-score-adj=0",
		// These settings belong to the machine and can be read-only.
		"--conntrack-max-per-core=0",
		"--conntrack-tcp-timeout-established=0",
		"--conntrack-tcp-timeout-close-wait=0",
	}
}

// Architecture is the architecture of the images that this machine runs.
const Architecture = runtime.GOARCH

func marshal(content object) []byte {
	encoded, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		panic(err) // cannot fail: strings, numbers and lists only
	}
	return encoded
}
