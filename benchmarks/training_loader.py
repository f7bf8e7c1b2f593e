"""Decoding and augmenting beside timm's own loader, photograph by photograph with the same random numbers."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from timm.data import ImageDataset, create_transform
from torch.utils.data import DataLoader, Dataset

from compile.bench.statistics import paired_ratio
from repghost.data import ImageSet, open_dataset
from repghost.data.subset import choose_balanced
from repghost.training.feeds.loader import TrainingImages, train_transform
from repghost.training.feeds.seeding import seeded
from repghost.training.recipe import IMAGENET_RECIPE

SIZE, QUALITY = (500, 375), 92  # of a usual picture of ImageNet, about 50 KB
PHOTOGRAPHS, ROUNDS = 64, 60  # and one round before them that warms up
TOGETHER = 32  # photographs that either side is asked for at a time, as a loader asks for a batch


def paired_loaders(images: ImageSet) -> dict[str, Any]:
    """Return the processor seconds of our loader and timm's on the same photographs, and the ratio of their sums.

    Args:
        images: enlarged to photographs of SIZE where they are smaller.
    """
    with tempfile.TemporaryDirectory() as made:
        for place, index in enumerate(choose_balanced(images.labels, PHOTOGRAPHS, 0).tolist()):
            image, label = images[index]
            folder = Path(made) / "train" / images.classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            image.resize(SIZE, Image.Resampling.BICUBIC).save(folder / f"{place}.jpg", quality=QUALITY)
        pairs = _Pairs.of(Path(made))
        firsts = range(0, PHOTOGRAPHS, TOGETHER)
        numbers = [(epoch, first) for epoch in range(ROUNDS + 1) for first in firsts]
        loader = DataLoader(pairs, batch_size=None, sampler=numbers, num_workers=1)  # as both are used: in a worker
        seconds = np.array([pair.tolist() for pair in loader]).reshape(ROUNDS + 1, len(firsts), 2)[1:].sum(1)
    ratio = paired_ratio(seconds[:, 0], seconds[:, 1])
    ours, theirs = (1000 * float(side.mean()) / PHOTOGRAPHS for side in seconds.T)
    return {"ratio": ratio.pop("median"), **ratio, "ms": {"ours": ours, "timm": theirs}, "size": list(SIZE),
            "photographs": PHOTOGRAPHS, "rounds": ROUNDS}  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Pairs(Dataset[Any]):
    """What a few photographs cost either side; which is first changes from one time to the next."""

    ours: TrainingImages
    theirs: Any

    @classmethod
    def of(cls, folder: Path) -> _Pairs:
        augmentation = IMAGENET_RECIPE.augmentation
        assert augmentation is not None
        transform = create_transform(
            IMAGENET_RECIPE.preprocess.size, is_training=True, color_jitter=augmentation.color_jitter,
            interpolation=augmentation.train_interpolation, use_prefetcher=True,
        )  # fmt: skip
        ours = TrainingImages(open_dataset(folder, "train"), train_transform(IMAGENET_RECIPE), 0)
        return cls(ours, ImageDataset(str(folder / "train"), transform=transform))

    def __getitem__(self, number: tuple[int, int]) -> Any:
        epoch, first = number
        places = range(first, min(first + TOGETHER, PHOTOGRAPHS))
        found = dict.fromkeys(("ours", "timm"), 0.0)
        for side in ("ours", "timm") if (epoch + first // TOGETHER) % 2 else ("timm", "ours"):
            if side == "ours":
                begun = time.process_time()
                self.ours.__getitems__([(epoch, place, 0) for place in places])
                found[side] = time.process_time() - begun
                continue
            batch = []  # kept, as the other side's is: memory that is used again is quicker than new memory
            for place in places:
                with seeded(0, epoch, place):
                    begun = time.process_time()
                    batch.append(self.theirs[place])
                    found[side] += time.process_time() - begun
        return np.array([found["ours"], found["timm"]])
