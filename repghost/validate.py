"""Top-1 of a checkpoint in float32, as it is and fused, on the same pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repghost.checkpoint import build_model, read_checkpoint
from repghost.data import PictureSet, prepare_in_parts, refuse_empty
from repghost.errors import UsageError
from repghost.evaluate import Accuracy, PairedDifference, accuracy, paired_difference, predict
from repghost.fuse import fuse
from repghost.preprocess import Preprocess, resolve_preprocess


@dataclass(frozen=True)
class Validation:
    """What was measured, on which weights and with which preprocessing."""

    checkpoint: str
    digest: str  # sha256 of the checkpoint
    preprocess: Preprocess
    fp32: Accuracy
    fused: Accuracy
    change: PairedDifference  # fused minus fp32
    broken: tuple[str, ...]  # pictures that could not be decoded; they are not counted above

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "checkpoint": self.checkpoint,
            "digest": self.digest,
            "preprocess": self.preprocess.to_dict(),
            "fp32": self.fp32.to_dict(),
            "fused": self.fused.to_dict(),
            "change": self.change.to_dict(),
            "broken": list(self.broken),
        }


def validate(
    path: Path,
    dataset: PictureSet,
    preprocess_file: Path | None = None,
    indices: NDArray[np.int64] | None = None,
    batch: int = 250,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Validation:
    """Measure a checkpoint of any form.

    Args:
        path: the checkpoint.
        dataset: labelled pictures; the classes must be the checkpoint's.
        preprocess_file: JSON that takes precedence over the checkpoint's preprocessing.
        indices: which pictures; all of them by default.
        batch: pictures per step.
        progress: wraps the loop over batches.

    Raises:
        UsageError: when the classes differ, the preprocessing is not known, or no picture can be decoded.
    """
    checkpoint = read_checkpoint(path)
    preprocess = resolve_preprocess(checkpoint.preprocess, checkpoint.spec.num_classes, preprocess_file)
    check_classes(checkpoint.labels, checkpoint.spec.num_classes, dataset.classes)
    model = build_model(checkpoint)
    fused = fuse(model)
    rows: list[NDArray[np.int64]] = []  # label, answer as it is, answer fused
    broken: list[str] = []
    for part in prepare_in_parts(dataset, preprocess, indices, batch, progress):
        broken.extend(part.broken)
        if len(part.labels):
            answers = [predict(network, part.pictures, preprocess, batch).argmax(1) for network in (model, fused)]
            rows.append(np.stack([part.labels, *answers]))
    refuse_empty(len(rows), broken)
    labels, before, after = np.concatenate(rows, axis=1)
    return Validation(
        checkpoint=str(path),
        digest=checkpoint.digest,
        preprocess=preprocess,
        fp32=accuracy(before, labels),
        fused=accuracy(after, labels),
        change=paired_difference(before, after, labels),
        broken=tuple(broken),
    )


def check_classes(labels: tuple[str, ...] | None, count: int, classes: tuple[str, ...]) -> None:
    """Refuse a set whose classes are not the network's.

    Args:
        labels: of the checkpoint, when it knows them.
        count: the network's number of classes.
        classes: of the set of pictures.

    Raises:
        UsageError: when number, names or order differ.
    """
    if len(classes) != count:
        raise UsageError(
            f"the network has {count} classes, the set of pictures {len(classes)}; give the set the network was "
            "trained for."
        )
    if labels is not None and labels != classes:
        place = next(number for number in range(count) if labels[number] != classes[number])
        raise UsageError(
            f"class {place} is {labels[place]!r} in the checkpoint and {classes[place]!r} in the set of pictures; "
            "names and order have to be the same."
        )
