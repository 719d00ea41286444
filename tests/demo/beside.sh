# shellcheck shell=bash disable=SC2034,SC2154 # shares its variables with run.sh
# The demo without root: a control plane and no node. The program runs beside it, with the token of its ServiceAccount. No
# image is pulled: the script asks the registry with the Secret, as a kubelet would.

replicas=1
other_image=registry.example.com/app

build() { run 'cargo build --locked --workspace --bins'; }

start() {
    headline 'A Kubernetes control plane, and a stand-in for AWS'
    start_cluster
    start_aws
    cluster_ready
}

install_chart() {
    headline 'Install the chart'
    run 'helm install ecr-pull-secrets manifests/helm -n ecr-pull-secrets --create-namespace >/dev/null'
    run "kubectl -n $ours get serviceaccount,service,deployment -o name"
    run "kubectl get mutatingwebhookconfigurations,validatingadmissionpolicies -o name"

    headline 'Start the program, with the rights of its ServiceAccount and no more'
    local kubeconfig=$dir/ours.kubeconfig https http
    {
        kubectl --kubeconfig "$kubeconfig" config set-cluster demo \
            --server "$(field server "$dir/cluster.out")" --certificate-authority "$(field ca "$dir/cluster.out")"
        kubectl --kubeconfig "$kubeconfig" config set-credentials ours --token "$(kubectl -n $ours create token $ours)"
        kubectl --kubeconfig "$kubeconfig" config set-context ours --cluster demo --user ours
        kubectl --kubeconfig "$kubeconfig" config use-context ours
    } >/dev/null
    https=127.0.0.1:$(free_port) http=127.0.0.1:$(free_port)
    # The empty environment keeps your AWS keys out of the program.
    hold 9 webhook "$cluster" lifeline -- env -i AWS_ENDPOINT_URL="$aws" AWS_EC2_METADATA_DISABLED=true \
        AWS_ACCESS_KEY_ID="$key_id" AWS_SECRET_ACCESS_KEY="$key" \
        "$CARGO_TARGET_DIR/debug/ecr-pull-secrets" serve --kubeconfig "$kubeconfig" \
        --https-listen "$https" --http-listen "$http"
    # There is no kube-proxy: this tells the control plane where calls to our Service go.
    echo "route $ours/$ours $https" >&7
    wait_for 'the program is ready' curl -sf "http://$http/readyz"
    echo "ready: https://$https/mutate, http://$http/metrics"
}

# Here the contrast is the registry's 401 in first_pulls.
without_us() { :; }

first_pulls() {
    headline "The registry's answer to a pull"
    expect 'registry, without the Secret' 401 "$(open_registry)"
    pulls "$1"
}

pulls() {
    authorization "$1" >"$dir/authorization"
    expect "registry, with the Secret of $1" 200 "$(open_registry --header "@$dir/authorization")"
}

# Prints the status of a request for the image's manifest. The token goes through a file, never a command line.
open_registry() { curl -s -o "$dir/manifest" -w '%{http_code}' --connect-to "::${aws#http://}" "$@" "http://$host/v2/shop/manifests/v1"; }
authorization() {
    kubectl -n "$1" get secret $secret -o jsonpath='{.data.\.dockerconfigjson}' | base64 -d |
        sed 's/.*"auth":"\([^"]*\)".*/Authorization: Basic \1/'
}

free_port() {
    local port
    while port=$((20000 + RANDOM % 10000)); (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}
