"""CIFAR-10 as torchvision downloads it: the Python version (pickles, read with names allowed one by one) or the binary.

A pickle is a program. The few names that CIFAR-10's batches need are allowed; anything else is refused, not run.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repghost.data.base import MissingSplitError
from repghost.data.formats.arrays import ArraySet
from repghost.errors import UsageError
from repghost.pickles import unsafe_part
from repghost.untrusted import read_bounded

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}

_IMAGE_BYTES = 3 * 32 * 32
_MAX_BYTES = 64 << 20  # a batch has 31 MB
_SUBFOLDERS = (".", "cifar-10-batches-py", "cifar-10-batches-bin")


def is_cifar10(folder: Path) -> bool:
    """Return whether a folder holds a batch of CIFAR-10 in one of the two versions."""
    return any(_find(folder, name) is not None for names in BATCHES.values() for name in names)


def open_cifar10(folder: Path, split: str) -> ArraySet:
    """Read one split, "train" or "test".

    Raises:
        UsageError: when a batch is missing, is not what its name says, or its pickle asks for anything unusual.
    """
    if split not in BATCHES:
        raise MissingSplitError(f"{folder}: CIFAR-10 has no split {split!r}; allowed: {', '.join(BATCHES)}.")
    parts = []
    for name in BATCHES[split]:
        path = _find(folder, name)
        if path is None:
            raise UsageError(f"{folder}: {name} is missing; fetch CIFAR-10 again.")
        parts.append(_read_binary(path) if path.suffix == ".bin" else _read_pickle(path))
    images = np.concatenate([part[0] for part in parts]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    labels = np.concatenate([part[1] for part in parts])
    return ArraySet(f"{folder}[{split}]", CLASSES, np.ascontiguousarray(images), labels)


def _find(folder: Path, name: str) -> Path | None:
    """Return the file of a batch."""
    for subfolder in _SUBFOLDERS:
        for suffix in ("", ".bin"):
            path = folder / subfolder / f"{name}{suffix}"
            if path.is_file():
                return path
    return None


def _read_binary(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read the binary version: rows of one label byte and 3072 image bytes (red, green, blue planes)."""
    data = np.frombuffer(read_bounded(path, _MAX_BYTES), np.uint8)
    if not len(data) or len(data) % (1 + _IMAGE_BYTES):
        raise UsageError(f"{path}: {len(data)} bytes are not rows of {1 + _IMAGE_BYTES}; fetch CIFAR-10 again.")
    rows = data.reshape(-1, 1 + _IMAGE_BYTES)
    return rows[:, 1:], rows[:, 0].astype(np.int64)


def _read_pickle(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read the Python version: a dictionary with `data` uint8 [N, 3072] and `labels`, a list of int."""
    content = read_bounded(path, _MAX_BYTES)
    try:
        unsafe = unsafe_part(content, {f"{module}.{name}" for module, name in _ALLOWED})
        if unsafe is not None:
            raise UsageError(f"its pickle {unsafe}, which a batch of CIFAR-10 does not need; not read.")
        values = _RestrictedUnpickler(io.BytesIO(content), encoding="bytes").load()
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    except Exception as error:  # a hostile pickle can make the unpickler fail in any way
        raise UsageError(f"{path}: not a batch of CIFAR-10 ({type(error).__name__}: {error}).") from error
    if isinstance(values, dict):
        images, labels = values.get(b"data", values.get("data")), values.get(b"labels", values.get("labels"))
        rows = images.rows if isinstance(images, _Array) else None
        if rows is not None and isinstance(labels, list) and all(type(it) is int and 0 <= it < 256 for it in labels):
            return rows, np.asarray(labels, np.int64)
    raise UsageError(f"{path}: not a batch of CIFAR-10; fetch the set again.")


class _Array:
    """What numpy's pickles describe instead of the array: nothing is allocated for what a file only promises."""

    rows: NDArray[np.uint8] | None = None  # [N, 3072]; None for any other array

    def __setstate__(self, state: Any) -> None:
        """Take the values over: version, shape, type, whether columns come first, the bytes."""
        _, shape, kind, columns_first, data = state
        count, length = shape
        if kind.name in (b"u1", "u1") and length == _IMAGE_BYTES and len(data) == count * length:
            self.rows = np.frombuffer(data, np.uint8).reshape(count, length, order="F" if columns_first else "C")


class _ElementType:
    """The name of an array's elements."""

    def __init__(self, name: Any, *flags: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """Ignore the byte order: only bytes are read."""


def _encode(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`, which pickles of bytes under protocol 2 use."""
    return text.encode("latin1")


# What a batch may name: how numpy rebuilds an array, under the module names of numpy 1 and 2.
_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _encode,
    ("numpy.core.multiarray", "_reconstruct"): lambda *empty: _Array(),
    ("numpy._core.multiarray", "_reconstruct"): lambda *empty: _Array(),
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _ElementType,
}


class _RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that knows the names of `_ALLOWED` and no other."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands in for an allowed name; refuse every other one before it can be called."""
        if (module, name) not in _ALLOWED:
            raise UsageError(f"its pickle asks for {module}.{name}, which a batch of CIFAR-10 does not need; not read.")
        return _ALLOWED[module, name]
