"""The images of quantization-aware training: split into calibration, held-out and training, and fed in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from calib.qat.settings import QatSettings
from repghost.data.base import ImageSet, prepare
from repghost.data.images.augment import random_crop, random_flip
from repghost.data.images.preprocess import Preprocess
from repghost.data.subset import choose_balanced
from repghost.errors import UsageError

Batch = tuple[torch.Tensor, torch.Tensor]  # normalized float32 [N, 3, H, W], channels last; labels int64 [N]


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
    if len(labels) < 4:
        raise UsageError(
            f"{len(labels)} pictures are too few: some calibrate, others choose, the rest trains; a few thousand are "
            "usual. Give --data a larger set."
        )
    held = max(1, min(settings.held_out, len(labels) // 4))
    observe = max(1, min(settings.schedule.observe, len(labels) - held - 1))
    calibration = choose_balanced(labels, observe, settings.seed)
    chosen = choose_balanced(labels, observe + held, settings.seed)
    held_out = np.setdiff1d(chosen, calibration)
    return Split(calibration, held_out, np.setdiff1d(np.arange(len(labels)), held_out))


@dataclass(frozen=True, eq=False)
class TrainingFeed:
    """Batches of training images, decoded when they are needed.

    Args:
        dataset: where they come from.
        indices: which of it are trained on.
        preprocess: what is done to each before augmentation.
        settings: batch, seed and augmentation.
    """

    dataset: ImageSet
    indices: NDArray[np.int64]
    preprocess: Preprocess
    settings: QatSettings

    @property
    def images_per_epoch(self) -> int:
        """Images of an epoch."""
        wanted = self.settings.images
        return len(self.indices) if wanted is None else min(wanted, len(self.indices))

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch, the last one perhaps smaller."""
        return -(-self.images_per_epoch // self.settings.batch)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield an epoch's batches; they depend on the seed and the number of the epoch alone."""
        settings = self.settings
        random = np.random.default_rng([settings.seed, epoch])
        order = random.permutation(self.indices)[: self.images_per_epoch]
        for start in range(0, len(order), settings.batch):
            prepared = prepare(self.dataset, self.preprocess, order[start : start + settings.batch])
            images = random_crop(prepared.images, settings.crop_padding, random)
            if settings.flip:
                images = random_flip(images, random)
            x = torch.from_numpy(self.preprocess.normalize(images))
            yield x.contiguous(memory_format=torch.channels_last), torch.from_numpy(prepared.labels)
