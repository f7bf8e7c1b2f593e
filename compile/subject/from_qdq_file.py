"""A network that is already quantized: a QDQ ONNX file, ours or anybody's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from calib.qdq.writer import CALIBRATION, LABELS, MODEL, QUANTIZATION
from compile.frontend.qdq_file import read_qdq_as_given
from compile.ir.qdq_graph import QdqGraph
from compile.storage.files import sha256
from compile.subject.images import open_test, select_test_images
from compile.subject.noise import RANDOM_IMAGES, noise_images
from compile.subject.subject import Images, Subject
from repghost.errors import UsageError
from repghost.evaluation.classes import check_classes
from repghost.network.spec import model_name, parse_width

KIND = "quantized"


def quantized_subject(
    path: Path,
    data: Path | None,
    width: str | None,
    size: int | None,
    test_images: int | None,
    seed: int,
    preprocess_file: Path | None = None,
) -> Subject:
    """Read a QDQ file and the images it is evaluated on.

    Args:
        path: the ONNX file.
        data: a set of images; without one the accuracy is not measured.
        width: refused when the file says another.
        size: refused when the file has another.
        test_images: only so many images are evaluated on; all of them by default.
        seed: chooses them.
        preprocess_file: JSON, for a file that does not say how images are prepared.

    Raises:
        UsageError: when the file cannot be used, or images and file do not fit together.
    """
    graph = read_qdq_as_given(path, preprocess_file)
    name = _name(graph, path, width)
    if size not in (None, graph.preprocess.size):
        raise UsageError(f"{path} is for {graph.preprocess.size} px, not {size}; quantize it again with --size {size}.")
    classes = graph.shapes[graph.output][1]
    dataset = open_test(data) if data else None
    labels = labels_of(graph, classes)
    if dataset is not None:
        check_classes(labels, classes, dataset.classes)
        labels = labels or dataset.classes
    none = np.empty(0, np.int64)
    test = (
        select_test_images(dataset, data, graph.preprocess, test_images, seed, none)
        if dataset is not None and data is not None
        else None
    )
    content = path.read_bytes()
    noise = noise_images(RANDOM_IMAGES, graph.preprocess.size, seed)
    return Subject(
        name=name,
        spec=None,
        model=None,
        digest=sha256(content),
        weights={"kind": KIND, "source": path.name, "sha256": sha256(content)},
        preprocess=graph.preprocess,
        labels=labels or tuple(f"class {index}" for index in range(classes)),
        calibration=Images(noise, np.full(len(noise), -1), {"data": "noise", "split": "none"}),
        test=test,
        unmeasured="" if test else "no labelled pictures were given",
        qdq=content,
        quantization={"config": _json(graph, QUANTIZATION).get("config", {}), "calibration": _json(graph, CALIBRATION)},
    )


def _name(graph: QdqGraph, path: Path, width: str | None) -> str:
    """Return the name in the file, or the file's own; it becomes a folder, so only plain characters are left."""
    name = graph.metadata.get(MODEL) or path.name.removesuffix(".onnx").removesuffix(".qdq")
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:64].strip("-") or "network"
    if width and name != model_name(parse_width(width, custom=True)):
        raise UsageError(f"{path} holds {name}, not a network of width {width}; leave the width out.")
    return name


def _json(graph: QdqGraph, key: str) -> dict[str, Any]:
    """Return an object of the metadata; it is repeated in the report and decides nothing, so a damaged one is empty."""
    try:
        value = json.loads(graph.metadata.get(key, "{}"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def labels_of(graph: QdqGraph, classes: int) -> tuple[str, ...] | None:
    """Return the class names in a file's metadata, None when it has none.

    Raises:
        UsageError: when they are no list with a name for every class.
    """
    if LABELS not in graph.metadata:
        return None
    try:
        labels = json.loads(graph.metadata[LABELS])
    except (ValueError, RecursionError) as error:
        raise UsageError(f"metadata {LABELS!r} is not JSON: {error}. Write the file again.") from error
    if not isinstance(labels, list) or len(labels) != classes or not all(isinstance(label, str) for label in labels):
        raise UsageError(f"metadata {LABELS!r} has to name {classes} classes. Write the file again.")
    return tuple(labels)
