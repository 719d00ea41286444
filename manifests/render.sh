#!/bin/sh
# Renders the plain manifests of this repository from the chart.
#
#   manifests/render.sh           writes them
#   manifests/render.sh --check   writes nothing; if one is stale, shows the difference and fails
#
# HELM names the helm binary; the default is the one that tests/cluster/tools.sh builds.
set -eu
cd "$(dirname "$0")/.."

case "${1-}" in
'' | --check) ;;
*) echo "usage: $0 [--check]" >&2; exit 2 ;;
esac

helm=${HELM:-$(tests/cluster/tools.sh helm)}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

render() {
  "$helm" template ecr-pull-secrets manifests/helm --namespace ecr-pull-secrets "$@"
}

mkdir -p "$out/manifests" "$out/certs"
{
  echo '# Rendered from manifests/helm by manifests/render.sh: change the chart, not this file.'
  render --set namespace.create=true
} >"$out/manifests/install.yaml"
{
  echo '# Rendered from manifests/helm by manifests/render.sh: change the chart, not this file.'
  render --set certificate.source=certManager --show-only templates/certificate.yaml
} >"$out/certs/cert-manager.yaml"

stale=0
for file in manifests/install.yaml certs/cert-manager.yaml; do
  if [ "${1-}" = --check ]; then
    diff -u "$file" "$out/$file" || stale=1
  else
    cp "$out/$file" "$file"
  fi
done
if [ "$stale" = 1 ]; then
  echo "the rendered manifests are stale: run make manifests" >&2
  exit 1
fi
