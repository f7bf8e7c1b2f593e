"""Where images come from: a set whose classes have names, or a stream of images with numbers or nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repghost.api.accepted.images import Batch, ImagesLike, Reader
from repghost.api.dataset import Dataset, Split
from repghost.channels import RGB
from repghost.data import ImageSet, MissingSplitError, left_out, prepare_in_parts, to_channels
from repghost.data.formats.find_images import is_image
from repghost.data.subset import choose_balanced
from repghost.errors import UsageError
from repghost.evaluation.classes import match_names


class Source(Protocol):
    """Images to read for a network."""

    @property
    def name(self) -> str:
        """What the images are called."""
        ...

    @property
    def count(self) -> int | None:
        """How many there are; None where nobody knows before they are read."""
        ...

    def batches(self, reader: Reader, limit: int | None, seed: int) -> Iterator[Batch]:
        """Yield images, at most `limit` of them."""
        ...


@dataclass(frozen=True, eq=False)
class SetSource:
    """A set of labelled images whose classes have names.

    Attributes:
        dataset: the set.
        name: of it.
        split: which part of a set that is.
    """

    dataset: ImageSet
    name: str
    split: str

    @property
    def count(self) -> int:
        """How many images there are, broken ones included."""
        return len(self.dataset)

    def chosen(self, limit: int | None, seed: int) -> NDArray[np.int64]:
        """Return the places of the images that are read: all, or equally many of each class, chosen by the seed."""
        if limit is None:
            return np.arange(len(self.dataset))
        return choose_balanced(self.dataset.labels, limit, seed)

    def batches(self, reader: Reader, limit: int | None, seed: int) -> Iterator[Batch]:
        """Yield the chosen images, decoded."""
        said = left_out(self.dataset)
        for part in prepare_in_parts(self.dataset, reader.preprocess, self.chosen(limit, seed), reader.batch):
            names = tuple(self.dataset.name(int(index)) for index in part.indices)
            yield Batch(part.images, part.labels, names, (*said, *part.broken))
            said = ()


@dataclass(frozen=True, eq=False)
class StreamSource:
    """Images as they come: files, arrays, tensors, a loader.

    Attributes:
        stream: what `Reader.read` takes.
        name: what messages call it.
        classes: the names that its labels stand for; None where nothing says them.
        places: int64 [classes], of each one among a network's; None: a label is such a place itself.
    """

    stream: ImagesLike
    name: str
    classes: tuple[str, ...] | None = None
    places: NDArray[np.int64] | None = None

    @property
    def count(self) -> int | None:
        """None: how many images there are is known when they are read."""
        return None

    def batches(self, reader: Reader, limit: int | None, seed: int) -> Iterator[Batch]:
        """Yield the first `limit` images; the seed chooses nothing here.

        Raises:
            UsageError: for a label that none of the classes has.
        """
        for batch in reader.read(self.stream, limit):
            if self.places is None or batch.labels is None or not len(batch.labels):
                yield batch
                continue
            if not 0 <= int(batch.labels.min()) <= int(batch.labels.max()) < len(self.places):
                raise UsageError(
                    f"the images have labels from {batch.labels.min()} to {batch.labels.max()}, and their set names "
                    f"{len(self.places)} classes."
                )
            yield replace(batch, labels=self.places[batch.labels])

    def matched(self, own: tuple[str, ...]) -> StreamSource:
        """Return the stream with labels that are places among the classes of a network, by their names.

        Where the network lacks a name, as where folders are called by numbers of ImageNet, labels stay as they are.

        Args:
            own: the names of the network's classes.
        """
        if self.classes is None or self.classes == own or not set(self.classes) <= set(own):
            return self
        return replace(self, places=match_names(self.classes, own))


@dataclass(frozen=True, eq=False)
class ForeignSet:
    """A dataset of torchvision's kind as a set of ours: PIL images with labels, names of classes.

    Attributes:
        of: the dataset.
        classes: in label order.
        labels: int64 [N].
    """

    of: Any
    classes: tuple[str, ...]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Return the image (RGB) and its label."""
        return self.image(index), int(self.labels[index])

    def image(self, index: int, channels: int = RGB) -> Image.Image:
        """Return the image as a network of so many channels takes it."""
        return to_channels(self.of[index][0], channels)

    def name(self, index: int) -> str:
        """Return the path of an image, or its number."""
        samples = getattr(self.of, "samples", None)
        return str(samples[index][0]) if samples is not None else f"image {index}"


def open_source(data: ImagesLike, calibrates: bool) -> SetSource | StreamSource:
    """Return where images come from.

    Args:
        data: a set that `open_dataset` returned or one of its splits, the path of a set or of a picture, images in
            any form, or a dataset of torchvision or timm.
        calibrates: whether they choose scales: then the split to take is calibration or train, else it is test.

    Raises:
        UsageError: when it is no images, or the set has no such split.
    """
    if isinstance(data, str | os.PathLike):
        path = Path(data)
        if path.is_file() and is_image(path.name):
            return StreamSource([path], path.name)
        data = Dataset(path)
        if calibrates and (loose := _loose(path)):
            return StreamSource(loose, path.name)
    if isinstance(data, Dataset):
        data = data.calibration if calibrates else data.test
    if isinstance(data, Split):
        return SetSource(data, data.source, data.role)
    if _is_image_set(data):
        return SetSource(data, type(data).__name__, "given")
    wrapped = _of_torchvision(data)
    if wrapped is not None:
        return SetSource(wrapped, type(data).__name__, "given")
    return StreamSource(data, type(data).__name__, _class_names(data))


def _class_names(data: Any) -> tuple[str, ...] | None:
    """Return the names that the labels of a loader, a subset or a dataset stand for; None where nothing says them."""
    while type(data) in _wrappers():
        data = data.dataset
    if getattr(data, "target_transform", None) is not None:
        return None  # what it makes of a label nobody knows
    names = getattr(data, "classes", None)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return None
    return tuple(names)


def _wrappers() -> tuple[type, ...]:
    """Return what of torch hands on the labels of its `dataset`; nothing without torch."""
    data = sys.modules.get("torch.utils.data")
    return () if data is None else (data.DataLoader, data.Subset)


def _loose(folder: Path) -> list[Path]:
    """Return the pictures that lie in a folder itself, of a folder that is no set with splits."""
    if not folder.is_dir():
        return []
    try:
        _ = Dataset(folder).calibration
    except MissingSplitError:
        return sorted(path for path in folder.iterdir() if is_image(path.name) and path.is_file())
    except UsageError:
        return []
    return []


def _is_image_set(data: object) -> bool:
    """Return whether a value is what `repghost.data.ImageSet` describes."""
    return isinstance(getattr(data, "labels", None), np.ndarray) and all(
        hasattr(data, name) for name in ("classes", "name", "__len__", "__getitem__")
    )


def _of_torchvision(data: Any) -> ForeignSet | None:
    """Return a dataset that knows its classes and labels and gives PIL images; None for any other."""
    classes, targets = getattr(data, "classes", None), getattr(data, "targets", None)
    if not isinstance(classes, list | tuple) or targets is None or not hasattr(data, "__getitem__") or not len(data):
        return None
    if not all(isinstance(name, str) for name in classes) or not isinstance(data[0][0], Image.Image):
        return None
    labels = np.asarray(targets, np.int64)
    fits = labels.shape == (len(data),) and 0 <= int(labels.min()) <= int(labels.max()) < len(classes)
    return ForeignSet(data, tuple(classes), labels) if fits else None
