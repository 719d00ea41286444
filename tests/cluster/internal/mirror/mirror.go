// Package mirror makes containerd pull the images of a registry from a stand-in
// on this machine's loopback, in plain HTTP.
//
// The image's name, the kubelet's choice of a pull secret, and containerd's
// login stay as with the real registry. containerd reads the files at each pull,
// so a change needs no restart. A mirror is always on loopback.
package mirror

import (
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Mirror is a registry and the address that serves its images instead.
type Mirror struct {
	// Host is the registry's host in an image's name, without a port.
	Host string
	// At is the address of the stand-in, on 127.0.0.1.
	At netip.AddrPort
}

// Parse parses HOST=http://127.0.0.1:PORT.
func Parse(text string) (Mirror, error) {
	host, address, found := strings.Cut(text, "=")
	if !found {
		return Mirror{}, fmt.Errorf("%q: want HOST=http://127.0.0.1:PORT", text)
	}
	return New(host, address)
}

// New makes a mirror of a host from the URL of the stand-in.
func New(host, address string) (Mirror, error) {
	// The host becomes the name of a folder.
	if host == "" || strings.ContainsAny(host, "/:") || strings.HasPrefix(host, ".") {
		return Mirror{}, fmt.Errorf("%q: want the host of a registry, without scheme and port", host)
	}
	at, err := url.Parse(address)
	if err != nil || at.Scheme != "http" || strings.Trim(at.Path, "/") != "" || at.RawQuery != "" {
		return Mirror{}, fmt.Errorf("%q: want http://127.0.0.1:PORT", address)
	}
	made, err := netip.ParseAddrPort(at.Host)
	if err != nil || made.Addr() != netip.MustParseAddr("127.0.0.1") || made.Port() == 0 {
		return Mirror{}, fmt.Errorf("%q: want http://127.0.0.1:PORT", address)
	}
	return Mirror{Host: host, At: made}, nil
}

// Write puts the mirror into containerd's folder of registries, for HOST and for
// HOST:443, which is another name of the same registry.
func (m Mirror) Write(folder string) error {
	for _, name := range []string{m.Host, m.Host + "_443_"} {
		sub := filepath.Join(folder, name)
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return err
		}
		// Renamed into place, because a pull may read the file at the same time.
		unfinished := filepath.Join(sub, ".hosts.toml")
		if err := os.WriteFile(unfinished, []byte(m.hosts()), 0o600); err != nil {
			return err
		}
		if err := os.Rename(unfinished, filepath.Join(sub, "hosts.toml")); err != nil {
			return err
		}
	}
	return nil
}

// hosts names the stand-in as the server as well. Otherwise containerd would
// fall back to the real registry.
func (m Mirror) hosts() string {
	return fmt.Sprintf("server = %[1]q\n\n[host.%[1]q]\ncapabilities = [\"pull\", \"resolve\"]\n", "http://"+m.At.String())
}
