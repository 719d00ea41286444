#!/usr/bin/env bash
# Looks at the machine before anything is built on it, and prints the Rust toolchain to use.
#
# What is missing is said here, by name, and not by some build a quarter of an hour later. On Debian as root, missing
# packages are printed and installed; as anybody else, the one command that does it is printed. A machine that has all
# of it passes in a fraction of a second. stdout carries the toolchain's name and nothing else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# Asked for by what they do, so that other distributions pass as well.
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
    type -P apt-get >/dev/null || fail "these Debian packages are missing, or what they are called here: $missing"
    [[ $(id -u) == 0 ]] || fail "some Debian packages are missing. This installs them:" "" "    sudo $command" ""
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
        [[ $(rustc --version 2>/dev/null) == "rustc $pinned "* ]] || fail "Rust is missing: https://rustup.rs"
        return # a distribution's Rust of the right version
    fi
    if ! has_toolchain "$pinned"; then
        echo "installing Rust $pinned" >&2
        rustup toolchain install "$pinned" --profile minimal --component clippy,rustfmt >&2 || true
    fi
    if has_toolchain "$pinned"; then
        echo "$pinned"
    elif has_toolchain stable && [[ $(rustup run stable rustc --version) == "rustc $pinned "* ]]; then
        echo "Rust $pinned cannot be fetched; the installed stable is that version, too" >&2
        echo stable
    else
        fail "Rust $pinned cannot be fetched, and the installed stable is another version"
    fi
}

packages
type -P go >/dev/null || fail "Go is missing: https://go.dev/dl, or \`apt-get install golang\` where that is 1.21 or later"
toolchain
