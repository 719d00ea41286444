package options

import (
	"io"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"ecr-pull-secrets.dev/tests/cluster/internal/mirror"
	"ecr-pull-secrets.dev/tests/cluster/internal/route"
)

func TestParseReadsEveryFlag(t *testing.T) {
	got, err := Parse([]string{
		"--dir", "d", "--keep", "--audit", "--wait=3s",
		"--service", "a/b=127.0.0.1:1", "--service=a/c=",
		"--kube-apiserver-arg=--v=4", "--kube-apiserver-arg", "--profiling", "--etcd-arg=--debug",
		"--node", "--containerd=/c", "--image=/i", "--image", "/j", "--registry=h=http://127.0.0.1:2", "--host-port=3",
		"--kubelet-arg=--v=5",
	}, io.Discard)
	want := Options{
		Dir: "d", Keep: true, Audit: true, Wait: 3 * time.Second,
		Routes: []route.Route{
			{Service: route.Service{Namespace: "a", Name: "b"}, Addresses: []string{"127.0.0.1:1"}},
			{Service: route.Service{Namespace: "a", Name: "c"}},
		},
		Node: true, Containerd: "/c", Images: []string{"/i", "/j"}, Ports: []int{3},
		Mirrors: []mirror.Mirror{{Host: "h", At: netip.MustParseAddrPort("127.0.0.1:2")}},
		Arguments: map[string][]string{
			"kube-apiserver": {"--v=4", "--profiling"},
			"etcd":           {"--debug"},
			"kubelet":        {"--v=5"},
		},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("Parse = %+v, %v, want %+v", got, err, want)
	}
}

func TestParseRefusesInvalidCommandLines(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"--keep"},
		{"--dir", "d", "more"},
		{"--dir", "d", "--unknown"},
		{"--dir", "d", "--service", "a/b"},
		{"--dir", "d", "--kube-apiserver-arg", "v=4"},
		{"--dir", "d", "--kubectl-arg", "--v=4"},
		{"--dir", "d", "--image", "i"},
		{"--dir", "d", "--kubelet-arg=--v=4"},
		{"--dir", "d", "--node", "--host-port=0"},
		{"--dir", "d", "--node", "--registry=h"},
	} {
		if got, err := Parse(args, io.Discard); err == nil {
			t.Errorf("Parse(%q) = %+v, want an error", args, got)
		}
	}
}

func TestMergeLetsTheUserReplaceAFlag(t *testing.T) {
	got := Merge([]string{"--a=1", "--b=1", "--a=2", "--ab=1"}, []string{"--a=3", "--c", "--a=4"})
	want := []string{"--b=1", "--ab=1", "--a=3", "--c", "--a=4"}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("Merge = %q, want %q", got, want)
	}
}
