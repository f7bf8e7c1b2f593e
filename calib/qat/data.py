"""The images of quantization-aware training: split into calibration, held-out and training, and fed in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from calib.qat.settings import QatSettings
from repghost.data.base import ImageSet, refuse_empty
from repghost.data.images.augment import random_crop, random_flip
from repghost.data.images.preprocess import Preprocess
from repghost.data.subset import choose_balanced
from repghost.distributed.ranks import Ranks
from repghost.errors import UsageError, option
from repghost.training.feeds.base import Batch
from repghost.training.feeds.collate import collate_prepared
from repghost.training.feeds.loader import PreparedImages
from repghost.training.options import Loading

PreparedBatch = tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]  # images, labels, messages


@dataclass(frozen=True)
class Split:
    """Indices of one set of images; `held_out` shares none with the other two.

    Attributes:
        calibration: the first scales come from them; those that `repghost quantize` takes with the same seed.
        held_out: they choose between candidates.
        training: all but the held-out ones.
    """

    calibration: NDArray[np.int64]
    held_out: NDArray[np.int64]
    training: NDArray[np.int64]


def split_images(labels: NDArray[np.int64], settings: QatSettings) -> Split:
    """Return the parts of a set, chosen by the seed and balanced over the classes; small sets get small parts.

    With the same seed, `repghost train` holds out these images first. So none that is held out here was trained on
    there, as long as it held out at least as many as calibrate and choose here.

    Raises:
        UsageError: when fewer than four images are there.
    """
    held, observe = _sizes(len(labels), settings)
    calibration = choose_balanced(labels, observe, settings.seed)
    chosen = choose_balanced(labels, observe + held, settings.seed)
    held_out = np.setdiff1d(chosen, calibration)
    return Split(calibration, held_out, np.setdiff1d(np.arange(len(labels)), held_out))


def split_places(count: int, settings: QatSettings) -> Split:
    """Return the parts of so many images with boxes: the first ones calibrate, and the seed chooses the held-out ones.

    Raises:
        UsageError: when fewer than four images are there.
    """
    held, observe = _sizes(count, settings)
    rest = np.random.default_rng(settings.seed).permutation(np.arange(observe, count))
    held_out = np.sort(rest[:held])
    return Split(np.arange(observe), held_out, np.setdiff1d(np.arange(count), held_out))


def _sizes(count: int, settings: QatSettings) -> tuple[int, int]:
    """Return how many images of a set are held out, and how many calibrate."""
    if count < 4:
        raise UsageError(
            f"{count} pictures are too few: some calibrate, others choose, the rest trains; a few thousand are "
            f"usual. Give {option('data')} a larger set."
        )
    held = max(1, min(settings.held_out, count // 4))
    return held, max(1, min(settings.schedule.observe, count - held - 1))


@dataclass(frozen=True, eq=False)
class TrainingFeed:
    """Batches of training images, decoded when they are needed.

    Args:
        dataset: where they come from.
        indices: which of it are trained on.
        preprocess: what is done to each before augmentation.
        settings: batch (of each process), seed and augmentation.
        loading: worker processes that decode; none of it changes a result.
        ranks: this process among the others.
    """

    dataset: ImageSet
    indices: NDArray[np.int64]
    preprocess: Preprocess
    settings: QatSettings
    loading: Loading = Loading(workers=0)  # noqa: RUF009 - immutable
    ranks: Ranks = Ranks()  # noqa: RUF009 - immutable

    @property
    def images_per_epoch(self) -> int:
        """Images of an epoch."""
        wanted = self.settings.images
        return len(self.indices) if wanted is None else min(wanted, len(self.indices))

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch, the last one perhaps smaller; several processes leave out what does not fill one."""
        if self.ranks.count == 1:
            return -(-self.images_per_epoch // self.settings.batch)
        return self.images_per_epoch // (self.settings.batch * self.ranks.count)

    def batches(self, epoch: int, done: int = 0) -> Iterator[Batch]:
        """Yield an epoch's batches from number `done` on; they depend on the seed and the number of the epoch alone.

        Where images are changed at random, those already done are decoded again: how many of them are broken decides
        what is drawn.

        Raises:
            UsageError: when each image of a batch is broken.
        """
        settings, ranks = self.settings, self.ranks
        random = np.random.default_rng([settings.seed, epoch])
        order = random.permutation(self.indices)[: self.images_per_epoch]
        if ranks.count > 1:  # one process alone goes on with the generator of the order
            random = np.random.default_rng([settings.seed, epoch, ranks.rank])
        starts = [(step * ranks.count + ranks.rank) * settings.batch for step in range(self.steps_per_epoch)]
        own = [order[start : start + settings.batch].tolist() for start in starts]
        first = 0 if settings.crop_padding or settings.flip else done
        for step, (images, labels, messages) in enumerate(self._loader(own[first:]), first):
            refuse_empty(len(labels), messages)
            images = random_crop(images, settings.crop_padding, random)
            if settings.flip:
                images = random_flip(images, random)
            if step >= done:
                targets = torch.from_numpy(labels).to(ranks.device)
                yield self.normalized(images), targets, targets

    def normalized(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Return the network's input on the device, float32 [N, C, H, W] in channels-last memory.

        Args:
            images: uint8 [N, H, W, C].
        """
        if self.ranks.device.type != "cpu":
            return self.normalized_there(images)
        return torch.from_numpy(self.preprocess.normalize(images)).contiguous(memory_format=torch.channels_last)

    def normalized_there(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Return the same, computed on the device, to which a quarter of the bytes goes; rounded as it likes."""
        scale, shift = self._scale_and_shift
        x = torch.from_numpy(images).to(self.ranks.device, non_blocking=True).permute(0, 3, 1, 2).float()
        return x.mul_(scale).add_(shift).contiguous(memory_format=torch.channels_last)

    @cached_property
    def _scale_and_shift(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return 1 / (255 std) and -mean / std on the device, float32 [C, 1, 1]."""
        mean, std = (np.asarray(values)[:, None, None] for values in (self.preprocess.mean, self.preprocess.std))
        values = (1.0 / (255.0 * std), -mean / std)
        scale, shift = (torch.tensor(value, dtype=torch.float32, device=self.ranks.device) for value in values)
        return scale, shift

    def _loader(
        self, batches: list[list[int]]
    ) -> Iterable[tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]]:
        """Return batches of prepared images with their labels and messages about broken ones."""
        return DataLoader(
            PreparedImages(self.dataset, self.preprocess),
            batch_sampler=batches,
            collate_fn=collate_prepared,
            num_workers=self.loading.workers,
            generator=torch.Generator(),  # else the loader draws from the global one
        )
