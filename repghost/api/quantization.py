"""From a float network and images to int8: `repghost.quantize`."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from calib.importer.open_network import FloatNetwork
from calib.ptq.search_settings import SearchImages, Trial, search_settings
from calib.quantize import Source, describe_source, quantize_network, write_model
from calib.settings.config import SEARCH, QuantConfig
from compile.subject.subject import Images
from repghost.api.accepted.calibration import (
    AUTO,
    Calibration,
    ConfigLike,
    calibration_images,
    held_out_images,
    read_settings,
)
from repghost.api.accepted.images import ImagesLike
from repghost.api.accepted.pixels import Pixels, check_pixels
from repghost.api.networks.opened import NetworkLike, PreprocessLike, open_float
from repghost.api.quantized import QuantizedNetwork
from repghost.api.shown.notes import warn_of
from repghost.api.shown.progress import Progress, follow
from repghost.checkpoints.checkpoint import is_detector
from repghost.data.base import notes_on_calibration
from repghost.errors import UsageError, option
from repghost.hub.download import local_file, source_name
from repghost.network.spec import model_name
from repghost.sizes import Size

MAX_DROP = 0.3  # points of top-1 that a search allows


def quantize(
    network: NetworkLike,
    data: ImagesLike,
    config: ConfigLike = None,
    *,
    images: int | None = None,
    seed: int = 0,
    policy: str | None = None,
    algorithm: str | None = None,
    max_drop: float | None = None,
    held_out: int | None = None,
    preprocess: PreprocessLike = None,
    labels: Sequence[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    size: Size | None = None,
    width: str | None = None,
    pixels: Pixels | None = None,
    class_order: str | None = None,
    on_trial: Callable[[Trial], None] | None = None,
    progress: Progress = None,
) -> QuantizedNetwork:
    """Return a network in int8 with scales that images choose; the float network stays as it is.

    Args:
        network: a torch module, a checkpoint, also of a detector (ssdlite), a float ONNX file, or "timm:NAME" with
            weights.
        data: images, with labels or without: a split of `repghost.open_dataset`, a folder, paths, PIL images, arrays,
            tensors, or a DataLoader.
        config: a `repghost.QuantConfig`, its dictionary or JSON file; None: the policy's defaults.
        images: how many calibrate, equally many of each class of a set, the first ones of anything else; None: 512,
            or all there are.
        seed: chooses them.
        policy: "cpu" or "tensorrt", instead of the config's.
        algorithm: an observer for every layer without an entry of its own, "answers" (one for each tensor), or "auto"
            (a search; needs labels).
        max_drop: of a search: percentage points of top-1 that may be lost; None: 0.3.
        held_out: of a search: images to evaluate on; None: 2000, or all that are left.
        preprocess: how images are prepared, where the network does not say, see `repghost.evaluate`.
        labels: names of the classes, likewise.
        weights: of a name: a weight file, or "pretrained".
        size: pixels of the images, instead of the network's own.
        width: of a RepGhostNet in a file; another one is refused. Chooses the published weights of "timm".
        pixels: the range of float images, see `repghost.evaluate`.
        class_order: of a network that does not name its classes.
        on_trial: called with each trial of a search.
        progress: see `repghost.evaluate`.

    Raises:
        UsageError: for an operator that integers cannot compute, images that do not fit, or unknown settings.
        AccuracyGateError: when no setting of a search loses as little as was allowed.
    """
    check_pixels(pixels)
    settings = read_settings(config, policy, algorithm)
    if algorithm != AUTO and (max_drop is not None or held_out is not None):
        raise UsageError(
            f"{option('max_drop')} and {option('held_out')} belong to {option('algorithm', AUTO)}, which is not given."
        )
    detector = isinstance(network, str | os.PathLike) and is_detector(Path(network))
    if detector:
        refuse_without_effect(preprocess=preprocess, labels=labels, weights=weights, size=size, width=width)
        if algorithm == AUTO:
            raise UsageError(
                f"{option('algorithm', AUTO)} evaluates by classes of pictures, and a detector gives boxes."
            )
    opened = (
        open_detector(Path(str(network))) if detector else open_float(network, preprocess, labels, weights, size, width)
    )
    found = calibration_images(opened, data, images, seed, pixels, class_order, progress)
    opened = _labelled(opened, found)
    warn_of(notes_on_calibration(found.images.images), found.broken)
    notes = (*opened.notes, *found.notes)
    calibration = {**found.images.origin, "broken": len(found.broken)}
    source = Source(found.labels, opened.digest, calibration, opened.detection)
    if algorithm == AUTO:
        allowed = MAX_DROP if max_drop is None else max_drop
        held = held_out_images(found, opened, held_out, seed)
        return _searched(opened, found, held, settings, source, allowed, on_trial, notes)
    with follow(progress, "calibrate", len(found.images.labels)) as done:
        result = quantize_network(
            opened.name, opened.graph, found.images.images, opened.preprocess, settings, source, done
        )
    return QuantizedNetwork(opened, result, settings, found.images, notes=notes)


def open_detector(path: Path) -> FloatNetwork:
    """Return a light detector as a float network with several results.

    Raises:
        UsageError: when it cannot be read, or its kind is not for boards.
    """
    # With torchvision, which other networks need not load.
    from repghost.detection.checkpoint import read_detector
    from repghost.detection.graph import graph_of_detector
    from repghost.detection.ssdlite import SSDLite

    detector = read_detector(path)
    if not isinstance(detector.model, SSDLite):
        raise UsageError(
            f"{path} is a {detector.recipe.kind}, which is for large machines and is not quantized; train one with "
            f"{option('detector', 'ssdlite')}."
        )
    digest = hashlib.sha256(local_file(path).read_bytes()).hexdigest()
    return FloatNetwork(
        name=f"ssdlite_{model_name(detector.recipe.width)}",
        digest=digest,
        origin={"kind": "file", "source": source_name(path), "sha256": digest},
        graph=graph_of_detector(detector.model),
        classes=len(detector.categories),
        labels=tuple(category.name for category in detector.categories),
        preprocess=detector.model.preprocess,
        detection=detector.model.rule.to_dict(),
    )


def refuse_without_effect(**given: object) -> None:
    """Refuse what a detector's file says itself.

    Raises:
        UsageError: naming the first of them.
    """
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"{option(name)} has no effect on a detector, whose file says it; leave it out.")


def _labelled(network: FloatNetwork, found: Calibration) -> FloatNetwork:
    """Return a network with the names that its images gave its classes."""
    return network if network.labels == found.labels else replace(network, labels=found.labels)


def _searched(
    network: FloatNetwork,
    found: Calibration,
    held: Images,
    settings: QuantConfig,
    source: Source,
    max_drop: float,
    on_trial: Callable[[Trial], None] | None,
    notes: tuple[str, ...],
) -> QuantizedNetwork:
    """Return the network with the cheapest settings that lose no more than was allowed."""
    if not math.isfinite(max_drop):
        raise UsageError(f"{option('max_drop')} is a finite number of points, not {max_drop}.")
    images = SearchImages(found.images.images, held.images, held.labels, network.preprocess)
    search = search_settings(network.graph, images, settings, max_drop, on_trial)
    config = search.chosen.config
    description = describe_source(network.name, images.calibration, network.preprocess, source)
    result = write_model(search.graph, search.spec, config, description, {SEARCH: search.to_dict()})
    return QuantizedNetwork(network, result, config, found.images, search, notes=notes)
