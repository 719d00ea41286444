#!/usr/bin/env bash
# Builds a tool for the tests or the demo once, and prints the path of its binary.
#
#   tools.sh cluster   the control plane in one program, from this folder
#   tools.sh kubectl   the same program under the name kubectl
#   tools.sh keyring   the kubelet's keyring, which answers questions
#   tools.sh containerd  with its shim and ctr beside it
#   tools.sh helm      Helm
#   tools.sh cargo-deny, cargo-fuzz, cargo-mutants
#   tools.sh moto      moto_server, an independent imitation of AWS
#   tools.sh wrk       the HTTP load generator: the installed one, or Debian's
#   tools.sh node-packages   installs the distribution's packages for a node (root, Debian or Ubuntu)
#
# A build is in ${XDG_CACHE_HOME:-~/.cache}/ecr-pull-secrets/tools/NAME-HASH/, where HASH is the hash of all its inputs.
# It appears there complete or not at all. Simultaneous callers wait for one build. A call that finds its build takes
# milliseconds and needs no network. stdout has the path and nothing else.
set -euo pipefail

kubernetes_version=v1.36.3 # as in go.mod; the version that the program reports
containerd_version=v2.4.2
helm_version=v3.22.0
cargo_deny_version=0.20.2
cargo_fuzz_version=0.13.2
cargo_mutants_version=27.1.0
moto_version=5.2.1
linker_flags="-s -w
 -X k8s.io/component-base/version.gitVersion=$kubernetes_version
 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
linker_flags=${linker_flags//$'\n'/}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ecr-pull-secrets/tools
PATH=$PATH:/usr/local/go/bin # the folder of Go's own installer
# Fixed, because the hash does not cover the caller's workspace and flags.
export GOWORK=off GOFLAGS='-mod=readonly -buildvcs=false' CGO_ENABLED=0

fail() {
    echo "tools.sh: $*" >&2
    exit 1
}

digest() { { sha256sum 2>/dev/null || shasum -a 256; } | cut -c1-16; }

# The hash of everything that the program is built from.
cluster_hash() (
    cd "$here"
    {
        cat go.mod go.sum
        find . -name '*.go' ! -name '*_test.go' ! -path './check/*' ! -path './keyring/*' | LC_ALL=C sort | xargs cat
        echo "$go_version $linker_flags"
    } | digest
)

# Each build_* function puts its binary into the folder in $1.
build_cluster() {
    cd "$here"
    go build -trimpath -ldflags "$linker_flags" -o "$1/ecr-pull-secrets-test-cluster" .
    go build -trimpath -ldflags '-s -w' -o "$1/pause" ./pause
    ln -s ecr-pull-secrets-test-cluster "$1/kubectl"
    [[ $(cluster_hash) == "$hash" ]] || fail "the sources changed during the build: run it again"
}

keyring_hash() (
    cd "$here"
    { cat go.mod go.sum keyring/main.go && echo "$go_version"; } | digest
)

build_keyring() {
    cd "$here"
    go build -trimpath -ldflags '-s -w' -o "$1/keyring" ./keyring
    [[ $(keyring_hash) == "$hash" ]] || fail "the sources changed during the build: run it again"
}

build_helm() { go_install "$1" "helm.sh/helm/v3/cmd/helm@$helm_version"; }

build_containerd() {
    local command=github.com/containerd/containerd/v2/cmd
    go_install "$1" "$command"/{containerd,containerd-shim-runc-v2,ctr}@"$containerd_version"
}

go_install() {
    # Go queries the module's deprecation even if it has the module; its own cache can answer that.
    GOPROXY="file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)" GOBIN=$1 \
        go install -trimpath -ldflags '-s -w' "${@:2}"
}

build_cargo-deny() { cargo_install "$1" cargo-deny "$cargo_deny_version"; }
build_cargo-fuzz() { cargo_install "$1" cargo-fuzz "$cargo_fuzz_version"; }
build_cargo-mutants() { cargo_install "$1" cargo-mutants "$cargo_mutants_version"; }

# Runs in this folder, so that rust-toolchain.toml applies, and with its own target folder, so that it does not lock the
# caller's.
cargo_install() {
    cd "$here"
    echo "compiling $2 $3"
    CARGO_TARGET_DIR=$1/target cargo install --locked --quiet --root "$1" --version "$3" "$2"
    rm -rf "$1/target"
}

build_moto() {
    python3 -m venv "$1"
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check "moto[server]==$moto_version"
    # pip's own scripts in bin/ name the folder of the build. The interpreter finds its venv in any folder.
    printf '%s\n' '#!/bin/sh' 'exec "${0%/*}/bin/python" -m moto.server "$@"' >"$1/moto_server"
    chmod 755 "$1/moto_server"
}

# Unpacks the packages and does not install them, so that it needs no root.
build_wrk() {
    local installed package
    if installed=$(type -P wrk); then
        ln -s "$installed" "$1/wrk"
        return
    fi
    type -P apt-get dpkg-deb >/dev/null || fail "wrk is missing: https://github.com/wg/wrk"
    cd "$1"
    apt-get download -qq -o APT::Sandbox::User=root wrk libluajit-5.1-2 ||
        fail "cannot download Debian's packages of wrk: run apt-get update, or install wrk"
    for package in *.deb; do dpkg-deb -x "$package" .; done
    rm ./*.deb
    printf '%s\n' '#!/bin/sh' 'LD_LIBRARY_PATH=$(echo "${0%/*}"/usr/lib/*-linux-gnu*) exec "${0%/*}/usr/bin/wrk" "$@"' >wrk
    chmod 755 wrk
    { ./wrk -v || true; } | grep -q '^wrk' || fail "Debian's wrk does not run on this machine: install wrk"
}

# ensure NAME BINARY: builds NAME unless the cache has it under $hash, and prints the path of BINARY.
ensure() {
    local name=$1 home=$cache/$1-$hash
    local binary=$home/$2
    if [[ ! -x $binary ]]; then
        mkdir -p "$cache"
        build_locked "$name" "$home" >&2
    fi
    touch "$home" # marks it as used: build_locked removes old builds
    echo "$binary"
}

build_locked() (
    name=$1 home=$2
    exec 9>"$cache/$name.lock"
    command -v flock >/dev/null && flock 9 # without flock, the rename still keeps a build complete
    [[ -d $home ]] && exit                 # another caller has built it meanwhile
    echo "building $name into $home (once; the first build takes minutes)"
    temporary=$(mktemp -d "$cache/.$name.XXXXXX")
    trap 'rm -rf "$temporary"' EXIT
    chmod 755 "$temporary"
    "build_$name" "$temporary" 9>&-
    [[ -d $home ]] || mv "$temporary" "$home"
    # Removes builds of other inputs that were not used for a week, and interrupted builds.
    find "$cache" -maxdepth 1 \( -name "$name-*" -o -name ".$name.*" \) -mtime +7 -exec rm -rf {} +
)

# Installs only what is missing, because an installed container engine may bring other packages of the same programs.
install_node_packages() {
    local missing=() PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
    command -v runc >/dev/null || missing+=(runc)
    command -v iptables >/dev/null || missing+=(iptables)
    [[ -x /usr/lib/cni/bridge || -x /opt/cni/bin/bridge ]] || missing+=(containernetworking-plugins)
    ((${#missing[@]})) || return 0
    local install=(apt-get install --yes --no-install-recommends "${missing[@]}")
    echo "a node needs: ${install[*]}" >&2
    [[ $(id -u) == 0 ]] || fail "the installation needs root: run it as root"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive "${install[@]}" >&2
}

go_version=$(go env GOVERSION) || fail "Go is missing: install the version in go.mod"

main() {
    case ${1-} in
    cluster)
        hash=$(cluster_hash)
        ensure cluster ecr-pull-secrets-test-cluster
        ;;
    kubectl)
        hash=$(cluster_hash)
        ensure cluster kubectl
        ;;
    keyring)
        hash=$(keyring_hash)
        ensure keyring keyring
        ;;
    containerd)
        hash=$(echo "$go_version $containerd_version" | digest)
        ensure containerd containerd
        ;;
    helm)
        hash=$(echo "$go_version $helm_version" | digest)
        ensure helm helm
        ;;
    cargo-deny)
        hash=$(echo "$cargo_deny_version" | digest)
        ensure cargo-deny bin/cargo-deny
        ;;
    cargo-fuzz)
        hash=$(echo "$cargo_fuzz_version" | digest)
        ensure cargo-fuzz bin/cargo-fuzz
        ;;
    cargo-mutants)
        hash=$(echo "$cargo_mutants_version" | digest)
        ensure cargo-mutants bin/cargo-mutants
        ;;
    moto)
        hash=$(echo "$moto_version $(python3 -c 'import sys; print(sys.executable, sys.version)')" | digest)
        ensure moto moto_server
        ;;
    wrk)
        hash=$({ type -P wrk || echo Debian; } | digest)
        ensure wrk wrk
        ;;
    node-packages) install_node_packages ;;
    *) fail "want cluster, kubectl, keyring, containerd, helm, cargo-deny, cargo-fuzz, cargo-mutants, moto, wrk or node-packages" ;;
    esac
}

# On one line, because bash reads a script while it runs, and this script may change during a build.
main "$@"; exit
