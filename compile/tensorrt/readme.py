"""README.md of a bundle for Jetson: three commands, and what was and was not verified without a board."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compile.report.gives import gives_text, model_facts

if TYPE_CHECKING:
    from compile.tensorrt.jetson_build import JetsonBuild

TEMPLATE = """# {model} for Jetson, JetPack {jetpack} (TensorRT {tensorrt})

{gives}, {size} pixels, {weights} weights. On the board, in this folder:

```sh
./build.sh      # builds the int8 and the fp16 engine here; takes minutes
./check.sh      # int8 really used in {int8} of {layers} layers, and the answers to {samples} samples
./measure.sh    # median and 99th percentile of both, power mode, clocks, temperature: measurement.json{detect}
```

They need a POSIX shell, awk and NVIDIA's trtexec (`/usr/src/tensorrt/bin/trtexec`, part of JetPack), and no
Python{but}.
An engine belongs to one GPU, one TensorRT and one CUDA, so it is built where it runs and kept in `engines/` under a
name made of the three. {note}

| file | what it is |
|---|---|
| `int8.onnx` | the network with explicit Q/DQ, {form}, opset {opset}; built with `{int8_flags}` |
| `fp16.onnx` | the same network in float; built with `{fp16_flags}`. On small depthwise networks it may win |
| `calibration.cache` | ranges for implicit quantization, which DLA needs: `./build.sh --dla 0` (not on every board) |
| `promise.txt` | what each convolution has to become |
| `sample-N.bin`, `expected-*.txt` | normalized float32 pictures, and the logits they have to give |
| `preprocess.json`, `labels.txt` | how pictures are prepared, and the {labels} |{files}

The input is `input`, float32 [1, {shape}]: pixels in [0, 1] minus mean {mean}, divided by {std}. {outputs}

On a board with little memory: `TRTEXEC_ARGS=--memPoolSize=workspace:512 ./build.sh`.

## What was proven before

Both files keep TensorRT's rules for Q/DQ as far as they can be checked without it (`repghost lint`), and the logits
were computed by one program and repeated by another. A logit may differ by {int8_tolerance:.3g} (int8) and
{fp16_tolerance:.3g} (fp16): twice what rounding to float16 alone moved it here ({int8_distance:.3g} and
{fp16_distance:.3g}), and at least 2 % of the largest one. What TensorRT fuses on the board, how fast it is, and the
DLA were not seen: `check.sh` and `measure.sh` say so there. {accuracy}
"""


DETECT = "\n./detect.sh photo.jpg --draw found.ppm   # the boxes of a photo as JSON, and the photo with them"
BUT = ", but for `detect.sh`, which takes python3 with numpy and Pillow"
RESULTS = "\n| `results.txt` | the results in their order: name and how many numbers |"
DETECTOR = (
    "\n| `find_boxes.py`, `detection.json` | how the numbers of all results, one behind the other, become boxes: numpy "
    "alone, for programs of one's own |"
)


def _outputs(build: JetsonBuild) -> str:
    """Return what the output or the outputs are."""
    outputs = build.networks.outputs()
    if not outputs:
        return f"The output\nis `logits`, float32 [1, {build.numbers}]."
    lines = [f"- `{it['name']}`: [1, {it['height']}, {it['width']}, {it['channels']}]" for it in outputs]
    return "\n".join(["The outputs are\nfloat32, channels last:", "", *lines])


def bundle_readme(build: JetsonBuild) -> str:
    """Return the text of README.md."""
    subject, networks, jetpack = build.subject, build.networks, build.networks.jetpack
    expected = build.expected
    outputs, detects = networks.outputs(), subject.detection is not None
    random, (height, width, channels) = subject.is_random, subject.preprocess.shape
    return TEMPLATE.format(
        model=subject.name,
        jetpack=jetpack.name,
        tensorrt=" or ".join(jetpack.tensorrt),
        gives=gives_text(model_facts(subject.name, subject.labels, outputs, detects)),
        detect=DETECT if detects else "",
        but=BUT if detects else "",
        labels="names of the results" if outputs and not detects else "classes",
        files=(RESULTS if outputs else "") + (DETECTOR if detects else ""),
        outputs=_outputs(build),
        size=f"{height} x {width}",
        shape=f"{channels}, {height}, {width}",
        weights=subject.weights["kind"],
        int8=len(networks.placement.layers),
        layers=len(networks.placement.layer_names),
        samples=len(build.samples),
        note=jetpack.note,
        form="float16 around the int8 layers" if jetpack.half_file else "float32 around the int8 layers",
        opset=jetpack.opset,
        int8_flags=jetpack.flags["int8"],
        fp16_flags=jetpack.flags["fp16"],
        mean=list(subject.preprocess.mean),
        std=list(subject.preprocess.std),
        int8_tolerance=expected["int8"].tolerance,
        fp16_tolerance=expected["fp16"].tolerance,
        int8_distance=expected["int8"].half_distance,
        fp16_distance=expected["fp16"].half_distance,
        accuracy="The weights are random: answers mean nothing, speed and layers do." if random else "",
    )
