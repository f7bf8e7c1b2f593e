"""What a network says of images without labels: `repghost.predict`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repghost.api.accepted.images import ImagesLike, Reader
from repghost.api.accepted.pixels import Pixels, check_pixels
from repghost.api.accepted.sources import open_source
from repghost.api.accepted.whole import check_whole
from repghost.api.evaluation import refuse_none
from repghost.api.networks.opened import PreprocessLike
from repghost.api.predictors import EvaluableLike, predictor_of
from repghost.api.shown.notes import warn_of
from repghost.api.shown.progress import Progress, follow
from repghost.data.formats.find_images import find_images
from repghost.data.formats.unread import Unread
from repghost.data.images.decode import EXTENSIONS
from repghost.data.names.class_names import read_class_names
from repghost.errors import UsageError
from repghost.evaluation.accuracy import BATCH
from repghost.evaluation.classes import numbered_labels
from repghost.evaluation.tally import softmax
from repghost.tables import make_table, text_lines
from repghost.terminal import Shown

TOP = 3  # classes that are told of each image
LEAST = 0.0005  # a probability that would be shown as 0.0 %


@dataclass(frozen=True)
class PredictedClass:
    """A class that a network gives an image.

    Attributes:
        label: its name.
        index: its place among the logits.
        probability: softmax of its logit.
    """

    label: str
    index: int
    probability: float


@dataclass(frozen=True)
class ImagePredictions:
    """What a network says of an image.

    Attributes:
        name: of the image.
        top: the most probable classes, best first; of equal logits the lower index comes first.
    """

    name: str
    top: tuple[PredictedClass, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"picture": self.name, "top": [dict(vars(one)) for one in self.top]}


@dataclass(frozen=True, repr=False)
class Predictions(Shown):
    """What a network says of images; a loop or an index gives what it says of each.

    Attributes:
        network: what it is called.
        by: what computed it.
        images: what it says of each, in the order they were given.
        broken: messages for images that could not be decoded.
        notes: files that were not read.
    """

    network: str
    by: str
    images: tuple[ImagePredictions, ...]
    broken: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        rows = [
            (
                one.name,
                one.top[0].label,
                _percent(one.top[0]),
                ", ".join(f"{it.label} {_percent(it)}" for it in one.top[1:] if it.probability >= LEAST),
            )
            for one in self.images
        ]
        table = text_lines(make_table(("picture", "class", "#probability", "then"), rows))
        count = f"{len(self.images)} picture{'s' if len(self.images) > 1 else ''}"
        return "\n".join([*table, f"{count}, by {self.network} ({self.by})"])

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[ImagePredictions]:
        return iter(self.images)

    def __getitem__(self, place: int) -> ImagePredictions:
        return self.images[place]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "network": self.network,
            "by": self.by,
            "pictures": [one.to_dict() for one in self.images],
            "broken": list(self.broken),
            "notes": list(self.notes),
        }


def predict(
    network: EvaluableLike,
    images: ImagesLike,
    *,
    top: int = TOP,
    preprocess: PreprocessLike = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    width: str | None = None,
    batch: int = BATCH,
    pixels: Pixels | None = None,
    progress: Progress = None,
) -> Predictions:
    """Return the most probable classes of images, by a network in any form.

    Args:
        network: a torch module, a checkpoint, an ONNX file, "timm:NAME", a quantized network or its file, the folder of
            a bundle for this machine or of a run that holds one, or what `repghost.load` returned.
        images: a picture's path, a folder whose pictures are read at every depth, or several of both; or anything that
            `repghost.evaluate` takes, its labels unread.
        top: how many classes are told of each image, at most.
        preprocess: how images are prepared, where the network does not say, see `repghost.evaluate`.
        labels: names of its classes in the order of its logits, or a file with one a line, likewise.
        weights: of a name: a weight file, or "pretrained".
        width: of a RepGhostNet in a file; another one is refused.
        batch: images per step.
        pixels: the range of float images, see `repghost.evaluate`.
        progress: see `repghost.evaluate`.

    Raises:
        UsageError: when a path does not exist, no image can be decoded, or network and images do not fit together.
        IntegrityError: when a bundle was changed.
    """
    check_pixels(pixels)
    check_whole(1, top=top, batch=batch)
    unread = Unread()
    if _are_paths(images):
        images = _files([images] if isinstance(images, str | os.PathLike) else images, unread)
    if isinstance(labels, str | os.PathLike):
        labels = read_class_names(Path(labels))
    predictor = predictor_of(network, preprocess, labels, weights, width)
    names = predictor.labels or numbered_labels(predictor.classes)
    source = open_source(images, calibrates=False)
    found, broken = list[ImagePredictions](), list[str]()
    with follow(progress, "predict", source.count or (len(images) if isinstance(images, list) else None)) as done:
        for part in source.batches(Reader(predictor.preprocess, pixels, batch), None, 0):
            broken += part.broken
            if len(part.images):
                rows = _best(predictor.logits(part.images), names, top)
                found += [ImagePredictions(name, row) for name, row in zip(part.names, rows, strict=True)]
            done(len(part.images) + len(part.broken))
    refuse_none(len(found), broken)
    notes = unread.messages()
    warn_of((), tuple(broken))
    return Predictions(predictor.name, predictor.by, tuple(found), tuple(broken), notes)


def _best(logits: NDArray[np.float32], names: Sequence[str], top: int) -> list[tuple[PredictedClass, ...]]:
    """Return the most probable classes of each image, by its row of logits [N, classes]."""
    if not np.isfinite(logits).all():
        raise UsageError("the network gives logits that are not finite; its weights are broken.")
    order = np.argsort(-logits, axis=1, kind="stable")[:, :top]
    return [
        tuple(PredictedClass(names[place], place, float(row[place])) for place in best)
        for row, best in zip(softmax(logits), order.tolist(), strict=True)
    ]


def _percent(found: PredictedClass) -> str:
    return f"{100 * found.probability:.1f} %"


def _are_paths(images: ImagesLike) -> bool:
    """Return whether images are a path or several."""
    if isinstance(images, list | tuple):
        return bool(images) and all(isinstance(one, str | os.PathLike) for one in images)
    return isinstance(images, str | os.PathLike)


def _files(paths: Sequence[str | os.PathLike[str]], unread: Unread) -> list[Path]:
    """Return files as they are and of folders every picture below.

    Raises:
        UsageError: for a path that does not exist, or a folder without a picture.
    """
    found = list[Path]()
    for path in map(Path, paths):
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder; give pictures, or folders of pictures.")
        below = find_images(path, unread, path.absolute().parent) if path.is_dir() else [path]
        if not below:
            raise UsageError(f"{path}: no pictures; files that end in {', '.join(sorted(EXTENSIONS))} are read.")
        found += below
    return found
