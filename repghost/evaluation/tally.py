"""Exact counts of right predictions, added up over batches and processes before they become shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from repghost.errors import UsageError

TOP = 5  # the other place that counts


@dataclass(frozen=True, eq=False)
class Tally:
    """Counts for K networks and C classes; each is an array that `add` changes in place.

    Attributes:
        images: int64 [C], images of each class.
        right: int64 [K, C], images of each class that a network puts first into its class.
        top5: int64 [K], images whose class is among the best five.
        loss: float64 [K], sum of the cross-entropy.
        pairs: int64 [K, 3], images that only the network compared with has right, that only this one has right, and
            that both predict alike.
        unequal: int64 [K], images whose logits differ from those of an earlier network that they have to equal.
    """

    images: NDArray[np.int64]
    right: NDArray[np.int64]
    top5: NDArray[np.int64]
    loss: NDArray[np.float64]
    pairs: NDArray[np.int64]
    unequal: NDArray[np.int64]

    @classmethod
    def empty(cls, networks: int, classes: int) -> Tally:
        """Return a tally of nothing."""
        counts = (np.zeros(shape, np.int64) for shape in (classes, (networks, classes), networks))
        images, right, top5 = counts
        pairs, unequal = np.zeros((networks, 3), np.int64), np.zeros(networks, np.int64)
        return cls(images, right, top5, np.zeros(networks), pairs, unequal)

    def add(
        self,
        labels: NDArray[np.int64],
        logits: Sequence[NDArray[np.float32]],
        equals: Sequence[int | None] = (),
        bases: Sequence[int] = (),
    ) -> None:
        """Count a batch.

        Args:
            labels: int64 [N].
            logits: float32 [N, C] of each network.
            equals: for each network the place of an earlier one that it has to equal to the bit, or None.
            bases: for each network the place of the one that it is compared with; the first of all by default.

        Raises:
            UsageError: when a logit is not a number.
        """
        classes = len(self.images)
        self.images[:] += np.bincount(labels, minlength=classes)
        every = [scores.argmax(1) for scores in logits]
        for place, scores in enumerate(logits):
            if not np.isfinite(scores).all():
                raise UsageError(f"network {place + 1} gives scores that are not finite; its weights are broken.")
            predictions, base = every[place], every[bases[place] if bases else 0]
            right = predictions == labels
            self.right[place] += np.bincount(labels[right], minlength=classes)
            self.top5[place] += np.count_nonzero(ranks_of(scores, labels) < TOP)
            self.loss[place] += cross_entropy(scores, labels).sum()
            base_right = base == labels
            self.pairs[place] += [
                np.count_nonzero(base_right & ~right),
                np.count_nonzero(right & ~base_right),
                np.count_nonzero(base == predictions),
            ]
            earlier = equals[place] if equals else None
            if earlier is not None:
                self.unequal[place] += np.count_nonzero((scores != logits[earlier]).any(1))

    def to_vector(self) -> NDArray[np.float64]:
        """Return every number in a row, so that processes can be added up; counts are exact below 2**53."""
        return np.concatenate([np.asarray(part, np.float64).ravel() for part in self._parts()])

    def from_vector(self, vector: Sequence[float]) -> Tally:
        """Return a tally of this shape with the numbers of `to_vector`."""
        values, place, parts = np.asarray(vector, np.float64), 0, []
        for part in self._parts():
            parts.append(values[place : place + part.size].reshape(part.shape).astype(part.dtype))
            place += part.size
        return Tally(*parts)

    def _parts(self) -> tuple[NDArray[np.generic], ...]:
        return self.images, self.right, self.top5, self.loss, self.pairs, self.unequal


def ranks_of(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of each image's class among the scores, int64 [N], 0 is best.

    Of equal scores the lower class comes first, as argmax has it; integer networks do have equal scores.
    """
    own = scores[np.arange(len(labels)), labels][:, None]
    before = np.arange(scores.shape[1]) < labels[:, None]
    ahead = np.where(before, scores >= own, scores > own)
    return np.asarray(ahead.sum(1), np.int64)


def softmax(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the probabilities of classes by their logits, float64 of the same shape, whose last axis is the class."""
    exponentials = np.exp(scores.astype(np.float64) - scores.max(-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(-1, keepdims=True), np.float64)


def cross_entropy(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the cross-entropy of each image, float64 [N]."""
    shifted = scores.astype(np.float64) - scores.max(1, keepdims=True)
    return np.asarray(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels], np.float64)
