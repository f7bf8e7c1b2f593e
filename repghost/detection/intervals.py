"""How sure an average precision is: COCO's figure computed anew on images drawn with replacement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES, SEED = 300, 0
FIFTY = 0  # the place of an overlap of 0.5 among COCO's ten

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tally:
    """What COCO's evaluation found for one class on one image, at each of its overlaps.

    Attributes:
        scores: float64 [D], of the detections.
        right: bool [overlaps, D], whether a detection matches an object.
        counts: bool [overlaps, D], whether it counts at all; one on a crowd does not.
        objects: how many there were to find.
    """

    scores: Doubles
    right: NDArray[np.bool_]
    counts: NDArray[np.bool_]
    objects: int


@dataclass(frozen=True, eq=False)
class Resampled:
    """Average precision on images drawn with replacement: the same ones for every detector, for paired comparisons.

    Attributes:
        ap: float64 [resamples], mean over overlaps; NaN for a draw without objects.
        ap50: float64 [resamples].
    """

    ap: Doubles
    ap50: Doubles


def tallies_of(evaluator: Any) -> list[list[Tally]]:
    """Return the tallies by class and image of pycocotools' evaluation, after `evaluate`, of objects of all sizes."""
    settings = evaluator._paramsEval
    images, areas, overlaps = len(settings.imgIds), len(settings.areaRng), len(settings.iouThrs)
    empty = Tally(np.empty(0), np.empty((overlaps, 0), bool), np.empty((overlaps, 0), bool), 0)
    found = []
    for place in range(len(settings.catIds)):
        rows = evaluator.evalImgs[place * areas * images : place * areas * images + images]
        found.append([empty if row is None else _tally(row) for row in rows])
    return found


def _tally(row: dict[str, Any]) -> Tally:
    ignored = np.asarray(row["dtIgnore"], bool)
    right = np.asarray(row["dtMatches"]) > 0
    objects = int((~np.asarray(row["gtIgnore"], bool)).sum())
    return Tally(np.asarray(row["dtScores"], np.float64), right & ~ignored, ~ignored, objects)


def precisions(tallies: list[list[Tally]], images: NDArray[np.int64]) -> Doubles:
    """Return COCO's average precision [classes, overlaps] on some images; NaN for a class without objects there."""
    rows = []
    for of_class in tallies:
        chosen = [of_class[place] for place in images]
        objects = sum(tally.objects for tally in chosen)
        overlaps = len(chosen[0].right)
        if not objects:
            rows.append(np.full(overlaps, np.nan))
            continue
        order = np.argsort(-np.concatenate([tally.scores for tally in chosen]), kind="mergesort")
        right, counts = (
            np.concatenate([getattr(tally, name) for tally in chosen], axis=1)[:, order] for name in ("right", "counts")
        )
        rows.append(np.asarray([_area(*pair, objects) for pair in zip(right, counts, strict=True)]))
    return np.asarray(rows)


def _area(right: NDArray[np.bool_], counts: NDArray[np.bool_], objects: int) -> float:
    """Return the mean of the precision at 101 recalls, as COCO interpolates it."""
    if not len(right):
        return 0.0
    hits, misses = np.cumsum(right), np.cumsum(counts & ~right)
    precision = hits / (hits + misses + np.spacing(1))
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(hits / objects, np.linspace(0, 1, 101), side="left")
    return float(np.append(precision, 0.0)[np.minimum(places, len(precision))].mean())


def resample(tallies: list[list[Tally]], resamples: int = RESAMPLES) -> Resampled:
    """Return the average precision of images drawn with replacement, the same ones for every detector."""
    images = len(tallies[0])
    random = np.random.default_rng(SEED)
    found = [precisions(tallies, random.integers(0, images, images)) for _ in range(resamples)]
    return Resampled(np.asarray([_mean(row) for row in found]), np.asarray([_mean(row[:, FIFTY]) for row in found]))


def _mean(values: Doubles) -> float:
    """Return the mean over classes with objects; NaN for a draw that has none."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else np.nan


def interval(values: Doubles) -> tuple[float, float]:
    """Return the middle 95 % of resampled values."""
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)
