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

    from repghost.checkpoints.checkpoint import Checkpoint
    from repghost.data.base import ImageSet, Prepared
    from repghost.data.images.preprocess import Preprocess
    from repghost.network.model import RepGhostNet


@dataclass(frozen=True)
class Calibration:
    """A network and the images to calibrate it with.

    Attributes:
        checkpoint: as it was read.
        model: in the checkpoint's form.
        preprocess: of all images.
        dataset: the images' set, with the network's classes.
        split: which part of the set that is.
        chosen: int64 [N], the indices of the calibration images.
        prepared: those that could be read.
        labels: class names in the order of the logits.
    """

    checkpoint: Checkpoint
    model: RepGhostNet
    preprocess: Preprocess
    dataset: ImageSet
    split: str
    chosen: NDArray[np.int64]
    prepared: Prepared
    labels: tuple[str, ...]


def open_calibration(request: CalibrationRequest) -> Calibration:
    """Return the network and its calibration images, equally many of each class, chosen by the seed.

    Without a split, the one for calibration is taken, or that for training.

    Raises:
        UsageError: when checkpoint and images cannot be used together.
    """
    from repghost.checkpoints.checkpoint import build_model
    from repghost.data import open_dataset
    from repghost.data.base import notes_on_calibration
    from repghost.data.open_by_format import open_calibration_split
    from repghost.data.subset import choose_balanced

    loaded, preprocess = open_network(request)
    if request.split:
        dataset, split = open_dataset(request.data, request.split, request.class_map), request.split
    else:
        dataset, split = open_calibration_split(request.data, request.class_map)
    dataset = with_classes_of(loaded, dataset, request)
    if len(dataset) == 0:
        raise UsageError(
            "the calibration set is empty; at least one picture is needed. Give --data a set with pictures."
        )
    chosen = choose_balanced(dataset.labels, request.images or min(DEFAULT_IMAGES, len(dataset)), request.seed)
    prepared = read_images(dataset, preprocess, chosen, "read pictures")
    say_notes(notes_on_calibration(prepared.images))
    model = build_model(loaded)
    if loaded.spec.form != "fused":
        say(f"{Path(request.checkpoint).name} is in {loaded.spec.form} form; it is fused before it is quantized")
    return Calibration(loaded, model, preprocess, dataset, split, chosen, prepared, dataset.classes)


def open_network(request: NetworkRequest) -> tuple[Checkpoint, Preprocess]:
    """Return the checkpoint that was asked for and how its images are prepared, and say what to know of the file.

    Raises:
        UsageError: when the file cannot be used, or nothing says how its images are prepared.
    """
    from repghost.checkpoints.timm_hub import open_checkpoint
    from repghost.data.images.preprocess import resized, resolve_preprocess
    from repghost.network.spec import parse_width

    width = None if request.width is None else parse_width(request.width, custom=True)
    loaded = open_checkpoint(request.checkpoint, width)
    say_notes(loaded.notes)
    preprocess = resolve_preprocess(loaded.preprocess, loaded.spec.num_classes, request.preprocess)
    return loaded, resized(preprocess, request.size)


def with_classes_of(checkpoint: Checkpoint, dataset: ImageSet, request: NetworkRequest) -> ImageSet:
    """Return a set with the classes in the order of a network's logits, and say what to know of the set.

    Raises:
        UsageError: when they are not the network's classes.
    """
    from repghost.evaluation.classes import match_classes

    dataset = match_classes(dataset, checkpoint.spec.num_classes, checkpoint.labels, request.class_order)
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
