#!/usr/bin/env bash
# The promise, kept before your eyes: a Deployment that names an ECR image and nothing else, in a namespace made a second
# earlier, gets a pod that can pull.
#
# Real are the API server, etcd and the controllers, the chart, its rights and guards, and the program. Not real are AWS
# and the registry (tests/aws-stand-in plays both, and checks every signature and token), and there is no node: nothing is
# pulled, the registry is asked with the Secret as a kubelet would ask it. The program runs beside the cluster instead of
# in it, with the token of its ServiceAccount and the arguments of its Deployment.
#
# Everything listens on loopback only. All that is started here ends with this script, however that ends.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

host=123456789012.dkr.ecr.eu-central-1.amazonaws.com # what tests/demo/deployment.yaml names
ours=ecr-pull-secrets
secret=ecr-registry-credentials
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ecr-pull-secrets/target} # as in the Makefile
tests/demo/claim.sh "$CARGO_TARGET_DIR"

# ---- how it talks ---------------------------------------------------------------------------------------------------

bold='' dim='' green='' red='' plain=''
if [[ -t 1 ]]; then bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'; fi
began=$(date +%s%N)
summary=()
declare -A processes=() # name to pid

headline() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

# run COMMAND: shows a line that a user would type, and types it.
run() {
    printf '%s$ %s%s\n' "$dim" "$1" "$plain"
    eval "$1"
}

# expect CLAIM WANTED GOT: a line of the summary, or the end.
expect() {
    local got=${3:-none}
    [[ $got == "$2" ]] || fail "$1: expected \`$2\`, got \`$got\`"
    printf '%s✓%s %s: %s\n' "$green" "$plain" "$1" "$got"
    summary+=("$(printf '%-48s %s' "$1" "$got")")
}

fail() {
    local name log
    for name in "${!processes[@]}"; do
        for log in "$dir/$name.out" "$dir/$name.log"; do
            [[ ! -s $log ]] || { printf '\n%s said at last:\n' "$name" && tail -n 10 "$log"; } >&2
        done
    done
    printf '\n%s✗ %s%s\n' "$red" "$1" "$plain" >&2
    exit 1
}

# ---- what it starts -------------------------------------------------------------------------------------------------

dir=$(mktemp -d "${TMPDIR:-/tmp}/ecr-pull-secrets-demo.XXXXXX")

# hold FD NAME COMMAND…: starts a process that lives as long as the writing end of its stdin is open, here as FD: if this
# script is killed without notice, the kernel closes it. The others' ends must not live on in the process.
hold() {
    local fd=$1 name=$2
    shift 2
    mkfifo "$dir/$name.in"
    "$@" <"$dir/$name.in" >"$dir/$name.out" 2>"$dir/$name.log" 7>&- 8>&- 9>&- &
    processes[$name]=$!
    eval "exec $fd>\"\$dir/$name.in\""
}

clean_up() {
    trap '' INT TERM
    exec 9>&- 8>&- 7>&-
    wait
    rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# within WHAT COMMAND…: waits for it to succeed; 30 s are for a machine under load.
wait_for() {
    local what=$1 end=$((SECONDS + 30))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || fail "not within 30 s: $what"
        for name in "${!processes[@]}"; do
            kill -0 "${processes[$name]}" 2>/dev/null || fail "$name ended: $what not reached"
        done
        sleep 0.05
    done
}

free_port() {
    local port
    while port=$((20000 + RANDOM % 10000)); (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}

# field NAME FILE: a text field of a line of JSON.
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$2" | head -n 1; }

# ---- build ----------------------------------------------------------------------------------------------------------

headline 'Build (the first time takes some minutes)'
cluster=$(tests/cluster/tools.sh cluster)
mkdir "$dir/bin"
ln -s "$(tests/cluster/tools.sh kubectl)" "$dir/bin/kubectl"
ln -s "$(tests/cluster/tools.sh helm)" "$dir/bin/helm"
PATH=$dir/bin:$PATH
run 'cargo build --locked --workspace --bins'

# ---- start ----------------------------------------------------------------------------------------------------------

headline 'A Kubernetes control plane, and a stand-in for AWS'
hold 7 cluster "$cluster" up --dir "$dir/cluster"
hold 8 aws "$cluster" lifeline -- "$CARGO_TARGET_DIR/debug/aws-stand-in"

# The certificate meanwhile: a CA, and a leaf for the Service's name. certs/README.md, word for word.
mkdir "$dir/tls"
{
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj '/CN=demo CA' \
        -keyout "$dir/ca.key" -out "$dir/ca.crt" -addext 'keyUsage=critical,keyCertSign,cRLSign'
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$ours" \
        -keyout "$dir/tls/tls.key" -out "$dir/tls.csr"
    printf '%s\n' basicConstraints=CA:FALSE extendedKeyUsage=serverAuth "subjectAltName=DNS:$ours.$ours.svc" >"$dir/tls.ext"
    openssl x509 -req -in "$dir/tls.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -days 1 \
        -extfile "$dir/tls.ext" -out "$dir/tls/tls.crt"
} 2>"$dir/openssl.log" || fail "openssl: $(tail -n 3 "$dir/openssl.log")"

wait_for 'the control plane is ready' grep -q . "$dir/cluster.out"
wait_for 'the stand-in for AWS is ready' grep -q . "$dir/aws.out"
KUBECONFIG=$(field kubeconfig "$dir/cluster.out")
export KUBECONFIG
aws=$(field url "$dir/aws.out")
run 'kubectl version'

headline 'Install the chart'
run 'helm install ecr-pull-secrets manifests/helm -n ecr-pull-secrets --create-namespace \
    --set webhook.caBundle="$(base64 -w0 "$dir/ca.crt")" >/dev/null'
run "kubectl -n $ours get serviceaccount,service,deployment -o name"
run "kubectl get mutatingwebhookconfigurations,validatingadmissionpolicies -o name"

headline 'Start the program, with the rights of its ServiceAccount and nothing more'
kubeconfig=$dir/ours.kubeconfig
{
    kubectl --kubeconfig "$kubeconfig" config set-cluster demo \
        --server "$(field server "$dir/cluster.out")" --certificate-authority "$(field ca "$dir/cluster.out")"
    kubectl --kubeconfig "$kubeconfig" config set-credentials ours --token "$(kubectl -n $ours create token $ours)"
    kubectl --kubeconfig "$kubeconfig" config set-context ours --cluster demo --user ours
    kubectl --kubeconfig "$kubeconfig" config use-context ours
} >/dev/null
https=127.0.0.1:$(free_port) http=127.0.0.1:$(free_port)
# The key of the stand-in's one user. The empty environment keeps it from ever seeing yours.
hold 9 webhook "$cluster" lifeline -- env -i AWS_ENDPOINT_URL="$aws" AWS_EC2_METADATA_DISABLED=true \
    AWS_ACCESS_KEY_ID=AKIDEXAMPLE AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY \
    "$CARGO_TARGET_DIR/debug/ecr-pull-secrets" serve --kubeconfig "$kubeconfig" --certificate-dir "$dir/tls" \
    --https-listen "$https" --http-listen "$http"
# There is no kube-proxy: the control plane is told where calls to our Service go.
echo "route $ours/$ours $https" >&7
wait_for 'the program is ready' curl -sf "http://$http/readyz"
echo "ready: https://$https/mutate, http://$http/metrics"

# ---- the promise ----------------------------------------------------------------------------------------------------

calls() { curl -sf "$aws/admin/calls?action=GetAuthorizationToken" | awk -v RS=, -F: '/"total"/ {sum += $2} END {print sum + 0}'; }
references() { kubectl -n "$1" get pods -o jsonpath='{.items[*].spec.imagePullSecrets[*].name}'; }
# Asks for the image's manifest as a kubelet would; the status. The token goes through a file, never a command line.
open_registry() { curl -s -o "$dir/manifest" -w '%{http_code}' --connect-to "::${aws#http://}" "$@" "http://$host/v2/shop/manifests/v1"; }
authorization() {
    kubectl -n "$1" get secret $secret -o jsonpath='{.data.\.dockerconfigjson}' | base64 -d |
        sed 's/.*"auth":"\([^"]*\)".*/Authorization: Basic \1/'
}
pods_of() {
    wait_for "the Deployment's pods in $1" bash -c "[[ \$(kubectl -n $1 get pods -o name | wc -l) == 2 ]]"
}

headline 'A new namespace, and a Deployment that knows nothing of pull secrets'
expect 'AWS calls before the first pod' 0 "$(calls)"
run 'kubectl create namespace shop'
run 'cat tests/demo/deployment.yaml'
run 'kubectl -n shop apply -f tests/demo/deployment.yaml'
pods_of shop

headline 'The pods, as they are stored'
run "kubectl -n shop get pods -o custom-columns=NAME:.metadata.name,IMAGEPULLSECRETS:.spec.imagePullSecrets[*].name"
expect 'imagePullSecrets of the two pods' "$secret $secret" "$(references shop)"
expect 'imagePullSecrets of the Deployment' none "$(kubectl -n shop get deployment shop -o jsonpath='{.spec.template.spec.imagePullSecrets}')"

headline 'The Secret that they name'
run "kubectl -n shop get secret $secret"
run "kubectl -n shop describe secret $secret | sed -n '/^Labels/,/^Type/p'"
expect 'type of the Secret' kubernetes.io/dockerconfigjson "$(kubectl -n shop get secret $secret -o jsonpath='{.type}')"

headline "The registry's answer to a pull"
expect 'registry, without the Secret' 401 "$(open_registry)"
authorization shop >"$dir/authorization"
expect 'registry, with the Secret' 200 "$(open_registry --header "@$dir/authorization")"
expect 'AWS calls for the first namespace' 1 "$(calls)"

headline 'A second namespace'
run 'kubectl create namespace shop-staging'
run 'kubectl -n shop-staging apply -f tests/demo/deployment.yaml'
pods_of shop-staging
expect 'imagePullSecrets of the second two pods' "$secret $secret" "$(references shop-staging)"
authorization shop-staging >"$dir/authorization"
expect 'registry, with the second Secret' 200 "$(open_registry --header "@$dir/authorization")"
expect 'AWS calls, all in all' 1 "$(calls)"

headline 'A pod of somebody else'
run 'kubectl -n shop run other --image=registry.example.com/app >/dev/null'
expect 'imagePullSecrets of a pod without an ECR image' none "$(kubectl -n shop get pod other -o jsonpath='{.spec.imagePullSecrets}')"

headline 'What was seen'
printf '  %s\n' "${summary[@]}"
took=$((($(date +%s%N) - began) / 100000000))
printf '\n%s✓%s everything as promised, in %s.%s s; cleaning up\n' "$green" "$plain" $((took / 10)) $((took % 10))
