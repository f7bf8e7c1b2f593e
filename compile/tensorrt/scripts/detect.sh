#!/bin/sh
# Finds objects on photos with an engine that build.sh built: a JSON object a photo, as repghost-run --detect prints it.
#
#   ./detect.sh PHOTO...                  with the int8 engine
#   ./detect.sh --fp16 PHOTO...           with the other one
#   ./detect.sh --draw FOUND.ppm PHOTO    and the photo with its boxes, as a PPM
#
# Needs python3 with numpy and Pillow (apt install python3-numpy python3-pil). Each photo is a start of trtexec.
# shellcheck source=compile/tensorrt/scripts/common.sh
set -eu
from=$PWD
CDPATH="" cd -- "$(dirname "$0")"
. ./common.sh

kind=int8
if [ "${1:-}" = --fp16 ]; then
    kind=fp16
    shift
fi
[ $# -gt 0 ] || fail 2 "detect.sh needs a photo: ./detect.sh [--fp16] [--draw FOUND.ppm] PHOTO..."
command -v python3 >/dev/null 2>&1 || fail 4 "python3 is missing (apt install python3-numpy python3-pil)."
look_around
check_version
need_engine "$kind"
transfers=
has_flag --includeDataTransfers && transfers=--includeDataTransfers
# shellcheck disable=SC2086 # empty or one word
exec python3 -B detect.py --engine "$(engine_of "$kind")" --kind "$kind" --trtexec "$trtexec" --folder "$from" \
    $transfers "$@"
