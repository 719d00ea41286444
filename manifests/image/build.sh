#!/usr/bin/env bash
# Builds the image of the Dockerfile as an OCI archive, without a Docker engine.
#
#   build.sh amd64|arm64 OUTPUT.tar [--package P --bin B]
#
# The optional arguments build another binary with the same flags. It does not go into the image.
#
# The same inputs give the same bytes on every machine: times are those of the last commit, owners are root, and the image
# contains no path of the machine. Labels, environment, user and command come from the Dockerfile.
set -euo pipefail
umask 022
export LC_ALL=C

fail() {
    printf 'build.sh: %s\n' "$@" >&2
    exit 1
}

arch=${1:?the first argument is amd64 or arm64} output=$(realpath -m "${2:?the second argument is the path of the archive}")
case $arch in
amd64) machine=x86_64 ;;
arm64) machine=aarch64 ;;
*) fail "unsupported architecture: $arch" ;;
esac
target=$machine-unknown-linux-gnu
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

missing=()
if [[ $(uname -m) != "$machine" ]]; then
    # The C compiler links, and compiles the one crate in C. The caller may set another one.
    cc_variable=CC_${target//-/_} linker_variable=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_LINKER
    cc=${!cc_variable:-$machine-linux-gnu-gcc}
    export "$cc_variable=$cc" "$linker_variable=${!linker_variable:-$cc}"
    if ! echo 'int main(void) { return 0; }' | "$cc" -x c -static - -o /dev/null 2>/dev/null; then
        missing+=("a compiler for $arch. On Debian: apt-get install gcc-${machine/_/-}-linux-gnu libc6-dev-$arch-cross")
    fi
fi
libraries=("$(rustc --print target-libdir --target "$target")"/libstd-*.rlib)
if [[ ! -e ${libraries[0]} ]]; then
    missing+=("Rust's library for $arch: rustup target add ${RUSTUP_TOOLCHAIN:+--toolchain $RUSTUP_TOOLCHAIN }$target")
fi
# Not /etc/ssl/certs, because the image must not trust the CAs that only this machine trusts.
certificates=(/usr/share/ca-certificates/mozilla/*.crt)
if [[ ! -e ${certificates[0]} ]]; then
    certificates=(/etc/ssl/certs/ca-certificates.crt)
    if [[ -e ${certificates[0]} ]]; then
        echo "build.sh: /usr/share/ca-certificates/mozilla is missing: the image gets every CA that this machine trusts" >&2
    else
        missing+=("CA certificates. On Debian: apt-get install ca-certificates")
    fi
fi
((${#missing[@]} == 0)) || fail "${missing[@]/#/missing: }"

# field NAME: prints a string of cargo's metadata of the workspace.
metadata=$(cargo metadata --format-version 1 --no-deps --locked)
field() { sed 's/.*"'"$1"'":"\([^"]*\)".*/\1/' <<<"$metadata"; }
target_directory=$(field target_directory)

# The flags of the Dockerfile.
flags=(
    -C target-feature=+crt-static
    # A relocation table of 30 instead of 700 KiB. A position-independent program reads the whole table as it starts.
    -C 'link-arg=-Wl,-z,pack-relative-relocs'
    "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src=/registry"
    "--remap-path-prefix=$target_directory=/target"
)
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}") \
    cargo build --locked --release --package ecr-pull-secrets --bin ecr-pull-secrets "${@:3}" --target "$target" >&2
binary=$target_directory/$target/release/ecr-pull-secrets

# instruction NAME: prints an instruction of the Dockerfile's last stage.
instruction() { sed -n '/^FROM scratch/,$s/^'"$1"' //p' Dockerfile; }
user=$(instruction USER) entrypoint=$(instruction ENTRYPOINT) command=$(instruction CMD)
environment=$(instruction ENV | tr ' ' '\n' | sed 's/.*/,"&"/' | tr -d '\n')
labels=$(sed -n '/^FROM scratch/,$s/^.* \(org\.opencontainers\.image\.[a-z]*\)=\("[^"]*"\).*/"\1":\2/p' Dockerfile | paste -sd,)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
[[ $labels == *"image.version\":\"$version\""* ]] || fail "the version label in the Dockerfile differs from $version in Cargo.toml"
time=$(git log -1 --format=%cI 2>/dev/null || date -u +%FT%TZ)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
layer=$work/layer image=$work/image
mkdir -p "$layer/etc/ssl/certs" "$image/blobs/sha256"
install -m 755 "$binary" "$layer/ecr-pull-secrets"
cat "${certificates[@]}" >"$layer/etc/ssl/certs/ca-certificates.crt"

# pack FOLDER: writes a tar of its content, the same bytes for the same files.
pack() { (cd "$1" && tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="$time" --format=ustar -cf - -- *); }

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
{"created":"$time","architecture":"$arch","os":"linux","config":{"User":"$user","Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"$environment],"Entrypoint":$entrypoint,"Cmd":$command,"Labels":{$labels}},"rootfs":{"type":"layers","diff_ids":["$diff_id"]},"history":[{"created":"$time","created_by":"make image"}]}
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
