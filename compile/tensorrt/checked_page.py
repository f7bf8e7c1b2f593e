"""docs/jetson.md, made from docs/jetson.json alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compile.report_page import accuracy_lines

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


def render_check(result: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        result: as `compile.tensorrt.checked.run_check` makes it.
    """
    builds = result["builds"]
    versions = ", ".join(sorted({build["version"] for build in builds if build["version"]}))
    lines = [
        HEAD,
        RTX.format(size=result["size"], version=versions),
        "| width | JetPack | file | MB | parsed | built | engine MB | int8 layers promised | int8 layers built |"
        " as promised |",
        "|---|---|---|---:|---|---|---:|---:|---:|---|",
        *[_build_row(build) for build in builds],
        "",
        _summary(builds),
        "",
        *_accuracy(result),
        "",
        *_torch(result["torch_tensorrt"]),
        "",
        "## Not proven",
        "",
        "- latency, fusion and power on a Jetson: not measured: no Jetson reached. The three commands are in the "
        "README of every bundle, and `repghost report` shows what they find.",
        "- the calibration cache: its form is that of public ones; no TensorRT has read it.",
        "- DLA: `build.sh --dla` follows NVIDIA's documents; no DLA has run it.",
    ]
    return "\n".join(lines) + "\n"


def _build_row(build: Mapping[str, Any]) -> str:
    words = [
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
    return f"| {' | '.join(words)} |"


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
    lines += [
        "The Q/DQ file of trained networks, evaluated as written by PyTorch on pictures that chose nothing; the "
        "samples of each bundle were repeated by ONNX Runtime.",
        "",
    ]
    for entry in entries:
        judged = {"measured": True, **{key: entry[key] for key in ("fp32", "int8", "change")}}
        test = entry["test"]
        verdict = "within" if entry["within_limit"] else "NOT within"
        lines += [
            f"### {entry['model']} ({entry['weights']['source']}, SHA-256 `{entry['weights']['sha256'][:16]}`)",
            "",
            *[f"- {line}" for line in accuracy_lines(judged)],
            f"- {test['pictures']} pictures of {test['data']}, split {test['split']}, {entry['size']} px; observer "
            f"{entry['observer']}; {verdict} the bar of {result['limit_points']} points",
            "",
        ]
    return lines[:-1]


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
