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
from repghost.data.subset import choose_balanced
from repghost.errors import UsageError
from repghost.preprocess import Preprocess, resolve_preprocess
from repghost.spec import ModelSpec, parse_width

if TYPE_CHECKING:
    from repghost.checkpoint import Checkpoint
    from repghost.model import RepGhostNet

CARRIED_DATA = ROOT / "assets/fashion-mnist"
CARRIED_WEIGHTS = ROOT / "assets/fashion-mnist/repghostnet_0_5x.safetensors"
CARRIED_WIDTH = 0.5
RANDOM = "random"  # what a user writes for weights that were never trained
TIMM = "timm"
CALIBRATION_SPLITS = ("calibration", "train")  # tried in this order; never a split that is judged by
RANDOM_SIZE = 224
RANDOM_CLASSES = 1000
RANDOM_PICTURES = 32
STATISTICS_SIDE = 128  # pixels; batch statistics of random weights hardly depend on the size


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
    """A network and its pictures."""

    spec: ModelSpec
    model: RepGhostNet  # any form, in evaluation mode
    digest: str  # SHA-256 of the weights' file; of the weights themselves where there is no file
    weights: Mapping[str, Any]  # for the report: kind, source
    preprocess: Preprocess
    labels: tuple[str, ...]
    calibration: Pictures
    test: Pictures | None  # None: accuracy cannot be measured
    unmeasured: str = field(default="")  # why there is no test set

    @property
    def folder(self) -> str:
        """The name of the run's folder, e.g. repghostnet_0_5x-64px."""
        suffix = "-random" if self.weights["kind"] == RANDOM else ""
        return f"{self.spec.name}-{self.preprocess.size}px{suffix}"


def load_subject(
    weights: str | None,
    data: Path | None,
    width: str | None,
    size: int | None,
    calibration_images: int,
    test_images: int | None,
    seed: int,
    preprocess_file: Path | None = None,
) -> Subject:
    """Read weights and pictures.

    Args:
        weights: a file, "timm", "random", or None for the carried ones.
        data: a set of pictures, or None for the carried one.
        width: refused when the weights have another; needed for "timm".
        size: pixels of the input, instead of the checkpoint's.
        calibration_images: at most so many pictures are calibrated with.
        test_images: only so many pictures are judged by; all of them by default.
        seed: chooses pictures, and makes random weights.
        preprocess_file: JSON that says how pictures are prepared, instead of the checkpoint.

    Raises:
        UsageError: when weights, pictures and width do not fit together.
    """
    if weights == RANDOM:
        return random_subject(width, size or RANDOM_SIZE, seed)
    checkpoint, origin = _checkpoint(weights, data, width)
    from repghost.checkpoint import build_model
    from repghost.commands.quantize import resized

    spec = checkpoint.spec
    preprocess = resized(resolve_preprocess(checkpoint.preprocess, spec.num_classes, preprocess_file), size)
    folder = data or CARRIED_DATA
    judged_set = _open_test(folder)
    reserved, calibration_set = _choose_calibration(folder, judged_set, calibration_images, seed)
    calibration = _prepared(*calibration_set, preprocess)
    test = None if judged_set is None else _test_pictures(judged_set, folder, preprocess, test_images, seed, reserved)
    classes = calibration_set[0].classes
    _check_classes(checkpoint, classes, folder)
    labels = checkpoint.labels or classes
    unmeasured = "" if test else f"{folder.name} has no test split"
    model = build_model(checkpoint)
    return Subject(checkpoint.spec, model, checkpoint.digest, origin, preprocess, labels, calibration, test, unmeasured)


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


def _open_test(folder: Path) -> PictureSet | None:
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


def _test_pictures(
    dataset: PictureSet,
    folder: Path,
    preprocess: Preprocess,
    count: int | None,
    seed: int,
    reserved: NDArray[np.int64],
) -> Pictures:
    chosen = np.setdiff1d(np.arange(len(dataset)), reserved)
    if count is not None and count < len(chosen):
        chosen = choose_balanced(dataset.labels, count, seed, exclude=reserved)
    return _prepared(dataset, chosen, {"data": folder.name, "split": "test"}, preprocess)


def random_subject(width: str | None, size: int, seed: int) -> Subject:
    """Return a network of random weights with the batch statistics its activations really have, and noise for pictures.

    Its answers mean nothing, so nothing can be judged; sizes, speed and the equality of all builds can.
    """
    import torch

    from repghost.model import RepGhostNet

    multiplier = parse_width(width or str(CARRIED_WIDTH), custom=True)
    torch.manual_seed(seed)
    model = RepGhostNet(width=multiplier, num_classes=RANDOM_CLASSES)
    preprocess = Preprocess(size=size, resize=size)
    _measure_statistics(model, preprocess, seed)
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    labels = tuple(f"class {index}" for index in range(RANDOM_CLASSES))
    noise = noise_pictures(RANDOM_PICTURES, size, seed)
    pictures = Pictures(noise, np.full(len(noise), -1), {"data": "noise", "split": "none", "seed": seed, "broken": []})
    origin = {"kind": RANDOM, "source": f"seed {seed}", "sha256": digest.hexdigest()}
    reason = "the weights are random"
    return Subject(model.spec, model, digest.hexdigest(), origin, preprocess, labels, pictures, None, reason)


def _measure_statistics(model: RepGhostNet, preprocess: Preprocess, seed: int) -> None:
    """Give every batch norm the mean and variance of what reaches it; leaves the model in evaluation mode."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # a plain mean over the batches
    small = noise_pictures(RANDOM_PICTURES, min(preprocess.size, STATISTICS_SIDE), seed + 1)
    model.train()
    with torch.no_grad():
        for start in range(0, len(small), 8):
            model(torch.from_numpy(preprocess.normalize(small[start : start + 8])))
    model.eval()


def noise_pictures(count: int, size: int, seed: int) -> NDArray[np.uint8]:
    """Return uint8 [count, size, size, 3]: coloured patches of 8 pixels with fine noise on top."""
    generator = np.random.default_rng(seed)
    cells = -(-size // 8)
    patches = generator.integers(0, 256, (count, cells, cells, 3)).repeat(8, 1).repeat(8, 2)[:, :size, :size]
    return np.clip(patches + generator.normal(0, 20, patches.shape), 0, 255).astype(np.uint8)
