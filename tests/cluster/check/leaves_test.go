//go:build node && linux

package check

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestClusterLeavesNothingOnTheMachine(t *testing.T) {
	before := observe(t)
	folder := filepath.Join(t.TempDir(), "c")
	for _, each := range []struct {
		name string
		end  func(t *testing.T, c *cluster)
	}{
		{"at end of stdin", func(_ *testing.T, c *cluster) { c.input.Close() }},
		{"after SIGTERM", func(_ *testing.T, c *cluster) { _ = c.process.Process.Signal(syscall.SIGTERM) }},
		{"after SIGINT", func(_ *testing.T, c *cluster) { _ = c.process.Process.Signal(syscall.SIGINT) }},
		{"after SIGKILL and a sweep", func(t *testing.T, c *cluster) {
			_ = c.process.Process.Kill()
			_ = c.process.Wait()
			if output, err := exec.Command(tool(t, "cluster"), "sweep", folder).CombinedOutput(); err != nil {
				t.Errorf("sweep: %s", output)
			}
		}},
		{"after SIGKILL and another cluster", func(t *testing.T, c *cluster) {
			_ = c.process.Process.Kill()
			_ = c.process.Wait()
			up(t, folder).end()
		}},
	} {
		t.Run(each.name, func(t *testing.T) {
			c := up(t, folder)
			// The pod has a network, a volume in memory, and a token.
			c.apply(pod("some", container(c.report.Node.PauseImage, nil))...)
			c.awaitReady("some")
			during := observe(t)
			for _, each := range unexpectedKinds(before, during) {
				t.Error(each)
			}
			started := time.Now()
			each.end(t, c)
			_ = c.process.Wait()
			t.Logf("ended after %s", time.Since(started).Round(time.Millisecond))
			compare(t, before, observe(t))
			if _, err := os.Stat(folder); !os.IsNotExist(err) {
				t.Errorf("%s still exists (%v)", folder, err)
			}
		})
	}
}

// machine is the state of the machine that a cluster could change, by kind.
type machine map[string][]string

func observe(t *testing.T) machine {
	t.Helper()
	found := machine{
		"processes in namespaces": confinedProcesses(t),
		"mounts":                  lines(t, "/proc/self/mounts"),
		"routes":                  lines(t, "/proc/net/route"),
		"links":                   names(t, "/sys/class/net"),
		"control groups":          controlGroups(t),
		"iptables":                rules(t),
		"settings":                settings(),
		"modules' settings":       names(t, "/proc/sys/net/netfilter"),
		"files": names(t, "/", "/etc", "/run", "/run/netns", "/run/containerd", "/var/lib", "/var/lib/kubelet",
			"/var/lib/cni", "/var/lib/containerd", "/var/log", "/var/log/pods", "/usr/libexec", "/opt", "/opt/cni"),
	}
	for _, each := range found {
		slices.Sort(each)
	}
	return found
}

// unexpectedKinds reports the kinds of state that do not change while a cluster
// runs although they must, and those that change although they must not.
func unexpectedKinds(before, during machine) []string {
	var kinds []string
	for _, kind := range []string{"processes in namespaces", "routes", "links", "control groups"} {
		if slices.Equal(before[kind], during[kind]) {
			kinds = append(kinds, "a running cluster does not change the "+kind)
		}
	}
	for kind := range maps.Keys(before) {
		switch kind {
		case "processes in namespaces", "routes", "links", "control groups":
		default:
			if !slices.Equal(before[kind], during[kind]) {
				kinds = append(kinds, "a running cluster changes the "+kind)
			}
		}
	}
	return kinds
}

func compare(t *testing.T, before, after machine) {
	t.Helper()
	for kind := range before {
		for _, each := range after[kind] {
			if !slices.Contains(before[kind], each) {
				t.Errorf("added to the %s: %s", kind, each)
			}
		}
		for _, each := range before[kind] {
			if !slices.Contains(after[kind], each) {
				t.Errorf("removed from the %s: %s", kind, each)
			}
		}
	}
}

// confinedProcesses are the live processes outside our process namespace. A
// zombie does not count: its new parent may reap it much later.
func confinedProcesses(t *testing.T) []string {
	t.Helper()
	ours, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	links, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	for _, each := range links {
		if theirs, err := os.Readlink(each); err != nil || theirs == ours {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(each)), "stat"))
		if _, state, _ := strings.Cut(string(stat), ") "); err == nil && !strings.HasPrefix(state, "Z") {
			found = append(found, string(stat))
		}
	}
	return found
}

// controlGroups are the control groups of clusters and those near the root.
// Deeper ones belong to other programs of the machine, and come and go.
func controlGroups(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil //nolint:nilerr // the group was removed meanwhile
		}
		if strings.Contains(path, "ecr-pull-secrets") || strings.Contains(path, "kubepods") || strings.Count(path, "/") < 5 {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func rules(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, program := range []string{"iptables-save", "ip6tables-save"} {
		command := exec.Command(program)
		command.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
		output, err := command.Output()
		if err != nil {
			t.Fatalf("%s: %v", program, err)
		}
		for line := range strings.Lines(string(output)) {
			if !strings.HasPrefix(line, "#") {
				found = append(found, line)
			}
		}
	}
	return found
}

func settings() []string {
	var found []string
	for _, name := range []string{
		"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/hostname",
		"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes", "net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding",
		"net/ipv4/conf/all/route_localnet", "net/ipv4/conf/default/forwarding", "net/ipv6/conf/all/forwarding",
		"net/bridge/bridge-nf-call-iptables", "net/netfilter/nf_conntrack_max",
		"net/netfilter/nf_conntrack_tcp_timeout_established", "net/ipv4/vs/conntrack",
	} {
		value, err := os.ReadFile("/proc/sys/" + name)
		found = append(found, fmt.Sprintf("%s=%s %v", name, strings.TrimSpace(string(value)), err))
	}
	return found
}

func names(t *testing.T, folders ...string) []string {
	t.Helper()
	var found []string
	for _, folder := range folders {
		entries, err := os.ReadDir(folder)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, each := range entries {
			found = append(found, filepath.Join(folder, each.Name()))
		}
	}
	return found
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(content)), "\n")
}
