//go:build node && linux

package check

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

const (
	ecrHost  = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
	user     = "AWS"
	password = "a token of twelve hours"
)

// registry serves one image under any name and tag, to clients that send the
// password.
type registry struct {
	*httptest.Server
	served atomic.Int64
}

func serveImage(t *testing.T, archive string) *registry {
	t.Helper()
	files := readArchive(t, archive)
	var index struct {
		Manifests []struct{ Digest, MediaType string }
	}
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	made := &registry{}
	made.Server = httptest.NewServer(http.HandlerFunc(func(to http.ResponseWriter, request *http.Request) {
		if name, secret, _ := request.BasicAuth(); name != user || secret != password {
			to.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(to, "no basic auth credentials", http.StatusUnauthorized)
			return
		}
		parts := strings.Split(request.URL.Path, "/")
		wanted := parts[len(parts)-1]
		if len(parts) > 2 && parts[len(parts)-2] == "manifests" {
			made.served.Add(1)
			wanted = index.Manifests[0].Digest
			to.Header().Set("Content-Type", index.Manifests[0].MediaType)
			to.Header().Set("Docker-Content-Digest", wanted)
		}
		if content, ok := files["blobs/sha256/"+strings.TrimPrefix(wanted, "sha256:")]; ok {
			_, _ = to.Write(content)
		} else if request.URL.Path != "/v2/" {
			http.NotFound(to, request)
		}
	}))
	t.Cleanup(made.Close)
	return made
}

func (r *registry) port(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(r.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func readArchive(t *testing.T, path string) map[string][]byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for reader := tar.NewReader(bytes.NewReader(content)); ; {
		header, err := reader.Next()
		if err == io.EOF {
			return files
		}
		if err == nil {
			files[header.Name], err = io.ReadAll(reader)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// pullSecret makes a Secret with the registry's password for these hosts.
func pullSecret(name string, hosts ...string) object {
	entries := object{}
	for _, each := range hosts {
		entries[each] = object{"username": user, "password": password}
	}
	content, err := json.Marshal(object{"auths": entries})
	if err != nil {
		panic(err) // cannot fail: strings only
	}
	return object{
		"apiVersion": "v1", "kind": "Secret", "metadata": object{"name": name},
		"type":       "kubernetes.io/dockerconfigjson",
		"stringData": object{".dockerconfigjson": string(content)},
	}
}
