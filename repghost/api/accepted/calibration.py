"""The images that choose scales, and the settings by which they do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calib.importer.open_network import FloatNetwork
from calib.observers import OBSERVERS
from calib.settings.config import QuantConfig, config_from_dict
from calib.settings.config_file import read_config
from compile.subject.subject import Images
from repghost.api.accepted.images import ImagesLike, Reader
from repghost.api.accepted.pixels import Pixels
from repghost.api.accepted.sources import SetSource, open_source
from repghost.api.accepted.whole import check_whole
from repghost.api.shown.progress import Progress, follow
from repghost.data import ImageSet, notes_on, prepare, refuse_empty
from repghost.data.base import notes_on_calibration
from repghost.data.subset import choose_balanced
from repghost.errors import UsageError, option, unknown_value
from repghost.evaluation.classes import match_classes, numbered_labels

CALIBRATION_IMAGES = 512  # or all there are
HELD_OUT_IMAGES = 2000  # that the trials of a search are evaluated on, or all that are left
AUTO, PREDICTIONS = "auto", "answers"
ConfigLike: TypeAlias = QuantConfig | Mapping[str, Any] | str | os.PathLike[str] | None


@dataclass(frozen=True, eq=False)
class Calibration:
    """Images that choose scales.

    Attributes:
        images: prepared; labels are -1 where nothing says them.
        labels: names of the network's classes, in the order of the logits.
        left: the set they were chosen from; None where there is no set with names.
        chosen: int64 [N], the places of the images in that set.
        notes: what to know of the images.
        broken: what is said of images that could not be decoded.
    """

    images: Images
    labels: tuple[str, ...]
    left: SetSource | None
    chosen: NDArray[np.int64]
    notes: tuple[str, ...]
    broken: tuple[str, ...]


def calibration_images(
    network: FloatNetwork,
    data: ImagesLike,
    images: int | None,
    seed: int,
    pixels: Pixels | None = None,
    class_order: str | None = None,
    progress: Progress = None,
) -> Calibration:
    """Return the images that choose the scales of a network.

    Args:
        network: whose classes a labelled set has to have.
        data: see `repghost.quantize`.
        images: how many; None: `CALIBRATION_IMAGES`, or all there are.
        seed: chooses them, equally many of each class of a labelled set.
        pixels: the range of float images.
        class_order: of a network that does not name its classes.
        progress: is told of each image.

    Raises:
        UsageError: when there is no image, or they do not fit the network.
    """
    check_whole(1, images=images)
    check_whole(0, seed=seed)
    source = open_source(data, calibrates=True)
    names, left, chosen, notes = network.labels, None, np.empty(0, np.int64), tuple[str, ...]()
    if isinstance(source, SetSource):
        dataset = match_classes(source.dataset, network.classes, network.labels, class_order)
        if not len(dataset):
            raise UsageError(
                f"the calibration set is empty; at least one picture is needed. Give {option('data')} a set with "
                "pictures."
            )
        source = left = replace(source, dataset=dataset)
        names, notes = dataset.classes, notes_on(dataset)
        images = images or min(CALIBRATION_IMAGES, len(dataset))
        chosen = source.chosen(images, seed)
    images = images or CALIBRATION_IMAGES
    found, broken = _read(source, Reader(network.preprocess, pixels), images, seed, progress)
    notes += notes_on_calibration(found.images)
    return Calibration(found, names or numbered_labels(network.classes), left, chosen, notes, broken)


def held_out_images(calibration: Calibration, network: FloatNetwork, count: int | None, seed: int) -> Images:
    """Return labelled images of the same set that calibrate nothing.

    Args:
        calibration: what was chosen before.
        network: whose preprocessing they get.
        count: how many; None: `HELD_OUT_IMAGES`, or all that are left.
        seed: of the calibration images.

    Raises:
        UsageError: when none are left, or the images have no labels.
    """
    if calibration.left is None:
        raise UsageError(
            f"algorithm={AUTO!r} evaluates on labelled pictures that calibrate nothing, and these have no classes with "
            "names; give a split of repghost.open_dataset."
        )
    dataset = calibration.left.dataset
    left = len(dataset) - len(calibration.chosen)
    if left == 0:
        raise UsageError(
            f"all {len(dataset)} pictures calibrate, and a search needs others to evaluate on. Give fewer "
            f"{option('images')}, or {option('data')} a larger set."
        )
    check_whole(1, held_out=count)
    wanted = min(HELD_OUT_IMAGES, left) if count is None else count
    chosen = choose_balanced(dataset.labels, wanted, seed + 1, calibration.chosen)
    return prepared_images(dataset, network, chosen)


def prepared_images(dataset: ImageSet, network: FloatNetwork, chosen: NDArray[np.int64]) -> Images:
    """Return chosen images of a set as a network is given them."""
    found = prepare(dataset, network.preprocess, chosen)
    return Images(found.images, found.labels, {"broken": list(found.broken)})


def read_settings(config: ConfigLike, policy: str | None, algorithm: str | None) -> QuantConfig:
    """Return the settings of quantization.

    Args:
        config: a `repghost.QuantConfig`, its dictionary, or a JSON file; None: the policy's defaults.
        policy: "cpu" or "tensorrt", instead of the config's.
        algorithm: an observer for every layer that has no entry of its own, "answers" or "auto".

    Raises:
        UsageError: when one of them is unknown or cannot be read.
    """
    return with_algorithm(read_config(config_of(config), policy), algorithm)


def config_of(config: ConfigLike) -> Path | QuantConfig | None:
    """Return settings, or the path of their file, as `read_config` takes them."""
    if isinstance(config, Mapping):
        return config_from_dict(config)
    return Path(config) if isinstance(config, str | os.PathLike) else config


def with_algorithm(config: QuantConfig, algorithm: str | None) -> QuantConfig:
    """Return the settings with an algorithm's observers for every layer that has no entry of its own.

    Raises:
        UsageError: when there is no such algorithm.
    """
    if algorithm is None or algorithm == AUTO:
        return config
    if algorithm == PREDICTIONS:
        return replace(config, ranges_by_answers=True)
    if algorithm not in OBSERVERS:
        raise unknown_value("algorithm", algorithm, (*OBSERVERS, PREDICTIONS, AUTO))
    return replace(config, defaults=replace(config.defaults, observer=algorithm), ranges_by_answers=False)


def _read(source: Any, reader: Reader, images: int, seed: int, progress: Progress) -> tuple[Images, tuple[str, ...]]:
    """Return the images as one array, and what is said of broken ones."""
    batches, broken = [], list[str]()
    with follow(progress, "read pictures", images) as done:
        for batch in source.batches(reader, images, seed):
            broken.extend(batch.broken)
            batches.append(batch)
            done(len(batch.images))
    count = sum(len(batch.images) for batch in batches)
    if not count and not broken:
        raise UsageError("the data yields no image; at least one is needed to calibrate with.")
    refuse_empty(count, broken)
    labels = [np.full(len(batch.images), -1) if batch.labels is None else batch.labels for batch in batches]
    origin = {"data": source.name, "split": getattr(source, "split", "given"), "seed": seed}
    arrays = np.concatenate([batch.images for batch in batches]), np.concatenate(labels).astype(np.int64)
    return Images(*arrays, {**origin, "broken": broken}), tuple(broken)
