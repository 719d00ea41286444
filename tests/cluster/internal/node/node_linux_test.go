package node

import (
	"net"
	"testing"
)

func TestOnlyFirstProcessOfNamespaceIsEnded(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\tecr-test-node\nPid:\t7\nNSpid:\t7\t1\n":    true,
		"Name:\tecr-test-node\nPid:\t7\nNSpid:\t7\n":       false, // the same name, but in the machine's process namespace
		"Name:\tecr-test-node\nPid:\t7\nNSpid:\t7\t2\n":    false,
		"Name:\tother-process\nPid:\t7\nNSpid:\t7\t3\t1\n": false,
		"Name:\tecr-test-node-2\nPid:\t7\nNSpid:\t7\t1\n":  false,
		"Name:\tecr-test-node\nPid:\t7\nNSpid:\t9\t7\t1\n": true,
	} {
		if got := isFirstProcess(status); got != want {
			t.Errorf("%q: %v, want %v", status, got, want)
		}
	}
}

func TestOverlappingRouteOfTheMachineIsFound(t *testing.T) {
	for route, want := range map[string]bool{
		"0.0.0.0/0":      false,
		"10.0.0.0/8":     false,
		"10.88.0.0/16":   true,
		"10.88.200.4/32": true,
		"10.89.0.0/16":   false,
		"172.17.0.0/16":  false,
	} {
		_, parsed, err := net.ParseCIDR(route)
		if err != nil {
			t.Fatal(err)
		}
		if got := overlaps(parsed); got != want {
			t.Errorf("%s: %v, want %v", route, got, want)
		}
	}
}

func TestFolderHiddenFromTheClusterIsRefused(t *testing.T) {
	for path, want := range map[string]bool{
		"/tmp/c": true, "/home/runner/c": true, "/variable/c": true,
		"/run/c": false, "/run": false, "/var/lib/c": false, "/var/log": false, "/tmp/../run/c": false,
	} {
		if err := CheckFolder(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestCommaInOverlayPathIsEscaped(t *testing.T) {
	if got, want := escape(`/a,b\c`), `/a\,b\\c`; got != want {
		t.Fatalf("%q, want %q", got, want)
	}
}
