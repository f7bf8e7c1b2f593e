"""The images of a detector's training under quantization: those that calibrate, those that choose, and the others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calib.qat.candidates import BoxScore
from calib.qat.data import split_places
from calib.qat.network import QatNetwork
from calib.qat.settings import QatSettings
from repghost.data.images.decode import ImageError
from repghost.data.images.preprocess import Preprocess
from repghost.detection.boxes import BoxRule, find_boxes
from repghost.detection.data.coco import CocoImages
from repghost.detection.data.feed import DetectionBatch, DetectionFeed
from repghost.detection.evaluate import precision_of_boxes
from repghost.detection.number_loss import NumberLoss
from repghost.detection.recipe import DetectionRecipe
from repghost.detection.ssdlite import as_tensors, fit, prepare
from repghost.distributed.ranks import Ranks
from repghost.errors import UsageError
from repghost.training.core.run import Run
from repghost.training.core.task import BatchLoss
from repghost.training.options import Loading


@dataclass(frozen=True, eq=False)
class HeldOutBoxes:
    """Images that only choose between candidates.

    Attributes:
        dataset: the images, all of which can be read.
        images: uint8 [N, height, width, 3], as the network sees them.
        targets: boxes in its pixels, and labels.
        rule: of the boxes.
        losses: of its numbers.
    """

    dataset: CocoImages
    images: NDArray[np.uint8]
    targets: list[dict[str, Tensor]]
    rule: BoxRule
    losses: NumberLoss

    def score(self, numbers: Tensor) -> BoxScore:
        """Return how good numbers are, float64 [N, numbers]."""
        given = numbers.float()
        each = [
            sum(float(loss) for loss in self.losses(row[None], [target]).values())
            for row, target in zip(given, self.targets, strict=True)
        ]
        rows = (self.dataset.coco.imgs[number] for number in self.dataset.ids)
        found = (
            as_tensors(find_boxes(self.rule, row.numpy()), size["width"], size["height"])
            for row, size in zip(given, rows, strict=True)
        )
        ap50 = precision_of_boxes(self.dataset, found).ap50
        objective = np.array(each, np.float64)
        return BoxScore(ap50 or 0.0, float(objective.mean()), objective)


@dataclass(frozen=True, eq=False)
class BoxObjective:
    """Images with boxes, and the detector's own losses of a network's numbers.

    Attributes:
        run: the network; changed in place.
        feed: where batches come from.
        losses: of its numbers.
        preprocess: of its images.
    """

    run: Run[QatNetwork]
    feed: DetectionFeed
    losses: NumberLoss
    preprocess: Preprocess

    def batches(self, epoch: int, done: int) -> Iterator[DetectionBatch]:
        """Yield the batches of an epoch from number `done` on."""
        return self.feed.batches(epoch, done)

    def loss(self, batch: DetectionBatch, epoch: int, number: int) -> BatchLoss:
        """Return the sum of the losses of one batch."""
        images, targets = batch
        mean, std = self._statistics
        inputs = ((torch.stack(images) - mean) / std).contiguous(memory_format=torch.channels_last)
        losses = self.losses(self.run.forward(inputs).float(), targets)
        parts = {name: value.detach() for name, value in losses.items()}
        return BatchLoss(torch.stack(list(losses.values())).sum(), len(images), parts)

    @cached_property
    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of the colours on the device, float32 [3, 1, 1]."""
        given = (self.preprocess.mean, self.preprocess.std)
        mean, std = (torch.tensor(values, device=self.run.ranks.device)[:, None, None] for values in given)
        return mean, std


@dataclass(frozen=True, eq=False)
class BoxImages:
    """The images of a detector's run, as `calib.qat.qat_images.QatImages`.

    Attributes:
        calibration: uint8 [N, height, width, 3], those that calibrated.
        held: the images that choose.
        feed: the images that are trained on.
        preprocess: of all of them.
        settings: of the training.
        broken: messages about held-out images that cannot be read; they choose nothing.
    """

    calibration: NDArray[np.uint8]
    held: HeldOutBoxes
    feed: DetectionFeed
    preprocess: Preprocess
    settings: QatSettings
    broken: tuple[str, ...]

    @property
    def held_out_images(self) -> int:
        """How many held-out images choose between candidates."""
        return len(self.held.images)

    @property
    def images_per_epoch(self) -> int:
        """How many images an epoch trains on, all processes together."""
        return self.steps_per_epoch * self.settings.batch * self.feed.ranks.count

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch; what does not fill one is left out."""
        wanted, step = self.settings.images, self.settings.batch * self.feed.ranks.count
        return self.feed.batches_per_epoch if wanted is None else min(self.feed.batches_per_epoch, wanted // step)

    def evaluator(self, *_: Any) -> HeldOutBoxes:
        """Return what scores candidates."""
        return self.held

    def objective(self, run: Run[QatNetwork], *_: Any) -> BoxObjective:
        """Return what a network learns."""
        return BoxObjective(run, self.feed, self.held.losses, self.preprocess)

    def digest(self) -> str:
        """Return the SHA-256 of what is on the images."""
        digest = hashlib.sha256(json.dumps(self.preprocess.to_dict()).encode())
        for dataset in (self.feed.dataset.images, self.held.dataset):
            digest.update(json.dumps([[number, dataset.coco.imgToAnns[number]] for number in dataset.ids]).encode())
        return digest.hexdigest()


def box_images(
    dataset: CocoImages,
    calibration: NDArray[np.uint8],
    rule: BoxRule,
    preprocess: Preprocess,
    settings: QatSettings,
    loading: Loading,
    ranks: Ranks,
) -> BoxImages:
    """Return the images of a run; augmentation is that of training the detector in float.

    Args:
        dataset: one split, with the labels of the detector.
        calibration: uint8 [N, height, width, 3], those that calibrated.
        rule: of the detector's boxes.
        preprocess: of its images.
        settings: of the training.
        loading: worker processes that decode.
        ranks: this process among the others.

    Raises:
        UsageError: for too few images, or when none of those that choose can be read.
    """
    trainable = dataset.trainable()
    parts = split_places(len(trainable), settings)
    held = _held_out(dataset.part(trainable[parts.held_out]), rule, preprocess)
    defaults = {**DetectionRecipe.defaults("ssdlite"), "min_size": preprocess.height, "max_size": preprocess.height}
    recipe = DetectionRecipe("ssdlite", **{**defaults, "batch": settings.batch, "seed": settings.seed})
    feed = DetectionFeed(recipe, dataset.part(trainable[parts.training]), ranks, loading.workers, loading.broken_limit)
    return BoxImages(calibration, held[0], feed, preprocess, settings, held[1])


def _held_out(dataset: CocoImages, rule: BoxRule, preprocess: Preprocess) -> tuple[HeldOutBoxes, tuple[str, ...]]:
    """Return the images that choose, and messages about those that cannot be read."""
    places, images, targets, broken = list[int](), [], [], list[str]()
    for place in range(len(dataset)):
        try:
            sample = dataset.sample(place)
        except ImageError as error:
            broken.append(str(error))
            continue
        fitted, target = fit(sample.image, sample.target, preprocess)
        places.append(place)
        images.append(prepare(fitted, preprocess))
        targets.append({name: target[name] for name in ("boxes", "labels")})
    if not images:
        raise UsageError(f"not one of {len(dataset)} held-out pictures can be read. The first: {broken[0]}")
    losses = NumberLoss(rule, preprocess.height)
    return HeldOutBoxes(dataset.part(places), np.stack(images), targets, rule, losses), tuple(broken)
