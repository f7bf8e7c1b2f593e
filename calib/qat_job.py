"""One run of training under quantization, from a set of pictures: what calibrates, what chooses and what trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calib.config import QuantConfig
from calib.pipeline import Source
from calib.qat import Hooks, Pictures, QatResult, train_aware
from calib.qat_feed import TrainingFeed, split_pictures
from calib.qat_settings import QatSettings
from repghost.data import PictureSet, prepare
from repghost.errors import UsageError
from repghost.model import RepGhostNet
from repghost.preprocess import Preprocess


def train_on_set(
    model: RepGhostNet,
    dataset: PictureSet,
    preprocess: Preprocess,
    config: QuantConfig,
    settings: QatSettings,
    source: Source,
    hooks: Hooks | None = None,
) -> QatResult:
    """Split a set by the settings' seed, train on it under quantization, and return the best candidate.

    Args:
        model: see `calib.qat.train_aware`.
        dataset: the pictures, never those that accuracy is measured on.
        preprocess: what is done to each.
        config: of the calibrated start.
        settings: how it is trained.
        source: embedded in the file; how many calibration pictures were broken is added.
        hooks: follows the run.

    Raises:
        UsageError: for an empty set, too few pictures, or what `train_aware` refuses.
        RepGhostError: when training diverges.
    """
    parts = split_pictures(dataset.labels, settings)
    calibration = prepare(dataset, preprocess, parts.calibration)
    pictures = Pictures(
        calibration.pictures,
        prepare(dataset, preprocess, parts.held_out),
        TrainingFeed(dataset, parts.training, preprocess, settings),
    )
    notes: Mapping[str, Any] = {**source.calibration, "broken": len(calibration.broken)}
    source = Source(source.labels, source.checkpoint_sha256, notes)
    return train_aware(model, pictures, preprocess, config, settings, source, hooks)


def matching_classes(dataset: PictureSet, classes: int, labels: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the class names, the same in the checkpoint and in the set.

    Args:
        dataset: the pictures.
        classes: of the network.
        labels: of the checkpoint; None where it does not say.

    Raises:
        UsageError: when they differ.
    """
    if len(dataset.classes) != classes or (labels is not None and labels != dataset.classes):
        raise UsageError(
            f"the network has {classes} classes {list(labels or ())[:3]}, the pictures have {len(dataset.classes)} "
            f"{list(dataset.classes)[:3]}; both must be the same, in the same order. Give --data the set the "
            "network was trained on."
        )
    return dataset.classes
