"""Statistics of measured times and predictions: percentiles, ratios of pairs, agreement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repghost.errors import IntegrityError

CONFIDENCE = 1.96  # standard deviations: 95 %


@dataclass(frozen=True)
class Times:
    """Everything that was measured of one contender: milliseconds, [rounds, inferences]."""

    values: NDArray[np.float64]

    @property
    def of_rounds(self) -> NDArray[np.float64]:
        """The fastest inference of each turn, [rounds]: whatever else runs on a machine only ever adds time."""
        return self.values.min(axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Return minimum, median and 90th percentile over all inferences."""
        flat = np.sort(self.values.ravel())
        return {
            "inferences": len(flat),
            "min_ms": float(flat[0]),
            "median_ms": float(np.median(flat)),
            "p90_ms": float(flat[(len(flat) - 1) * 9 // 10]),
        }


def paired_ratio(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> dict[str, float]:
    """Return our time divided by theirs, round by round: the median and its 95 % interval.

    Args:
        ours: one time for each round.
        theirs: the same rounds.
    """
    ratios = np.sort(ours / theirs)
    low, high = median_interval(len(ratios))
    return {"median": float(np.median(ratios)), "low": float(ratios[low]), "high": float(ratios[high])}


def is_narrow(ratio: dict[str, float], spread: float) -> bool:
    """Return whether the interval of a `paired_ratio` is at most `spread` of its median wide."""
    return ratio["high"] - ratio["low"] <= spread * ratio["median"]


def median_interval(count: int) -> tuple[int, int]:
    """Return the positions in `count` sorted values that enclose the median with 95 % confidence.

    How many values lie below the median is binomial; its normal approximation is used (Conover, Practical Nonparametric
    Statistics, 3.2).
    """
    reach = CONFIDENCE * math.sqrt(count) / 2
    low = max(0, math.floor(count / 2 - reach))
    return low, min(count - 1, count - 1 - low)


def agreement(
    logits: NDArray[np.float32], ours: NDArray[np.float32], reference: NDArray[np.float32] | None, classes: bool = True
) -> dict[str, Any]:
    """Return on how many images two builds name the same class, and how close the logits are to float's.

    Numbers of several results name no class; of those it is said how close they are to ours.

    Args:
        logits: [N, classes], of the build in question.
        ours: of the bundle everything is compared with.
        reference: of the float network in PyTorch, where it is known.
        classes: whether they are scores of classes.
    """
    if logits.shape != ours.shape:
        raise IntegrityError(f"a build gives scores of shape {logits.shape}; ours are {ours.shape}.")
    found: dict[str, Any] = {"pictures": len(logits)}
    if not classes:
        return {**found, "lowest_cosine_with_ours": _lowest_cosine(logits, ours)}
    found["with_ours"] = int(np.count_nonzero(logits.argmax(1) == ours.argmax(1)))
    if reference is not None:
        found["with_float"] = int(np.count_nonzero(logits.argmax(1) == reference.argmax(1)))
        found["lowest_cosine"] = _lowest_cosine(logits, reference)
    return found


def _lowest_cosine(numbers: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    """Return the cosine of the angle between two rows of numbers, the lowest of all rows."""
    norms = np.linalg.norm(numbers, axis=1) * np.linalg.norm(others, axis=1)
    products = np.einsum("nc,nc->n", numbers.astype(np.float64), others.astype(np.float64))
    return float((products / np.maximum(norms, 1e-30)).min())
