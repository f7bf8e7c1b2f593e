"""docs/jetson.md, made from docs/jetson.json alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.shared.goals import JETSON_BUNDLE, JETSON_DROP
from compile.storage import formats
from repghost.goals import Goal, evaluate
from repghost.tables import make_table, markdown_lines

FORMAT, VERSION = formats.JETSON_CHECK

HEAD = """# Jetson: what is proven without one

`make compile TARGET=jetson` writes a bundle that builds, checks and measures itself on the board. No Jetson was
reached: nothing here is a speed. `make jetson-check` wrote this page from docs/jetson.json.
"""

RTX = """## NVIDIA's parser and builder

Each width with random weights, at {size} x {size} pixels, written for each JetPack, linted by `repghost lint`, and
given to TensorRT for RTX {version}, which parses and builds without a GPU (for compute capability 8.6; it refuses 8.7,
Orin).

It proves that the Q/DQ nodes are legal for an ONNX parser of NVIDIA, that every operator is covered, and that the
layers which read int8 in the built engine are those that were promised. It does not prove what TensorRT on Orin fuses,
which opset its older parser reads (that is from NVIDIA's lists), or any speed: it is another product, for other GPUs.
"""


BUILD_HEADS = (
    "width",
    "JetPack",
    "file",
    "#MB",
    "parsed",
    "built",
    "#engine MB",
    "#int8 layers promised",
    "#int8 layers built",
    "as promised",
)
ACCURACY_HEADS = (
    "network",
    "#pictures",
    "#fp32 top-1",
    "#int8 top-1",
    "#change, points (paired 95 %)",
    "#same answer",
    "quantized by",
    "bar",
)


def render_check(result: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        result: as `benchmarks.tensorrt.checked.run_check` makes it.
    """
    builds = result["builds"]
    versions = ", ".join(sorted({build["version"] for build in builds if build["version"]}))
    lines = [
        HEAD,
        *_accuracy(result),
        "",
        RTX.format(size=result["size"], version=versions),
        _summary(builds),
        "",
        *markdown_lines(make_table(BUILD_HEADS, [_build_cells(build) for build in builds])),
        "",
        *_torch(result["torch_tensorrt"]),
        "",
        *_building(result["building"]),
        "",
        "## Not proven",
        "",
        "- latency, fusion and power on a Jetson: not measured: no Jetson reached. The three commands are in the "
        "README of every bundle, and `repghost report` shows what they find.",
        "- the calibration cache: its form is that of public ones; no TensorRT has read it.",
        "- DLA: `build.sh --dla` follows NVIDIA's documents; no DLA has run it.",
    ]
    return "\n".join(lines) + "\n"


def _build_cells(build: Mapping[str, Any]) -> list[str]:
    return [
        f"{build['width']}x",
        build["jetpack"],
        build["kind"],
        f"{build['bytes'] / 1e6:.2f}",
        "yes" if build["parsed"] else "NO",
        "yes" if build["built"] else "NO",
        f"{build['engine_bytes'] / 1e6:.2f}",
        f"{build['promised_int8']} of {build['layers']}",
        str(build["built_int8"]),
        "yes" if build["as_promised"] else "NO",
    ]


def _summary(builds: list[Mapping[str, Any]]) -> str:
    good = [build for build in builds if build["parsed"] and build["built"] and build["as_promised"]]
    different = len({build["sha256"] for build in builds})
    return (
        f"{len(good)} of {len(builds)} are as promised; {different} of the files differ (JetPack 6 and 7 read the same "
        "ones, which were built once)."
    )


def _accuracy(result: Mapping[str, Any]) -> list[str]:
    entries = result["accuracy"]
    lines = ["## Accuracy of the symmetric policy", ""]
    if not entries:
        return [*lines, "Not measured: no reports of trained networks were given."]
    about = (
        "The Q/DQ file of trained networks, evaluated as written by PyTorch on pictures that chose nothing; the "
        "samples of each bundle were repeated by ONNX Runtime."
    )
    lines += markdown_lines(make_table(ACCURACY_HEADS, [_accuracy_cells(entry) for entry in entries], about=about))
    return [*lines, "", "Judged by:", ""] + [
        f"- {entry['model']}: {entry['weights']['source']} (SHA-256 `{entry['weights']['sha256'][:16]}`), "
        f"{entry['test']['data']}, split {entry['test']['split']}, {entry['size']} px"
        for entry in entries
    ]


def _accuracy_cells(entry: Mapping[str, Any]) -> list[str]:
    change = entry["change"]
    difference, low, high = (f"{100 * change[key]:+.2f}" for key in ("difference", "low", "high"))
    return [
        entry["model"],
        str(change["pictures"]),
        f"{entry['fp32']['top1']:.2%}",
        f"{entry['int8']['top1']:.2%}",
        f"{difference} ({low} to {high})",
        f"{change['agreeing'] / change['pictures']:.2%}",
        _settings(entry["config"]),
        f"{_within(JETSON_DROP, change)} {JETSON_DROP.limit:g}",
    ]


def _within(goal: Goal, document: Mapping[str, Any]) -> str:
    return "within" if evaluate(goal, document).reached else "NOT within"


def _settings(config: Mapping[str, Any]) -> str:
    ranges = "ranges by answers" if config["ranges_by_answers"] else f"ranges by {config['observer']}"
    return ranges + ", bias correction" * config["bias_correction"]


def _building(record: Mapping[str, Any] | None) -> list[str]:
    lines = ["## Time to build a bundle", ""]
    if record is None:
        return [*lines, "Not measured."]
    machine, (before, after) = record["machine"], record["load"]
    return [
        *lines,
        f"{record['width']}x at {record['size']} px, from the quantized network to the verified bundle: "
        f"{record['processor_seconds']:.1f} s of processor time, "
        f"{_within(JETSON_BUNDLE, record)} the bar of {JETSON_BUNDLE.limit:g} s; "
        f"{record['seconds']:.1f} s by the clock, beside other work ({machine['core']}, {machine['cores']} cores, load "
        f"{before:.2f} to {after:.2f}).",
    ]


def _torch(record: Mapping[str, Any] | None) -> list[str]:
    lines = ["## torch-tensorrt", ""]
    if record is None:
        return [*lines, "The dry run of its converters was not made: no interpreter with torch-tensorrt-rtx was given."]
    rows = [
        f"- {name}: {part['operators']} operators, {part['supported']} of them convertible, {part['engines']} engine"
        f"{'' if part['engines'] == 1 else 's'}; int8 convolutions in the built network: {part['int8']} of "
        f"{part['promised']} promised"
        for name, part in record["networks"].items()
    ]
    return [
        *lines,
        f"A harness, no deployment: torch-tensorrt-rtx {record['version']} with TensorRT for RTX "
        f"{record['tensorrt_version']} on a machine without a GPU, whose device properties are made up (compute "
        "capability 8.6). Nothing it says of the device is a fact.",
        "",
        *rows,
    ]
