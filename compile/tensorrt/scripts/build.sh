#!/bin/sh
# Builds the TensorRT engines of this bundle on the board it will run on.
#
#   ./build.sh                  the int8 and the fp16 engine
#   ./build.sh int8             one of them
#   ./build.sh --dla CORE       one for a deep learning accelerator, from calibration.cache
#   ./build.sh --force ...      also where the engine is there already
#
# More options for trtexec, e.g. on a board with little memory: TRTEXEC_ARGS=--memPoolSize=workspace:512 ./build.sh
# shellcheck source=compile/tensorrt/scripts/common.sh
set -eu
CDPATH="" cd -- "$(dirname "$0")"
. ./common.sh

usage() {
    fail 2 "unknown argument '$1'; allowed: int8, fp16, --dla CORE, --force."
}

wanted=
core=
force=
while [ $# -gt 0 ]; do
    case $1 in
        int8 | fp16) wanted="$wanted $1" ;;
        --force) force=yes ;;
        --dla)
            case ${2:-} in
                0 | 1) core=$2 ;;
                *) fail 2 "--dla needs the number of a core, 0 or 1, not '${2:-}'." ;;
            esac
            wanted="$wanted dla"
            shift
            ;;
        *) usage "$1" ;;
    esac
    shift
done
[ -n "$wanted" ] || wanted="int8 fp16"

# Without ranges, trtexec --int8 makes some up: such an engine has a speed, and answers that mean nothing.
check_ranges() {
    case $1 in
        int8)
            grep -q QuantizeLinear int8.onnx \
                || fail 6 "int8.onnx has no Q/DQ nodes; trtexec would invent the ranges. Copy the bundle again."
            ;;
        dla)
            [ -s calibration.cache ] || fail 6 "calibration.cache is missing; trtexec would invent the ranges."
            [ "${version%%.*}" -lt 11 ] || fail 4 "TensorRT $version reads no calibration cache; leave --dla out."
            case $board in
                *Nano* | *Thor*) fail 2 "$board has no DLA; leave --dla out: the GPU runs the whole network." ;;
            esac
            ;;
    esac
}

# Sets onnx and flags.
choose() {
    case $1 in
        int8)
            onnx=int8.onnx
            flags=$INT8_FLAGS
            ;;
        fp16)
            onnx=fp16.onnx
            flags=$FP16_FLAGS
            ;;
        dla)
            onnx=fp16.onnx
            # TensorRT may reject a cache that another version of it wrote, so the first line names this one.
            cache=$ENGINES/calibration.$version.cache
            sed "1s/^TRT-[0-9]*/TRT-$number/" calibration.cache >"$cache"
            # Ranges come from the cache, so the network must not be typed by its file.
            flags="--int8 --fp16 --calib=$cache --useDLACore=$core --allowGPUFallback"
            ;;
    esac
    if [ "$flags" = --stronglyTyped ] && [ "${version%%.*}" -ge 11 ] && ! has_flag --stronglyTyped; then
        flags= # always so since 11
    fi
}

build() {
    engine=$(engine_of "$1")
    layers=$(layers_of "$1")
    if [ -z "$force" ] && [ -s "$engine" ] && [ -s "$layers" ]; then
        echo "$1: $engine is there already"
        return 0
    fi
    check_ranges "$1"
    choose "$1"
    rm -f "$engine" "$layers"
    echo "$1: building $engine; TensorRT times its kernels, which takes minutes"
    # shellcheck disable=SC2086 # options are separated by blanks
    if ! run_trtexec "$engine.log" --onnx="$onnx" $flags --saveEngine="$engine.part" \
        --timingCacheFile="$ENGINES/$key.timing" --profilingVerbosity=detailed --exportLayerInfo="$layers.part" \
        --iterations=1 --warmUp=0 --duration=0 ${TRTEXEC_ARGS:-}; then
        rm -f "$engine.part" "$layers.part"
        fail 6 "trtexec did not build $onnx with ${flags:-no options}; everything it said is in $engine.log."
    fi
    if [ ! -s "$engine.part" ] || [ ! -s "$layers.part" ]; then
        fail 6 "trtexec says PASSED, but wrote no engine or no layers; see $engine.log."
    fi
    mv "$layers.part" "$layers"
    mv "$engine.part" "$engine"
    echo "$1: built $engine"
}

look_around
check_version
mkdir -p "$ENGINES"
for kind in $wanted; do
    build "$kind"
done
