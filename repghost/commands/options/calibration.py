"""What the commands that quantize share: opening the checkpoint and its images, and a progress bar."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repghost.commands.options.data_options import tell_notes
from repghost.commands.options.quant_options import DEFAULT_IMAGES, CalibrationRequest, NetworkRequest
from repghost.commands.progress.notes import say_notes
from repghost.errors import UsageError
from repghost.terminal import say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from calib.importer.open_network import FloatNetwork
    from repghost.data.base import ImageSet, Prepared
    from repghost.data.images.preprocess import Preprocess


@dataclass(frozen=True)
class Calibration:
    """A network and the images to calibrate it with.

    Attributes:
        network: as it was read.
        dataset: the images' set, with the network's classes.
        split: which part of the set that is.
        chosen: int64 [N], the indices of the calibration images.
        prepared: those that could be read.
    """

    network: FloatNetwork
    dataset: ImageSet
    split: str
    chosen: NDArray[np.int64]
    prepared: Prepared

    @property
    def preprocess(self) -> Preprocess:
        """How all images are prepared."""
        return self.network.preprocess

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names in the order of the scores."""
        return self.dataset.classes


def open_calibration(request: CalibrationRequest) -> Calibration:
    """Return the network and its calibration images, equally many of each class, chosen by the seed.

    Without a split, the one for calibration is taken, or that for training.

    Raises:
        UsageError: when network and images cannot be used together.
    """
    from repghost.data import open_dataset
    from repghost.data.base import notes_on_calibration
    from repghost.data.open_by_format import open_calibration_split
    from repghost.data.subset import choose_balanced

    network = open_float_network(request)
    if request.split:
        dataset, split = open_dataset(request.data, request.split, request.class_map), request.split
    else:
        dataset, split = open_calibration_split(request.data, request.class_map)
    dataset = with_classes_of(network, dataset, request)
    if len(dataset) == 0:
        raise UsageError(
            "the calibration set is empty; at least one picture is needed. Give --data a set with pictures."
        )
    chosen = choose_balanced(dataset.labels, request.images or min(DEFAULT_IMAGES, len(dataset)), request.seed)
    prepared = read_images(dataset, network.preprocess, chosen, "read pictures")
    say_notes(notes_on_calibration(prepared.images))
    if network.checkpoint is not None and network.checkpoint.spec.form != "fused":
        form = network.checkpoint.spec.form
        say(f"{Path(request.checkpoint).name} is in {form} form; it is fused before it is quantized")
    return Calibration(network, dataset, split, chosen, prepared)


def open_float_network(request: NetworkRequest) -> FloatNetwork:
    """Return the network that was asked for, and say what to know of it.

    Raises:
        UsageError: when it cannot be used, or nothing says how its images are prepared.
    """
    from calib.importer.open_network import NetworkSource, open_network

    network = open_network(
        NetworkSource(request.checkpoint, request.weights, request.width, request.size, request.preprocess)
    )
    say_notes(network.notes)
    return network


def with_classes_of(network: FloatNetwork, dataset: ImageSet, request: NetworkRequest) -> ImageSet:
    """Return a set with the classes in the order of a network's scores, and say what to know of the set.

    Raises:
        UsageError: when they are not the network's classes.
    """
    from repghost.evaluation.classes import match_classes

    dataset = match_classes(dataset, network.classes, network.labels, request.class_order)
    tell_notes(dataset)
    return dataset


def read_images(dataset: ImageSet, preprocess: Preprocess, chosen: NDArray[np.int64], title: str) -> Prepared:
    """Return the chosen images prepared; broken ones are left out and named."""
    from repghost.data.base import prepare

    with progress_bar(len(chosen), title, "picture") as bar:

        def progress(indices: Any) -> Iterator[Any]:
            for index in indices:
                yield index
                bar.update(1)

        prepared = prepare(dataset, preprocess, chosen, progress)
    for message in prepared.broken:
        say(f"broken picture, left out: {message}", err=True)
    return prepared


def progress_bar(total: int, title: str, unit: str) -> Any:
    """Return a progress bar on stderr that leaves nothing behind."""
    from tqdm import tqdm

    return tqdm(total=total, desc=title, unit=unit, leave=False)
