"""What a run is about: a network, the pictures it is calibrated with, and the ones it is judged by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compile.cache import ROOT
from repghost.data import MissingSplitError, PictureSet, open_dataset, prepare
from repghost.data.opening import CALIBRATION_SPLITS
from repghost.data.subset import choose_balanced
from repghost.errors import UsageError
from repghost.preprocess import Preprocess, resized, resolve_preprocess
from repghost.spec import ModelSpec, parse_width

if TYPE_CHECKING:
    from repghost.checkpoint import Checkpoint
    from repghost.model import RepGhostNet

CARRIED_DATA = ROOT / "assets/fashion-mnist"
CARRIED_WEIGHTS = ROOT / "assets/fashion-mnist/repghostnet_0_5x.safetensors"
CARRIED_WIDTH = 0.5
QDQ_SUFFIX = ".onnx"
RANDOM = "random"  # what a user writes for weights that were never trained
TIMM = "timm"
RANDOM_SIZE = 224


@dataclass(frozen=True, eq=False)
class Pictures:
    """Cropped pictures and what is known about them."""

    pictures: NDArray[np.uint8]  # [N, size, size, 3]
    labels: NDArray[np.int64]  # [N]; -1 where nothing is known
    origin: Mapping[str, Any]  # for the report: set, split, how many were broken

    @property
    def digest(self) -> str:
        """The SHA-256 of pictures and labels."""
        return hashlib.sha256(self.pictures.tobytes() + self.labels.tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Subject:
    """A network and its pictures: a checkpoint that is going to be quantized, or a file that already is."""

    name: str
    spec: ModelSpec | None  # None for a quantized file, which need not be a RepGhostNet
    model: RepGhostNet | None  # any form, in evaluation mode
    digest: str  # SHA-256 of the weights' file; of the weights themselves where there is no file
    weights: Mapping[str, Any]  # for the report: kind, source
    preprocess: Preprocess
    labels: tuple[str, ...]
    calibration: Pictures
    test: Pictures | None  # None: accuracy cannot be measured
    unmeasured: str = ""  # why there is no test set
    qdq: bytes | None = None  # the quantized file
    quantization: Mapping[str, Any] = field(default_factory=dict)  # what the quantized file says of itself
    metadata: Mapping[str, Any] = field(default_factory=dict)  # what the checkpoint says of how it was made

    @property
    def folder(self) -> str:
        """The name of the run's folder, e.g. repghostnet_0_5x-64px."""
        suffix = "-random" if self.weights["kind"] == RANDOM else ""
        return f"{self.name}-{self.preprocess.size}px{suffix}"

    @property
    def facts(self) -> dict[str, Any]:
        """What manifest and report say about the network itself."""
        return {**(self.spec.to_dict() if self.spec else {}), "name": self.name, "weights": dict(self.weights)}


def load_subject(
    weights: str | None,
    data: Path | None,
    width: str | None,
    size: int | None,
    calibration_images: int,
    test_images: int | None,
    seed: int,
    preprocess_file: Path | None = None,
    model: str | None = None,
) -> Subject:
    """Read weights and pictures.

    Args:
        weights: a checkpoint, a quantized ONNX file, "timm", "random", or None for the carried ones.
        data: a set of pictures, or None for the carried one.
        width: refused when the weights have another; needed for "timm".
        size: pixels of the input, instead of the checkpoint's.
        calibration_images: at most so many pictures are calibrated with.
        test_images: only so many pictures are judged by; all of them by default.
        seed: chooses pictures, and makes random weights.
        preprocess_file: JSON that says how pictures are prepared, instead of the checkpoint.
        model: another network than RepGhostNet, as timm calls it; of random weights only.

    Raises:
        UsageError: when weights, pictures and width do not fit together.
    """
    from compile.quantized_subject import quantized_subject
    from compile.random_subject import RANDOM_CLASSES, random_subject

    if model is not None:
        if weights != RANDOM or width is not None:
            raise UsageError(
                f"MODEL={model} is built with WEIGHTS=random and without WIDTH, to measure speed and size. A trained "
                "one is compiled from a QDQ file: WEIGHTS=FILE.qdq.onnx."
            )
        from compile.baseline import baseline_subject

        return baseline_subject(model, size or RANDOM_SIZE, RANDOM_CLASSES, seed)
    if weights == RANDOM:
        return random_subject(width, size or RANDOM_SIZE, seed)
    if weights and weights.endswith(QDQ_SUFFIX):
        return quantized_subject(Path(weights), data, width, size, test_images, seed, preprocess_file)
    checkpoint, origin = _checkpoint(weights, data, width)
    from repghost.checkpoint import build_model

    spec = checkpoint.spec
    preprocess = resized(resolve_preprocess(checkpoint.preprocess, spec.num_classes, preprocess_file), size)
    folder = data or CARRIED_DATA
    judged_set = open_test(folder)
    reserved, calibration_set = _choose_calibration(folder, judged_set, calibration_images, seed)
    calibration = _prepared(*calibration_set, preprocess)
    test = None if judged_set is None else test_pictures(judged_set, folder, preprocess, test_images, seed, reserved)
    classes = calibration_set[0].classes
    _check_classes(checkpoint, classes, folder)
    labels = checkpoint.labels or classes
    unmeasured = "" if test else f"{folder.name} has no test split"
    network = build_model(checkpoint)
    return Subject(
        spec.name, spec, network, checkpoint.digest, origin, preprocess, labels, calibration, test, unmeasured,
        metadata=checkpoint.metadata,
    )  # fmt: skip


def _checkpoint(weights: str | None, data: Path | None, width: str | None) -> tuple[Checkpoint, dict[str, Any]]:
    """Return the weights and, for the report, where they came from."""
    from repghost.timm_hub import open_checkpoint

    multiplier = parse_width(width, custom=True) if width else None
    if weights is None:
        if multiplier not in (None, CARRIED_WIDTH):
            raise UsageError(
                f"the repository carries weights of width {CARRIED_WIDTH:g} only, not {multiplier:g}. Give "
                "WEIGHTS=FILE and DATA=DIR, or WEIGHTS=timm, or WEIGHTS=random to measure speed and size alone."
            )
        if not CARRIED_WEIGHTS.is_file():
            raise UsageError(f"{CARRIED_WEIGHTS} is missing; the carried weights come with a clone of the repository.")
        checkpoint = open_checkpoint(CARRIED_WEIGHTS)
        return checkpoint, {"kind": "carried", "source": CARRIED_WEIGHTS.name, "sha256": checkpoint.digest}
    if data is None:
        raise UsageError(
            f"WEIGHTS={weights} needs DATA=DIR, pictures of the classes it was trained for: they calibrate the int8 "
            "form and measure its accuracy."
        )
    checkpoint = open_checkpoint(weights, multiplier)
    if weights == TIMM:
        source = str(checkpoint.metadata.get("source", TIMM))
        return checkpoint, {"kind": TIMM, "source": source, "sha256": checkpoint.digest}
    return checkpoint, {"kind": "file", "source": Path(weights).name, "sha256": checkpoint.digest}


def _check_classes(checkpoint: Checkpoint, classes: tuple[str, ...], folder: Path) -> None:
    from repghost.validate import check_classes

    try:
        check_classes(checkpoint.labels, checkpoint.spec.num_classes, classes)
    except UsageError as error:
        raise UsageError(f"{folder}: {error}") from error


def open_test(folder: Path) -> PictureSet | None:
    """Return the split a set is judged by, None when it has none."""
    try:
        return open_dataset(folder, "test")
    except MissingSplitError:
        return None


CalibrationSet = tuple[PictureSet, NDArray[np.int64], dict[str, Any]]


def _choose_calibration(
    folder: Path, judged: PictureSet | None, count: int, seed: int
) -> tuple[NDArray[np.int64], CalibrationSet]:
    """Return which pictures of the test split are taken away from it (usually none), and the calibration set.

    A set that has nothing but a test split is cut in two, so that no picture both chooses scales and judges them.
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
    if judged is None or len(judged) < 2:
        splits = " or ".join(CALIBRATION_SPLITS)
        raise UsageError(
            f"{folder} holds no picture to calibrate with: it has no split called {splits}, and no test split that "
            "could be cut in two. At least one picture is needed."
        )
    chosen = choose_balanced(judged.labels, min(count, len(judged) // 2), seed)
    return chosen, (judged, chosen, {"data": folder.name, "split": "test, left out of the accuracy", "seed": seed})


def _prepared(
    dataset: PictureSet, chosen: NDArray[np.int64], origin: dict[str, Any], preprocess: Preprocess
) -> Pictures:
    found = prepare(dataset, preprocess, [int(index) for index in chosen])
    return Pictures(found.pictures, found.labels, {**origin, "broken": list(found.broken)})


def test_pictures(
    dataset: PictureSet,
    folder: Path,
    preprocess: Preprocess,
    count: int | None,
    seed: int,
    reserved: NDArray[np.int64],
) -> Pictures:
    """Return the pictures to judge by, cropped.

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
