# Read by build.sh, check.sh and measure.sh: what this board has, and what the bundle was made for.
# shellcheck shell=sh
# shellcheck disable=SC2034 # each script uses its part
# shellcheck source=/dev/null
. ./settings.sh

# Numbers have a point: an awk that follows the locale reads 0.04 as 0 where decimals have a comma.
LC_ALL=C
export LC_ALL

ENGINES=engines

# Print why and end. Codes: 2 wrong usage, 4 a tool or its version is missing, 6 a check did not hold.
fail() {
    code=$1
    shift
    printf 'error: %s\n' "$*" >&2
    exit "$code"
}

find_trtexec() {
    if [ -n "${TRTEXEC:-}" ]; then
        trtexec=$TRTEXEC
    elif command -v trtexec >/dev/null 2>&1; then
        trtexec=$(command -v trtexec)
    else
        trtexec=/usr/src/tensorrt/bin/trtexec
    fi
    [ -x "$trtexec" ] || fail 4 "$trtexec is missing; it comes with JetPack (apt install tensorrt). Or set TRTEXEC=FILE."
    help=$("$trtexec" --help 2>&1) || true
}

# has_flag NAME: whether this trtexec lists the option in its help.
has_flag() {
    case $help in
        *"$1"*) return 0 ;;
    esac
    return 1
}

# The banner says 8502 for 8.5.2 and 100300 for 10.3.0.
find_version() {
    number=$(printf '%s\n' "$help" | sed -n 's/.*\[TensorRT v\([0-9][0-9.]*\)\].*/\1/p' | sed -n 1p)
    case $number in
        '') fail 4 "$trtexec --help does not say its version; is it NVIDIA's?" ;;
        *.*) version=$number ;;
        ?????*) version=$((number / 10000)).$((number / 100 % 100)).$((number % 100)) ;;
        *) version=$((number / 1000)).$((number / 100 % 10)).$((number % 100)) ;;
    esac
}

check_version() {
    for prefix in $TENSORRT; do
        case $version in
            "$prefix" | "$prefix".*) return 0 ;;
        esac
    done
    fail 4 "this bundle is for JetPack $JETPACK with TensorRT $(printf '%s' "$TENSORRT" | sed 's/ / or /g')," \
        "this board has TensorRT $version. Build one for it: repghost compile --target jetson --jetpack 5, 6 or 7."
}

find_board() {
    model_file=${DEVICE_MODEL:-/proc/device-tree/model}
    board=unknown
    # Only plain characters are left: the name becomes part of file names and of JSON.
    [ -r "$model_file" ] && board=$(tr -cd 'A-Za-z0-9 ._+-' <"$model_file")
    place=$(printf '%s' "$board" | tr -c 'A-Za-z0-9' '-')
}

find_cuda() {
    cuda=
    toolkit=${CUDA_HOME:-/usr/local/cuda}
    if [ -r "$toolkit/version.json" ]; then
        cuda=$(sed -n 's/.*"version" *: *"\([0-9.]*\)".*/\1/p' "$toolkit/version.json" | sed -n 1p)
    elif [ -x "$toolkit/bin/nvcc" ]; then
        cuda=$("$toolkit/bin/nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p' | sed -n 1p)
    fi
    [ -n "$cuda" ] || cuda=unknown
}

# An engine belongs to one GPU, one TensorRT and one CUDA.
look_around() {
    find_trtexec
    find_version
    find_board
    find_cuda
    key=$place.tensorrt-$version.cuda-$cuda
}

# engine_of int8|fp16|dla
engine_of() {
    printf '%s/%s.%s.engine' "$ENGINES" "$1" "$key"
}

layers_of() {
    printf '%s/%s.%s.layers.json' "$ENGINES" "$1" "$key"
}

need_engine() {
    [ -s "$(engine_of "$1")" ] && [ -s "$(layers_of "$1")" ] && return 0
    others=
    for other in "$ENGINES/$1".*.engine; do
        [ -e "$other" ] && others="$others ${other#"$ENGINES/"}"
    done
    fail 6 "there is no $1 engine for $key.${others:+ There is$others, which TensorRT would not load here.}" \
        "Run ./build.sh first."
}

# run_trtexec LOG ARGUMENT...: what trtexec says goes to LOG; when it fails, its reasons are shown.
run_trtexec() {
    log=$1
    shift
    status=0
    "$trtexec" "$@" >"$log" 2>&1 || status=$?
    if [ "$status" -eq 0 ] && grep -q '^&&&& PASSED' "$log"; then
        return 0
    fi
    sed -n 's/^.*\[E\] /trtexec: /p' "$log" | sed -n 1,8p >&2
    return 1
}
