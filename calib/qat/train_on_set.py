"""Training under quantization from one set of images, which is split into calibration, held-out and training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calib.qat.data import TrainingFeed, split_images
from calib.qat.epochs import Execution, Hooks
from calib.qat.qat_images import Images
from calib.qat.train_aware import QatPlan, QatResult, train_aware
from calib.quantize import Source
from repghost.data import ImageSet, prepare
from repghost.data.images.preprocess import Preprocess
from repghost.graph.operators import Graph
from repghost.network.model import RepGhostNet
from repghost.training.options import Loading


def train_on_set(
    model: RepGhostNet | Graph,
    dataset: ImageSet,
    preprocess: Preprocess,
    plan: QatPlan,
    source: Source,
    hooks: Hooks | None = None,
    name: str = "network",
    execution: Execution | None = None,
    loading: Loading | None = None,
) -> QatResult:
    """Split a set by the settings' seed, train on it under quantization, and return the best candidate.

    Args:
        model: see `calib.qat.train_aware.train_aware`.
        dataset: the images, never those that accuracy is measured on.
        preprocess: what is done to each.
        plan: of the calibrated start and of the training.
        source: embedded in the file; how many calibration images were broken is added.
        hooks: follows the run.
        name: of a network that is given as a graph.
        execution: processes, device, state and teacher.
        loading: worker processes that decode.

    Raises:
        UsageError: for an empty set, too few images, or what `train_aware` refuses.
        RepGhostError: when training diverges.
    """
    execution = execution or Execution()
    parts = split_images(dataset.labels, plan.settings)
    calibration = prepare(dataset, preprocess, parts.calibration)
    images = Images(
        calibration.images,
        prepare(dataset, preprocess, parts.held_out),
        TrainingFeed(dataset, parts.training, preprocess, plan.settings, loading or Loading(0), execution.ranks),
    )
    notes: Mapping[str, Any] = {**source.calibration, "broken": len(calibration.broken)}
    source = Source(source.labels, source.checkpoint_sha256, notes)
    return train_aware(model, images, plan, source, hooks, name, execution)
