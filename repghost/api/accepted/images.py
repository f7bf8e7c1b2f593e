"""Images as people have them, read as the bytes that a network is given: files, PIL, numpy, torch, loaders, sets."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repghost.api.accepted.pixels import Pixels, as_prepared, is_array, is_tensor, to_bytes
from repghost.data.images.decode import ImageError, read_image
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.evaluation.accuracy import BATCH

# A path of a picture, a PIL image, an array, a tensor; an iterable of them or of (image, label); a DataLoader.
ImagesLike: TypeAlias = Any
IMAGE_KEYS, LABEL_KEYS = ("image", "images", "img", "pixel_values"), ("label", "labels", "target")


@dataclass(frozen=True, eq=False)
class Batch:
    """Some images as the network is given them.

    Attributes:
        images: uint8 [N, height, width, channels].
        labels: int64 [N]; None where nothing says them.
        names: what messages call each image.
        broken: what is said of images that could not be decoded; they are not among `images`.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    names: tuple[str, ...]
    broken: tuple[str, ...] = ()

    def first(self, count: int) -> Batch:
        """Return the first `count` images."""
        labels = None if self.labels is None else self.labels[:count]
        return Batch(self.images[:count], labels, self.names[:count], self.broken)


@dataclass(frozen=True, eq=False)
class Reader:
    """How images become bytes.

    Attributes:
        preprocess: what is done to an image that is not prepared.
        pixels: the range of float images; None where they have to say it themselves.
        batch: images that are read before they are handed on.
    """

    preprocess: Preprocess
    pixels: Pixels | None = None
    batch: int = BATCH

    def read(self, data: ImagesLike, limit: int | None = None) -> Iterator[Batch]:
        """Yield the images of anything in batches, at most `limit` of them.

        Raises:
            UsageError: for what is no image, or mixes images with and without labels.
        """
        left = limit
        for batch in self._batches(data):
            yield batch if left is None else batch.first(left)
            left = None if left is None else left - len(batch.images)
            if left is not None and left <= 0:
                return

    def one_or_many(self, image: ImagesLike) -> NDArray[np.uint8]:
        """Return an image or a batch as uint8 [N, height, width, channels].

        Raises:
            ImageError: when a file is no image.
            UsageError: for anything else that is no image.
        """
        if is_array(image):
            return self._prepared(to_bytes(image, self.preprocess, self.pixels))
        if isinstance(image, str | os.PathLike):
            return self.preprocess.apply(read_image(Path(image), channels=self.preprocess.channels))[None]
        if isinstance(image, Image.Image):
            return self.preprocess.apply(image)[None]
        raise UsageError(
            f"an image is a path, a PIL image, a numpy array or a torch tensor, not {type(image).__name__}."
        )

    def _batches(self, data: ImagesLike) -> Iterator[Batch]:
        if is_pair(data):
            yield from self._in_parts(*data)
            return
        number, items = 0, list[Any]()
        for item in [data] if is_single(data) else _iterate(data):
            items.append(item)
            if sum(map(_count, items)) >= self.batch:
                yield self._of_items(items, number)
                number, items = number + sum(map(_count, items)), []
        if items:
            yield self._of_items(items, number)

    def _in_parts(self, images: Any, labels: Any) -> Iterator[Batch]:
        """Yield images and their labels, a part at a time."""
        given = labels_of(labels)
        if len(images) != len(given):
            raise UsageError(f"{len(images)} images and {len(given)} labels do not belong together.")
        for start in range(0, len(given), self.batch):
            part, its = images[start : start + self.batch], given[start : start + self.batch]
            yield self._of_items([(part, its)] if is_array(part) else list(zip(part, its, strict=True)), start)

    def _of_items(self, items: list[Any], number: int) -> Batch:
        """Return images that came one by one or in batches.

        Args:
            items: each an image, a batch of them, or either with labels.
            number: of the first one, for names.
        """
        images: list[NDArray[np.uint8]] = []
        labels: list[NDArray[np.int64]] = []
        names: list[str] = []
        broken: list[str] = []
        for item in items:
            image, label = split_item(item)
            try:
                read = self.one_or_many(image)
            except ImageError as error:
                broken.append(str(error))
                continue
            names += _names(image, number + len(names) + len(broken), len(read))
            images.append(read)
            if label is not None:
                labels.append(_as_many(label, len(read)))
        if labels and len(labels) != len(images):
            raise UsageError("some of the images have labels and some have none; give labels for all or for none.")
        shape = (0, *self.preprocess.shape)
        together = np.concatenate(images) if images else np.empty(shape, np.uint8)
        return Batch(together, np.concatenate(labels) if labels else None, tuple(names), tuple(broken))

    def _prepared(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return images of the network's size as they are, others resized and cropped."""
        ready = as_prepared(images, self.preprocess)
        if ready is not None:
            return ready
        rows = [self.preprocess.apply(Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image))
                for image in images]  # fmt: skip
        return np.stack(rows) if rows else np.empty((0, *self.preprocess.shape), np.uint8)


def is_single(data: object) -> bool:
    """Return whether a value is one image or one array of images."""
    return is_array(data) or isinstance(data, str | os.PathLike | Image.Image)


def is_pair(data: object) -> bool:
    """Return whether a value is images with their labels: (images, labels)."""
    if not isinstance(data, tuple) or len(data) != 2 or isinstance(data[0], str | os.PathLike | Image.Image):
        return False
    images, labels = data
    several = isinstance(images, list | tuple) or (is_array(images) and images.ndim == 4)
    if is_array(labels):
        return bool(labels.ndim == 1 or (labels.ndim == 2 and several))  # two-dimensional ones are refused by name
    return (several or is_array(images)) and _are_numbers(labels)


def labels_of(values: Any) -> NDArray[np.int64]:
    """Return labels as int64 [N].

    Raises:
        UsageError: when they are no whole numbers, one for each image.
    """
    array = values.detach().cpu().numpy() if is_tensor(values) else np.asarray(values)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise UsageError(
            f"labels are whole numbers, one for each image, not {array.dtype} {list(array.shape)}; {_mend(array)}."
        )
    return array.astype(np.int64)


def _mend(labels: NDArray[Any]) -> str:
    """Return what to do with labels of another shape or type."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        return "give labels.reshape(-1)"
    if labels.dtype.kind in "US":
        return "of names of classes give their places, [classes.index(name) for name in labels]"
    if labels.ndim == 1 and labels.dtype.kind == "f" and np.array_equal(labels, np.rint(labels)):
        return "give labels.astype('int64'), or labels.long() of a tensor"
    return "of one-hot ones give labels.argmax(1)"


def split_item(item: Any) -> tuple[Any, Any]:
    """Return the image and the label of what a set or a loader yields; None for a label that is not there."""
    if isinstance(item, Mapping):
        image = next((item[key] for key in IMAGE_KEYS if key in item), None)
        if image is None:
            raise UsageError(f"an item with the keys {sorted(map(str, item))} holds no image under {IMAGE_KEYS}.")
        return image, next((item[key] for key in LABEL_KEYS if key in item), None)
    if isinstance(item, tuple | list):
        if len(item) not in (1, 2):
            raise UsageError(f"an item is an image, or an image and its label, not {len(item)} values.")
        return item[0], item[1] if len(item) == 2 else None
    return item, None


def _as_many(label: Any, count: int) -> NDArray[np.int64]:
    """Return the labels of `count` images, which came together."""
    array = label.detach().cpu().numpy() if is_tensor(label) else np.asarray(label)
    found = labels_of(array.reshape(-1) if array.ndim == 0 else array)
    if len(found) != count:
        raise UsageError(f"{count} images came with {len(found)} labels.")
    return found


def _count(item: Any) -> int:
    """Return how many images an item holds, as far as its shape says it."""
    image, _ = split_item(item)
    return len(image) if is_array(image) and image.ndim == 4 else 1


def _names(image: Any, number: int, count: int) -> list[str]:
    if isinstance(image, str | os.PathLike):
        return [str(image)]
    filename = getattr(image, "filename", "")
    return [str(filename)] if filename and count == 1 else [f"image {number + place}" for place in range(count)]


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list | tuple) and bool(values) and all(isinstance(v, int | np.integer) for v in values)


def _iterate(data: Any) -> Iterator[Any]:
    """Return an iterator over items, also of a set that has a length and no iterator of its own."""
    if isinstance(data, bytes | bytearray | io.IOBase):
        raise UsageError(
            f"images are not read from {type(data).__name__}; give the path, or PIL.Image.open(file), and of bytes "
            "PIL.Image.open(io.BytesIO(data))."
        )
    if isinstance(data, Iterable):
        return iter(data)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return (data[index] for index in range(len(data)))
    raise UsageError(
        f"images are a folder, a set, a list, an array, a tensor or a DataLoader, not {type(data).__name__}."
    )
