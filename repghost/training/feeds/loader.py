"""Images that are decoded again in every epoch by worker processes and augmented by timm.

What happens to an image depends on (seed, epoch, image) alone: neither the number of workers nor of processes nor an
interruption changes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from timm.data import Mixup, create_transform
from timm.data.loader import PrefetchLoader
from timm.data.random_erasing import RandomErasing
from torch.utils.data import DataLoader, Dataset

from repghost.channels import GREY, RGB, keeps_bands
from repghost.data import ImageError, ImageSet, image_of, left_out
from repghost.data.images.preprocess import Preprocess
from repghost.distributed.ranks import Ranks
from repghost.errors import RepGhostError, UsageError, option
from repghost.training.feeds.base import Batch, epoch_order
from repghost.training.feeds.collate import collate_prepared, collate_training
from repghost.training.feeds.colours_alone import change_colours_alone
from repghost.training.feeds.quick_steps import quicker
from repghost.training.feeds.seeding import seed_of, seeded, seeded_by
from repghost.training.options import Loading
from repghost.training.recipe import Recipe
from repghost.training.recipe_parts import Augmentation

MIXING, ERASING = 1, 2  # keep the random numbers of one step apart


def train_transform(recipe: Recipe) -> Any:
    """Return timm's transform from an image to a uint8 array [channels, size, size]; erasing and mixing come later.

    Raises:
        UsageError: when timm does not understand the policy in `aa`.
    """
    augmentation, preprocess = _augmentation(recipe), recipe.preprocess
    interpolation = preprocess.interpolation if augmentation.no_aug else augmentation.train_interpolation
    try:
        transform = create_transform(
            preprocess.size,
            is_training=True,
            no_aug=augmentation.no_aug,
            train_crop_mode=augmentation.train_crop_mode,
            scale=augmentation.scale,
            ratio=augmentation.ratio,
            hflip=augmentation.hflip,
            vflip=augmentation.vflip,
            color_jitter=augmentation.color_jitter,
            auto_augment=augmentation.aa,
            interpolation=interpolation,
            mean=preprocess.mean,
            std=preprocess.std,
            use_prefetcher=True,
        )
        channels = preprocess.channels
        return change_colours_alone(quicker(transform), channels) if keeps_bands(channels) else quicker(transform)
    except (AssertionError, ValueError, KeyError, IndexError, TypeError) as error:
        raise UsageError(
            f"timm cannot build these augmentations ({type(error).__name__}: {error}); a policy looks like "
            "rand-m9-mstd0.5, augmix-m5-w4-d2, original or v0."
        ) from error


Augmented: TypeAlias = tuple[NDArray[np.uint8], int, tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class TrainingImages(Dataset[Any]):
    """Augmented images by (epoch, index, repetition); a broken one is replaced by the next that can be read."""

    images: ImageSet
    transform: Any
    seed: int
    channels: int = RGB  # that the network takes

    def __getitem__(self, key: tuple[int, int, int]) -> Augmented:
        """Return uint8 [channels, size, size], the label, and messages about broken images."""
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: list[tuple[int, int, int]]) -> list[Augmented]:
        """Return the images of a batch; all seeds come first, while what makes them is in the processor's cache."""
        seeds = [seed_of(self.seed, epoch, index, *([repeated] if repeated else [])) for epoch, index, repeated in keys]
        return [self._augmented(index, seed) for (_, index, _), seed in zip(keys, seeds, strict=True)]

    def _augmented(self, index: int, seed: int) -> Augmented:
        broken: list[str] = []
        for place in range(index, index + len(self.images)):
            number = place % len(self.images)
            try:
                image, label = image_of(self.images, number, self.channels), int(self.images.labels[number])
                image = image.convert("L") if self.channels == GREY else image
            except ImageError as error:
                broken.append(_named(self.images, number, error))
                continue
            with seeded_by(seed):
                return np.asarray(self.transform(image), np.uint8), label, tuple(broken)
        raise UsageError(f"not one picture of {len(self.images)} can be read. The first: {broken[0]}")


@dataclass(frozen=True, eq=False)
class PreparedImages(Dataset[Any]):
    """Images as the network is given them in deployment; a broken one is left out."""

    images: ImageSet
    preprocess: Preprocess

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8] | None, int, tuple[str, ...]]:
        """Return uint8 [size, size, channels] or None, the label, and a message about a broken image."""
        try:
            image = image_of(self.images, index, self.preprocess.channels)
            return self.preprocess.apply(image), int(self.images.labels[index]), ()
        except ImageError as error:
            return None, int(self.images.labels[index]), (_named(self.images, index, error),)


@dataclass
class _Order:
    """The batches of the epoch that is about to be read; the loader asks for them when its iteration begins."""

    batches: list[list[tuple[int, int, int]]] = field(default_factory=list)

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def _leave_the_group(worker: int) -> None:
    """Take a worker out of its run's process group: Ctrl-C and torchrun's SIGTERM are the run's to hear.

    A worker that they killed would end the step that the run is in, and with it the state that is written after it.
    """
    os.setpgid(0, 0)


class LoaderFeed:
    """Batches from worker processes.

    Args:
        recipe: batch, seed and augmentation.
        training: the images trained on.
        validation: those an epoch is evaluated on.
        classes: of the network; mixed targets have so many columns.
        loading: workers and limits.
        ranks: this process among the others.
    """

    def __init__(
        self, recipe: Recipe, training: ImageSet, validation: ImageSet, classes: int, loading: Loading, ranks: Ranks
    ) -> None:
        self.recipe, self.loading, self.ranks = recipe, loading, ranks
        self.count, self._starts = len(training), getattr(training, "starts", None)
        self._messages: dict[str, None] = {}
        if ranks.first:  # samples of shards that have no image or no label
            self._note((*left_out(training), *left_out(validation)))
        self._order = _Order()
        shared: dict[str, Any] = {
            "num_workers": loading.workers,
            "persistent_workers": loading.workers > 0,
            "pin_memory": loading.pin_memory,
            "worker_init_fn": _leave_the_group,
            "generator": torch.Generator(),  # else the loader draws from the generator that dropout uses
        }
        self._training = DataLoader(
            TrainingImages(training, train_transform(recipe), recipe.seed, recipe.preprocess.channels),
            batch_sampler=self._order,
            collate_fn=collate_training,
            **shared,
        )
        own = list(range(ranks.rank, len(validation), ranks.count))
        self._validation = DataLoader(
            PreparedImages(validation, recipe.preprocess),
            batch_size=loading.validation_batch,
            sampler=own,
            collate_fn=collate_prepared,
            **shared,
        )
        self._finish = _Finish(recipe, classes, ranks)

    @property
    def batches_per_epoch(self) -> int:
        """Batches of this process in one epoch."""
        return self.count // (self.recipe.batch * self.ranks.count)

    @property
    def broken(self) -> tuple[str, ...]:
        """Messages about images that could not be decoded so far."""
        return tuple(self._messages)

    def batches(self, epoch: int, done: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `done` on."""
        seed, batch, ranks = self.recipe.seed, self.recipe.batch, self.ranks
        repeats = max(1, _augmentation(self.recipe).aug_repeats)
        order = epoch_order(self.count, seed, epoch, batch, ranks.count, self._starts, repeats)
        own = order[done:, ranks.rank]
        self._order.batches = [[(epoch, *divmod(place, repeats)) for place in row] for row in own.tolist()]
        prefetched = PrefetchLoader(
            _WithoutMessages(self._training, self._note),
            self.recipe.preprocess.mean,
            self.recipe.preprocess.std,
            channels=self.recipe.preprocess.channels,
            device=self.ranks.device,
        )
        for step, (inputs, labels) in enumerate(prefetched, done):
            yield self._finish(inputs, labels, epoch, step)

    def evaluated(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        """Yield this process's share of the images an epoch is evaluated on."""
        for images, labels, messages in self._validation:
            self._note(messages)
            if len(labels):
                yield images, labels

    def _note(self, messages: tuple[str, ...]) -> None:
        """Remember broken images once each; too many end the run."""
        self._messages.update(dict.fromkeys(messages))
        if len(self._messages) > self.loading.broken_limit:
            raise RepGhostError(
                f"{len(self._messages)} pictures are broken, {self.loading.broken_limit} are allowed "
                f"({option('broken_limit')}). The last: {next(reversed(self._messages))}"
            )


@dataclass(frozen=True, eq=False)
class _WithoutMessages:
    """The loader as timm's prefetcher wants it: pairs."""

    loader: Any
    note: Any

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for images, labels, messages in self.loader:
            self.note(messages)
            yield images, labels


class _Finish:
    """Erasing and mixing of a normalized batch on the device, with random numbers of that step alone."""

    def __init__(self, recipe: Recipe, classes: int, ranks: Ranks) -> None:
        self.recipe, self.ranks = recipe, ranks
        augmentation = _augmentation(recipe)
        self.erasing = None
        if augmentation.reprob and not augmentation.no_aug:
            self.erasing = RandomErasing(
                augmentation.reprob, mode=augmentation.remode, max_count=augmentation.recount, device=ranks.device
            )
        self.mixup = make_mixup(recipe, classes) if augmentation.mixes else None

    def __call__(self, inputs: torch.Tensor, labels: torch.Tensor, epoch: int, step: int) -> Batch:
        """Return the batch that is trained on."""
        key = (self.recipe.seed, epoch, step, self.ranks.rank)
        if self.erasing is not None:
            with seeded(*key, ERASING):
                inputs = self.erasing(inputs)
        off = _augmentation(self.recipe).mixup_off_epoch
        if self.mixup is None:
            return inputs, labels, labels
        self.mixup.mixup_enabled = not off or epoch < off
        with seeded(*key, MIXING):
            inputs, targets = self.mixup(inputs, labels)
        return inputs, labels, targets


def make_mixup(recipe: Recipe, classes: int) -> Any:
    """Return timm's Mixup of a recipe; its targets carry the label smoothing."""
    augmentation = _augmentation(recipe)
    if recipe.batch % 2:
        raise UsageError(f"mixup and cutmix need an even {option('batch')}, not {recipe.batch}.")
    return Mixup(
        mixup_alpha=augmentation.mixup,
        cutmix_alpha=augmentation.cutmix,
        cutmix_minmax=augmentation.cutmix_minmax,
        prob=augmentation.mixup_prob,
        switch_prob=augmentation.mixup_switch_prob,
        mode=augmentation.mixup_mode,
        label_smoothing=recipe.label_smoothing,
        num_classes=classes,
    )


def _augmentation(recipe: Recipe) -> Augmentation:
    if recipe.augmentation is None:
        raise UsageError(f"recipe {recipe.name!r} prepares its pictures in memory.")
    return recipe.augmentation


def _named(images: ImageSet, index: int, error: ImageError) -> str:
    message = str(error)
    return message if images.name(index) in message else f"{images.name(index)}: {message}"
