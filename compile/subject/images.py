"""The images a run calibrates with and evaluates on; no image is in both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.subject.request import SubjectRequest
from compile.subject.subject import Images
from repghost.data import ImageSet, MissingSplitError, open_dataset, prepare
from repghost.data.images.preprocess import Preprocess
from repghost.data.open_by_format import CALIBRATION_SPLITS
from repghost.data.subset import choose_balanced
from repghost.errors import UsageError


@dataclass(frozen=True, eq=False)
class ChosenImages:
    """Some images of a set, before they are decoded.

    Attributes:
        dataset: the set, or one split of it.
        indices: int64 [N], which of its images.
        origin: for the report: set, split, seed.
    """

    dataset: ImageSet
    indices: NDArray[np.int64]
    origin: Mapping[str, Any]

    def decoded(self, preprocess: Preprocess) -> Images:
        """Return the images, cropped; broken ones are left out and named in the origin."""
        found = prepare(self.dataset, preprocess, [int(index) for index in self.indices])
        return Images(found.images, found.labels, {**self.origin, "broken": list(found.broken)})


def open_test(folder: Path, request: SubjectRequest) -> ImageSet | None:
    """Return the split a set is evaluated on, None when it has none."""
    try:
        return open_dataset(folder, "test", request.class_map, request.val_share)
    except MissingSplitError:
        return None


def choose_calibration(folder: Path, test_set: ImageSet | None, request: SubjectRequest) -> ChosenImages:
    """Return the images to calibrate with, balanced over the classes.

    A set that has nothing but a test split is cut in two, so that no image both chooses scales and evaluates them;
    `dataset` is the test set then.

    Args:
        folder: the set.
        test_set: from `open_test`.
        request: says how many, and the seed that chooses them.

    Raises:
        UsageError: when there is no image to calibrate with.
    """
    origin = {"data": folder.name, "seed": request.seed}
    for split in CALIBRATION_SPLITS:
        try:
            found = open_dataset(folder, split, request.class_map, request.val_share)
        except MissingSplitError:
            continue
        if len(found):
            chosen = choose_balanced(found.labels, min(request.calibration_images, len(found)), request.seed)
            return ChosenImages(found, chosen, {**origin, "split": split})
    if test_set is None or len(test_set) < 2:
        splits = " or ".join(CALIBRATION_SPLITS)
        raise UsageError(
            f"{folder} holds no picture to calibrate with: it has no split called {splits}, and no test split that "
            "could be cut in two. At least one picture is needed."
        )
    chosen = choose_balanced(test_set.labels, min(request.calibration_images, len(test_set) // 2), request.seed)
    return ChosenImages(test_set, chosen, {**origin, "split": "test, left out of the accuracy"})


def select_test_images(
    dataset: ImageSet, folder: Path, preprocess: Preprocess, request: SubjectRequest, used: ChosenImages | None = None
) -> Images:
    """Return the images to evaluate on, cropped.

    Args:
        dataset: from `open_test`.
        folder: where it lies, for the report.
        preprocess: how each is cropped.
        request: says how many, balanced over the classes, and the seed that chooses them.
        used: what calibrates; images of the same set are left out here.
    """
    reserved = used.indices if used is not None and used.dataset is dataset else np.empty(0, np.int64)
    chosen = np.setdiff1d(np.arange(len(dataset)), reserved)
    if request.test_images is not None and request.test_images < len(chosen):
        chosen = choose_balanced(dataset.labels, request.test_images, request.seed, exclude=reserved)
    split = getattr(dataset, "split", None) or "test"  # 'val' where the set has no 'test'
    return ChosenImages(dataset, chosen, {"data": folder.name, "split": split}).decoded(preprocess)
