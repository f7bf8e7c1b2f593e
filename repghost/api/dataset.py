"""Sets of labelled images on disk, their splits as attributes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repghost.api.shown.html import page, table
from repghost.data import ImageSet, MissingSplitError, image_of, left_out, notes_on
from repghost.data import open_dataset as open_split
from repghost.data.subset import choose_balanced
from repghost.errors import UsageError

SPLITS = ("train", "calibration", "test")


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Labelled images of one split: a sequence of (PIL image in RGB, label).

    Attributes:
        images: the set, or the part of it that `indices` names.
        source: what the set is called.
        role: "train", "calibration" or "test": what it was asked for as.
    """

    images: ImageSet
    source: str
    role: str

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in label order."""
        return self.images.classes

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 [N]; known without decoding an image."""
        return self.images.labels

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of how the set was read: files that were not, spellings, one split that stands for another."""
        return notes_on(self.images)

    @property
    def broken(self) -> tuple[str, ...]:
        """Messages for samples that could not become images of the set."""
        return left_out(self.images)

    def take(self, count: int, seed: int = 0) -> Split:
        """Return `count` of the images, equally many of each class as far as they go.

        Args:
            count: how many.
            seed: equal seeds choose equal images.

        Raises:
            UsageError: when there are fewer.
        """
        return Split(_Chosen(self.images, choose_balanced(self.labels, count, seed)), self.source, self.role)

    def name(self, index: int) -> str:
        """Return what messages call an image."""
        return self.images.name(index)

    def __len__(self) -> int:
        """Return the number of images, broken ones included."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Return an image and its label; raises ImageError when it cannot be decoded."""
        return self.images[index]

    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        """Yield every image with its label."""
        return (self[index] for index in range(len(self)))

    def __getattr__(self, name: str) -> Any:
        """Return what the set itself says of its classes and shards."""
        if name.startswith("_") or name in ("images", "source", "role"):
            raise AttributeError(name)
        return getattr(self.images, name)

    def __repr__(self) -> str:
        return f"{self.role} of {self.source}: {len(self)} pictures of {len(self.classes)} classes"

    def _repr_html_(self) -> str:
        counts = Counter(self.labels.tolist())
        rows = [(name, str(counts[label])) for label, name in enumerate(self.classes)]
        return page(repr(self), table(("class", "#pictures"), rows))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        counts = np.bincount(self.labels, minlength=len(self.classes)).tolist()
        return {"source": self.source, "split": self.role, "pictures": len(self), "classes": list(self.classes),
                "pictures_per_class": counts, "notes": list(self.notes)}  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Chosen:
    """Some images of a set."""

    of: ImageSet
    indices: NDArray[np.int64]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.of.classes

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.of.labels[self.indices]

    def name(self, index: int) -> str:
        return self.of.name(int(self.indices[index]))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return self.of[int(self.indices[index])]

    def image(self, index: int, channels: int) -> Image.Image:
        return image_of(self.of, int(self.indices[index]), channels)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("of", "indices", "starts"):  # shards are not cut where these images are
            raise AttributeError(name)
        return getattr(self.of, name)


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A set of labelled images, opened by `repghost.open_dataset`; each split is read when it is first asked for.

    Attributes:
        path: of the set.
        class_map: a file that says the class of each image, for a split without class folders.
        val_share: of each class that is held out of a folder of classes without splits; None: a fifth.
    """

    path: Path
    class_map: Path | None = None
    val_share: float | None = None

    @cached_property
    def train(self) -> Split:
        """The images to train on.

        Raises:
            UsageError: when the set has no such split.
        """
        return self.open("train")

    @cached_property
    def calibration(self) -> Split:
        """The images that choose scales: the split of that name, or the one to train on; never the test split.

        Raises:
            UsageError: when the set has neither.
        """
        try:
            return self.open("calibration")
        except MissingSplitError:
            return self.train

    @cached_property
    def test(self) -> Split:
        """The images that accuracy is measured on; a split called val or valid stands in for test.

        Raises:
            UsageError: when the set has no such split.
        """
        return self.open("test")

    def open(self, split: str) -> Split:
        """Return a split by its name.

        Raises:
            UsageError: when the set has no such split.
        """
        return Split(open_split(self.path, split, self.class_map, self.val_share), self.path.name, split)

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of "train", "calibration" and "test" that the set has."""
        return tuple(split for split in SPLITS if self._lack(split) is None)

    def _lack(self, split: str) -> str | None:
        """Return why there is no such split, None where there is one."""
        try:
            getattr(self, split)
        except MissingSplitError as error:
            return str(error)
        return None

    def __repr__(self) -> str:
        return f"set of pictures {self.path.name}: {', '.join(self.splits) or 'no split'}"

    def _repr_html_(self) -> str:
        rows = [(split, str(len(getattr(self, split))) if split in self.splits else "none") for split in SPLITS]
        return page(repr(self), table(("split", "#pictures"), rows))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"path": str(self.path), "splits": {split: getattr(self, split).to_dict() for split in self.splits}}


SetLike: TypeAlias = str | os.PathLike[str] | Dataset


def open_dataset(
    path: str | os.PathLike[str],
    class_map: str | os.PathLike[str] | None = None,
    val_share: float | None = None,
) -> Dataset:
    """Return a set of labelled images with its splits as attributes: train, calibration, test.

    Args:
        path: a folder `split/class/picture`, or `class/picture`, which is cut in two; a folder with Fashion-MNIST's or
            CIFAR-10's files, a tar, or WebDataset shards by a name with braces.
        class_map: a file with a picture and its class a line, for a split of a folder without class folders.
        val_share: of each class that is held out of a folder of classes without splits; None: a fifth.

    Raises:
        UsageError: when the path does not exist, is no set of images, or has none of the three splits.
    """
    found = Dataset(Path(path), None if class_map is None else Path(class_map), val_share)
    lacks = [reason for reason in map(found._lack, SPLITS) if reason is not None]
    if len(lacks) == len(SPLITS):
        raise UsageError(lacks[-1])
    return found


def place_of(data: SetLike, class_map: str | os.PathLike[str] | None = None, val_share: float | None = None) -> Dataset:
    """Return a set that is not read yet, for functions that open several of its splits.

    Args:
        data: the path, or what `open_dataset` returned.
        class_map: in place of the set's own.
        val_share: as well.

    Raises:
        UsageError: for anything else, e.g. one split.
    """
    given = None if class_map is None else Path(class_map)
    if isinstance(data, Dataset):
        return Dataset(data.path, given or data.class_map, data.val_share if val_share is None else val_share)
    if isinstance(data, str | os.PathLike):
        return Dataset(Path(data), given, val_share)
    raise UsageError(
        f"data is the path of a set of pictures, or what repghost.open_dataset returned, not {type(data).__name__}."
    )
