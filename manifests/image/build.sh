#!/usr/bin/env bash
# Makes the image of the Dockerfile without a Docker engine: an OCI archive.
#
#   build.sh amd64|arm64 OUTPUT.tar
#
# The same inputs give the same bytes: times are those of the last commit, owners are root, and gzip writes no name.
set -euo pipefail

arch=${1:?want amd64 or arm64} output=${2:?want the path of the archive}
case $arch in
amd64) target=x86_64-unknown-linux-gnu ;;
arm64) target=aarch64-unknown-linux-gnu ;;
*) echo "build.sh: no such architecture: $arch" >&2 && exit 2 ;;
esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
certificates=/etc/ssl/certs/ca-certificates.crt
[[ -r $certificates ]] || { echo "build.sh: install the package ca-certificates" >&2 && exit 1; }

cd "$root"
RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release --bin ecr-pull-secrets --target "$target" >&2
binary=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/$target/release/ecr-pull-secrets
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
time=$(git log -1 --format=%cI 2>/dev/null || date -u +%FT%TZ)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
layer=$work/layer image=$work/image
mkdir -p "$layer/etc/ssl/certs" "$image/blobs/sha256"
install -m 755 "$binary" "$layer/ecr-pull-secrets"
install -m 644 "$certificates" "$layer/etc/ssl/certs/ca-certificates.crt"

# pack FOLDER: a tar of it, always the same for the same files.
pack() { tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="$time" --format=ustar -C "$1" -cf - .; }

# blob FILE: puts a file into the image and prints its digest.
blob() {
    local digest
    digest=$(sha256sum <"$1" | cut -d' ' -f1)
    cp "$1" "$image/blobs/sha256/$digest"
    echo "sha256:$digest"
}
size() { stat -c %s "$1"; }

pack "$layer" >"$work/layer.tar"
diff_id=sha256:$(sha256sum <"$work/layer.tar" | cut -d' ' -f1)
gzip -9 -n <"$work/layer.tar" >"$work/layer.tar.gz"
layer_digest=$(blob "$work/layer.tar.gz")

cat >"$work/config.json" <<JSON
{"created":"$time","architecture":"$arch","os":"linux","config":{"User":"65532:65532","Entrypoint":["/ecr-pull-secrets"],"Cmd":["serve"],"Labels":{"org.opencontainers.image.title":"ecr-pull-secrets","org.opencontainers.image.description":"Pull secrets for Amazon ECR, made just in time","org.opencontainers.image.source":"https://github.com/ecr-pull-secrets/ecr-pull-secrets","org.opencontainers.image.licenses":"Apache-2.0","org.opencontainers.image.version":"$version"}},"rootfs":{"type":"layers","diff_ids":["$diff_id"]},"history":[{"created":"$time","created_by":"make image"}]}
JSON
config_digest=$(blob "$work/config.json")
cat >"$work/manifest.json" <<JSON
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"$config_digest","size":$(size "$work/config.json")},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"$layer_digest","size":$(size "$work/layer.tar.gz")}]}
JSON
manifest_digest=$(blob "$work/manifest.json")
name=ghcr.io/ecr-pull-secrets/ecr-pull-secrets:$version
cat >"$image/index.json" <<JSON
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"$manifest_digest","size":$(size "$work/manifest.json"),"platform":{"architecture":"$arch","os":"linux"},"annotations":{"io.containerd.image.name":"$name","org.opencontainers.image.ref.name":"$version"}}]}
JSON
echo '{"imageLayoutVersion":"1.0.0"}' >"$image/oci-layout"

mkdir -p "$(dirname "$output")"
pack "$image" >"$output"
echo "$output: $name, $(($(size "$output") / 1024)) KiB compressed; the binary: $(($(size "$binary") / 1024)) KiB"
