#!/usr/bin/env bash
# The demo: a Deployment that names an ECR image and nothing else, in a namespace made a second earlier, gets pods that can
# pull.
#
# Real: the API server, etcd, the controllers, the chart with its rights and guards, and the program. Not real: AWS and the
# registry. tests/aws-stand-in stands in for both, and checks every signature and token.
#
# As root, the cluster has a node (node.sh): the program runs in its pods, from the image that ships, and the kubelet pulls
# with our Secret. Without root (beside.sh), the program runs beside the cluster, and the script asks the registry as a
# kubelet would.
#
# Everything listens on loopback, or on the node's own network. Every process ends with this script, also when the script
# is killed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

host=123456789012.dkr.ecr.eu-central-1.amazonaws.com # what tests/demo/deployment.yaml names
ours=ecr-pull-secrets
secret=ecr-registry-credentials
# The stand-in's only user.
key_id=AKIDEXAMPLE
key=wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ecr-pull-secrets/target} # as in the Makefile
tests/demo/claim.sh "$CARGO_TARGET_DIR"

# Root in a container may lack the right to create Linux namespaces, which a node needs.
can_run_a_node() {
    [[ $(uname -s) == Linux && $(id -u) == 0 ]] && unshare --mount --net --ipc --pid --fork true 2>/dev/null
}

source tests/demo/lib.sh
if can_run_a_node; then source tests/demo/node.sh; else source tests/demo/beside.sh; fi

calls() { curl -sf "$aws/admin/calls?action=GetAuthorizationToken" | awk -v RS=, -F: '/"total"/ {sum += $2} END {print sum + 0}'; }
# expect_calls WHEN: at most one call per replica, because the demo has one identity and one region.
expect_calls() {
    local got
    got=$(calls)
    ((got >= 1 && got <= replicas)) || fail "AWS calls $1: expected 1 to $replicas, got $got"
    pass "AWS calls $1, at most one per replica" "$got"
}
references() { kubectl -n "$1" get pods -o jsonpath='{.items[*].spec.imagePullSecrets[*].name}'; }
deploy() {
    run "kubectl create namespace $1"
    run "kubectl -n $1 apply -f tests/demo/deployment.yaml"
    wait_for "the Deployment's pods in $1" bash -c "[[ \$(kubectl -n $1 get pods -o name | wc -l) == 2 ]]"
}

headline 'Build (the first time takes some minutes)'
cluster=$(tests/cluster/tools.sh cluster)
mkdir "$dir/bin"
ln -s "$(tests/cluster/tools.sh kubectl)" "$dir/bin/kubectl"
ln -s "$(tests/cluster/tools.sh helm)" "$dir/bin/helm"
PATH=$dir/bin:$PATH
build

start
install_chart
expect 'AWS calls before the first pod' 0 "$(calls)"
without_us

headline 'A new namespace, and a Deployment that names no pull secret'
run 'cat tests/demo/deployment.yaml'
deploy shop

headline 'The pods, as the API server stores them'
run "kubectl -n shop get pods -o custom-columns=NAME:.metadata.name,IMAGEPULLSECRETS:.spec.imagePullSecrets[*].name"
expect 'imagePullSecrets of the pods in shop' "$secret $secret" "$(references shop)"
expect 'imagePullSecrets of the Deployment' none "$(kubectl -n shop get deployment shop -o jsonpath='{.spec.template.spec.imagePullSecrets}')"

headline 'The Secret that they name'
run "kubectl -n shop get secret $secret"
run "kubectl -n shop describe secret $secret | sed -n '/^Labels/,/^Type/p'"
expect 'type of the Secret' kubernetes.io/dockerconfigjson "$(kubectl -n shop get secret $secret -o jsonpath='{.type}')"

first_pulls shop
expect_calls 'for the first namespace'

headline 'A second namespace'
deploy shop-staging
expect 'imagePullSecrets of the pods in shop-staging' "$secret $secret" "$(references shop-staging)"
pulls shop-staging
expect_calls 'in total'

headline 'A pod without an ECR image'
run "kubectl -n shop run other --image=$other_image"
expect 'imagePullSecrets of a pod without an ECR image' none "$(kubectl -n shop get pod other -o jsonpath='{.spec.imagePullSecrets}')"

headline 'Summary'
printf '  %s\n' "${summary[@]}"
took=$((($(date +%s%N) - began) / 100000000))
printf '\n%s✓%s all checks passed in %s.%s s; cleaning up\n' "$green" "$plain" $((took / 10)) $((took % 10))
