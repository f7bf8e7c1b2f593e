"""Opening the subject of a run: reading weights and images, and checking that they fit together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compile.subject.from_qdq_file import quantized_subject
from compile.subject.from_random_weights import random_subject
from compile.subject.from_timm import timm_subject
from compile.subject.images import choose_calibration, open_test, select_test_images
from compile.subject.noise import RANDOM_CLASSES
from compile.subject.request import SubjectRequest
from compile.subject.subject import (
    CARRIED_DATA,
    CARRIED_WEIGHTS,
    CARRIED_WIDTH,
    RANDOM,
    RANDOM_SIZE,
    TIMM,
    FloatSubject,
    OtherNetwork,
    Subject,
)
from repghost.data import notes_on
from repghost.data.base import notes_on_calibration
from repghost.data.images.preprocess import resized, resolve_preprocess
from repghost.errors import UsageError
from repghost.evaluation.classes import match_classes
from repghost.network.spec import parse_width

if TYPE_CHECKING:
    from repghost.checkpoints.checkpoint import Checkpoint

QDQ_SUFFIX = ".onnx"


def load_subject(request: SubjectRequest) -> Subject:
    """Return the network and the images of a request.

    Raises:
        UsageError: when weights, images and width do not fit together.
    """
    if request.model is not None:
        return _other_network(request.model, request)
    if request.weights == RANDOM:
        return random_subject(request.width, request.size or RANDOM_SIZE, request.seed)
    if request.weights and request.weights.endswith(QDQ_SUFFIX):
        return quantized_subject(Path(request.weights), request)
    return _trained_network(request)


def _other_network(name: str, request: SubjectRequest) -> OtherNetwork:
    """Return a network of timm with random weights; trained ones are compiled from a QDQ file."""
    if request.weights != RANDOM or request.width is not None:
        raise UsageError(
            f"MODEL={name} is built with WEIGHTS=random and without WIDTH, to measure speed and size. A trained "
            "one is compiled from a QDQ file: WEIGHTS=FILE.qdq.onnx."
        )
    return timm_subject(name, request.size or RANDOM_SIZE, RANDOM_CLASSES, request.seed)


def _trained_network(request: SubjectRequest) -> FloatSubject:
    """Return the network of a checkpoint, with the images that calibrate and evaluate it."""
    from repghost.checkpoints.checkpoint import build_model

    checkpoint, origin = _checkpoint(request)
    classes = checkpoint.spec.num_classes
    preprocess = resized(resolve_preprocess(checkpoint.preprocess, classes, request.preprocess), request.size)
    folder = request.data or CARRIED_DATA
    test_set = open_test(folder, request)
    chosen = choose_calibration(folder, test_set, request)
    try:
        matched = match_classes(chosen.dataset, classes, checkpoint.labels, request.class_order)
        if test_set is not None:  # by the names that the calibration images have, where the weights have none
            cut = test_set is chosen.dataset
            test_set = matched if cut else match_classes(test_set, classes, matched.classes)
    except UsageError as error:
        raise UsageError(f"{folder}: {error}") from error
    chosen = replace(chosen, dataset=matched)
    calibration = chosen.decoded(preprocess)
    test = None if test_set is None else select_test_images(test_set, folder, preprocess, request, chosen)
    return FloatSubject(
        name=checkpoint.spec.name,
        digest=checkpoint.digest,
        weights=origin,
        preprocess=preprocess,
        labels=matched.classes,
        calibration=calibration,
        test=test,
        unmeasured="" if test else f"{folder.name} has no test split",
        notes=tuple(
            dict.fromkeys(
                (
                    *checkpoint.notes,
                    *notes_on(matched),
                    *(notes_on(test_set) if test_set else ()),
                    *notes_on_calibration(calibration.images),
                )
            )
        ),
        model=build_model(checkpoint),
        metadata=checkpoint.metadata,
    )


def _checkpoint(request: SubjectRequest) -> tuple[Checkpoint, dict[str, Any]]:
    """Return the weights and, for the report, where they came from."""
    from repghost.checkpoints.timm_hub import open_checkpoint

    weights = request.weights
    multiplier = parse_width(request.width, custom=True) if request.width else None
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
    if request.data is None:
        raise UsageError(
            f"WEIGHTS={weights} needs DATA=DIR, pictures of the classes it was trained for: they calibrate the int8 "
            "form and measure its accuracy."
        )
    checkpoint = open_checkpoint(weights, multiplier)
    if weights == TIMM:
        source = str(checkpoint.metadata.get("source", TIMM))
        return checkpoint, {"kind": TIMM, "source": source, "sha256": checkpoint.digest}
    origin = {"kind": "file", "source": Path(weights).name, "sha256": checkpoint.digest}
    return checkpoint, origin | ({"note": "; ".join(checkpoint.notes)} if checkpoint.notes else {})
