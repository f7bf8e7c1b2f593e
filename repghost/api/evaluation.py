"""How good a network is on labelled images: `repghost.evaluate` and `repghost.compare`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from repghost.api.accepted.images import Batch, ImagesLike, Reader
from repghost.api.accepted.pixels import Pixels, check_pixels
from repghost.api.accepted.sources import SetSource, StreamSource, open_source
from repghost.api.accepted.whole import check_whole
from repghost.api.networks.opened import TRAINING_NOTE, PreprocessLike, unwrapped
from repghost.api.predictors import EvaluableLike, predictor_of
from repghost.api.shown.notes import warn_of
from repghost.api.shown.progress import Progress, follow
from repghost.api.shown.results import Comparison, Evaluation, Mistake, surest
from repghost.data import ImageSet, Prepared, notes_on, refuse_empty
from repghost.errors import UsageError
from repghost.evaluation.accuracy import BATCH, paired_difference, wilson
from repghost.evaluation.classes import match_classes, numbered_labels, reordering
from repghost.evaluation.predictor import Predictor, common_preprocess
from repghost.evaluation.tally import TOP, cross_entropy, ranks_of
from repghost.validation.validate import Validation

MISTAKES = 100  # that are kept with their images


def evaluate(
    network: EvaluableLike,
    data: ImagesLike,
    *,
    images: int | None = None,
    seed: int = 0,
    preprocess: PreprocessLike = None,
    labels: Sequence[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    width: str | None = None,
    batch: int = BATCH,
    pixels: Pixels | None = None,
    class_order: str | None = None,
    mistakes: int = MISTAKES,
    progress: Progress = None,
) -> Evaluation:
    """Return how good a network is on labelled images; the network stays in the mode and on the device it was.

    Args:
        network: a torch module (run in evaluation mode, with a warning where it is not in that), a checkpoint, an ONNX
            file, "timm:NAME", a quantized network or its file, a bundle, or what `repghost.load` returned.
        data: a split of `repghost.open_dataset`, the path of a set (its test split is read), a DataLoader, a dataset
            of torchvision or timm, or (images, labels).
        images: how many are read, equally many of each class of a set, the first ones of anything else; None: all.
        seed: chooses them.
        preprocess: how images are prepared, where the network does not say: a `repghost.Preprocess`, timm's
            `pretrained_cfg`, or torchvision's `weights.transforms()`.
        labels: names of the network's classes, where it does not say.
        weights: of a name: a weight file, or "pretrained".
        width: of a RepGhostNet in a file; another one is refused. Chooses the published weights of "timm".
        batch: images per step.
        pixels: the range of float images, "0..1", "0..255" or "normalized", where their values fit more than one.
        class_order: of a network that does not name its classes: "natural", "characters", or a file of names.
        mistakes: how many wrong predictions are kept with their images.
        progress: None: a bar where somebody looks; False: nothing; a function (stage, done, total).

    Raises:
        UsageError: when network and images do not fit together, or there is no labelled image.
        IntegrityError: when a bundle was changed.
    """
    check_pixels(pixels)
    check_whole(1, images=images, batch=batch)
    check_whole(0, seed=seed, mistakes=mistakes)
    predictor = predictor_of(network, preprocess, labels, weights, width)
    source = open_source(data, calibrates=False)
    (found,) = _evaluated([predictor], source, _Wanted(images, seed, pixels, class_order, mistakes, progress, batch))
    warn_of((), found.broken)
    if isinstance(network, nn.Module) and unwrapped(network).training:
        return replace(found, notes=(TRAINING_NOTE, *found.notes))
    return found


def compare(
    before: EvaluableLike,
    after: EvaluableLike,
    data: ImagesLike,
    *,
    images: int | None = None,
    seed: int = 0,
    preprocess: PreprocessLike = None,
    pixels: Pixels | None = None,
    class_order: str | None = None,
    progress: Progress = None,
) -> Comparison:
    """Return how two networks differ on the same images, paired: top-1 of `after` minus that of `before`.

    Args:
        before: the network that is compared with; see `evaluate` for this and what follows.
        after: the other one; images are prepared as it says.
        data: labelled images, read once.
        images: how many are read.
        seed: chooses them.
        preprocess: of a float network that does not say it, or not as it should; None: as `after` says where that is
            no float network.
        pixels: the range of float images.
        class_order: of a network that does not name its classes.
        progress: see `evaluate`.

    Raises:
        UsageError: when the two prepare images differently or differ in their classes; and as `evaluate` does.
    """
    check_pixels(pixels)
    check_whole(1, images=images)
    check_whole(0, seed=seed)
    other = predictor_of(after, preprocess if _says_nothing(after) else None)
    if preprocess is None and not _says_nothing(after):
        preprocess = other.preprocess  # what int8 was calibrated with, and not what a module was once published with
    first = predictor_of(before, preprocess if _says_nothing(before) else None)
    common_preprocess([other, first])
    wanted = _Wanted(images, seed, pixels, class_order, MISTAKES, progress)
    was, now = _evaluated([first, other], open_source(data, calibrates=False), wanted)
    warn_of((), was.broken)
    return Comparison(was, now, paired_difference(was.predictions, now.predictions, was.labels))


def _says_nothing(network: object) -> bool:
    """Return whether a network can be told how its images are prepared: it is no quantized one."""
    return not hasattr(network, "as_predictor")


@dataclass(frozen=True)
class _Wanted:
    """What is read and kept, see `evaluate`."""

    images: int | None
    seed: int
    pixels: Pixels | None
    class_order: str | None
    mistakes: int
    progress: Progress
    batch: int = BATCH


@dataclass(eq=False)
class _Counted:
    """What is known of a network so far."""

    predictions: list[NDArray[np.int64]] = field(default_factory=list)
    top5: int = 0
    loss: float = 0.0
    mistakes: tuple[Mistake, ...] = ()


def _evaluated(predictors: Sequence[Predictor], source: SetSource | StreamSource, wanted: _Wanted) -> list[Evaluation]:
    """Return what was measured of each network on the same images."""
    columns: list[NDArray[np.int64] | None] = [None] * len(predictors)
    classes, notes = predictors[0].labels or numbered_labels(predictors[0].classes), tuple[str, ...]()
    if isinstance(source, SetSource):
        matched = [match_classes(source.dataset, it.classes, it.labels, wanted.class_order) for it in predictors]
        columns = [reordering(matched[0].classes, it.classes) for it in matched]
        classes, notes, source = matched[0].classes, notes_on(matched[0]), replace(source, dataset=matched[0])
    else:
        columns, source = [_own_order(classes, it) for it in predictors], source.matched(classes)
    reader = Reader(predictors[0].preprocess, wanted.pixels, wanted.batch)
    counted = [_Counted() for _ in predictors]
    labels, broken = list[NDArray[np.int64]](), list[str]()
    total = source.count if wanted.images is None else wanted.images
    with follow(wanted.progress, "evaluate", total) as done:
        for batch in source.batches(reader, wanted.images, wanted.seed):
            broken.extend(batch.broken)
            if not len(batch.images):
                continue
            labels.append(checked_batch(batch, len(classes)))
            for it, predictor, order in zip(counted, predictors, columns, strict=True):
                logits = predictor.logits(batch.images)
                _count(it, logits if order is None else logits[:, order], labels[-1], batch, classes, wanted.mistakes)
            done(len(batch.images))
    refuse_none(sum(map(len, labels)), broken)
    truth = np.concatenate(labels)
    about: dict[str, Any] = {"classes": classes, "labels": truth, "broken": tuple(broken), "notes": notes}
    return [_finish(it, predictor, about) for it, predictor in zip(counted, predictors, strict=True)]


def _count(
    counted: _Counted,
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    batch: Batch,
    classes: tuple[str, ...],
    kept: int,
) -> None:
    """Count a batch of one network."""
    if not np.isfinite(logits).all():
        raise UsageError("the network gives logits that are not finite; its weights are broken.")
    predictions = logits.argmax(1)
    counted.predictions.append(predictions)
    counted.top5 += int(np.count_nonzero(ranks_of(logits, labels) < TOP))
    counted.loss += float(cross_entropy(logits, labels).sum())
    probabilities = np.exp(-cross_entropy(logits, predictions))
    wrong = np.flatnonzero(predictions != labels)
    wrong = wrong[np.argsort(-probabilities[wrong], kind="stable")[:kept]]
    found = [
        Mistake(batch.names[i], classes[labels[i]], classes[predictions[i]], float(probabilities[i]),
                Image.fromarray(batch.images[i].squeeze()))
        for i in wrong.tolist()
    ]  # fmt: skip
    counted.mistakes = surest((*counted.mistakes, *found), kept)


class Recorder:
    """What one network says of a set that somebody else reads, as `evaluate` keeps it."""

    def __init__(self, mistakes: int) -> None:
        """Keep at most so many wrong predictions with their images."""
        self.mistakes, self._counted, self._labels = mistakes, _Counted(), list[NDArray[np.int64]]()

    def see(self, dataset: ImageSet, part: Prepared, logits: NDArray[np.float32]) -> None:
        """Take some images of the set and the logits of the network [N, classes]."""
        names = tuple(dataset.name(index) for index in part.indices.tolist())
        batch = Batch(part.images, part.labels, names)
        _count(self._counted, logits, part.labels, batch, dataset.classes, self.mistakes)
        self._labels.append(part.labels)

    def evaluation(self, predictor: Predictor, found: Validation) -> Evaluation:
        """Return what was seen."""
        about = {"classes": found.classes, "labels": np.concatenate(self._labels), "broken": found.broken,
                 "notes": found.notes}  # fmt: skip
        return _finish(self._counted, predictor, about)


def _own_order(classes: tuple[str, ...], predictor: Predictor) -> NDArray[np.int64] | None:
    """Return where each class stands among the logits of a network that names its own; None: each at its own place."""
    if predictor.labels is None or numbered_labels(predictor.classes) in (predictor.labels, classes):
        return None
    return reordering(classes, predictor.labels)


def checked_batch(batch: Batch, classes: int) -> NDArray[np.int64]:
    """Return the labels of a batch.

    Raises:
        UsageError: when it has none, or one outside the classes.
    """
    if batch.labels is None:
        raise UsageError("these images have no labels, so nothing says which answers are right. Give (images, labels).")
    low, high = int(batch.labels.min()), int(batch.labels.max())
    if not 0 <= low <= high < classes:
        raise UsageError(
            f"the images have labels from {low} to {high}, and the network has {classes} classes: 0 to {classes - 1}. "
            "Give the images that it was trained for."
        )
    return batch.labels


def refuse_none(count: int, broken: Sequence[str]) -> None:
    """Refuse data without a single image.

    Raises:
        UsageError: naming the first broken image where there is one.
    """
    if not count and not broken:
        raise UsageError("the data yields no image; at least one is needed.")
    refuse_empty(count, broken)


def _finish(counted: _Counted, predictor: Predictor, about: dict[str, Any]) -> Evaluation:
    """Return shares of what was counted."""
    labels, predictions = about["labels"], np.concatenate(counted.predictions)
    count = len(labels)
    return Evaluation(
        name=predictor.name,
        by=predictor.by,
        preprocess=predictor.preprocess,
        predictions=predictions,
        top1=wilson(int(np.count_nonzero(predictions == labels)), count),
        top5=wilson(counted.top5, count),
        loss=counted.loss / count,
        mistakes=counted.mistakes,
        **about,
    )
