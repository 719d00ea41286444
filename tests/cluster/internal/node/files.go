package node

import (
	"encoding/json"
	"fmt"
	"runtime"
)

// Paths as the node's programs see them: their usual ones, each of them private
// to the cluster and below its folder.
const (
	Socket     = "/run/containerd/containerd.sock"
	kubeletDir = "/var/lib/kubelet"
	podLogs    = "/var/log/pods"

	// PauseImage is the name of the image that holds pods open, and of the
	// smallest application. Nobody serves it: it is imported.
	PauseImage = "cluster.test/pause:1"
)

type object = map[string]any

// Containerd is its configuration, given the folders of CNI plugins, of the
// network's definition and of registries.
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

// Network is the pods' network: a bridge, which is there already, and
// addresses from a list in a file. Nothing is masqueraded, as nothing leaves.
func Network() []byte {
	return marshal(object{
		"cniVersion": "1.0.0",
		"name":       "pods",
		"plugins": []object{{
			"type":        "bridge",
			"bridge":      bridge,
			"isGateway":   true,
			"hairpinMode": true, // a pod that calls its own Service
			"ipam": object{
				"type":   "host-local",
				"ranges": [][]object{{{"subnet": pods, "gateway": Address}}},
				"routes": []object{{"dst": "0.0.0.0/0"}},
			},
		}},
	})
}

// Kubelet is its configuration. As little as possible differs from the default:
// what it does with pull secrets, images and pods is what a test is about.
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
		// The kernel's settings look the way it wants them: see mounts.go.
		"protectKernelDefaults": true,
		"oomScoreAdj":           0,
		"podLogsDir":            podLogs,
		"volumePluginDir":       pluginDir,
		"resolvConf":            resolver,
		// Nothing serves DNS: a query fails at once. Without an address every pod
		// would get a warning event.
		"clusterDomain": "cluster.local",
		"clusterDNS":    []string{Address},
		// A full disk of the machine is not the cluster's business.
		"enforceNodeAllocatable":      []string{},
		"imageGCHighThresholdPercent": 100,
		"evictionHard": object{
			"memory.available": never, "nodefs.available": never, "nodefs.inodesFree": never,
			"imagefs.available": never, "imagefs.inodesFree": never,
		},
	})
}

// KubeletFlags are those of what has no place in the configuration.
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

// ProxyFlags are those of kube-proxy.
func ProxyFlags(kubeconfig string) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--hostname-override=" + Name,
		"--proxy-mode=iptables",
		"--cluster-cidr=" + pods,
		// Pods share a bridge: an answer would take the short way back, past the
		// rule that has to restore the Service's address, where bridges do not pass
		// through iptables.
		"--masquerade-all",
		"--oom-score-adj=0",
		// These settings can be read-only, and are the machine's.
		"--conntrack-max-per-core=0",
		"--conntrack-tcp-timeout-established=0",
		"--conntrack-tcp-timeout-close-wait=0",
	}
}

// Architecture is that of the images that run here.
const Architecture = runtime.GOARCH

func marshal(content object) []byte {
	encoded, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		panic(err) // strings, numbers and lists only: cannot fail
	}
	return encoded
}
