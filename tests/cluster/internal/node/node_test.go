package node

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestHierarchiesOfBothVersionsAreFound(t *testing.T) {
	got := hierarchies("proc /proc proc rw 0 0\n" +
		"cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n" +
		"tmpfs /sys/fs/cgroup tmpfs rw 0 0\n" +
		"cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n")
	want := []string{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/unified"}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%q, want %q", got, want)
	}
}

func TestOnlyMissingControllersAreEnabled(t *testing.T) {
	got := missingControllers("cpuset cpu io memory pids rdma\n", "cpu pids\n")
	want := []string{"cpuset", "memory"}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%q, want %q", got, want)
	}
}

func TestControlGroupsAreRemovedInnermostFirst(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a")
	if err := removeGroup(root); err != nil {
		t.Fatalf("removing an absent group: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(root, "b", "c"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := removeGroup(root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(root); !os.IsNotExist(err) {
		t.Fatalf("%s still exists (%v)", root, err)
	}
}

func TestErrorNamesInstallCommandForMissingPrograms(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("PATH", folder)
	_, err := Find(filepath.Join(folder, "containerd"))
	if err == nil || !strings.Contains(err.Error(), "tools.sh containerd") {
		t.Fatalf("without containerd: %v", err)
	}
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc", "iptables"} {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	pluginFolders = []string{filepath.Join(folder, "cni")}
	_, err = Find("")
	if err == nil || !strings.HasSuffix(err.Error(), "apt-get install --no-install-recommends containernetworking-plugins") {
		t.Fatalf("without plugins: %v", err)
	}
	if err := os.Mkdir(pluginFolders[0], 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bridge", "host-local"} {
		if err := os.WriteFile(filepath.Join(pluginFolders[0], name), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	found, err := Find("")
	if err != nil || found.Shim != filepath.Join(folder, "containerd-shim-runc-v2") || found.Plugins != pluginFolders[0] {
		t.Fatalf("%+v, %v", found, err)
	}
}

func TestAddressRangesDoNotOverlap(t *testing.T) {
	all, services := netip.MustParsePrefix(network), netip.MustParsePrefix(Services)
	ofPods := netip.MustParsePrefix(pods)
	wireRange := netip.PrefixFrom(netip.MustParseAddr(HostAddress), wireBits).Masked()
	for _, each := range []netip.Prefix{services, ofPods, wireRange} {
		if !all.Overlaps(each) || each.Bits() < all.Bits() {
			t.Errorf("%s is not in %s", each, all)
		}
	}
	if services.Overlaps(ofPods) || services.Overlaps(wireRange) || ofPods.Overlaps(wireRange) {
		t.Error("ranges overlap")
	}
	if services.Addr().Next().String() != Kubernetes {
		t.Errorf("%s is not the first of %s", Kubernetes, services)
	}
	if !ofPods.Contains(netip.MustParseAddr(Address)) || !wireRange.Contains(netip.MustParseAddr(wireEnd)) {
		t.Error("an address is not in its range")
	}
}

func TestKubeletUsesTheRemovedControlGroup(t *testing.T) {
	var read struct{ CgroupRoot string }
	if err := json.Unmarshal(Kubelet("ca", "resolv", "plugins"), &read); err != nil {
		t.Fatal(err)
	}
	if read.CgroupRoot != "/"+cgroup {
		t.Fatalf("the kubelet uses the control group %s", read.CgroupRoot)
	}
}
