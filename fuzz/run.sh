#!/usr/bin/env bash
# Runs each fuzz target under libFuzzer for some seconds.
#
#   run.sh [SECONDS] [TARGET…]   default: 30 s each, all targets
#   run.sh --smoke               5 s each; without a nightly toolchain it says so and succeeds
#
# It starts from the checked-in corpus. New corpus files are kept in the target folder for the next run. An input that
# breaks a target is written to fuzz/regressions/TARGET, which core/tests/fuzz reads as well.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

smoke=
[[ ${1-} != --smoke ]] || { smoke=1; set -- 5; }
seconds=${1:-30}
targets=("${@:2}")
((${#targets[@]})) || targets=(reference review docker_config config)

# libFuzzer needs coverage and a sanitizer, which only a nightly compiler supports.
if ! RUSTUP_AUTO_INSTALL=0 rustup run nightly rustc --version >/dev/null 2>&1; then
    [[ -z $smoke ]] || { echo 'no nightly Rust on this machine: the fuzz targets run only as property tests'; exit 0; }
    echo 'fuzzing needs nightly Rust: run rustup toolchain install nightly --profile minimal' >&2
    exit 1
fi
cargo_fuzz=$(tests/cluster/tools.sh cargo-fuzz)
export RUSTUP_TOOLCHAIN=nightly
home=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null
PATH=$(dirname "$cargo_fuzz"):$PATH CARGO_TARGET_DIR=$home cargo fuzz build --debug-assertions
host=$(rustc -vV | sed -n 's/^host: //p')

for target in "${targets[@]}"; do
    mkdir -p "$home/corpus/$target" "fuzz/regressions/$target"
    inputs=("$home/corpus/$target" "fuzz/corpus/$target" "fuzz/regressions/$target")
    arguments=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1)
    [[ ! -f fuzz/dictionaries/$target ]] || arguments+=(-dict="fuzz/dictionaries/$target")
    log=$home/$target.log
    echo "fuzzing $target for $seconds s"
    if ! "$home/$host/release/$target" "${arguments[@]}" -artifact_prefix="fuzz/regressions/$target/" "${inputs[@]}" \
        >"$log" 2>&1; then
        tail -n 60 "$log"
        echo "fuzz target $target failed on an input, now in fuzz/regressions/$target; full log: $log" >&2
        exit 1
    fi
    sed -n 's/^stat::number_of_executed_units: */  executions: /p' "$log"
    rmdir --ignore-fail-on-non-empty "fuzz/regressions/$target"
done
