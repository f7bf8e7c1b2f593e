#!/bin/sh
# Checks the engines that build.sh built: int8 really used where it was promised, and the answers to the samples.
#
#   ./check.sh                  the int8 and the fp16 engine
#   ./check.sh int8             one of them
#
# Ends with 0 when everything holds, 4 when TensorRT is another one, 6 when something does not hold.
# shellcheck source=compile/tensorrt/scripts/common.sh
set -eu
CDPATH="" cd -- "$(dirname "$0")"
. ./common.sh

for kind in "$@"; do
    case $kind in
        int8 | fp16) ;;
        *) fail 2 "unknown argument '$kind'; allowed: int8, fp16." ;;
    esac
done
[ $# -gt 0 ] || set -- int8 fp16

# Every layer of promise.txt, in the list of layers that TensorRT wrote while it built the engine.
check_layers() {
    awk -f layers.awk promise.txt RS='}' "$(layers_of int8)" \
        || fail 6 "the engine is not what was promised. Build it again with ./build.sh --force, or do not use int8."
}

check_samples() {
    engine=$(engine_of "$1")
    case $1 in
        int8) tolerance=$INT8_TOLERANCE ;;
        *) tolerance=$FP16_TOLERANCE ;;
    esac
    transfers=
    # Since TensorRT 11 nothing is copied to or from the GPU unless it is asked for.
    has_flag --includeDataTransfers && transfers=--includeDataTransfers
    results=
    [ ! -s results.txt ] || results=results.txt
    index=0
    while [ "$index" -lt "$SAMPLES" ]; do
        output=$engine.sample-$index.json
        rm -f "$output"
        # shellcheck disable=SC2086 # empty or one word
        run_trtexec "$engine.check.log" --loadEngine="$engine" --loadInputs="input:sample-$index.bin" \
            --exportOutput="$output" --iterations=1 --warmUp=0 --duration=0 $transfers \
            || fail 6 "$engine does not run; everything trtexec said is in $engine.check.log."
        [ -s "$output" ] || fail 6 "trtexec wrote no output for sample $index; see $engine.check.log."
        sed -n "$((index + 1))p" "expected-$1.txt" | awk -v tolerance="$tolerance" -v name="$1, sample $index" \
            -v results="$results" -f compare.awk - "$output" || fail 6 "$1 answers otherwise than expected; see $output."
        rm -f "$output"
        index=$((index + 1))
    done
}

look_around
check_version
for kind in "$@"; do
    need_engine "$kind"
done
for kind in "$@"; do
    [ "$kind" = int8 ] && check_layers
    check_samples "$kind"
done
echo "checked: $* on $board, TensorRT $version, CUDA $cuda"
