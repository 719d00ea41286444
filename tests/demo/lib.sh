# shellcheck shell=bash disable=SC2034,SC2154 # shares its variables with run.sh
# Shared by both forms of the demo: output, and the processes that it starts and ends.

# ---- output ---------------------------------------------------------------------------------------------------------

bold='' dim='' green='' red='' plain=''
if [[ -t 1 ]]; then bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'; fi
began=$(date +%s%N)
summary=()
declare -A processes=() # name → pid

headline() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

# run COMMAND: prints a command as a user would type it, and runs it. A subshell closes the descriptors of hold: otherwise
# the command, or this shell while a trap runs, would keep alive the processes that hold started.
run() {
    printf '%s$ %s%s\n' "$dim" "$1" "$plain"
    (eval "$1") 7>&- 8>&- 9>&-
}

# expect CLAIM WANTED GOT: adds a line to the summary, or ends the demo.
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
            [[ ! -s $log ]] || { printf '\nlast lines of %s:\n' "$name" && tail -n 10 "$log"; } >&2
        done
    done
    # Only of the demo's cluster, never of one that the caller's KUBECONFIG names.
    if [[ ${KUBECONFIG-} == "$dir"/* ]]; then
        printf '\nwarnings in the cluster:\n' >&2
        kubectl --request-timeout=5s get events -A --field-selector=type=Warning >&2 || true
    fi
    printf '\n%s✗ %s%s\n' "$red" "$1" "$plain" >&2
    exit 1
}

# ---- processes ------------------------------------------------------------------------------------------------------

dir=$(mktemp -d "${TMPDIR:-/tmp}/ecr-pull-secrets-demo.XXXXXX")

# hold FD NAME COMMAND…: starts a process that ends when its stdin closes. This script holds the writing end as FD, so the
# kernel closes it even if the script is killed. The process must not inherit the writing ends of other processes.
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

# wait_for WHAT COMMAND…: waits until COMMAND succeeds, at most 30 s: enough for a machine under load.
wait_for() {
    local what=$1 end=$((SECONDS + 30))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || fail "not reached within 30 s: $what"
        for name in "${!processes[@]}"; do
            kill -0 "${processes[$name]}" 2>/dev/null || fail "$name ended before this was reached: $what"
        done
        sleep 0.05
    done
}

# field NAME FILE: prints a text field of a file with one line of JSON.
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
