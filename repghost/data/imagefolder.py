"""An ImageFolder tree, ImageNet's layout: `split/class/image`, classes in alphabetical order."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repghost.data.base import MissingSplitError
from repghost.data.decode import EXTENSIONS, read_image
from repghost.errors import UsageError

MAX_IMAGES = 20_000_000
SHOWN = 20  # folders in a message
SYNONYMS = {"test": ("test", "val", "validation"), "val": ("val", "validation", "test")}


@dataclass(frozen=True, eq=False)
class FolderSet:
    """Images in files, one folder per class."""

    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Return the image (RGB) and its label."""
        return read_image(self.paths[index]), int(self.labels[index])

    def name(self, index: int) -> str:
        """Return the path of the file."""
        return str(self.paths[index])


def open_imagefolder(folder: Path, split: str) -> FolderSet:
    """List the images of one split, in an order that depends on names alone.

    Links to folders are not followed, so a loop cannot trap the search.

    Raises:
        UsageError: when the split, its class folders or its images are missing.
    """
    root = _split_folder(folder, split)
    classes = tuple(sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")))
    if not classes:
        raise UsageError(f"{root}: no class folders; an ImageFolder tree has split/class/picture.jpg.")
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = _images_below(root / name)
        paths.extend(found)
        labels.extend([label] * len(found))
    if not paths:
        raise UsageError(f"{root}: no pictures; files that end in {', '.join(sorted(EXTENSIONS))} are read.")
    return FolderSet(classes, tuple(paths), np.asarray(labels, np.int64))


def _split_folder(folder: Path, split: str) -> Path:
    """Return the folder of a split under its own name or a synonym."""
    for name in SYNONYMS.get(split, (split,)):
        if name and Path(name).name == name and (folder / name).is_dir():
            return folder / name
    present = sorted(entry for entry in folder.iterdir() if entry.is_dir())[:SHOWN]
    names = ", ".join(entry.name for entry in present) or "none"
    if any(is_image(entry.name) for parent in present for entry in parent.iterdir()):
        raise MissingSplitError(
            f"{folder}: no split {split!r}; the folders there hold pictures, so they are classes: {names}. Put them "
            f"into a folder for the split, {folder / split}, or give the folder above if this is one."
        )
    raise MissingSplitError(
        f"{folder}: no split {split!r}; folders there: {names}. Known layouts: split/class/picture (ImageNet), also in "
        "a tar, Fashion-MNIST's idx files, CIFAR-10 as torchvision downloads it, WebDataset shards by a name with {}."
    )


def is_image(name: str) -> bool:
    """Return whether a file's name is that of an image; hidden ones, as macOS leaves beside each file, are not."""
    return Path(name).suffix.lower() in EXTENSIONS and not name.startswith(".")


def _images_below(folder: Path) -> list[Path]:
    """Return the image files of one class, sorted."""
    found: list[Path] = []
    for parent, folders, files in os.walk(folder, followlinks=False):
        folders.sort()
        found.extend(Path(parent) / name for name in files if is_image(name))
        if len(found) > MAX_IMAGES:
            raise UsageError(f"{folder}: more than {MAX_IMAGES} pictures in one class.")
    return sorted(found)
