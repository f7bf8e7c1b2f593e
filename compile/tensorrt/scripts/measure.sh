#!/bin/sh
# Measures the engines that build.sh built and writes JSON, which `repghost report` reads.
#
#   ./measure.sh                          both engines, into measurement.json of this folder
#   ./measure.sh FILE                     into another file
#   SECONDS_EACH=30 ./measure.sh          longer; 10 seconds are the default
#
# For comparable numbers choose a power mode and fix the clocks first: sudo nvpmodel -m MODE && sudo jetson_clocks
# shellcheck source=compile/tensorrt/scripts/common.sh
set -eu
case ${1:-} in
    '') written=measurement.json ;;
    /*) written=$1 ;;
    *) written=$PWD/$1 ;;
esac
CDPATH="" cd -- "$(dirname "$0")"
. ./common.sh

[ $# -le 1 ] || fail 2 "measure.sh takes one argument at most, the file to write."
case ${1:-} in
    -*) fail 2 "unknown argument '$1'; measure.sh takes the file to write." ;;
esac
seconds=${SECONDS_EACH:-10}
case $seconds in
    '' | *[!0-9]*) fail 2 "SECONDS_EACH is '$seconds'; it has to be a whole number of seconds." ;;
esac

look_around
check_version
need_engine int8
need_engine fp16

power_mode=unknown
if command -v nvpmodel >/dev/null 2>&1; then
    power_mode=$(nvpmodel -q 2>/dev/null | sed -n 's/^NV Power Mode: *//p' | sed -n 1p | tr -cd 'A-Za-z0-9 ._+-')
    [ -n "$power_mode" ] || power_mode=unknown
fi
bundle=$(sha256sum manifest.json | cut -d ' ' -f 1)

# The same conditions on every version: CUDA graph, busy waiting, nothing copied. They are defaults since TensorRT 11.
conditions=
for flag in --useCudaGraph --useSpinWait --noDataTransfers; do
    has_flag "$flag" && conditions="$conditions $flag"
done

watching=
stop_watching() {
    if [ -n "$watching" ]; then
        kill "$watching" 2>/dev/null || true
        wait "$watching" 2>/dev/null || true
        watching=
    fi
}
trap stop_watching EXIT
trap 'exit 130' INT TERM

# measure_one int8|fp16: prints one JSON object
measure_one() {
    log=$ENGINES/$1.$key.measure.log
    states=$ENGINES/$1.$key.tegrastats.log
    : >"$states"
    if command -v tegrastats >/dev/null 2>&1; then
        tegrastats --interval 500 >"$states" 2>/dev/null &
        watching=$!
    fi
    # shellcheck disable=SC2086 # options are separated by blanks
    run_trtexec "$log" --loadEngine="$(engine_of "$1")" --warmUp=1000 --duration="$seconds" --iterations=100 \
        --percentile=90,99 $conditions || fail 6 "$1 was not measured; everything trtexec said is in $log."
    stop_watching
    awk -v precision="$1" -f measure.awk "$log" "$states" \
        || fail 6 "trtexec's summary in $log has no GPU compute time."
}

case "$SIZE" in *x*) SIZE="\"$SIZE\"" ;; esac # a text in JSON
mkdir -p "$ENGINES"
measure_one int8 >"$ENGINES/int8.result"
measure_one fp16 >"$ENGINES/fp16.result"
{
    printf '{"format": "repghost-jetson-measurement", "version": 1,\n'
    printf ' "model": "%s", "size": %s, "weights": "%s", "batch": 1, "bundle_digest": "%s",\n' \
        "$MODEL" "$SIZE" "$WEIGHTS" "$bundle"
    printf ' "board": "%s", "power_mode": "%s", "jetpack": "%s", "tensorrt": "%s", "cuda": "%s",\n' \
        "$board" "$power_mode" "$JETPACK" "$version" "$cuda"
    printf ' "results": [\n  '
    cat "$ENGINES/int8.result"
    printf '  ,'
    cat "$ENGINES/fp16.result"
    printf ' ]}\n'
} >"$written.part"
mv "$written.part" "$written"
rm -f "$ENGINES/int8.result" "$ENGINES/fp16.result"
cat "$written"
