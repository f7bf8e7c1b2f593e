"""The accuracy of networks on labelled images: exact counts, whatever computes them and in how many processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from repghost.data import ImageSet, Prepared, left_out, notes_on, prepare_in_parts, refuse_empty
from repghost.data.images.preprocess import Preprocess
from repghost.distributed.ranks import Ranks
from repghost.errors import IntegrityError
from repghost.evaluation.accuracy import BATCH, Accuracy, PairedDifference, agresti_min, wilson
from repghost.evaluation.classes import match_classes, reordering
from repghost.evaluation.predictor import Predictor, common_preprocess
from repghost.evaluation.tally import Tally


@dataclass(frozen=True)
class Measured:
    """What was measured of one network."""

    name: str
    source: str
    digest: str  # sha256 of the source
    by: str  # what computed it
    top1: Accuracy
    top5: Accuracy
    loss: float  # mean cross-entropy, without label smoothing
    per_class: tuple[int, ...]  # right answers for the images of each class
    change: PairedDifference | None  # against another network; None for the first
    against: int | None = None  # the place of that network, see `validate`

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        values = {key: getattr(self, key) for key in ("name", "source", "digest", "by", "loss")}
        change = None if self.change is None else self.change.to_dict()
        counts = {"top1": self.top1.to_dict(), "top5": self.top5.to_dict(), "right_per_class": list(self.per_class)}
        return values | counts | {"change": change, "against": self.against}


@dataclass(frozen=True)
class Validation:
    """All networks on the same images."""

    preprocess: dict[str, Any]
    classes: tuple[str, ...]
    images: tuple[int, ...]  # of each class
    networks: tuple[Measured, ...]
    broken: tuple[str, ...]  # images that could not be decoded; they are not counted above
    notes: tuple[str, ...]  # files that were not read, spellings, classes that the set lacks
    processes: int
    split: str | None = None  # the folder that was read, of a set that has folders

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "preprocess": self.preprocess,
            "classes": list(self.classes),
            "pictures_per_class": list(self.images),
            "networks": [network.to_dict() for network in self.networks],
            "broken": list(self.broken),
            "notes": list(self.notes),
            "processes": self.processes,
            **({} if self.split is None else {"split": self.split}),
        }


@dataclass(frozen=True, eq=False)
class Reading:
    """Which images of a set are read, and how.

    Attributes:
        indices: of the images, int64 [N]; None: all.
        batch: images that are decoded together.
        progress: wraps the loop over batches.
        class_order: for networks that do not name their classes, see `match_classes`.
        workers: processes that decode; 0 decodes in this one. They change no result.
        see: is shown the set as it was matched, each part of it, and that network's logits
            [N, classes]; this process's share.
    """

    indices: NDArray[np.int64] | None = None
    batch: int = BATCH
    progress: Callable[[Iterable[int]], Iterable[int]] = iter
    class_order: str | None = None
    see: Callable[[ImageSet, Prepared, NDArray[np.float32]], None] | None = None
    workers: int = 0


def validate(
    predictors: Sequence[Predictor], dataset: ImageSet, reading: Reading | None = None, ranks: Ranks | None = None
) -> Validation:
    """Return the accuracy of networks on the same images; each process takes its share, and counts are added up.

    Args:
        predictors: the networks; a change is measured against the first form of the same file, of an integer program
            against the float file before it, and of another float file against the first of all.
        dataset: labelled images; classes are matched by name, and it may lack some of the networks'.
        reading: which of them are read.
        ranks: this process among the others.

    Raises:
        UsageError: when the classes differ, the networks' preprocessing differs, or no image can be decoded.
        IntegrityError: when two forms of one integer program differ in a bit.
    """
    reading, ranks = reading or Reading(), ranks or Ranks()
    preprocess = common_preprocess(predictors)
    matched = [match_classes(dataset, item.classes, item.labels, reading.class_order) for item in predictors]
    dataset, equals = matched[0], _equals(predictors)
    tally, broken = _count(predictors, matched, equals, reading, ranks)
    total = tally.from_vector(ranks.sums(tally.to_vector().tolist()))
    messages = tuple(message for share in ranks.gather(broken) for message in share)
    refuse_empty(int(total.images.sum()), messages)
    _refuse_unequal(predictors, equals, total)
    return Validation(
        preprocess=preprocess.to_dict(),
        classes=dataset.classes,
        images=tuple(total.images.tolist()),
        networks=tuple(_measured(item, total, place, _bases(predictors)) for place, item in enumerate(predictors)),
        broken=messages,
        notes=notes_on(dataset),
        processes=ranks.count,
        split=getattr(dataset, "split", None),
    )


def _count(
    predictors: Sequence[Predictor],
    matched: Sequence[ImageSet],
    equals: Sequence[int | None],
    reading: Reading,
    ranks: Ranks,
) -> tuple[Tally, list[str]]:
    """Return the counts of this process's share of the images, and what is said of broken ones.

    Args:
        predictors: the networks.
        matched: the set with the classes of each of them.
        equals: from `_equals`.
        reading: which images are read.
        ranks: this process among the others.
    """
    dataset, columns = matched[0], [reordering(matched[0].classes, other.classes) for other in matched]
    indices = np.arange(len(dataset)) if reading.indices is None else reading.indices
    own = indices[ranks.rank :: ranks.count]
    tally, broken = Tally.empty(len(predictors), len(dataset.classes)), list(left_out(dataset) if ranks.first else ())
    for part in _parts(dataset, predictors[0].preprocess, own, reading):
        broken.extend(part.broken)
        if len(part.labels):
            logits = [predictor.logits(part.images) for predictor in predictors]
            ordered = [its if order is None else its[:, order] for its, order in zip(logits, columns, strict=True)]
            tally.add(part.labels, ordered, equals, _bases(predictors))
            if reading.see is not None:
                reading.see(dataset, part, ordered[-1])
    return tally, broken


def _parts(dataset: ImageSet, preprocess: Preprocess, own: NDArray[np.int64], reading: Reading) -> Iterator[Prepared]:
    """Yield images as the networks are given them, in parts of a batch."""
    if not reading.workers:
        yield from prepare_in_parts(dataset, preprocess, own, reading.batch, reading.progress)
        return
    starts = range(0, len(own), reading.batch)
    parts = [own[start : start + reading.batch] for start in starts]
    loader = DataLoader(
        _Parts(dataset, preprocess), batch_size=None, sampler=parts, num_workers=reading.workers, collate_fn=_as_it_is
    )
    for _, part in zip(reading.progress(starts), loader, strict=True):
        yield part


@dataclass(frozen=True, eq=False)
class _Parts(Dataset[Prepared]):
    """Parts of a set by the indices of their images, for processes that decode."""

    images: ImageSet
    preprocess: Preprocess

    def __getitem__(self, indices: NDArray[np.int64]) -> Prepared:
        return next(prepare_in_parts(self.images, self.preprocess, indices, len(indices)))


def _as_it_is(part: Any) -> Any:
    return part


def _bases(predictors: Sequence[Predictor]) -> list[int]:
    """Return the place of the network that each is compared with: see `validate`."""
    own = {item.source: place for place, item in reversed(list(enumerate(predictors)))}
    bases, latest = list[int](), 0  # the first form of the float file before
    for place, item in enumerate(predictors):
        if item.program is not None:
            bases.append(latest)
        elif own[item.source] != place:
            bases.append(own[item.source])
        else:
            bases.append(0)
            latest = place
    return bases


def _equals(predictors: Sequence[Predictor]) -> list[int | None]:
    """Return for each network the earlier one with the same integer program."""
    seen: dict[str, int] = {}
    equals: list[int | None] = []
    for place, predictor in enumerate(predictors):
        equals.append(None if predictor.program is None else seen.get(predictor.program))
        if predictor.program is not None:
            seen.setdefault(predictor.program, place)
    return equals


def _refuse_unequal(predictors: Sequence[Predictor], equals: Sequence[int | None], tally: Tally) -> None:
    """Raise IntegrityError when two forms of one integer program gave different scores."""
    for predictor, earlier, count in zip(predictors, equals, tally.unequal.tolist(), strict=True):
        if count and earlier is not None:
            other = predictors[earlier]
            raise IntegrityError(
                f"{predictor.source} ({predictor.by}) and {other.source} ({other.by}) are one integer program and "
                f"differ on {count} of {int(tally.images.sum())} pictures. Build it again; if that does not help, "
                "please report it with the QDQ file."
            )


def _measured(predictor: Predictor, tally: Tally, place: int, bases: Sequence[int]) -> Measured:
    """Make shares of the counts of one network."""
    count = int(tally.images.sum())
    only_first, only_this, agreeing = tally.pairs[place].tolist()
    return Measured(
        name=predictor.name,
        source=predictor.source,
        digest=predictor.digest,
        by=predictor.by,
        top1=wilson(int(tally.right[place].sum()), count),
        top5=wilson(int(tally.top5[place]), count),
        loss=float(tally.loss[place]) / count,
        per_class=tuple(tally.right[place].tolist()),
        change=agresti_min(only_first, only_this, agreeing, count) if place else None,
        against=bases[place] if place else None,
    )
