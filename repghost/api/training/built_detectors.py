"""Detectors that are quantized or compiled, called as trained ones are."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import onnx

from calib.integer.reference import run
from compile.bundle.manifest import Bundle, check_bundle
from compile.frontend.qdq_file import read_qdq
from compile.passes import lower
from compile.report.add_measurement import add_precision as add_to_run
from compile.subject.from_qdq_file import labels_of, rule_of
from compile.targets.table import JETSON
from compile.tensorrt.evaluate import TorchNetwork
from compile.tensorrt.report import add_precision as add_to_jetson
from repghost.api.models import load
from repghost.api.training.detectors import DetectorEvaluation
from repghost.data.images.preprocess import Preprocess
from repghost.detection.boxes import BoxRule
from repghost.detection.ssdlite import NumberDetector
from repghost.errors import UsageError
from repghost.evaluation.classes import numbered_labels


def open_built(path: Path) -> tuple[NumberDetector, tuple[str, ...]]:
    """Return a QDQ file, run by the numpy reference, or a bundle, and the names of its classes.

    A bundle for Jetson is evaluated as its int8 file is written, by PyTorch; others have to be for this machine.

    Raises:
        UsageError: when it is no detector.
        IntegrityError: when a file of the bundle was changed.
    """
    if path.is_dir():
        bundle = check_bundle(path)
        if bundle.target_name == JETSON.name and "detection" in bundle.manifest:
            return _of_jetson(bundle), bundle.labels()
        model = load(path)
        if "detection" not in model.bundle.manifest:
            raise UsageError(f"{path} is no detector; measure it with 'repghost validate'.")
        rule = BoxRule.from_dict(model.bundle.manifest["detection"])
        return NumberDetector(rule, model.preprocess, model.logits), tuple(model.labels)
    graph = read_qdq(path)
    found = rule_of(graph)
    if found is None:
        raise UsageError(f"{path} is no detector; measure it with 'repghost validate'.")
    labels = labels_of(graph, found.classes) or numbered_labels(found.classes)
    return NumberDetector(found, graph.preprocess, partial(run, lower(graph))), labels


def keep_precision(path: Path, found: DetectorEvaluation, data: Path, split: str) -> bool:
    """Keep the average precision of a bundle in the report of its run; returns whether there is one.

    Args:
        path: the folder of the bundle.
        found: its evaluation.
        data: the set.
        split: of it.
    """
    bundle, boxes = check_bundle(path), found.boxes
    entry = {
        "bundle_digest": bundle.digest, "data": data.absolute().name, "split": split, "ap": boxes.ap,
        "ap50": boxes.ap50, "pictures": found.scores.pictures, "objects": found.scores.objects,
        "intervals": {name: list(limits) for name, limits in found.intervals.items()},
        "classes": dict(found.scores.classes),
    }  # fmt: skip
    folder = bundle.path.absolute().parent
    if bundle.target_name == JETSON.name:
        return add_to_jetson(folder, entry)
    return add_to_run(folder.parent, entry)


def _of_jetson(bundle: Bundle) -> NumberDetector:
    network = TorchNetwork(onnx.ModelProto.FromString(bundle.read("int8.onnx")))
    preprocess = Preprocess.from_dict(bundle.manifest["preprocess"])
    rule = BoxRule.from_dict(bundle.manifest["detection"])
    return NumberDetector(rule, preprocess, lambda images: network(preprocess.normalize(images)))
