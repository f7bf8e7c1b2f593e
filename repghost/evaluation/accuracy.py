"""Top-1 accuracy with its confidence interval, and paired differences between two networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from repghost.errors import UsageError

if TYPE_CHECKING:
    import torch

    from repghost.data.images.preprocess import Preprocess

BATCH = 250  # images per step where nothing else is asked for
Z_95 = 1.959963984540054  # the standard normal is within +-Z_95 with probability 0.95


@dataclass(frozen=True)
class Accuracy:
    """Share of right predictions with its 95 % interval (Wilson's score interval)."""

    top1: float  # in [0, 1]
    low: float
    high: float
    correct: int
    pictures: int

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)


@dataclass(frozen=True)
class PairedDifference:
    """Top-1 of `after` minus top-1 of `before` on the same images, with its 95 % interval.

    Only images on which exactly one of the two is right count, so the interval is far narrower than two
    separate ones.
    """

    difference: float  # in [-1, 1]; negative means that `after` is worse
    low: float
    high: float
    only_before: int  # images that only `before` got right
    only_after: int  # images that only `after` got right
    agreeing: int  # images with the same prediction, right or wrong
    pictures: int

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)


def accuracy(predictions: NDArray[np.integer], labels: NDArray[np.integer]) -> Accuracy:
    """Return the top-1 of predictions.

    Args:
        predictions: integer [N], the class given for each image.
        labels: integer [N], the true class.

    Raises:
        UsageError: when there are no images or the lengths differ.
    """
    _check_paired(predictions, labels)
    return wilson(int(np.count_nonzero(predictions == labels)), len(labels))


def wilson(correct: int, count: int) -> Accuracy:
    """Return the share of right predictions among at least one, with its 95 % interval."""
    share, squared = correct / count, Z_95 * Z_95
    centre = (share + squared / (2 * count)) / (1 + squared / count)
    half = Z_95 / (1 + squared / count) * math.sqrt(share * (1 - share) / count + squared / (4 * count * count))
    return Accuracy(share, max(centre - half, 0.0), min(centre + half, 1.0), correct, count)


def paired_difference(
    before: NDArray[np.integer], after: NDArray[np.integer], labels: NDArray[np.integer]
) -> PairedDifference:
    """Return how much top-1 changes from `before` to `after`, with a paired 95 % interval.

    Args:
        before: integer [N], predictions of the network that is compared with.
        after: integer [N], predictions of the other network on the same images.
        labels: integer [N], the true classes.

    Raises:
        UsageError: when there are no images or the lengths differ.
    """
    _check_paired(before, labels)
    _check_paired(after, labels)
    before_right, after_right = before == labels, after == labels
    return agresti_min(
        only_before=int(np.count_nonzero(before_right & ~after_right)),
        only_after=int(np.count_nonzero(after_right & ~before_right)),
        agreeing=int(np.count_nonzero(before == after)),
        count=len(labels),
    )


def agresti_min(only_before: int, only_after: int, agreeing: int, count: int) -> PairedDifference:
    """Return a paired difference from its counts.

    The interval is Agresti and Min's (2005): Wald's for matched pairs with half an image added to each of the four
    cells, which keeps its coverage when few images differ and never collapses to a point.

    Args:
        only_before: images that only the network compared with has right.
        only_after: images that only the other one has right.
        agreeing: images with the same prediction.
        count: all images, at least one.
    """
    lost, won, total = only_before + 0.5, only_after + 0.5, count + 2.0
    centre = (won - lost) / total
    half = Z_95 * math.sqrt(lost + won - (won - lost) ** 2 / total) / total
    return PairedDifference(
        difference=(only_after - only_before) / count,
        low=max(centre - half, -1.0),
        high=min(centre + half, 1.0),
        only_before=only_before,
        only_after=only_after,
        agreeing=agreeing,
        pictures=count,
    )


def predict(
    model: torch.nn.Module,
    images: NDArray[np.uint8],
    preprocess: Preprocess,
    batch: int = BATCH,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> NDArray[np.float32]:
    """Return the logits of a PyTorch network, float32 [N, classes]; the model is left in the mode it was in.

    Args:
        model: takes floats [N, 3, H, W] of the type of its parameters, on any device.
        images: uint8 [N, H, W, 3], from `Preprocess.apply`.
        preprocess: its `normalize` is used.
        batch: images per step.
        progress: wraps the loop over the starts of the batches.
    """
    import torch

    modes = [(module, module.training) for module in model.modules()]
    first = next((tensor for tensor in model.parameters() if tensor.is_floating_point()), torch.empty(0))
    model.eval()
    parts = []
    try:
        with torch.inference_mode():
            for start in progress(range(0, len(images), batch)):
                inputs = torch.from_numpy(preprocess.normalize(images[start : start + batch]))
                inputs = inputs.to(first.device, first.dtype, memory_format=torch.channels_last)
                parts.append(model(inputs).float().cpu().numpy())
    finally:
        for module, mode in modes:  # one by one: a frozen batch norm is not in the mode of the rest
            module.training = mode
    return np.concatenate(parts)


def _check_paired(predictions: NDArray[np.integer], labels: NDArray[np.integer]) -> None:
    """Refuse empty vectors and vectors of different lengths."""
    if predictions.ndim != 1 or predictions.shape != labels.shape or not len(labels):
        raise UsageError(
            f"{list(predictions.shape)} answers cannot be compared with {list(labels.shape)} labels; one answer for "
            "each of at least one picture is needed."
        )
