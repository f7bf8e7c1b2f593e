"""What every set of images offers, and how it becomes arrays."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repghost.channels import keeps_bands
from repghost.data.images.decode import ImageError
from repghost.errors import UsageError

if TYPE_CHECKING:
    from repghost.data.images.preprocess import Preprocess


_MEMORY_SHARE = 0.75  # of this machine's memory; the rest is for the network and everybody else


class MissingSplitError(UsageError):
    """The set is there, but not the split that was asked for."""


class UnlabelledSplitError(UsageError):
    """The split is there, but nothing says the classes of its images."""


class ImageSet(Protocol):
    """A sequence of (image, label) with a name for each image; labels index `classes`.

    A set of images that may have other bands than RGB has `image(index, channels)`, too: the image alone, as a network
    of so many channels takes it.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in label order."""
        ...

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 [N]; known without decoding an image."""
        ...

    def __len__(self) -> int:
        """The number of images, broken ones included."""
        ...

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """The image (RGB) and its label; raises ImageError when it cannot be decoded."""
        ...

    def name(self, index: int) -> str:
        """What messages call the image."""
        ...


def image_of(dataset: ImageSet, index: int, channels: int) -> Image.Image:
    """Return an image of a set as a network of so many channels takes it, or as RGB, of which grey is made.

    Raises:
        ImageError: when it cannot be decoded, or has other bands.
        UsageError: when the set has RGB images alone.
    """
    if not keeps_bands(channels):
        return dataset[index][0]
    read: Callable[[int, int], Image.Image] | None = getattr(dataset, "image", None)
    if read is None:
        raise UsageError(
            f"a set of type {type(dataset).__name__} has RGB pictures, and the network takes {channels} channels; give "
            "a folder of pictures."
        )
    return read(index, channels)


@dataclass(frozen=True)
class Prepared:
    """Images as the network is given them, and the ones that could not be decoded."""

    images: NDArray[np.uint8]  # [N, height, width, channels]
    labels: NDArray[np.int64]  # [N]
    indices: NDArray[np.int64]  # [N], the place of each image in its set
    broken: tuple[str, ...]  # one message for each image that is missing above, beginning with its name


def prepare(
    dataset: ImageSet,
    preprocess: Preprocess,
    indices: Sequence[int] | NDArray[np.int64] | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Prepared:
    """Decode and crop images once, into one array.

    Args:
        dataset: where they come from.
        preprocess: what is done to each.
        indices: which images, in which order; all of them by default.
        progress: wraps the loop, e.g. a progress bar.

    Raises:
        UsageError: when not a single image is left, or they do not fit into memory.
    """
    wanted = _wanted(dataset, indices)
    needed = len(wanted) * preprocess.pixels * preprocess.channels
    if needed > _MEMORY_SHARE * _memory_bytes():
        raise UsageError(
            f"{len(wanted)} pictures of {preprocess.height} x {preprocess.width} need {needed >> 20} MB of memory at "
            f"once, this machine has {_memory_bytes() >> 20} MB; take fewer pictures."
        )
    prepared = _prepare(dataset, preprocess, wanted, progress)
    refuse_empty(len(prepared.labels), prepared.broken)
    return prepared


def prepare_in_parts(
    dataset: ImageSet,
    preprocess: Preprocess,
    indices: Sequence[int] | NDArray[np.int64] | None = None,
    size: int = 1000,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Iterator[Prepared]:
    """Yield the images of `prepare` in parts of at most `size`, for sets that do not fit into memory.

    A part is empty when each of its images is broken; `refuse_empty` is left to the caller.
    """
    wanted = _wanted(dataset, indices)
    for start in progress(range(0, len(wanted), size)):
        yield _prepare(dataset, preprocess, wanted[start : start + size], iter)


def count_repeated(images: NDArray[np.uint8]) -> int:
    """Return how many images [N, ...] are copies of earlier ones."""
    return len(images) - len({hashlib.sha256(image.tobytes()).digest() for image in images})


def notes_on_calibration(images: NDArray[np.uint8]) -> tuple[str, ...]:
    """Return what to tell of images that calibrate: a copy adds nothing, but weighs what it shows."""
    repeated = count_repeated(images)
    if not repeated:
        return ()
    return (
        f"{repeated} of {len(images)} pictures to calibrate with are copies of others among them; "
        f"{len(images) - repeated} different ones choose the scales.",
    )


def left_out(dataset: ImageSet) -> tuple[str, ...]:
    """Return a message for each sample of a set that could not become one of its images; only shards have them."""
    return tuple(getattr(dataset, "broken", ()))


def notes_on(dataset: ImageSet) -> tuple[str, ...]:
    """Return what a user should know about how a set was read: files that were not, spellings, missing classes."""
    return tuple(getattr(dataset, "notes", ()))


def refuse_empty(count: int, broken: Sequence[str]) -> None:
    """Raise UsageError when no image is left; the message names the first broken one."""
    if count == 0:
        first = f" The first: {broken[0]}" if broken else ""
        raise UsageError(f"no usable picture among {len(broken)}; at least one is needed.{first}")


def _wanted(dataset: ImageSet, indices: Sequence[int] | NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Return the indices of the images that were asked for."""
    return np.arange(len(dataset)) if indices is None else np.asarray(indices, np.int64)


def _memory_bytes() -> int:
    """Return how much memory this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _prepare(
    dataset: ImageSet,
    preprocess: Preprocess,
    wanted: NDArray[np.int64],
    progress: Callable[[Iterable[int]], Iterable[int]],
) -> Prepared:
    """Decode and crop what can be decoded, note what cannot."""
    images = np.empty((len(wanted), *preprocess.shape), np.uint8)
    good: list[int] = []
    broken: list[str] = []
    for index in progress(wanted.tolist()):
        try:
            images[len(good)] = preprocess.apply(image_of(dataset, index, preprocess.channels))
        except ImageError as error:
            message = str(error)
            broken.append(message if dataset.name(index) in message else f"{dataset.name(index)}: {message}")
        else:
            good.append(index)
    chosen = np.asarray(good, np.int64)
    return Prepared(images[: len(good)], dataset.labels[chosen], chosen, tuple(broken))
