"""The images a run calibrates with and evaluates on; no image is in both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from repghost.data import ImageSet, MissingSplitError, open_dataset, prepare
from repghost.data.open_by_format import CALIBRATION_SPLITS
from repghost.data.preprocess import Preprocess
from repghost.data.subset import choose_balanced
from repghost.errors import UsageError

if TYPE_CHECKING:
    pass
from compile.subject.subject import Images


def open_test(folder: Path) -> ImageSet | None:
    """Return the split a set is evaluated on, None when it has none."""
    try:
        return open_dataset(folder, "test")
    except MissingSplitError:
        return None


CalibrationSet = tuple[ImageSet, NDArray[np.int64], dict[str, Any]]


def _choose_calibration(
    folder: Path, evaluated: ImageSet | None, count: int, seed: int
) -> tuple[NDArray[np.int64], CalibrationSet]:
    """Return which images of the test split are taken away from it (usually none), and the calibration set.

    A set that has nothing but a test split is cut in two, so that no image both chooses scales and evaluates them.
    """
    none = np.empty(0, np.int64)
    for split in CALIBRATION_SPLITS:
        try:
            found = open_dataset(folder, split)
        except MissingSplitError:
            continue
        if not len(found):
            continue
        chosen = choose_balanced(found.labels, min(count, len(found)), seed)
        return none, (found, chosen, {"data": folder.name, "split": split, "seed": seed})
    if evaluated is None or len(evaluated) < 2:
        splits = " or ".join(CALIBRATION_SPLITS)
        raise UsageError(
            f"{folder} holds no picture to calibrate with: it has no split called {splits}, and no test split that "
            "could be cut in two. At least one picture is needed."
        )
    chosen = choose_balanced(evaluated.labels, min(count, len(evaluated) // 2), seed)
    return chosen, (evaluated, chosen, {"data": folder.name, "split": "test, left out of the accuracy", "seed": seed})


def _prepared(dataset: ImageSet, chosen: NDArray[np.int64], origin: dict[str, Any], preprocess: Preprocess) -> Images:
    found = prepare(dataset, preprocess, [int(index) for index in chosen])
    return Images(found.images, found.labels, {**origin, "broken": list(found.broken)})


def select_test_images(
    dataset: ImageSet,
    folder: Path,
    preprocess: Preprocess,
    count: int | None,
    seed: int,
    reserved: NDArray[np.int64],
) -> Images:
    """Return the images to evaluate on, cropped.

    Args:
        dataset: from `open_test`.
        folder: where it lies, for the report.
        preprocess: how each is cropped.
        count: only so many, balanced over the classes; all of them by default.
        seed: chooses them.
        reserved: int64, the indices that were used for something else.
    """
    chosen = np.setdiff1d(np.arange(len(dataset)), reserved)
    if count is not None and count < len(chosen):
        chosen = choose_balanced(dataset.labels, count, seed, exclude=reserved)
    return _prepared(dataset, chosen, {"data": folder.name, "split": "test"}, preprocess)
