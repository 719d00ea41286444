#!/usr/bin/env bash
# Checks the machine before anything is built on it, and prints the Rust toolchain to use.
#
# This names what is missing, before a build fails for it a quarter of an hour later. On Debian, root gets missing packages
# installed; any other user gets the command that installs them. A machine with all of it passes in a fraction of a second.
# stdout carries the toolchain's name and nothing else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# Tests what each package provides, so that other distributions pass as well.
missing_packages() {
    # Rust links with the C compiler, and one crate (aws-lc-sys) is C. No cmake, no clang, no pkg-config.
    echo 'int main(void) { return 0; }' | cc -x c - -o /dev/null 2>/dev/null || echo build-essential
    command -v curl >/dev/null || echo ca-certificates curl
    command -v git >/dev/null || echo git
    [[ -x $(type -P kill || true) ]] || echo procps
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3 python3-venv
}

packages() {
    local missing
    missing=$(missing_packages | tr '\n' ' ')
    [[ -n $missing ]] || return 0
    local command="apt-get install -y --no-install-recommends ${missing% }"
    type -P apt-get >/dev/null || fail "install these Debian packages, or their equivalents on this system: $missing"
    [[ $(id -u) == 0 ]] || fail "Debian packages are missing. Install them:" "" "    sudo $command" ""
    echo "installing the Debian packages $missing" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2
    $command >&2
}

has_toolchain() {
    RUSTUP_AUTO_INSTALL=0 rustup run "$1" cargo clippy --version && RUSTUP_AUTO_INSTALL=0 rustup run "$1" rustfmt --version
} >/dev/null 2>&1

toolchain() {
    local pinned
    pinned=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
    if ! type -P rustup >/dev/null; then
        [[ $(rustc --version 2>/dev/null) == "rustc $pinned "* ]] || fail "Rust $pinned is missing. Install rustup: https://rustup.rs"
        return # the right version, without rustup: from the distribution
    fi
    if ! has_toolchain "$pinned"; then
        echo "installing Rust $pinned" >&2
        rustup toolchain install "$pinned" --profile minimal --component clippy,rustfmt >&2 || true
    fi
    if has_toolchain "$pinned"; then
        echo "$pinned"
    elif has_toolchain stable && [[ $(rustup run stable rustc --version) == "rustc $pinned "* ]]; then
        echo "Rust $pinned cannot be fetched; using the installed stable, which is the same version" >&2
        echo stable
    else
        fail "cannot fetch Rust $pinned, and the installed stable is another version"
    fi
}

packages
type -P go >/dev/null || fail "Go is missing. Install 1.21 or later: https://go.dev/dl, or \`apt-get install golang\`"
toolchain
