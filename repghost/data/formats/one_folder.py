"""A folder of classes without splits, cut into images to train on and held-out ones, the same in every command."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from repghost.data.names.class_names import composed, shown_names
from repghost.data.names.split_names import TEST, TRAIN, VAL, WORDS
from repghost.errors import UsageError, option

VAL_SHARE = 0.2  # of each class, where nothing else is asked for
SEED = 0  # of the cut; none of the seeds of a run, so that every command holds out the same images
LEAST = 2  # images of a class: one to train on, one held out


def is_split_folder(folder: Path) -> bool:
    """Return whether a folder is one split of a set by its own name; "train" alone may be all that somebody has."""
    folder = folder.absolute()
    name = folder.name.lower()
    if name not in WORDS:
        return False
    beside = (entry.name.lower() for entry in folder.parent.iterdir() if entry.is_dir())
    return name not in TRAIN or any(other in {*VAL, *TEST} for other in beside)


def speaks_of_splits(names: Sequence[str]) -> bool:
    """Return whether one of some folders is called as a split is, such as val2017 or test_images."""
    return any(re.split(r"[^a-z]", name.lower())[0] in WORDS for name in names)


def check_share(share: float) -> None:
    """Refuse a share by which nothing or everything would be held out."""
    if not 0 < share < 1:
        raise UsageError(
            f"{option('val_share', share)} is no share of the pictures of a class; give one above 0 and below 1, such "
            f"as {VAL_SHARE:g}."
        )


def part_of(split: str) -> str | None:
    """Return which part a split is of a set that has none: "train", "test", or None for any other."""
    if split.lower() in TRAIN:
        return TRAIN[0]
    return TEST[0] if split.lower() in {*VAL, *TEST} else None


def held_out(
    folder: Path, names: Sequence[str], labels: NDArray[np.int64], classes: Sequence[str], share: float
) -> NDArray[np.bool_]:
    """Return which images are held out, bool [N]: of each class those whose names have the lowest SHA-256.

    So the cut depends on names alone, and a larger share holds out the same images and more.

    Args:
        folder: for messages.
        names: of the images, relative to the folder.
        labels: int64 [N].
        classes: their names.
        share: of each class, at least one image.

    Raises:
        UsageError: for one class alone, or a class with a single image.
    """
    if len(classes) < LEAST:
        raise UsageError(
            f"{folder}: one class only, {shown_names(classes)}; a network needs at least two to tell apart. Put the "
            f"pictures of each class into a folder of its own, {folder}/CLASS/, or give the folder above."
        )
    counts = Counter(labels.tolist())
    alone = [name for label, name in enumerate(classes) if counts[label] < LEAST]
    if alone:
        raise UsageError(
            f"{folder}: fewer than {LEAST} pictures of {shown_names(alone)}; a class needs one to train on and one "
            "that is held out. Add pictures, or remove the folder."
        )
    digests = [hashlib.sha256(f"{SEED}/{composed(name)}".encode("utf-8", "surrogateescape")).digest() for name in names]
    found = np.zeros(len(names), bool)
    for label, count in counts.items():
        places = sorted(np.flatnonzero(labels == label).tolist(), key=lambda place: digests[place])
        found[places[: min(count - 1, max(1, int(share * count + 0.5)))]] = True
    return found
