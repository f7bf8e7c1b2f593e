"""What a run is about: a network, the images it is calibrated with, and the ones it is evaluated on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from repghost.data.preprocess import resized, resolve_preprocess
from repghost.errors import UsageError
from repghost.network.spec import parse_width

if TYPE_CHECKING:
    from repghost.checkpoints.checkpoint import Checkpoint
from compile.subject.images import _choose_calibration, _prepared, open_test, select_test_images
from compile.subject.subject import CARRIED_DATA, CARRIED_WEIGHTS, CARRIED_WIDTH, RANDOM, RANDOM_SIZE, TIMM, Subject

QDQ_SUFFIX = ".onnx"


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
    """Read weights and images.

    Args:
        weights: a checkpoint, a quantized ONNX file, "timm", "random", or None for the carried ones.
        data: a set of images, or None for the carried one.
        width: refused when the weights have another; needed for "timm".
        size: pixels of the input, instead of the checkpoint's.
        calibration_images: at most so many images are calibrated with.
        test_images: only so many images are evaluated on; all of them by default.
        seed: chooses images, and makes random weights.
        preprocess_file: JSON that says how images are prepared, instead of the checkpoint.
        model: another network than RepGhostNet, as timm calls it; of random weights only.

    Raises:
        UsageError: when weights, images and width do not fit together.
    """
    from compile.subject.from_qdq_file import quantized_subject
    from compile.subject.from_random_weights import random_subject
    from compile.subject.noise import RANDOM_CLASSES

    if model is not None:
        if weights != RANDOM or width is not None:
            raise UsageError(
                f"MODEL={model} is built with WEIGHTS=random and without WIDTH, to measure speed and size. A trained "
                "one is compiled from a QDQ file: WEIGHTS=FILE.qdq.onnx."
            )
        from compile.subject.from_timm import baseline_subject

        return baseline_subject(model, size or RANDOM_SIZE, RANDOM_CLASSES, seed)
    if weights == RANDOM:
        return random_subject(width, size or RANDOM_SIZE, seed)
    if weights and weights.endswith(QDQ_SUFFIX):
        return quantized_subject(Path(weights), data, width, size, test_images, seed, preprocess_file)
    checkpoint, origin = _checkpoint(weights, data, width)
    from repghost.checkpoints.checkpoint import build_model

    spec = checkpoint.spec
    preprocess = resized(resolve_preprocess(checkpoint.preprocess, spec.num_classes, preprocess_file), size)
    folder = data or CARRIED_DATA
    test_set = open_test(folder)
    reserved, calibration_set = _choose_calibration(folder, test_set, calibration_images, seed)
    calibration = _prepared(*calibration_set, preprocess)
    test = None if test_set is None else select_test_images(test_set, folder, preprocess, test_images, seed, reserved)
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
    from repghost.checkpoints.timm_hub import open_checkpoint

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
    from repghost.evaluation.classes import check_classes

    try:
        check_classes(checkpoint.labels, checkpoint.spec.num_classes, classes)
    except UsageError as error:
        raise UsageError(f"{folder}: {error}") from error
