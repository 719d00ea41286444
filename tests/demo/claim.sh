#!/usr/bin/env bash
# Makes Cargo rebuild this clone's sources in a target folder that clones share: claim.sh FOLDER
#
# Cargo gives the workspace's outputs the same names in every clone, and compares the times of the sources. So it would take
# another clone's program for ours. This touches our sources when another clone built last; dependencies stay built.
set -euo pipefail
cd "$(dirname "$0")/../.."
stamp=$1/.clone
[[ $(cat "$stamp" 2>/dev/null) == "$PWD" ]] && exit
mkdir -p "$1"
find core src tests -name '*.rs' -exec touch {} +
echo "$PWD" >"$stamp"
