# shellcheck shell=bash disable=SC2034,SC2154 # shares its variables with run.sh
# What both ways of the demo are told with: how it talks, and what it starts and ends.

# ---- how it talks ---------------------------------------------------------------------------------------------------

bold='' dim='' green='' red='' plain=''
if [[ -t 1 ]]; then bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'; fi
began=$(date +%s%N)
summary=()
declare -A processes=() # name to pid

headline() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

# run COMMAND: shows a line that a user would type, and types it. The command must not keep alive what hold starts; in a
# shell of its own, as this one would keep the ends open while a trap runs.
run() {
    printf '%s$ %s%s\n' "$dim" "$1" "$plain"
    (eval "$1") 7>&- 8>&- 9>&-
}

# expect CLAIM WANTED GOT: a line of the summary, or the end.
expect() {
    local got=${3:-none}
    [[ $got == "$2" ]] || fail "$1: expected \`$2\`, got \`$got\`"
    pass "$1" "$got"
}

pass() {
    printf '%s✓%s %s: %s\n' "$green" "$plain" "$1" "$2"
    summary+=("$(printf '%-60s %s' "$1" "$2")")
}

fail() {
    local name log
    for name in "${!processes[@]}"; do
        for log in "$dir/$name.out" "$dir/$name.log"; do
            [[ ! -s $log ]] || { printf '\n%s said at last:\n' "$name" && tail -n 10 "$log"; } >&2
        done
    done
    # Never the caller's own cluster.
    if [[ ${KUBECONFIG-} == "$dir"/* ]]; then
        printf '\nthe warnings of the cluster:\n' >&2
        kubectl --request-timeout=5s get events -A --field-selector=type=Warning >&2 || true
    fi
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

# wait_for WHAT COMMAND…: waits for it to succeed; 30 s are for a machine under load.
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

# field NAME FILE: a text field of a line of JSON.
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$2" | head -n 1; }

start_aws() {
    hold 8 aws "$cluster" lifeline -- "$CARGO_TARGET_DIR/debug/aws-stand-in"
    wait_for 'the stand-in for AWS is ready' grep -q . "$dir/aws.out"
    aws=$(field url "$dir/aws.out")
}

# start_cluster FLAG…
start_cluster() { hold 7 cluster "$cluster" up --dir "$dir/cluster" "$@"; }

cluster_ready() {
    wait_for 'the cluster is ready' grep -q . "$dir/cluster.out"
    KUBECONFIG=$(field kubeconfig "$dir/cluster.out")
    export KUBECONFIG
    run 'kubectl version'
}
