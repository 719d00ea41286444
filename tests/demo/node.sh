# shellcheck shell=bash disable=SC2034,SC2154 # shares its variables with run.sh
# The demo as root: a cluster with a node. The script installs ecr-pull-secrets as a user would, from the image that ships,
# and the kubelet pulls the Deployment's image from the stand-in's registry. The demo fails unless the pods are Running.

replicas=2
other_image=cluster.test/pause:1 # on the node from the start

build() {
    local arch
    case $(uname -m) in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) fail "no image for $(uname -m)" ;; esac
    tests/cluster/tools.sh node-packages
    containerd=$(tests/cluster/tools.sh containerd)
    run 'cargo build --locked --workspace --bin aws-stand-in'
    run "manifests/image/build.sh $arch \"\$dir/image.tar\""
    make_shop_image $arch
}

# The Deployment's image: one static program that waits, as a tar of an OCI layout.
make_shop_image() {
    local at=$dir/shop
    local layout=$at/layout
    mkdir -p "$at/files" "$layout/blobs/sha256"
    cp "$(dirname "$cluster")/pause" "$at/files/shop"
    tar -C "$at/files" -cf "$at/layer" shop
    printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["/shop"],"User":"65532:65532"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$1" "$(sha256sum <"$at/layer" | cut -d' ' -f1)" >"$at/config"
    printf '{"schemaVersion":2,"config":%s,"layers":[%s]}' \
        "$(blob config.v1+json "$at/config")" "$(blob layer.v1.tar "$at/layer")" >"$at/manifest"
    printf '{"schemaVersion":2,"manifests":[%s]}' "$(blob manifest.v1+json "$at/manifest")" >"$layout/index.json"
    echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
    tar -C "$layout" -cf "$dir/shop.tar" .
}

# blob TYPE FILE: puts a file into the layout and prints its descriptor.
blob() {
    local digest
    digest=$(sha256sum <"$2" | cut -d' ' -f1)
    cp "$2" "$layout/blobs/sha256/$digest"
    printf '{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%s}' "$1" "$digest" "$(stat -c %s "$2")"
}

start() {
    headline 'A Kubernetes cluster with a node, and a stand-in for AWS'
    start_aws
    local port=${aws##*:}
    start_cluster --node --containerd "$containerd" --image "$dir/image.tar" --registry "$host=$aws" --host-port "$port"
    # While the cluster starts:
    curl -sfS -o "$dir/uploaded" --data-binary "@$dir/shop.tar" "$aws/admin/images?repository=shop&tag=v1" || fail 'the upload of shop:v1'
    cluster_ready
    run 'kubectl get nodes'
    aws_for_pods=http://$(field node_ip "$dir/cluster.out"):$port
}

install_chart() {
    headline 'Install the chart'
    run "kubectl create namespace $ours"
    run "kubectl -n $ours create secret generic $ours-aws \\
    --from-literal=AWS_ACCESS_KEY_ID=\"\$key_id\" --from-literal=AWS_SECRET_ACCESS_KEY=\"\$key\""
    # Default values, plus the address of the stand-in.
    run "helm install $ours manifests/helm -n $ours \\
    --set-json 'extraEnv=[{\"name\":\"AWS_ENDPOINT_URL\",\"value\":\"$aws_for_pods\"}]' >/dev/null"
    run "kubectl -n $ours rollout status deployment $ours --timeout=60s" || fail 'the pods of ecr-pull-secrets are not ready'
    run "kubectl -n $ours get pods"
    # kube-proxy routes to the pods a moment after they are ready.
    local address
    address=$(kubectl -n $ours get service $ours -o jsonpath='{.spec.clusterIP}')
    wait_for 'the Service routes to the program' curl -sko "$dir/answer" "https://$address"
}

without_us() {
    headline 'For contrast: a namespace that opts out, by its label'
    run 'kubectl create namespace left-out'
    run 'kubectl label namespace left-out ecr-pull-secrets.dev/inject=false'
    run 'kubectl -n left-out apply -f tests/demo/deployment.yaml'
    wait_for 'the pull fails' bash -c '(($(kubectl -n left-out get pods | grep -cE "ErrImagePull|ImagePullBackOff") == 2))'
    run 'kubectl -n left-out get pods'
    expect 'running pods in left-out' 0 "$(running left-out)"
}

first_pulls() {
    headline 'The kubelet pulls with the Secret'
    pulls "$1"
    local pod
    pod=$(kubectl -n "$1" get events --field-selector=reason=Pulling -o jsonpath='{.items[0].involvedObject.name}')
    run "kubectl -n $1 get events --field-selector=involvedObject.name=$pod -o custom-columns=TYPE:.type,REASON:.reason,MESSAGE:.message"
}

pulls() {
    run "kubectl -n $1 rollout status deployment shop --timeout=30s" || fail "the pods in $1 do not run"
    run "kubectl -n $1 get pods"
    expect "running pods in $1" 2 "$(running "$1")"
    expect "events of failed pulls in $1" 0 "$(failed_pulls "$1")"
}

running() { kubectl -n "$1" get pods --no-headers | awk '$2 == "1/1" && $3 == "Running"' | wc -l; }
# Counts Events, by the kubelet's reasons for a failed pull.
failed_pulls() {
    kubectl -n "$1" get events -o jsonpath='{range .items[*]}{.reason}{"\n"}{end}' |
        grep -cxE 'Failed|BackOff|ErrImageNeverPull|InspectFailed|FailedToRetrieveImagePullSecret' || true
}
