package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
)

type descriptor struct {
	Digest      string
	Size        int
	Annotations map[string]string
}

func TestLayoutLeadsFromNameToProgram(t *testing.T) {
	made, err := Program("host.test/name:1", "amd64", "pause", []byte("program"))
	if err != nil {
		t.Fatal(err)
	}
	files := unpack(t, made)
	follow := func(to descriptor) string {
		content, ok := files["blobs/sha256/"+strings.TrimPrefix(to.Digest, "sha256:")]
		if !ok || len(content) != to.Size || digest([]byte(content)) != to.Digest {
			t.Fatalf("%+v leads to %q", to, content)
		}
		return content
	}

	var index struct{ Manifests []descriptor }
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	var config struct {
		Config struct{ Entrypoint []string }
		Rootfs struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	read(t, files["index.json"], &index)
	if name := index.Manifests[0].Annotations["io.containerd.image.name"]; name != "host.test/name:1" {
		t.Errorf("the image has the name %q", name)
	}
	read(t, follow(index.Manifests[0]), &manifest)
	read(t, follow(manifest.Config), &config)
	layer := manifest.Layers[0]
	if config.Rootfs.DiffIDs[0] != layer.Digest {
		t.Errorf("the configuration names layer %s, the manifest %s", config.Rootfs.DiffIDs[0], layer.Digest)
	}
	root := unpack(t, []byte(follow(layer)))
	if entry := config.Config.Entrypoint[0]; root[strings.TrimPrefix(entry, "/")] != "program" {
		t.Errorf("no program at %s: %q", entry, root)
	}
}

func read(t *testing.T, content string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(content), into); err != nil {
		t.Fatalf("%q: %v", content, err)
	}
}

func unpack(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	files := map[string]string{}
	for reader := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := reader.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = string(content)
	}
}
