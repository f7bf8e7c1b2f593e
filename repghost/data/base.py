"""What every set of pictures offers, and how it becomes arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repghost.data.decode import PictureError
from repghost.errors import UsageError

if TYPE_CHECKING:
    from repghost.preprocess import Preprocess


class MissingSplitError(UsageError):
    """The set is there, but not the split that was asked for."""


class PictureSet(Protocol):
    """A sequence of (picture, label) with a name for each picture; labels index `classes`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in label order."""
        ...

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 [N]; known without decoding a picture."""
        ...

    def __len__(self) -> int:
        """The number of pictures, broken ones included."""
        ...

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """The picture (RGB) and its label; raises PictureError when it cannot be decoded."""
        ...

    def name(self, index: int) -> str:
        """What messages call the picture."""
        ...


@dataclass(frozen=True)
class Prepared:
    """Pictures as the network is given them, and the ones that could not be decoded."""

    pictures: NDArray[np.uint8]  # [N, size, size, 3], RGB
    labels: NDArray[np.int64]  # [N]
    indices: NDArray[np.int64]  # [N], the place of each picture in its set
    broken: tuple[str, ...]  # one message for each picture that is missing above, beginning with its name


def prepare(
    dataset: PictureSet,
    preprocess: Preprocess,
    indices: Sequence[int] | NDArray[np.int64] | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Prepared:
    """Decode and crop pictures once, into one array.

    Args:
        dataset: where they come from.
        preprocess: what is done to each.
        indices: which pictures, in which order; all of them by default.
        progress: wraps the loop, e.g. a progress bar.

    Raises:
        UsageError: when not a single picture is left.
    """
    wanted = np.arange(len(dataset)) if indices is None else np.asarray(indices, np.int64)
    pictures = np.empty((len(wanted), preprocess.size, preprocess.size, 3), np.uint8)
    good: list[int] = []
    broken: list[str] = []
    for index in progress([int(value) for value in wanted]):
        try:
            pictures[len(good)] = preprocess.apply(dataset[index][0])
        except PictureError as error:
            message = str(error)
            broken.append(message if dataset.name(index) in message else f"{dataset.name(index)}: {message}")
        else:
            good.append(index)
    if not good:
        first = f" The first: {broken[0]}" if broken else ""
        raise UsageError(f"no usable picture among {len(wanted)}; at least one is needed.{first}")
    chosen = np.asarray(good, np.int64)
    return Prepared(pictures[: len(good)], dataset.labels[chosen], chosen, tuple(broken))
