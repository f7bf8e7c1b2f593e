"""Batches for a detector: order, flips and samplers depend on (seed, epoch, place) alone, so a run can be resumed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from repghost.data.images.decode import ImageError
from repghost.detection.data.augment import augmented
from repghost.detection.data.coco import CocoImages, Sample
from repghost.detection.recipe import DetectionRecipe
from repghost.detection.ssdlite import detector_preprocess, fit
from repghost.distributed.ranks import Ranks
from repghost.errors import RepGhostError, UsageError, option
from repghost.training.feeds.base import epoch_order
from repghost.training.feeds.seeding import seeded

DetectionBatch = tuple[list[Tensor], list[dict[str, Tensor]]]


def flipped(sample: Sample) -> Sample:
    """Return an image mirrored left to right with its boxes and masks."""
    width = sample.image.shape[2]
    boxes = sample.target["boxes"].clone()
    boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    target = {**sample.target, "boxes": boxes}
    if "masks" in target:
        target["masks"] = target["masks"].flip(2)
    return Sample(sample.image.flip(2), target)


def _fitted(sample: Sample, recipe: DetectionRecipe) -> Sample:
    """Return an image as a light detector takes it: augmented, and of its size."""
    changed = augmented(sample, recipe.crop, recipe.colour)
    image, target = fit(changed.image, changed.target, detector_preprocess(recipe.min_size))
    return Sample(image, target)


class DetectionFeed:
    """Training batches of one process.

    Args:
        recipe: batch, seed and flips.
        dataset: the images; those without an object to learn are left out.
        ranks: this process among those of torchrun.
        workers: processes that decode; 0 decodes in this one.
        broken_limit: images of this process that may be broken before the run stops.

    Raises:
        UsageError: when the images do not fill one step.
    """

    def __init__(
        self, recipe: DetectionRecipe, dataset: CocoImages, ranks: Ranks, workers: int = 0, broken_limit: int = 50
    ) -> None:
        self.recipe, self.ranks, self.workers, self.broken_limit = recipe, ranks, workers, broken_limit
        self.dataset = _Flipping(dataset, dataset.trainable().tolist(), recipe)
        self.batches_per_epoch = len(self.dataset) // (recipe.batch * ranks.count)
        self._broken: dict[str, None] = {}
        if self.batches_per_epoch < recipe.accumulate:
            times = f" x {recipe.accumulate}" if recipe.accumulate > 1 else ""
            raise UsageError(
                f"{len(self.dataset)} pictures with objects do not fill one step of {recipe.batch} x {ranks.count} "
                f"processes{times}; lower {option('batch')}."
            )

    @property
    def broken(self) -> tuple[str, ...]:
        """Messages about images that could not be decoded so far."""
        return tuple(self._broken)

    def batches(self, epoch: int, done: int) -> Iterator[DetectionBatch]:
        """Yield the batches of an epoch from step `done` on, on the device of this process."""
        order = epoch_order(len(self.dataset), self.recipe.seed, epoch, self.recipe.batch, self.ranks.count)
        keys = [[(epoch, place) for place in batch] for batch in order[done:, self.ranks.rank].tolist()]
        loader: Any = DataLoader(
            self.dataset,
            batch_sampler=keys,
            num_workers=self.workers,
            collate_fn=list,
            generator=torch.Generator(),  # else the loader draws from the global generator
        )
        for rows in loader:
            self._note([message for _, messages in rows for message in messages])
            targets = [
                {name: value.to(self.ranks.device) for name, value in sample.target.items() if name != "image_id"}
                for sample, _ in rows
            ]
            yield [sample.image.to(self.ranks.device) for sample, _ in rows], targets

    def _note(self, messages: list[str]) -> None:
        self._broken.update(dict.fromkeys(messages))
        if len(self._broken) > self.broken_limit:
            raise RepGhostError(
                f"{len(self._broken)} pictures are broken, {self.broken_limit} are allowed ({option('broken_limit')}). "
                f"The last: {next(reversed(self._broken))}"
            )


class _Flipping(Dataset[Any]):
    """Images with objects by (epoch, place); a broken one is replaced by the next that can be read."""

    def __init__(self, images: CocoImages, places: list[int], recipe: DetectionRecipe) -> None:
        self.images, self.places, self.recipe = images, places, recipe

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Sample, list[str]]:
        epoch, place = key
        broken: list[str] = []
        for step in range(len(self.places)):
            try:
                sample = self.images.sample(self.places[(place + step) % len(self.places)])
            except ImageError as error:
                broken.append(str(error))
                continue
            with seeded(self.recipe.seed, epoch, place):
                flip = bool(torch.rand(()) < self.recipe.flip)
                sample = flipped(sample) if flip else sample
                return (_fitted(sample, self.recipe) if self.recipe.kind == "ssdlite" else sample), broken
        raise UsageError(f"not one picture of {len(self.places)} can be read. The first: {broken[0]}")
