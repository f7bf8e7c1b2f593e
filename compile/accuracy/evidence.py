"""Every checkpoint by every method on the same images, as one JSON document."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.importer.names import is_named
from compile.accuracy.arm64 import measure_arm64
from compile.accuracy.float_trained import measure_float_trained
from compile.accuracy.foreign import ForeignError, measure_foreign
from compile.accuracy.methods import FLOAT_TRAINED, FloatTrained, Foreign, Method
from compile.accuracy.network import SEED, Network, open_network
from compile.accuracy.ours import measure_ours, qdq_file
from compile.accuracy.overview import FIGURE, draw_overview, drawn
from compile.accuracy.page import render
from compile.accuracy.row import Row
from compile.storage import formats
from compile.storage.measurements import Measurements, NotMeasuredError
from compile.storage.stage_cache import versions
from compile.storage.strict_json import read_strict
from compile.subject.request import SubjectRequest
from compile.subject.subject import RepGhostSubject
from repghost.errors import AccuracyGateError, IntegrityError, ToolMissingError, UsageError, option
from repghost.evaluation.accuracy import accuracy, paired_difference
from repghost.files import write_text_atomically
from repghost.locks import locked
from repghost.sizes import reported

FORMAT, VERSION = formats.ACCURACY
MAX_DOCUMENT_BYTES = 32 << 20
JSON_FILE, PAGE_FILE = "accuracy.json", "accuracy.md"


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        checkpoints: files.
        data: a set of images.
        methods: the rows.
        again: patterns of rows that are measured again.
        measurements: the folder of what was measured.
        pythons: interpreters that have the other tools.
        calibration_images: images that calibrate.
        test_images: only so many evaluate; all of them by default.
        arm64: whether the arm64 build is compared under emulation.
        preprocess: JSON, for checkpoints that do not say how their images were prepared.
        kept: whether nothing is measured, and what is not known yet is named as such.
        add: whether the other networks of the document that is there stay in it.
        class_order: see `compile.subject.request`.
        class_map: as well.
        val_share: as well.
        weights: of a network that is named, a weight file or "pretrained".
    """

    checkpoints: tuple[str, ...]
    data: Path
    methods: tuple[Method, ...]
    again: tuple[str, ...]
    measurements: Path
    pythons: tuple[Path, ...]
    calibration_images: int = 512
    test_images: int | None = None
    arm64: bool = True
    preprocess: Path | None = None
    kept: bool = False
    add: bool = False
    class_order: str | None = None
    class_map: Path | None = None
    val_share: float | None = None
    weights: str | None = None

    def request(self, checkpoint: str) -> SubjectRequest:
        """Return what is asked for of a checkpoint and its images."""
        named = is_named(checkpoint)
        return SubjectRequest(
            model=checkpoint if named else None, weights=self.weights if named else checkpoint,
            data=self.data, calibration_images=self.calibration_images, test_images=self.test_images, seed=SEED,
            preprocess=self.preprocess, class_order=self.class_order, class_map=self.class_map,
            val_share=self.val_share,
        )  # fmt: skip


def run_accuracy(plan: Plan, docs: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure what is not known yet, and write docs/accuracy.json and docs/accuracy.md.

    Args:
        plan: what is measured.
        docs: the folder of the two files.
        say: is given one line per measurement.

    Returns:
        the document.

    Raises:
        UsageError: when a checkpoint cannot be measured, or what is there is no document to add to.
        IntegrityError: when two computations that have to agree do not.
    """
    if plan.add:
        read_networks(docs / JSON_FILE)  # what cannot be added to is refused before hours of measuring
    networks: list[dict[str, Any]] = []
    for checkpoint in plan.checkpoints:
        network = open_network(plan.request(checkpoint))
        say(f"{network.file}: {network.subject.name}")
        for note in network.subject.notes:
            say(f"note: {note}")
        networks.append({**_measure(network, plan, say), "machine": _machine()})
    with locked(docs / JSON_FILE):  # another process may have added to it meanwhile
        return _write(networks, read_networks(docs / JSON_FILE) if plan.add else [], docs)


def _write(networks: list[dict[str, Any]], earlier: Sequence[dict[str, Any]], docs: Path) -> dict[str, Any]:
    """Write the document of what was measured now and earlier, and return it."""
    measured = {network["sha256"] for network in networks}
    networks = networks + [network for network in earlier if network["sha256"] not in measured]
    if len({network["test"]["sha256"] for network in networks}) > 1:
        raise UsageError(
            "the networks were not evaluated on the same test pictures: they prepare them differently, or "
            f"{option('data')} is another set than that of the networks to add to. One document compares on one set."
        )
    networks.sort(key=lambda network: (network["width"] or math.inf, network["name"]))
    document = {"format": FORMAT, "version": VERSION, "networks": networks}
    write_text_atomically(docs / JSON_FILE, json.dumps(document, indent=1, sort_keys=True) + "\n")
    write_page(document, docs)
    return document


def write_page(document: Mapping[str, Any], docs: Path) -> None:
    """Write the page of a document, and the figure it shows."""
    write_text_atomically(docs / PAGE_FILE, render(document))
    if drawn(document["networks"]):
        write_text_atomically(docs / FIGURE, draw_overview(document["networks"]))


def read_networks(path: Path) -> list[dict[str, Any]]:
    """Return the networks of a document.

    Args:
        path: accuracy.json; without it there are none.

    Raises:
        UsageError: when it cannot be read, or is of another version.
    """
    if not path.is_file():
        return []
    try:
        document = read_strict(path, MAX_DOCUMENT_BYTES)
        given = document["format"], document["version"]
        networks: list[dict[str, Any]] = document["networks"]
    except (IntegrityError, KeyError) as error:
        raise UsageError(
            f"{path} is no document to add to: {error}. Leave {option('add')} out to write it anew."
        ) from error
    if given != (FORMAT, VERSION):
        raise UsageError(
            f"{path} is of format {given[0]!r}, version {given[1]!r}; this program adds to {FORMAT!r}, version "
            f"{VERSION}. Leave {option('add')} out to write it anew."
        )
    return networks


def _measure(network: Network, plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Return what the document says about one checkpoint."""
    store, labels = Measurements(plan.measurements, kept=plan.kept), network.test.labels
    before = network.float_predictions(store)
    rows: list[dict[str, Any]] = []
    predictions: dict[str, NDArray[np.int64]] = {}
    for method in plan.methods:
        chosen = replace(store, again=any(fnmatchcase(method.name, pattern) for pattern in plan.again))
        try:
            row = _row(network, method, chosen, plan.pythons)
        except (NotMeasuredError, ToolMissingError, UsageError, AccuracyGateError, ForeignError) as error:
            rows.append({"name": method.name, "group": method.group, "not_measured": str(error)})
            say(f"  {method.name}: not measured: {error}")
            continue
        predictions[method.name] = row.predictions
        change = paired_difference(before, row.predictions, labels).to_dict()
        top1 = accuracy(row.predictions, labels).to_dict()
        rows.append(
            {"name": method.name, "group": method.group, "bar": method.goal, "key": method.quantizer.key(),
             "top1": top1, "change": change, **row.record}
        )  # fmt: skip
        say(f"  {method.name}: {top1['top1']:.2%}, {100 * change['difference']:+.2f} points")
    subject = network.subject
    calibration = {"pictures": len(subject.calibration.labels), "sha256": network.calibration_digest}
    test = {"pictures": len(labels), "sha256": network.test_digest}
    return {
        "name": subject.name,
        "width": network.branches.spec.width if isinstance(subject, RepGhostSubject) else None,
        "size": reported(subject.preprocess.size),
        "classes": len(subject.labels),
        "file": network.file,
        "sha256": subject.digest,
        "training": network.training,
        "calibration": {**calibration, **subject.calibration.origin},
        "test": {**test, **network.test.origin},
        "fp32": accuracy(before, labels).to_dict(),
        "rows": rows,
        "against": _against(plan.methods, predictions, labels),
        "against_float": _against_float(plan.methods, predictions, labels),
        "arm64": _arm64(network, plan, store, say),
    }


def _row(network: Network, method: Method, store: Measurements, pythons: Sequence[Path]) -> Row:
    if isinstance(method.quantizer, FloatTrained):
        return measure_float_trained(network, method.quantizer, store)
    if isinstance(method.quantizer, Foreign):
        return measure_foreign(network, method, store, pythons)
    return measure_ours(network, method, store)


def _against(
    methods: Sequence[Method], predictions: dict[str, NDArray[np.int64]], labels: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Return every row of ours that has a goal, compared with every other tool's fused row, image by image."""
    return [
        {
            "ours": ours.name,
            "other": other.name,
            "change": paired_difference(predictions[other.name], predictions[ours.name], labels).to_dict(),
        }
        for ours in methods
        for other in methods
        if ours.goal and other.group == "other" and {ours.name, other.name} <= predictions.keys()
    ]


def _against_float(
    methods: Sequence[Method], predictions: dict[str, NDArray[np.int64]], labels: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Return every row of training under quantization, compared with the float network trained alike."""
    return [
        {
            "ours": ours.name,
            "change": paired_difference(predictions[FLOAT_TRAINED], predictions[ours.name], labels).to_dict(),
        }
        for ours in methods
        if ours.group == "trained" and {ours.name, FLOAT_TRAINED} <= predictions.keys()
    ]


def _arm64(network: Network, plan: Plan, store: Measurements, say: Callable[[str], None]) -> dict[str, Any]:
    ours = next((method for method in plan.methods if method.goal), None)
    if not plan.arm64 or ours is None:
        return {"not_measured": "it was not asked for"}
    try:
        found = measure_arm64(network, qdq_file(network, ours, store), store)
    except (NotMeasuredError, ToolMissingError) as error:
        say(f"  arm64: not measured: {error}")
        return {"not_measured": str(error)}
    say(f"  arm64: {found['pictures']} pictures equal on {len(found['equal_to_the_bit'])} instruction sets")
    return {"method": ours.name, **found}


def _machine() -> dict[str, str]:
    return {"system": platform.platform(), **versions("torch", "numpy", "onnx", "apache-tvm")}
