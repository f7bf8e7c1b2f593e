"""A network that is already quantized: a QDQ ONNX file, ours or anybody's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from calib.importer.onnx_file import MAX_FILE_BYTES
from calib.qdq.writer import CALIBRATION, DETECTION, LABELS, MODEL, QUANTIZATION
from compile.frontend.qdq_file import read_qdq_as_given
from compile.ir.qdq_graph import QdqGraph
from compile.storage.files import sha256
from compile.subject.images import open_test, select_test_images
from compile.subject.noise import unlabelled_noise
from compile.subject.request import SubjectRequest
from compile.subject.subject import QuantizedSubject
from repghost.data import notes_on
from repghost.detection.boxes import BoxRule
from repghost.errors import UsageError, option
from repghost.evaluation.classes import match_classes, numbered_labels
from repghost.hub.download import local_file, source_name
from repghost.network.spec import model_name, parse_width
from repghost.sizes import size_text
from repghost.untrusted import parse_json, read_bounded

KIND = "quantized"
MAX_LABEL_BYTES = 16 << 20


def quantized_subject(path: Path, request: SubjectRequest) -> QuantizedSubject:
    """Return a QDQ file and the images it is evaluated on.

    Args:
        path: the ONNX file.
        request: its width and size are refused when the file has others; without data the accuracy is not measured.

    Raises:
        UsageError: when the file cannot be used, or images and file do not fit together.
    """
    graph = read_qdq_as_given(path, request.preprocess)
    name = _name(graph, path, request.width)
    size = graph.preprocess.size
    if request.size is not None and request.size != size:
        asked = size_text(request.size)
        raise UsageError(
            f"{path} is for {size_text(size)} px, not {asked}; leave the size out, or give a file for {asked} px."
        )
    if graph.other_outputs:
        return _with_results(graph, path, name, request)
    classes = graph.shapes[graph.output][1]
    dataset = open_test(request.data, request) if request.data else None
    labels = labels_of(graph, classes)
    test = None
    if request.data and dataset is not None:
        dataset = match_classes(dataset, classes, labels, request.class_order)
        labels = dataset.classes
        test = select_test_images(dataset, request.data, graph.preprocess, request)
    return QuantizedSubject(
        **_known(graph, path, name, request.seed),
        labels=labels or numbered_labels(classes),
        test=test,
        unmeasured="" if test else "no labelled pictures were given",
        notes=() if dataset is None else notes_on(dataset),
    )


def _known(graph: QdqGraph, path: Path, name: str, seed: int) -> dict[str, Any]:
    """Return what is known of every quantized file."""
    content = read_bounded(local_file(path), MAX_FILE_BYTES)
    return {
        "name": name,
        "digest": sha256(content),
        "weights": {"kind": KIND, "source": source_name(path), "sha256": sha256(content)},
        "preprocess": graph.preprocess,
        "calibration": unlabelled_noise(graph.preprocess.size, seed, graph.preprocess.channels),
        "qdq": content,
        "quantization": {
            "config": _json(graph, QUANTIZATION).get("config", {}), "calibration": _json(graph, CALIBRATION)
        },
    }  # fmt: skip


def _with_results(graph: QdqGraph, path: Path, name: str, request: SubjectRequest) -> QuantizedSubject:
    """Return a network with several results: a detector, or maps that only their user understands.

    Raises:
        UsageError: for labelled images, which are not evaluated here, or a detector whose results do not fit its rule.
    """
    if request.data is not None:
        raise UsageError(
            f"{path} gives several results and no scores of classes, so {option('data', str(request.data))} cannot "
            "evaluate it here; leave it out. 'repghost detect-validate' measures detectors."
        )
    rule, labels = rule_of(graph), graph.outputs
    if rule is not None:
        labels = labels_of(graph, rule.classes) or numbered_labels(rule.classes)
    return QuantizedSubject(
        **_known(graph, path, name, request.seed),
        labels=labels,
        test=None,
        unmeasured="it gives several results and no scores of classes",
        detection=None if rule is None else rule.to_dict(),
        results=graph.outputs,
    )


def rule_of(graph: QdqGraph) -> BoxRule | None:
    """Return how the results of a detector become boxes, None where the file is no detector.

    Raises:
        UsageError: when the rule is damaged, or does not fit the results.
    """
    if DETECTION not in graph.metadata:
        return None
    rule = BoxRule.from_dict(parse_json(graph.metadata[DETECTION], f"metadata {DETECTION!r}", MAX_LABEL_BYTES))
    wanted = [(1, channels, rows, columns) for rows, columns, channels in rule.shapes()]
    if [graph.shapes[name] for name in graph.outputs] != wanted:
        raise UsageError(f"metadata {DETECTION!r} does not fit the results of the file. Write the file again.")
    if not graph.preprocess.squash or graph.preprocess.resize != graph.preprocess.size:
        raise UsageError(
            "boxes are given in the proportions of a photo, so a detector's pictures are resized as a whole: "
            '"squash": true in its Preprocess, and "resize" equal to "size". Write the file again.'
        )
    return rule


def _name(graph: QdqGraph, path: Path, width: str | None) -> str:
    """Return the name in the file, or the file's own; it becomes a folder, so only plain characters are left."""
    name = graph.metadata.get(MODEL) or path.name.removesuffix(".onnx").removesuffix(".qdq")
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:64].strip("-") or "network"
    if width and name != model_name(parse_width(width, custom=True)):
        raise UsageError(f"{path} holds {name}, not a network of width {width}; leave the width out.")
    return name


def _json(graph: QdqGraph, key: str) -> dict[str, Any]:
    """Return an object of the metadata; the report alone repeats it, so a damaged one counts as empty."""
    try:
        value = parse_json(graph.metadata.get(key, "{}"), key)
    except UsageError:
        return {}
    return value if isinstance(value, dict) else {}


def labels_of(graph: QdqGraph, classes: int) -> tuple[str, ...] | None:
    """Return the class names in a file's metadata, None when it has none.

    Raises:
        UsageError: when they are no list with a name for every class.
    """
    if LABELS not in graph.metadata:
        return None
    labels = parse_json(graph.metadata[LABELS], f"metadata {LABELS!r}", MAX_LABEL_BYTES)
    if not isinstance(labels, list) or len(labels) != classes or not all(isinstance(label, str) for label in labels):
        raise UsageError(f"metadata {LABELS!r} has to name {classes} classes. Write the file again.")
    return tuple(labels)
