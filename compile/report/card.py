"""A model card per bundle: Markdown with a head of YAML, as model hubs read it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from compile.report.average_precision import precision_lines
from compile.report.gives import gives_text
from compile.report.run_page import accuracy_lines
from compile.targets.forms import model_file
from repghost.channels import WORDS
from repghost.sizes import sides, sides_text

PAPER = "https://arxiv.org/abs/2211.06088"


def render_card(report: Mapping[str, Any], build: Mapping[str, Any]) -> str:
    """Return the card of one build.

    Args:
        report: of the run, from `compile.report.run_report.read_report`.
        build: one of its builds.
    """
    lines = [
        *head_lines(report, [build["precision"], build["target"], "tvm"]),
        f"# {report['model']['name']}, {build['precision']}, for {build['target']}",
        "",
        *_use(report, ", ".join(build["variants"])),
        *input_lines(report, f"{_colours(report)} bytes", "are applied inside"),
        *_accuracy(report, build),
        "## Quantization",
        "",
        *_quantization(report, build),
        "",
        "## Latency and size",
        "",
        *_cost(build),
        "",
        "## Checks",
        "",
        *_checks(build),
    ]
    return "\n".join(lines) + "\n"


def render_engine_card(report: Mapping[str, Any]) -> str:
    """Return the card of a bundle for Jetson.

    Args:
        report: of the run, from `compile.tensorrt.report.build_report`.
    """
    target, quantization, record = report["target"], report["quantization"], report["verification"]
    size, latency = sum(report["bundle"]["files"].values()), report["latency"]
    checks = [
        f"- {it['variant']}: {it['pictures']} samples within {it['tolerance']:.2g} ({it['machine']})"
        for it in record.get("replays", ())
    ]
    lines = [
        *head_lines(report, ["int8", "jetson", "tensorrt"]),
        f"# {report['model']['name']}, int8, for Jetson with JetPack {target['jetpack']}",
        "",
        *_use(report, f"TensorRT {' or '.join(target['tensorrt'])}"),
        *input_lines(report, "pixels in [0, 1]", "are applied before"),
        *_accuracy(report, report),
        "## Quantization",
        "",
        *_quantization(report, {"precision": "int8"}),
        "",
        f"int8 in {quantization['int8_layers']} of {quantization['layers']} layers.",
        "",
        "## Latency and size",
        "",
        f"- bundle {size} bytes; the engine is built on the board",
        f"- measured on {latency['board']}" if latency["measured"] else f"- {latency['reason']}",
        "",
        "## Checks",
        "",
        f"- bundle digest `{report['bundle']['digest']}`",
        *(checks if record["verified"] else [f"- not verified: {record['reason']}"]),
        "- no engine was built here; check.sh checks it on the board",
    ]
    return "\n".join(lines) + "\n"


def head_lines(
    report: Mapping[str, Any], tags: Sequence[str], more: Mapping[str, Any] = MappingProxyType({})
) -> list[str]:
    """Return the head in YAML; JSON is YAML.

    Args:
        report: of the run; its accuracy becomes keys that hubs read.
        tags: for searches, besides "repghostnet".
        more: further keys, such as the license.
    """
    head = {
        "library_name": "repghost-deploy",
        "pipeline_tag": _task(report.get("model", {})),
        "tags": ["repghostnet", *tags],
        **more,
        **_index(report),
    }
    return ["---", *[f"{key}: {json.dumps(value)}" for key, value in head.items()], "---", ""]


def _task(model: Mapping[str, Any]) -> str:
    """Return the task as hubs name it."""
    if not model.get("results"):
        return "image-classification"
    return "object-detection" if model["detects"] else "image-feature-extraction"


def _use(report: Mapping[str, Any], devices: str) -> list[str]:
    weights = report["weights"]
    return [
        f"RepGhostNet ({PAPER}) with {gives_text(report['model'])}; {weights['kind']} weights ({weights['source']}).",
        "",
        "## What it is for",
        "",
        *_purpose(report["model"], devices),
        "",
    ]


def _purpose(model: Mapping[str, Any], devices: str) -> list[str]:
    if not model.get("results"):
        what = (
            "Image classification on devices",
            "a score for each class of labels.txt to any picture, also to one that shows none of them",
        )
    elif model["detects"]:
        what = "Object detection on devices", "the boxes of what it takes for objects of the classes of labels.txt"
    else:
        what = "Maps or vectors of pictures on devices", "the results that labels.txt names"
    return [
        f"{what[0]}: {devices}. It gives {what[1]}. It was evaluated on the pictures named below and says nothing "
        "about others; check it on your own before decisions about people depend on it."
    ]


def input_lines(report: Mapping[str, Any], what: str, where: str) -> list[str]:
    """Return how an image is prepared.

    Args:
        report: its "preprocess" is what `Preprocess.to_dict` gave.
        what: the network takes, e.g. "RGB bytes".
        where: mean and deviation are applied.
    """
    preprocess = report["preprocess"]
    height, width = sides(preprocess["size"])
    return [
        "## Input",
        "",
        f"{height} x {width} {what}: {_resized(preprocess)} "
        f"({preprocess['interpolation']}), the centre cropped. Mean {preprocess['mean']} and deviation "
        f"{preprocess['std']} {where}.",
        "",
    ]


def _colours(report: Mapping[str, Any]) -> str:
    return WORDS[len(report["preprocess"]["mean"])]


def _resized(preprocess: Mapping[str, Any]) -> str:
    """Return how an image is resized, see `Preprocess`."""
    if preprocess.get("squash"):
        return f"resized to {sides_text(preprocess['resize'])}, whatever its proportions"
    if isinstance(preprocess["resize"], int):
        return f"the short side resized to {preprocess['resize']}"
    return f"resized to cover {sides_text(preprocess['resize'])}"


def _accuracy(report: Mapping[str, Any], build: Mapping[str, Any]) -> list[str]:
    lines = precision_lines(build, "this bundle") or accuracy_lines(report["accuracy"])
    return ["## Accuracy", "", *(f"- {line}" for line in lines), *_images(report["accuracy"]), ""]


def _index(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of the head that model hubs read the accuracy from."""
    accuracy = report["accuracy"]
    if not accuracy["measured"]:
        return {}
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": accuracy["test"]["data"], "type": accuracy["test"]["data"]},
        "metrics": [{"type": "accuracy", "value": accuracy["int8"]["top1"], "name": "top-1, int8"}],
    }
    return {"model-index": [{"name": report["model"]["name"], "results": [result]}]}


def _images(accuracy: Mapping[str, Any]) -> list[str]:
    if not accuracy["measured"]:
        return []
    test = accuracy["test"]
    return [
        f"- evaluated on {test['pictures']} pictures of {test['data']}, split {test['split']}, used for nothing else"
    ]


def _quantization(report: Mapping[str, Any], build: Mapping[str, Any]) -> list[str]:
    if build["precision"] != "int8":
        return [f"None: {build['precision']}."]
    config, calibration = report["quantization"]["config"], report["quantization"]["calibration"]
    text = json.dumps(config, sort_keys=True)
    return [
        f"Calibrated with {calibration.get('pictures', 'an unknown number of')} pictures of "
        f"{calibration.get('data', 'an unknown set')} (split {calibration.get('split', 'unknown')}). Settings:",
        "",
        f"    {text}",
    ]


def _cost(build: Mapping[str, Any]) -> list[str]:
    latency, sizes = build["latency"], build["sizes"]
    name = model_file(sizes["files"])
    lines = [f"- {name} {sizes['files'][name]} bytes, bundle {sizes['bundle']} bytes"]
    if latency.get("measured"):
        return [
            *lines,
            f"- median {latency['median_ms']:.3f} ms, 90 % within {latency['p90_ms']:.3f} ms, fastest "
            f"{latency['min_ms']:.3f} ms: {latency['core']}, {latency['threads']} thread(s), {latency['variant']}",
        ]
    return [*lines, f"- latency not measured; `{latency.get('command', './repghost-run --bench')}` measures it"]


def _checks(build: Mapping[str, Any]) -> list[str]:
    record = build["verification"]
    lines = [f"- bundle digest `{build['bundle_digest']}`", f"- program digest `{build['program_digest']}`"]
    if not record["verified"]:
        return [*lines, f"- not verified: {record['reason']}"]
    for replay in record["replays"]:
        how = f"within {replay['tolerance']:.2g}" if replay["tolerance"] else "equal to the bit"
        lines.append(f"- {replay['variant']}: {replay['pictures']} recorded pictures {how} ({replay['machine']})")
    return lines
