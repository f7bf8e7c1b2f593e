"""How long the runs behind a page will take: from a few images that are prepared and evaluated before anything is run.

Of a width, these are counted: every image prepared, the passes over those that calibrate, the three evaluations of
each test image (PyTorch, and the builds in int8 and in float, each as slow as PyTorch), and what compiling takes
whatever the images. It is a first guess; the widths that are done correct it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compile.subject.images import choose_calibration, open_test
from compile.subject.request import Request
from compile.subject.subject import RANDOM, TIMM
from repghost import bundled
from repghost.data import ImageError, ImageSet, image_of
from repghost.data.images.chosen_preprocess import resized
from repghost.data.images.preprocess import IMAGENET, Preprocess
from repghost.errors import RepGhostError
from repghost.evaluation.accuracy import predict
from repghost.network.spec import ModelSpec, parse_width

TIMED = 8  # images
EVALUATIONS = 3  # of each test image
CALIBRATION_PASSES = 8  # 0.5x at 64 px: 12.6 s of processor time for 64 images, 17 for 512, PyTorch takes 1.25 ms each
FIXED_S = 60.0  # the rest of calibration, and compiling: docs/performance.json has 46 s of a core for int8 alone


@dataclass(frozen=True)
class Expected:
    """What runs are expected to take.

    Attributes:
        seconds: of each run.
        images: how many are evaluated, and how many calibrate.
    """

    seconds: tuple[float, ...]
    images: tuple[int, int]


def expect_time(requests: Sequence[Request]) -> Expected | None:
    """Return what runs of the same images will take; None where they have none, or where one of them will be refused.

    Args:
        requests: one for each width, at least one.
    """
    first = requests[0]
    if first.weights == RANDOM or first.model is not None:
        return None
    try:
        folder = first.data or bundled.DATA
        test = open_test(folder, first)
        chosen = choose_calibration(folder, test, first)
        found = [_network(request) for request in requests]
        evaluated = len(test) if test is not None else 0
        evaluated = evaluated if first.test_images is None else min(evaluated, first.test_images)
        prepared, prepare_s = _prepared(chosen.dataset, found[0][1])
        passes = EVALUATIONS * evaluated + CALIBRATION_PASSES * len(chosen.indices)
        images_s = prepare_s * (evaluated + len(chosen.indices))
        seconds = [FIXED_S + images_s + passes * _inference_s(spec, prepared, made) for spec, made in found]
    except RepGhostError:  # the run says what is wrong
        return None
    return Expected(tuple(seconds), (evaluated, len(chosen.indices)))


def duration(seconds: float) -> str:
    """Return a time as one says it: about 3 h 40 min."""
    minutes = max(1, round(seconds / 60))
    if minutes >= 60:
        minutes = 10 * round(minutes / 10)
        return f"about {minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    return f"about {minutes} min"


def _network(request: Request) -> tuple[ModelSpec, Preprocess]:
    """Return the shape of a run's network and how its images are prepared; published weights are not fetched for it."""
    from repghost.checkpoints.checkpoint import read_checkpoint

    if request.weights == TIMM:
        spec, preprocess = ModelSpec(width=parse_width(request.width or "1.0")), IMAGENET
    else:
        checkpoint = read_checkpoint(request.weights or bundled.NAME)
        spec = checkpoint.spec
        preprocess = Preprocess.from_dict(checkpoint.preprocess) if checkpoint.preprocess else IMAGENET
    return spec, preprocess if request.size is None else resized(preprocess, request.size)


def _prepared(dataset: ImageSet, preprocess: Preprocess) -> tuple[NDArray[np.uint8], float]:
    """Return a few images as the network takes them, and the seconds of one."""
    found: list[NDArray[np.uint8]] = []
    started = time.monotonic()
    for place in np.unique(np.linspace(0, len(dataset) - 1, TIMED).astype(int)).tolist():
        try:
            found.append(preprocess.apply(image_of(dataset, place, preprocess.channels)))
        except ImageError:
            continue
    if not found:
        found = [np.zeros(preprocess.shape, np.uint8)]
    return np.stack(found), (time.monotonic() - started) / TIMED


def _inference_s(spec: ModelSpec, images: NDArray[np.uint8], preprocess: Preprocess) -> float:
    """Return the seconds that PyTorch takes for an image, of a network of random weights."""
    from repghost.network.fuse import fuse
    from repghost.network.model import RepGhostNet

    model = fuse(RepGhostNet(spec.width, spec.num_classes, spec.in_chans).eval())
    predict(model, images[:1], preprocess)
    started = time.monotonic()
    predict(model, images, preprocess)
    return (time.monotonic() - started) / len(images)
