"""Fashion-MNIST in its own idx files, plain or gzipped.

Found in the folder itself (Debian's `/usr/share/datasets/fashion-mnist`, the folder this repository carries) or where
torchvision puts it (`FashionMNIST/raw`). Besides 'train' and 'test' a folder may hold a 'calibration' split.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from repghost import bundled
from repghost.data.base import MissingSplitError
from repghost.data.formats.arrays import ArraySet
from repghost.errors import UsageError, is_out_of_memory
from repghost.files import write_bytes_atomically
from repghost.untrusted import open_regular

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
PREFIXES = {"train": "train", "test": "t10k", "calibration": "calibration"}

_SUBFOLDERS = (".", "raw", "FashionMNIST/raw")
_UNSIGNED_BYTE = 0x08  # the only element type of this set
_MAX_ELEMENTS = {3: 256 << 20, 1: 4 << 20}  # by rank: of images, of which the set has 47 MB, and of labels


def splits_in(folder: Path) -> tuple[str, ...]:
    """Return the splits whose images and labels are both there."""
    return tuple(split for split in PREFIXES if _find(folder, split, 3) and _find(folder, split, 1))


def open_fashion_mnist(folder: Path, split: str) -> ArraySet:
    """Read one split, a key of PREFIXES that `splits_in` found.

    Raises:
        UsageError: when a file is missing, truncated, or not what its name says.
    """
    images, labels = _find(folder, split, 3), _find(folder, split, 1)
    if images is None or labels is None:
        hint = (
            " These come with the package to try it; train on pictures of your own." if folder == bundled.DATA else ""
        )
        found = ", ".join(splits_in(folder)) or "none"
        raise MissingSplitError(f"{folder}: no split {split!r}; found: {found}.{hint}")
    return ArraySet(str(images), CLASSES, read_idx(images, 3), read_idx(labels, 1).astype(np.int64))


def _find(folder: Path, split: str, rank: int) -> Path | None:
    """Return the idx file of a split: rank 3 for the images, 1 for the labels."""
    kind = "images" if rank == 3 else "labels"
    for subfolder in _SUBFOLDERS:
        for suffix in ("", ".gz"):
            path = folder / subfolder / f"{PREFIXES[split]}-{kind}-idx{rank}-ubyte{suffix}"
            if path.is_file():
                return path
    return None


def read_idx(path: Path, rank: int) -> NDArray[np.uint8]:
    """Read an idx file of bytes: 0, 0, element type, rank, `rank` big-endian uint32 lengths, the elements.

    Args:
        path: the file; a name that ends in .gz is decompressed.
        rank: how many dimensions it must have.

    Raises:
        UsageError: when the file is not such a file, or is longer or shorter than its header says.
    """
    header_bytes = 4 + 4 * rank
    try:
        with open_regular(path) as stored, gzip.GzipFile(fileobj=stored) if path.suffix == ".gz" else stored as file:
            header = file.read(header_bytes)
            if len(header) < header_bytes or header[:4] != bytes((0, 0, _UNSIGNED_BYTE, rank)):
                raise UsageError(f"{path}: not an idx file of bytes with {rank} dimensions. Fetch the set again.")
            shape = struct.unpack(f">{rank}I", header[4:])
            count, most = math.prod(shape), _MAX_ELEMENTS[rank]
            if count > most:
                raise UsageError(f"{path}: the header promises {count} elements {list(shape)}; {most} are allowed.")
            data = file.read(count + 1)
    except (OSError, EOFError, zlib.error) as error:
        if is_out_of_memory(error):
            raise
        raise UsageError(f"{path}: cannot be read ({error}). Fetch the set again.") from error
    if len(data) != count:
        held = f"{len(data)}" if len(data) < count else "more"
        raise UsageError(
            f"{path}: the header promises {count} elements {list(shape)}, the file holds {held}. Fetch the set again."
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Write an idx file of bytes, gzipped when the name ends in .gz; equal arrays give equal files."""
    header = bytes((0, 0, _UNSIGNED_BYTE, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    data = header + array.astype(np.uint8).tobytes()
    write_bytes_atomically(path, gzip.compress(data, 9, mtime=0) if path.suffix == ".gz" else data)
