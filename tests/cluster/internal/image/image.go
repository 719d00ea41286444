// Package image makes a container image with one program, as a tar of an OCI
// image layout. The image is reproducible; to make it runs no program and needs
// no container engine. It has no other file, so the program must not need one.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

const (
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar"

	// The annotation that containerd names an imported image by. The standard's own
	// annotation has only a tag.
	nameAnnotation = "io.containerd.image.name"
)

type object = map[string]any

// Program makes an image with this name and this architecture (as Go names it).
// Its entrypoint is /PROGRAM, with this content.
func Program(name, architecture, program string, content []byte) ([]byte, error) {
	var layer bytes.Buffer
	if err := write(&layer, file{name: program, mode: 0o755, content: content}); err != nil {
		return nil, err
	}
	config := marshal(object{
		"architecture": architecture,
		"os":           "linux",
		"config":       object{"Entrypoint": []string{"/" + program}, "User": "65532:65532"},
		"rootfs":       object{"type": "layers", "diff_ids": []string{digest(layer.Bytes())}},
	})
	manifest := marshal(object{
		"schemaVersion": 2,
		"mediaType":     mediaManifest,
		"config":        describe(mediaConfig, config),
		"layers":        []object{describe(mediaLayer, layer.Bytes())},
	})
	entry := describe(mediaManifest, manifest)
	entry["platform"] = object{"os": "linux", "architecture": architecture}
	entry["annotations"] = object{nameAnnotation: name}

	var layout bytes.Buffer
	err := write(&layout,
		file{name: "oci-layout", mode: 0o644, content: marshal(object{"imageLayoutVersion": "1.0.0"})},
		file{name: "index.json", mode: 0o644, content: marshal(object{
			"schemaVersion": 2, "mediaType": mediaIndex, "manifests": []object{entry},
		})},
		blob(layer.Bytes()), blob(config), blob(manifest),
	)
	return layout.Bytes(), err
}

type file struct {
	name    string
	mode    int64
	content []byte
}

func blob(content []byte) file {
	return file{name: "blobs/sha256/" + hexOf(content), mode: 0o644, content: content}
}

func write(to *bytes.Buffer, files ...file) error {
	archive := tar.NewWriter(to)
	for _, each := range files {
		header := &tar.Header{Name: each.name, Mode: each.mode, Size: int64(len(each.content)), Typeflag: tar.TypeReg}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(each.content); err != nil {
			return err
		}
	}
	return archive.Close()
}

func describe(media string, content []byte) object {
	return object{"mediaType": media, "digest": digest(content), "size": len(content)}
}

func digest(content []byte) string { return "sha256:" + hexOf(content) }

func hexOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func marshal(content object) []byte {
	encoded, err := json.Marshal(content)
	if err != nil {
		panic(err) // cannot fail: strings and numbers only
	}
	return encoded
}
