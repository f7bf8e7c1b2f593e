"""Labelled images as a bundle takes them, with the scores that the numpy reference gives them on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.bundle.manifest import Bundle
from compile.report.run_report import QDQ_FILE
from compile.targets.precisions import INT8
from repghost.data import ImageSet, MissingSplitError, notes_on, open_dataset, prepare
from repghost.data.images.preprocess import Preprocess
from repghost.data.subset import choose_balanced
from repghost.errors import UsageError, option
from repghost.evaluation.classes import match_classes
from repghost.evaluation.predictor import REFERENCE

SPLIT = "test"
BATCH = 100  # images that the reference takes at once
SEED = 0  # chooses images where not all are taken


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Labelled images as a bundle takes them.

    Attributes:
        images: uint8 [N, height, width, channels].
        labels: int64 [N], places among the bundle's classes.
        names: of the images, for messages.
        expected: float32 [N, classes], the scores of the reference on this machine; None for a float build, whose
            bits differ from machine to machine.
        about: where they come from, for the report.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    expected: NDArray[np.float32] | None
    about: dict[str, Any]


def labelled_images(
    bundle: Bundle, data: Path, count: int | None, say: Callable[[str], None], class_map: Path | None = None,
    val_share: float | None = None,
) -> LabelledImages:  # fmt: skip
    """Return the test images of a set, prepared for a bundle, with the scores that the numpy reference gives them.

    Args:
        bundle: what will classify them; the QDQ file it was made from lies in the folder of its run.
        data: a set of labelled images.
        count: how many, equally many of each class; None: all.
        say: is told what takes long.
        class_map: the class of each image, for a split without class folders.
        val_share: of each class that is held out of a folder of classes without splits; None: a fifth.

    Raises:
        UsageError: when the classes are not the bundle's, or the QDQ file is not there or of another network.
    """
    dataset = _matching(bundle, data, class_map, val_share)
    for note in notes_on(dataset):
        say(f"note: {note}")
    chosen = None if count is None else choose_balanced(dataset.labels, count, SEED)
    found = prepare(dataset, Preprocess.from_dict(bundle.manifest["preprocess"]), chosen)
    about: dict[str, Any] = {
        "data": data.absolute().name, "split": getattr(dataset, "split", None) or SPLIT, "broken": len(found.broken),
        "sha256": hashlib.sha256(found.images.tobytes()).hexdigest(), "reference": None,
    }  # fmt: skip
    expected = None
    if bundle.manifest["precision"] == INT8.name:
        expected, about["reference"] = _reference(bundle, found.images, say), REFERENCE
    names = tuple(dataset.name(index) for index in found.indices.tolist())
    return LabelledImages(found.images, found.labels, names, expected, about)


def _matching(bundle: Bundle, data: Path, class_map: Path | None, val_share: float | None) -> ImageSet:
    """Open a set whose classes are the bundle's.

    Raises:
        UsageError: naming the classes that are not.
    """
    if "outputs" in bundle.manifest:
        raise UsageError(f"{bundle.path} gives several results and no scores of classes; leave {option('data')} out.")
    dataset, labels = _opened(data, class_map, val_share), bundle.labels()
    try:
        return match_classes(dataset, len(labels), labels)
    except UsageError as error:
        raise UsageError(f"{data} cannot evaluate {bundle.path}: {error}") from error


def _opened(data: Path, class_map: Path | None, val_share: float | None) -> ImageSet:
    """Open the test split of a set, or a folder of classes, which is a split itself."""
    try:
        return open_dataset(data, SPLIT, class_map, val_share)
    except MissingSplitError:
        path = data.absolute()
        try:
            return open_dataset(path.parent, path.name, class_map)
        except UsageError:
            pass
        raise


def _reference(bundle: Bundle, images: NDArray[np.uint8], say: Callable[[str], None]) -> NDArray[np.float32]:
    """Return the scores of the numpy reference, float32 [N, classes]."""
    path = bundle.path.absolute().parent.parent / QDQ_FILE
    if not path.is_file():
        raise UsageError(
            f"{path} is not there, and the scores of {bundle.path} are compared with those of its quantized network. "
            f"Give the bundle in the folder of its run, or leave {option('accuracy')} out."
        )
    from compile.stages.predictors import reference_of  # loads torch, which no other step of a board needs

    reference = reference_of(path, Preprocess.from_dict(bundle.manifest["preprocess"]))
    if reference.program != bundle.manifest["program_digest"]:
        raise UsageError(f"{path} is another network than that of {bundle.path}. Build the bundle again.")
    parts = []
    for start in range(0, len(images), BATCH):
        parts.append(reference.logits(images[start : start + BATCH]))
        done = min(start + BATCH, len(images))
        say(f"{bundle.path}: the {REFERENCE} gave the scores of {done} of {len(images)} pictures here")
    return np.concatenate(parts)
