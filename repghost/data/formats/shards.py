"""WebDataset shards: plain tars whose images are read where they lie, so that any order is exact.

A name such as `train/{000000..001281}.tar` is one split. Images have numbers as those in folders do, and an epoch is
a permutation of the numbers: it has an exact length, processes share it exactly, and a resumed run goes on in it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repghost.channels import RGB
from repghost.data.base import MissingSplitError
from repghost.data.formats.prefixed import without_prefix
from repghost.data.formats.shard_index import ShardIndex, index_shard
from repghost.data.images.decode import ImageError, decode_image
from repghost.data.names.class_names import CLASSES_FILE, read_class_names
from repghost.data.names.split_names import WORDS, wanted_names
from repghost.errors import ToolMissingError, UsageError, install_command
from repghost.untrusted import open_regular, parse_int

MAX_SHARDS = 100_000
PREFIX = "wds/"  # timm's spelling
RANGE = r"\{(-?\d+)\.\.(-?\d+)"


@dataclass(frozen=True, eq=False)
class ShardSet:
    """Images in shards.

    Attributes:
        classes: names, from classes.txt beside the shards or else the numbers.
        labels: int64 [N].
        broken: one message for each sample that is left out because it has no image or no label.
        starts: int64 [shards], the number of each shard's first image.
    """

    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    broken: tuple[str, ...]
    starts: NDArray[np.int64]
    _paths: tuple[Path, ...]
    _indices: tuple[ShardIndex, ...]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Return the image (RGB) and its label, as `image` does."""
        return self.image(index), int(self.labels[index])

    def image(self, index: int, channels: int = RGB) -> Image.Image:
        """Return the image as a network of so many channels takes it.

        Raises:
            ImageError: when it cannot be read or decoded.
        """
        shard, place = self._place(index)
        offset, size = int(self._indices[shard].offsets[place]), int(self._indices[shard].sizes[place])
        try:
            with open_regular(self._paths[shard], error=ImageError) as file:
                file.seek(offset)
                data = file.read(size)
        except OSError as error:
            raise ImageError(f"{self.name(index)}: cannot be read ({error.strerror or error}).") from error
        return decode_image(data, self.name(index), channels=channels)

    def name(self, index: int) -> str:
        """Return the shard and the member."""
        shard, place = self._place(index)
        return f"{self._paths[shard]}:{self._indices[shard].names[place]}"

    def _place(self, index: int) -> tuple[int, int]:
        """Return the shard of an image and its place there."""
        shard = int(np.searchsorted(self.starts, index, side="right")) - 1
        return shard, index - int(self.starts[shard])


def is_shards(path: Path) -> bool:
    """Return whether a name means WebDataset shards: braces or timm's wds/, that are no folder or file."""
    return ("{" in str(path) or str(path).startswith(PREFIX)) and not path.exists()


def open_shards(pattern: Path, split: str | None, classes: Sequence[str] | None = None) -> ShardSet:
    """Open every shard of a name with braces.

    Args:
        pattern: e.g. imagenet/train-{000000..001281}.tar, or the same behind wds/.
        split: that is wanted. The one that is there is the last word such as train, val or test in the
            file's name, or its folder's name, or else "train". None takes the shards as they are.
        classes: of the set these shards belong to, where no classes.txt lies beside them.

    Raises:
        MissingSplitError: when the shards are another split.
        ToolMissingError: when webdataset is not installed.
        UsageError: when a shard is missing or broken, or holds labels outside the classes.
    """
    pattern = without_prefix(pattern, PREFIX)
    present = split_of(pattern)
    if split is not None and present not in {name.lower() for name in wanted_names(split)}:
        raise MissingSplitError(
            f"{pattern}: no split {split!r}; by their name these shards are {present!r}, and one name is one split."
        )
    paths = shard_paths(pattern)
    indices = tuple(index_shard(path) for path in paths)
    broken = tuple(message for index in indices for message in index.broken)
    labels = np.concatenate([index.labels for index in indices])
    if not len(labels):
        first = f" The first: {broken[0]}" if broken else ""
        raise UsageError(f"{pattern}: no pictures with labels in {len(paths)} shards.{first}")
    names = _class_names(paths[0].parent / CLASSES_FILE, labels, classes)
    if labels.max() >= len(names):
        raise UsageError(
            f"{pattern}: label {labels.max()} is outside the {len(names)} classes (0 to {len(names) - 1}); mend the "
            f"shards or {CLASSES_FILE}."
        )
    starts = np.cumsum([0, *(len(index.labels) for index in indices[:-1])])
    return ShardSet(names, labels, broken, np.asarray(starts, np.int64), paths, indices)


def shard_paths(pattern: Path) -> tuple[Path, ...]:
    """Return the files that a name with braces means, in the order it means them.

    Raises:
        ToolMissingError: when webdataset, whose way of writing names this is, is not installed.
        UsageError: when the braces do not match, name too much, or a file is missing or there twice.
    """
    try:
        from braceexpand import braceexpand
    except ModuleNotFoundError as error:
        raise ToolMissingError(f"WebDataset shards need webdataset: {install_command('webdataset')}") from error
    pattern = without_prefix(pattern, PREFIX)
    # The package makes a list of each range before it yields its first name.
    ranges = [[parse_int(end, -MAX_SHARDS) for end in ends] for ends in re.findall(RANGE, str(pattern))]
    if any(first is None or last is None or abs(last - first) >= MAX_SHARDS for first, last in ranges):
        raise UsageError(f"{pattern}: names more than {MAX_SHARDS} shards.")
    try:
        names = list(itertools.islice(braceexpand(str(pattern)), MAX_SHARDS + 1))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{pattern}: the braces do not match ({error}); write e.g. {{000000..000099}}.tar.") from error
    if len(names) > MAX_SHARDS:
        raise UsageError(f"{pattern}: names more than {MAX_SHARDS} shards.")
    if len(set(names)) < len(names):
        raise UsageError(f"{pattern}: names a shard twice.")
    missing = [name for name in names if not Path(name).is_file()]
    if missing:
        raise UsageError(
            f"{missing[0]}: no such file, and {len(missing)} of the {len(names)} shards of {pattern} are missing; "
            "shards are files of this machine."
        )
    return tuple(Path(name) for name in names)


def split_of(pattern: Path) -> str:
    """Return which split the name of shards means."""
    words = [pattern.parent.name.lower(), *re.split("[^a-z]+", pattern.name.lower())]
    return next((word for word in reversed(words) if word in WORDS), "train")


def _class_names(path: Path, labels: NDArray[np.int64], others: Sequence[str] | None) -> tuple[str, ...]:
    """Return a name for each class: the lines of a file, or those given, or the numbers up to the largest label."""
    if path.is_file():
        return read_class_names(path)
    if others is not None:
        return tuple(others)
    return tuple(str(number) for number in range(int(labels.max()) + 1))
