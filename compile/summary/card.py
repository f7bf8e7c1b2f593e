"""A model card per bundle: Markdown with a head of YAML, as model hubs read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from compile.report_page import accuracy_lines

PAPER = "https://arxiv.org/abs/2211.06088"


def render_card(report: Mapping[str, Any], build: Mapping[str, Any]) -> str:
    """Return the card of one build.

    Args:
        report: of the run, from `compile.report.read_report`.
        build: one of its builds.
    """
    model, weights = report["model"], report["weights"]
    head = {
        "library_name": "repghost-deploy",
        "pipeline_tag": "image-classification",
        "tags": ["repghostnet", build["precision"], build["target"], "tvm"],
        **_index(report),
    }
    preprocess = report["preprocess"]
    lines = [
        "---",
        *[f"{key}: {json.dumps(value)}" for key, value in head.items()],  # JSON is YAML
        "---",
        "",
        f"# {model['name']}, {build['precision']}, for {build['target']}",
        "",
        f"RepGhostNet ({PAPER}) with {model['classes']} classes; {weights['kind']} weights ({weights['source']}).",
        "",
        "## What it is for",
        "",
        f"Image classification on devices: {', '.join(build['variants'])}. It gives a score for each class of "
        "labels.txt to any picture, also to one that shows none of them. It was judged on the pictures named below "
        "and says nothing about others; check it on your own before decisions about people depend on it.",
        "",
        "## Input",
        "",
        f"{preprocess['size']} x {preprocess['size']} RGB bytes: the short side resized to {preprocess['resize']} "
        f"({preprocess['interpolation']}), the centre cropped. Mean {preprocess['mean']} and deviation "
        f"{preprocess['std']} are applied inside.",
        "",
        "## Accuracy",
        "",
        *[f"- {line}" for line in accuracy_lines(report["accuracy"])],
        *_pictures(report["accuracy"]),
        "",
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


def _index(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the head that hubs draw accuracy from."""
    accuracy = report["accuracy"]
    if not accuracy["measured"]:
        return {}
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": accuracy["test"]["data"], "type": accuracy["test"]["data"]},
        "metrics": [{"type": "accuracy", "value": accuracy["int8"]["top1"], "name": "top-1, int8"}],
    }
    return {"model-index": [{"name": report["model"]["name"], "results": [result]}]}


def _pictures(accuracy: Mapping[str, Any]) -> list[str]:
    if not accuracy["measured"]:
        return []
    test = accuracy["test"]
    return [f"- judged by {test['pictures']} pictures of {test['data']}, split {test['split']}, used for nothing else"]


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
    lines = [f"- model.so {sizes['files']['model.so']} bytes, bundle {sizes['bundle']} bytes"]
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
